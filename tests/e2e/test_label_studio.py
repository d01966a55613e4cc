"""A team's first five minutes, with the real Label Studio: connect, retrieve predictions, look at a task.

Slow (about a minute), so they come once for the whole package; what can be tested without Label Studio is elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.media.video import probe
from omni_timeline.metrics import event_f1, pool
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment

from .conftest import Backend
from .label_studio import LabelStudio

pytestmark = pytest.mark.e2e

CLIPS = 3
LABEL_FRAME = 1 / 10  # s; label_config.xml counts 10 a second


@dataclass(frozen=True)
class Project:
    """A project with uploaded clips and one task whose video is gone, after predictions were retrieved once."""

    number: int
    config: LabelConfig
    clips: tuple[Path, ...]
    tasks: tuple[int, ...]  # one for each clip
    missing_task: int


@pytest.fixture(scope="module")
def label_config(request: pytest.FixtureRequest) -> str:
    """The one that the README tells people to paste."""
    return (request.config.rootpath / "label_config.xml").read_text()


@pytest.fixture(scope="module")
def project(studio: LabelStudio, backend: Backend, label_config: str, samples: list[Path]) -> Project:
    clips = tuple(samples[:CLIPS])
    assert len(clips) == CLIPS
    number = studio.create_project("Demo world", label_config)
    addresses = [studio.upload(number, clip) for clip in clips]
    tasks = tuple(studio.create_task(number, address) for address in addresses)
    missing_task = studio.create_task(number, addresses[0].replace(".mp4", "-gone.mp4"))
    studio.connect(number, backend.url)
    studio.retrieve_predictions(number)
    return Project(number, LabelConfig.from_xml(label_config), clips, tasks, missing_task)


def truth(clip: Path) -> list[Segment]:
    events = json.loads(clip.with_suffix(".json").read_text())["events"]
    return [Segment(event["start"], event["end"], event["label"]) for event in events]


def stored_segments(studio: LabelStudio, project: Project) -> list[list[Segment]]:
    """What Label Studio has for each clip, read the way that human annotations are."""
    found = []
    for clip, task in zip(project.clips, project.tasks, strict=True):
        [prediction] = studio.predictions(task)
        found.append(project.config.from_result(prediction["result"], task_data={}, duration=probe(clip).duration))
    return found


def test_the_stored_predictions_are_what_happens_in_the_clips(studio: LabelStudio, project: Project):
    pairs = zip(project.clips, stored_segments(studio, project), strict=True)
    score = pool(event_f1(truth(clip), segments) for clip, segments in pairs)
    assert score.f1 >= 0.9, score


def test_the_stored_predictions_are_what_the_command_line_predicts(
    studio: LabelStudio, project: Project, demo_model: OmniModel
):
    """Whatever the checkpoint is worth: nothing is lost or moved between it and Label Studio's database."""
    pipeline, options = Pipeline(demo_model), project.config.options(PredictOptions())
    for clip, stored in zip(project.clips, stored_segments(studio, project), strict=True):
        predicted = [project.config.labeled(segment) for segment in pipeline.predict(clip, options).segments]
        assert [segment.label for segment in stored] == [segment.label for segment in predicted]
        for ours, theirs in zip(predicted, stored, strict=True):
            assert theirs.start == pytest.approx(ours.start, abs=LABEL_FRAME)
            assert theirs.end == pytest.approx(ours.end, abs=LABEL_FRAME)


def test_every_task_whose_video_is_there_has_one_prediction_of_the_connected_version(
    studio: LabelStudio, project: Project
):
    [connected] = studio.call("GET", f"/api/ml?project={project.number}")
    for task in project.tasks:
        [prediction] = studio.predictions(task)
        assert prediction["model_version"] == connected["model_version"]
        assert prediction["model_version"].startswith("demo-")
    assert connected["readable_state"] == "Connected"


def test_a_task_whose_video_is_gone_has_no_prediction_and_the_status_page_says_why(
    studio: LabelStudio, backend: Backend, project: Project
):
    assert studio.predictions(project.missing_task) == []
    failures = requests.get(f"{backend.url}/status.json", timeout=30).json()["failures"]
    [failure] = [failure for failure in failures if failure["task"] == str(project.missing_task)]
    assert "-gone.mp4" in failure["sentence"]


def test_asking_again_stores_nothing_twice(studio: LabelStudio, project: Project):
    before = {task: [prediction["id"] for prediction in studio.predictions(task)] for task in project.tasks}
    studio.retrieve_predictions(project.number)
    after = {task: [prediction["id"] for prediction in studio.predictions(task)] for task in project.tasks}
    assert after == before


def test_label_studio_tells_its_user_what_is_wrong_with_a_labeling_config(studio: LabelStudio, backend: Backend):
    """Of an error it shows the status line only, so that is where our sentence is."""
    config = "<View><Text name='t' value='$t'/><TextArea name='a' toName='t'/></View>"
    number = studio.create_project("No timeline", config)
    with pytest.raises(LabelConfigError) as refusal:
        LabelConfig.from_xml(config)
    answer = studio.connect(number, backend.url, expect=400)
    assert str(refusal.value)[:40].replace("<", "[").replace(">", "]") in json.dumps(answer)
