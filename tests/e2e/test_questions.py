"""Questions about one region, in Label Studio's real page: "?" and "? words", entered as the region's text.

OMNI_TIMELINE_SCREENSHOT=1 keeps the picture for the manual.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from playwright.sync_api import expect

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment
from places import DOCS, LABEL_CONFIG

from .backends import different, until
from .conftest import Backend
from .editor import LOADING_MS, WINDOW, Editor
from .label_studio import LabelStudio

pytestmark = pytest.mark.e2e

CLIP, DURATION = "silent-12s", 12.0
ASKED, ASKED_IN_BATCH = "green square", "red circle"  # a question that was answered before is in the cache
OFF = {"red circle": (0.4, -0.9), "yellow square": (0.9, 0.8), "green square": (0.9, -0.8)}  # s, start and end
ACCURACY = 0.5  # s
BATCH = 20
GAP_PIXELS, EDGE_PIXELS = 12, 16  # of the picture


@dataclass(frozen=True)
class Asking:
    """A project whose model is interactive, and what happens in its clip."""

    studio: LabelStudio
    project: int
    model: int
    config: LabelConfig
    video: str
    truth: dict[str, Segment]  # by label

    def task(self) -> tuple[int, list[dict[str, Any]]]:
        """A new task with a prediction whose edges are off, and that prediction's regions."""
        off = [
            replace(event, start=event.start + OFF[label][0], end=event.end + OFF[label][1])
            for label, event in self.truth.items()
        ]
        prediction = self.config.prediction(off, duration=DURATION, task_data={}, model_version="off")
        task = self.studio.create_task(self.project, self.video)
        self.studio.call("POST", "/api/predictions/", json={"task": task, **prediction})
        return task, prediction["result"]

    def segments(self, result: list[dict[str, Any]]) -> dict[str, Segment]:
        """The regions of an annotation, by label."""
        return {segment.label: segment for segment in self.config.from_result(result, task_data={})}

    def is_found(self, segment: Segment) -> bool:
        """Whether it lies where the event with its label does."""
        event = self.truth[segment.label]
        return abs(segment.start - event.start) <= ACCURACY and abs(segment.end - event.end) <= ACCURACY


@pytest.fixture(scope="module")
def asking(studio: LabelStudio, backend: Backend, samples: list[Path]) -> Asking:
    xml = LABEL_CONFIG.read_text()
    [clip] = [sample for sample in samples if sample.stem == CLIP]
    events = json.loads(clip.with_suffix(".json").read_text())["events"]
    project = studio.create_project("Where exactly?", xml)
    model = studio.connect(project, backend.url)["id"]
    return Asking(
        studio,
        project,
        model,
        LabelConfig.from_xml(xml),
        studio.upload(project, clip),
        {event["label"]: Segment(event["start"], event["end"], event["label"], "") for event in events},
    )


@pytest.fixture
def ask(editor: Editor, asking: Asking) -> Callable[[str], list[dict[str, Any]]]:
    """Enters a text for the asked region of a new task, as an annotator does; the prediction's regions."""

    def enter(text: str) -> list[dict[str, Any]]:
        task, predicted = asking.task()
        editor.open(asking.project, task, regions=len(OFF))
        editor.annotate_automatically()
        editor.select(list(OFF).index(ASKED))
        editor.type_text(text)
        return predicted

    return enter


def region_of(result: list[dict[str, Any]], label: str) -> str:
    """The id of the region with this label."""
    [found] = [item["id"] for item in result if label in item["value"].get("timelinelabels", ())]
    return str(found)


def values(result: list[dict[str, Any]], *, without: str = "") -> dict[tuple[str, str], Any]:
    """What each region has, but for the one with that id."""
    return {(item["id"], item["type"]): item["value"] for item in result if item["id"] != without}


def test_a_question_mark_moves_the_region_to_where_the_event_is(
    editor: Editor, asking: Asking, ask: Callable[[str], list[dict[str, Any]]], tmp_path: Path
):
    predicted = ask("?")
    before = screenshot(editor, tmp_path / "before.png")
    assert not asking.is_found(asking.segments(editor.result())[ASKED])

    editor.enter_text()
    expect(editor.text).to_have_text(ASKED, timeout=LOADING_MS)  # the demo checkpoint has no other words
    after = screenshot(editor, tmp_path / "after.png")
    keep(before, after)

    saved = editor.submit()["result"]
    found = asking.segments(saved)[ASKED]
    assert asking.is_found(found), found
    assert found.text == ASKED
    region = region_of(predicted, ASKED)
    assert region_of(saved, ASKED) == region
    assert values(saved, without=region) == values(predicted, without=region)


