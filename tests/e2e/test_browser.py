"""What an annotator does with a suggestion, in Label Studio's real page: look, correct, submit.

OMNI_TIMELINE_SCREENSHOT=1 keeps the picture for the README.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from omni_timeline.label_studio.labeling_config import LabelConfig, task_prediction
from omni_timeline.media.video import probe
from omni_timeline.segments import Segment
from places import WAVEFORM_CONFIG

from .conftest import Backend
from .editor import Editor
from .label_studio import LabelStudio

pytestmark = pytest.mark.e2e


UNEXPLAINED = 1  # the region that comes without a text


@dataclass(frozen=True)
class Suggestion:
    """A task and the prediction that is stored for it."""

    project: int
    task: int
    prediction: int
    segments: list[Segment]
    result: list[dict[str, Any]]


@pytest.fixture(scope="module")
def suggestion(
    studio: LabelStudio, backend: Backend, request: pytest.FixtureRequest, samples: list[Path]
) -> Suggestion:
    """The demo checkpoint's, which writes no texts: those are added, and scores where it gives none."""
    xml = (request.config.rootpath / "label_config.xml").read_text()
    config = LabelConfig.from_xml(xml)
    [clip] = [sample for sample in samples if sample.stem == "sound-20s"]
    project = studio.create_project("What happens when?", xml)
    task = studio.create_task(project, studio.upload(project, clip))
    studio.connect(project, backend.url)
    studio.retrieve_predictions(project)
    [stored] = studio.predictions(task)
    studio.call("DELETE", f"/api/predictions/{stored['id']}/")
    duration = probe(clip).duration
    found = config.from_result(stored["result"], task_data={}, duration=duration)
    assert len(found) >= 3
    segments = [
        replace(
            segment,
            text="" if number == UNEXPLAINED else f"There is a {segment.label}.",
            score=segment.score or round(0.93 - 0.07 * number, 2),
        )
        for number, segment in enumerate(found)
    ]
    prediction = config.prediction(segments, duration=duration, task_data={}, model_version=stored["model_version"])
    config.check(prediction, duration=duration, task_data={})
    number = studio.call("POST", "/api/predictions/", json={"task": task, **prediction})["id"]
    return Suggestion(project, task, number, segments, prediction["result"])


