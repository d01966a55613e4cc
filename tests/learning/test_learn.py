"""From corrections to better suggestions: real videos, the demo checkpoint, the command line.

A project calls the things of the demo world by other names and marks none of its tones. What the commands print is
worked out again here, from the export alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run
from omni_timeline.cli.main import main
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment, iou
from omni_timeline.synthetic import COLORS, draw_scene, write_video

CALLED = {f"{color} {shape}": {"square": "crate", "circle": "ball"}[shape] for color in COLORS
          for shape in ("square", "circle")}  # fmt: skip
XML = """<View><Video name="video" value="$video" frameRate="25"/><TimelineLabels name="events" toName="video">
<Label value="crate"/><Label value="ball"/></TimelineLabels></View>"""
CONFIG = LabelConfig.from_xml(XML)
CORRECTED, STARRED = 10, 5
SEED = 2000


@dataclass(frozen=True)
class Project:
    """A project's export beside its videos; the last one is in no task.

    Attributes:
        arguments: that name it on the command line.
        rows: its tasks.
        truths: what people would mark, by the name of the video.
    """

    folder: Path
    arguments: tuple[object, ...]
    rows: list[dict[str, Any]]
    truths: dict[str, tuple[Segment, ...]]
    other: Path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, demo_model: OmniModel) -> Project:
    folder = tmp_path_factory.mktemp("project")
    (folder / "videos").mkdir()
    pipeline, options = Pipeline(demo_model), CONFIG.options(PredictOptions())
    rows, truths = [], {}
    for number in range(1, CORRECTED + STARRED + 2):
        rng = np.random.default_rng(SEED + number)
        scene = draw_scene(rng, float(rng.uniform(8, 14)), sound=number % 3 == 0)
        path = write_video(scene, folder / "videos" / f"{number}.mp4", fps=10, height=64, width=64)
        marked = tuple(
            Segment(event.start, event.end, CALLED[event.label]) for event in scene.events if event.label in CALLED
        )
        truths[path.name] = marked
        if number > CORRECTED + STARRED:
            break
        data = {"video": f"/data/upload/3/0a1b2c3d-{path.name}"}
        found = pipeline.predict(path, options)
        suggested = CONFIG.prediction(
            found.segments, duration=found.duration, task_data=data, model_version=found.model_version
        )
        result = CONFIG.to_result(marked, duration=scene.duration, task_data=data)
        annotation = {
            "id": number, "completed_by": 1, "result": result, "was_cancelled": False,
            "ground_truth": number > CORRECTED, "prediction": {"id": number, **suggested},
            "parent_prediction": number, "updated_at": "2026-11-26T00:00:00Z", "lead_time": 20.0,
        }  # fmt: skip
        rows.append({"id": number, "project": 3, "data": data, "annotations": [annotation], "predictions": [number]})
    (folder / "export.json").write_text(json.dumps(rows))
    (folder / "config.xml").write_text(XML)
    arguments = (folder / "export.json", "--videos", folder / "videos", "--label-config", folder / "config.xml")
    return Project(folder, arguments, rows, truths, path)


@contextmanager
def remembering(project: Project) -> Iterator[None]:
    """Predictions are remembered beside the project, not in the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CACHE_DIR", str(project.folder / "cache"))
        yield


@pytest.fixture(autouse=True)
def cache(project: Project) -> Iterator[None]:
    with remembering(project):
        yield


@pytest.fixture(scope="module")
def version(project: Project) -> Path:
    """What `omni-timeline learn` makes of the project."""
    with remembering(project):
        assert main([str(each) for each in ("learn", *project.arguments, "--output", project.folder / "version")]) == 0
    return project.folder / "version"


def test_learning_makes_a_version_with_its_report(version: Path):
    made = LearnedVersion.load(version)
    names = dict(made.calibration.names)
    assert made.calibration.asked == ()
    assert {name for name in names.values() if name} == {"crate", "ball"}
    assert all(names[said] == CALLED[said] for said in CALLED if said in names)
    assert names.get("low tone") is None
    assert len(made.made_from.learned) == CORRECTED
    assert len(made.made_from.held_out) == STARRED
    report = json.loads((version / "report.json").read_text())
    now, learned = report["versions"]
    assert (now["name"], learned["name"]) == ("now", "learned")
    assert learned["quality"]["f1"]["0.5"]["value"] >= now["quality"]["f1"]["0.5"]["value"] + 0.4
    assert "<h1>Suggestions for export.json</h1>" in (version / "report.html").read_text()


