"""A team's first five minutes, with the real Label Studio: connect, retrieve predictions, look at a task.

Slow (about a minute), so they come once for the whole package; what can be tested without Label Studio is elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from omni_timeline.errors import LabelConfigError
from omni_timeline.media import probe
from omni_timeline.metrics import event_f1, pool
from omni_timeline.model import OmniModel
from omni_timeline.pipeline import Pipeline
from omni_timeline.query import Query
from omni_timeline.regions import LabelConfig
from omni_timeline.segments import Segment

from .conftest import Backend
from .label_studio import EMAIL, PASSWORD, LabelStudio

pytestmark = pytest.mark.e2e

CLIPS = 3
LABEL_FRAME = 1 / 25  # s; label_config.xml counts 25 a second
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
    pipeline = Pipeline(demo_model, Query().for_project(project.config))
    for clip, stored in zip(project.clips, stored_segments(studio, project), strict=True):
        predicted = [project.config.labelled(segment) for segment in pipeline.predict(clip).segments]
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


def test_label_studio_tells_its_user_what_is_wrong_with_a_labelling_config(studio: LabelStudio, backend: Backend):
    """Of an error it shows the status line only, so that is where our sentence is."""
    config = "<View><Text name='t' value='$t'/><TextArea name='a' toName='t'/></View>"
    number = studio.create_project("No timeline", config)
    with pytest.raises(LabelConfigError) as refusal:
        LabelConfig.from_xml(config)
    answer = studio.connect(number, backend.url, expect=400)
    assert str(refusal.value)[:40].replace("<", "[").replace(">", "]") in json.dumps(answer)


def test_an_annotator_sees_the_suggestions_on_the_timeline(
    studio: LabelStudio, project: Project, tmp_path: Path, request: pytest.FixtureRequest
):
    """OMNI_TIMELINE_SCREENSHOT=1 keeps the picture for the README."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    expected = max(stored_segments(studio, project), key=len)
    task = project.tasks[stored_segments(studio, project).index(expected)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_load_state()
        page.goto(f"{studio.url}/projects/{project.number}/data?task={task}")
        page.wait_for_selector("video", state="attached", timeout=60_000)
        page.wait_for_function("window.Htx?.annotationStore?.selected?.regions?.length > 0", timeout=60_000)
        page.wait_for_function("document.querySelector('video')?.readyState >= 2", timeout=60_000)
        page.wait_for_timeout(3_000)  # the editor goes to the first frame once more
        page.evaluate(
            """() => {  // for the picture: something happens on it, and one region's details are shown
                const annotation = window.Htx.annotationStore.selected, [first] = annotation.regions;
                annotation.selectArea(first);
                const {start, end} = first.ranges[0];
                annotation.names.get("video").setFrame(Math.round((start + end) / 2));
            }"""
        )
        page.wait_for_timeout(3_000)  # until it is drawn
        regions = page.evaluate(
            """window.Htx.annotationStore.selected.regions.map(region => ({
                ranges: region.ranges.map(range => [range.start, range.end]),
                labels: region.labels,
            }))"""
        )
        picture = tmp_path / "label-studio.png"
        page.screenshot(path=picture)
        browser.close()
    assert len(regions) == len(expected)
    assert sorted(label for region in regions for label in region["labels"]) == sorted(s.label for s in expected)
    assert all(1 <= start <= end for region in regions for start, end in region["ranges"])
    if os.environ.get("OMNI_TIMELINE_SCREENSHOT"):
        shutil.copy(picture, request.config.rootpath / "docs" / "images" / "label-studio.png")