def test_an_annotator_corrects_a_suggestion_and_submits_exactly_that(
    editor: Editor, suggestion: Suggestion, tmp_path: Path, request: pytest.FixtureRequest
):
    page = editor.page
    editor.open(suggestion.project, suggestion.task, regions=len(suggestion.segments))

    # The suggestion is there: regions, labels, scores ...
    shown = {region["id"]: region for region in editor.regions()}
    suggested = {item["id"]: item["value"] for item in suggestion.result if item["type"] == "timelinelabels"}
    assert {name: region["labels"] for name, region in shown.items()} == {
        name: value["timelinelabels"] for name, value in suggested.items()
    }
    assert {name: region["frames"] for name, region in shown.items()} == {
        name: [[span["start"], span["end"]] for span in value["ranges"]] for name, value in suggested.items()
    }
    rows = page.locator(".lsf-tree__node")
    assert rows.count() == page.locator(".lsf-keypoints__lifespan").count() == len(suggestion.segments)
    for row, segment in zip(rows.all_inner_texts(), suggestion.segments, strict=True):
        assert segment.label in row
        assert f"{segment.score:.2f}" in row

    # ... and texts.
    text = page.get_by_test_id("htx-textbox-content")
    for number, segment in enumerate(suggestion.segments):
        editor.select(number)
        assert text.all_inner_texts() == [segment.text] * bool(segment.text)

    drawn, unexplained, *_, explained = suggested
    editor.select(0)
    [span] = suggested[drawn]["ranges"]
    editor.show(span["start"] + 16)
    editor.show(span["start"] + 12)  # and back, so that the timeline shows more of what comes than of what was
    page.evaluate("window.Htx.annotationStore.selected.names.get('video').ref.current.setZoom(2)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # until it is drawn
    picture = tmp_path / "label-studio.png"
    page.screenshot(path=picture)

    # The annotator pulls one edge, says what the model left out, and adds to what it said.
    editor.show(span["end"] - 10)  # so that the region's end is on the screen
    editor.drag_end(-5)
    editor.select(UNEXPLAINED)
    page.locator("textarea[name=description]").click()
    page.keyboard.type("Somebody hums.")
    page.keyboard.press("Shift+Enter")
    assert text.inner_text() == "Somebody hums."
    editor.select(len(suggested) - 1)
    page.get_by_test_id("htx-textbox-edit-button").click()
    page.keyboard.press("End")
    page.keyboard.type(" Slowly.")
    page.keyboard.press("Shift+Enter")
    assert text.inner_text() == f"{suggestion.segments[-1].text} Slowly."
    saved = editor.submit()

    expected = {(item["id"], item["type"]): dict(item["value"]) for item in suggestion.result}
    shorter = {"ranges": [{"start": span["start"], "end": span["end"] - 5}]}
    expected[drawn, "timelinelabels"] |= shorter
    expected[drawn, "textarea"] |= shorter
    expected[unexplained, "textarea"] = {"ranges": suggested[unexplained]["ranges"], "text": ["Somebody hums."]}
    expected[explained, "textarea"] |= {"text": [f"{suggestion.segments[-1].text} Slowly."]}
    assert {(item["id"], item["type"]): item["value"] for item in saved["result"]} == expected
    assert saved["parent_prediction"] == suggestion.prediction
    if os.environ.get("OMNI_TIMELINE_SCREENSHOT"):
        shutil.copy(picture, request.config.rootpath / "docs" / "images" / "label-studio.png")
        _keep(picture, request.config.rootpath / "docs" / "images" / "label-config-timeline.png")


SECONDS = """() => window.Htx.annotationStore.selected.regions.map(region => [region.start, region.end])"""
HEARD = """(regions) => {
    const annotation = window.Htx?.annotationStore?.selected, audio = annotation?.names?.get("audio");
    return annotation?.regions?.length >= regions && audio?._ws?.duration > 1;
}"""
ZOOM = "window.Htx.annotationStore.selected.names.get('audio')._ws.zoom"


def test_on_the_waveform_regions_are_seconds_and_the_video_goes_along(
    studio: LabelStudio, editor: Editor, samples: list[Path], tmp_path: Path, request: pytest.FixtureRequest
):
    """The tags of label_config_waveform.xml: a click goes there in both, the wheel zooms, an edge is pulled."""
    xml = WAVEFORM_CONFIG.read_text()
    config = LabelConfig.from_xml(xml)
    [clip] = [sample for sample in samples if sample.stem == "sound-20s"]
    events = json.loads(clip.with_suffix(".json").read_text())["events"]
    segments = [Segment(e["start"], e["end"], e["label"], f"There is a {e['label']}.", 0.9) for e in events]
    duration = probe(clip).duration
    prediction = config.prediction(segments, duration=duration, task_data={}, model_version="m")
    project = studio.create_project("What happens when, with the waveform?", xml)
    task = studio.create_task(project, studio.upload(project, clip))
    studio.call("POST", "/api/predictions/", json={"task": task, **prediction})
    editor.open(project, task, regions=len(segments))
    page = editor.page
    page.wait_for_function(HEARD, arg=len(segments))
    assert page.evaluate(SECONDS) == [[segment.start, segment.end] for segment in sorted(segments)]

    wave = page.locator("canvas").last.bounding_box()
    assert wave is not None
    middle, seconds = wave["y"] + 0.6 * wave["height"], page.evaluate(ZOOM.replace("zoom", "duration"))

    def x(second: float) -> float:
        return wave["x"] + wave["width"] * second / seconds

    last = max(segments)  # nothing else ends there
    page.mouse.click(x(2.0), middle)  # where no region is
    page.wait_for_function("Math.abs(document.querySelector('video').currentTime - 2) < 0.1")
    page.mouse.click(x(13.0), wave["y"] + 8)  # on the ruler, where regions are no matter
    page.wait_for_function("Math.abs(document.querySelector('video').currentTime - 13) < 0.1")
    page.mouse.click(x(last.end - 0.5), middle)
    page.get_by_test_id("htx-textbox-content").wait_for()
    assert page.get_by_test_id("htx-textbox-content").inner_text() == last.text
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)  # until it is drawn
    picture = tmp_path / "waveform.png"
    page.screenshot(path=picture)

    page.mouse.move(x(last.end), middle)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(x(last.end - step / 8), middle)
    page.mouse.up()
    page.keyboard.down("Control")
    page.mouse.wheel(0, -30)
    page.keyboard.up("Control")
    page.wait_for_function(f"{ZOOM} > 1")
    saved = {item["id"]: item["value"] for item in editor.submit()["result"] if item["type"] == "labels"}
    ends = sorted(value["end"] for value in saved.values())
    wanted = sorted(segment.end - (segment is last) for segment in segments)
    assert ends == pytest.approx(wanted, abs=0.05)
    if os.environ.get("OMNI_TIMELINE_SCREENSHOT"):
        _keep(picture, request.config.rootpath / "docs" / "images" / "label-config-waveform.png")