def test_a_question_in_words_is_answered_in_the_text_and_the_region_stays(
    editor: Editor, asking: Asking, ask: Callable[[str], list[dict[str, Any]]]
):
    predicted = ask("? which colour")
    before = asking.segments(editor.result())[ASKED]
    editor.enter_text()
    expect(editor.text).to_contain_text(ASKED, timeout=LOADING_MS)  # the demo checkpoint says what it sees
    saved = editor.submit()["result"]
    after = asking.segments(saved)[ASKED]
    assert "?" not in after.text
    assert replace(after, text="") == replace(before, text="")
    region = region_of(predicted, ASKED)
    assert values(saved, without=region) == values(predicted, without=region)


def test_a_text_without_a_question_mark_changes_nothing_else(
    editor: Editor, ask: Callable[[str], list[dict[str, Any]]]
):
    predicted = ask("Is this yellow?")
    assert editor.enter_text() == {"data": {}}
    saved = values(editor.submit()["result"])
    region = region_of(predicted, ASKED)
    assert saved.pop((region, "textarea"))["text"] == ["Is this yellow?"]
    assert saved == values(predicted)


def test_a_question_is_answered_while_a_batch_is_predicted(
    studio: LabelStudio, backend: Backend, asking: Asking, samples: list[Path], tmp_path: Path
):
    """It goes before what waits; how many seconds that takes is the machine's matter."""
    [clip] = [sample for sample in samples if sample.stem == "sound-20s"]
    project = studio.create_project("Twenty", LABEL_CONFIG.read_text())
    for number in range(BATCH):
        studio.create_task(project, studio.upload(project, different(clip, number, tmp_path)))
    studio.connect(project, backend.url)
    task, regions = asking.task()
    asked = region_of(regions, ASKED_IN_BATCH)
    [span] = [item for item in regions if item["id"] == asked]
    text = {**span, "from_name": "description", "type": "textarea", "value": {"text": ["?"]}}

    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(studio.retrieve_predictions, project)
        assert until(lambda: len(requests.get(f"{backend.url}/status.json", timeout=30).json()["running"]) > 1)
        began = time.monotonic()
        answer = studio.call(
            "POST",
            f"/api/ml/{asking.model}/interactive-annotating",
            json={"task": task, "context": {"result": [span, text]}},
        )
        seconds = time.monotonic() - began
        was_first = not batch.done()
        batch.result()
    print(f"\nanswered in {seconds:.1f} s; the batch went on for {time.monotonic() - began - seconds:.1f} s after that")
    assert was_first
    assert asking.is_found(asking.segments(answer["data"]["result"])[ASKED_IN_BATCH])


# --- the picture in the manual ---------------------------------------------------------------------------------------
def screenshot(editor: Editor, path: Path) -> Path:
    """The end of the timeline, and all below it."""
    editor.show(editor.timeline_length())
    editor.page.mouse.move(0, 0)
    timeline = editor.page.locator(".lsf-timeline__view").bounding_box()
    assert timeline is not None
    editor.page.screenshot(
        path=path,
        clip={
            "x": timeline["x"] - EDGE_PIXELS,
            "y": timeline["y"],
            "width": timeline["width"] + 2 * EDGE_PIXELS,
            "height": WINDOW["height"] - timeline["y"],
        },
    )
    return path


def keep(before: Path, after: Path) -> None:
    """Put one picture above the other, for the manual where that is wanted."""
    if os.environ.get("OMNI_TIMELINE_SCREENSHOT"):
        above, below = Image.open(before), Image.open(after)
        picture = Image.new("RGB", (above.width, above.height + below.height + GAP_PIXELS), "white")
        picture.paste(above, (0, 0))
        picture.paste(below, (0, above.height + GAP_PIXELS))
        picture.save(DOCS / "images" / "ask.png", optimize=True)