def test_a_version_is_used_for_a_video_that_nobody_corrected(
    project: Project, version: Path, capsys: pytest.CaptureFixture[str]
):
    code, out, _ = run(capsys, "predict", project.other, "--learned", version, "--json")
    assert code == 0
    found = json.loads(out)
    made = LearnedVersion.load(version)
    assert found["model_version"] == made.model_version
    segments = [Segment(each["start"], each["end"], each["label"]) for each in found["segments"]]
    assert (
        matched(project.truths[project.other.name], segments)
        == len(segments)
        == len(project.truths[project.other.name])
        > 0
    )


def test_what_evaluate_says_is_what_the_export_says(
    project: Project, version: Path, capsys: pytest.CaptureFixture[str]
):
    code, out, _ = run(
        capsys, "evaluate", *project.arguments, "--learned", version, "--json", "--report", project.folder / "r.html"
    )
    assert code == 0
    told = json.loads(out)  # one object and nothing else
    assert (told["tasks"], told["annotations"]) == (CORRECTED + STARRED, CORRECTED + STARRED)
    assert told["measured_on"] == "the tasks that the version was not learned from"
    now, learned = told["versions"]
    assert now["quality"]["tasks"] == learned["quality"]["tasks"] == STARRED
    starred = project.rows[CORRECTED:]
    pairs = [(corrected(row), suggested(row)) for row in starred]
    right = sum(matched(*pair) for pair in pairs)
    wanted, found = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    assert now["quality"]["corrected"] == wanted
    assert now["quality"]["found"] == found
    assert now["quality"]["f1"]["0.5"]["value"] == pytest.approx(2 * right / (wanted + found))
    [effort] = told["effort"]
    assert effort["version"] == now["model_version"]
    assert effort["suggested"] == sum(len(suggested(row)) for row in project.rows)
    assert effort["annotations"] == CORRECTED + STARRED
    assert "<svg" in (project.folder / "r.html").read_text()


def test_without_a_version_all_tasks_are_measured(project: Project, capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "evaluate", *project.arguments, "--no-curve")
    assert code == 0
    assert "Measured on all corrected tasks." in out
    assert "The tasks with a starred annotation" in out


def test_learning_again_is_not_learning_over(project: Project, version: Path, capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, "learn", *project.arguments, "--output", version)
    assert code == 2
    assert "of its own" in err


def test_where_people_mark_what_is_suggested_nothing_is_offered(
    project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    rows = json.loads((project.folder / "export.json").read_text())
    for row in rows:
        row["annotations"][0]["result"] = row["annotations"][0]["prediction"]["result"]
    (tmp_path / "kept.json").write_text(json.dumps(rows))
    code, out, _ = run(capsys, "learn", tmp_path / "kept.json", *project.arguments[1:], "--output", tmp_path / "v")
    made = LearnedVersion.load(tmp_path / "v")
    assert (code, made.is_offered, made.calibration.names, made.calibration.edges) == (3, False, (), ())
    assert "Not offered." in out
    assert "This version is not offered." in (tmp_path / "v" / "report.html").read_text()
    code, _, err = run(capsys, "predict", project.other, "--learned", tmp_path / "v")
    assert code == 2
    assert "is not offered" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Name the corrections"),
        (("export.json",), "--videos FOLDER and --label-config FILE"),
        (("export.json", "--project", "7"), "two sources"),
        (("--project", "7"), "LABEL_STUDIO_URL"),
    ],
)
def test_a_source_that_is_not_named_is_asked_for(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
):
    code, out, err = run(capsys, "evaluate", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_options_that_contradict_a_version_are_refused(
    project: Project, version: Path, capsys: pytest.CaptureFixture[str]
):
    code, _, err = run(capsys, "predict", project.other, "--learned", version, "--frames", "24")
    assert code == 2
    assert "--learned has its own options" in err


def corrected(row: dict[str, Any]) -> list[Segment]:
    return from_results(row["annotations"][0]["result"])


def suggested(row: dict[str, Any]) -> list[Segment]:
    return from_results(row["annotations"][0]["prediction"]["result"])


def from_results(results: Sequence[dict[str, Any]]) -> list[Segment]:
    """Seconds from Label Studio's frames, counted from 1, both ends inclusive, 25 to the second."""
    return [
        Segment((span["start"] - 1) / 25, span["end"] / 25, each["value"]["timelinelabels"][0])
        for each in results
        for span in each["value"]["ranges"]
    ]


def matched(wanted: Sequence[Segment], found: Sequence[Segment]) -> int:
    """How many are found at IoU .5: nothing here overlaps twice, so that the nearest is the only one."""
    free, count = list(found), 0
    for segment in wanted:
        partner = max(free, key=lambda other: iou(segment, other) * (other.label == segment.label), default=None)
        if partner and partner.label == segment.label and iou(segment, partner) >= 0.5:
            free.remove(partner)
            count += 1
    return count