def _keep(screenshot: Path, picture: Path) -> None:
    """The part of a screenshot in which an annotator works, small."""
    with Image.open(screenshot) as whole:
        part = whole.convert("RGB").crop((244, 90, 1116, 845))
    small = part.resize((part.width * 4 // 5, part.height * 4 // 5), Image.Resampling.LANCZOS)
    small.quantize(255, Image.Quantize.FASTOCTREE).save(picture)


LABELS = '<Label value="Speech"/><Label value="Action"/>'
CONFIGS = {
    "timeline alone": f"""<View><Video name="video" value="$video"/>
        <TimelineLabels name="events" toName="video">{LABELS}</TimelineLabels></View>""",
    "several timelines": """<View><Video name="video" value="$video" frameRate="10"/>
        <TimelineLabels name="said" toName="video"><Label value="Speech"/></TimelineLabels>
        <TimelineLabels name="done" toName="video"><Label value="Action"/></TimelineLabels>
        <TextArea name="text" toName="video" perRegion="true"/></View>""",
    "audio": f"""<View><Video name="video" value="$video" sync="media"/>
        <Labels name="events" toName="audio">{LABELS}</Labels><Audio name="audio" value="$video" sync="media"/>
        <TextArea name="text" toName="audio" perRegion="true"/></View>""",
    "nested data, labels as written": """<View><Video name="video" value="$media[0].video"/>
        <TimelineLabels name=" events" toName="video"><Label value=" Speech "/><Label value="Action\u00a0"/>
        </TimelineLabels></View>""",
    "two videos": """<View><Video name="video" value="$video"/><Video name="other" value="$cameras.b" frameRate="10"/>
        <TimelineLabels name="said" toName="video"><Label value="Speech"/></TimelineLabels>
        <TimelineLabels name="done" toName="other"><Label value="Action"/></TimelineLabels></View>""",
}


@pytest.mark.parametrize("xml", CONFIGS.values(), ids=CONFIGS)
def test_a_suggestion_that_is_submitted_as_it_is_comes_back_as_it_was(
    studio: LabelStudio, editor: Editor, sounding_video: Path, xml: str
):
    config = LabelConfig.from_xml(xml)
    segments = [Segment(1.2, 3.4, "Speech", "hello", 0.9), Segment(2.5, 5.0, "Action", "", 0.6)]
    found = [(file, segments, probe(sounding_video).duration) for file in config.files]
    prediction = task_prediction(found, task_data={}, model_version="m")
    project = studio.create_project("As it is", xml)
    # Label Studio takes no upload for a project with several fields.
    url = studio.upload(studio.create_project("Files", CONFIGS["timeline alone"]), sounding_video)
    data = {key: value for file in config.files for key, value in replace(file, others=()).data_with(url).items()}
    task = studio.call("POST", "/api/tasks/", json={"project": project, "data": data})["id"]
    studio.call("POST", "/api/predictions/", json={"task": task, **prediction})

    editor.open(project, task, regions=len(segments))
    labels = {region["id"]: region["labels"] for region in editor.regions()}
    assert sorted(labels.values()) == sorted([label] for label in config.labels)
    saved = editor.submit()

    def kept(item: dict[str, Any]) -> dict[str, Any]:
        return {key: item[key] for key in item if key not in ("origin", "original_length")}

    assert [kept(item) for item in saved["result"]] == [kept(item) for item in prediction["result"]]
