"""The page says what was measured, in words that are nobody else's markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from corrected_tasks import CONFIG, annotation, prediction, task
from omni_timeline.learning.asking import Answers
from omni_timeline.learning.calibrate import Part
from omni_timeline.learning.corrections import read_tasks
from omni_timeline.learning.curve import CurvePoint
from omni_timeline.learning.evaluation import Evaluation, evaluate
from omni_timeline.learning.material import Material
from omni_timeline.learning.report.page import page
from omni_timeline.learning.sources import Source
from omni_timeline.learning.version import LearnedVersion, MadeFrom
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.segments import Segment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<img src=x onerror="alert(1)">&"'
OPTIONS = CONFIG.options(PredictOptions())


class Videos:
    def local(self, url: str, *, task_id: int | None = None) -> Any:
        raise AssertionError("no video is needed here")


class Page(HTMLParser):
    """The tags of a page, their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


def evaluation_of(*, name: str = "project 7", label: str = "speech", found: bool = True, **fields: Any) -> Evaluation:
    """An evaluation of three tasks, one of them annotated by two people."""
    rows = [
        task(
            number,
            annotation(number, [Segment(1, 3, label), Segment(5, 8, "music")], 1, parent_prediction=50),
            *([annotation(9, [Segment(1, 3.4, label)], 2)] if number == 2 else []),
            predictions=[prediction(50, [Segment(1, 3, "speech"), Segment(20, 22, "door")], "m-1")],
        )
        for number in (1, 2, 3)
    ]
    corrections = read_tasks(rows, CONFIG)
    said = (Segment(1, 3, "speech", score=0.9), Segment(20, 22, "door", score=0.4)) if found else ()
    answers = Answers(
        {None: {each.key: said for each in corrections.tasks}},
        {each.key: 60.0 for each in corrections.tasks},
        {4: "Its video is <gone>."},
    )
    source = Source(name, CONFIG, corrections, Videos(), "http://studio:8080")
    material = Material(source, "demo-1", OPTIONS, answers)
    return evaluate(material, corrections.tasks, "all corrected tasks", **fields)


def version_of(calibration: Calibration, *, is_offered: bool = True) -> LearnedVersion:
    options = PredictOptions(calibration=None if calibration.changes_nothing else calibration)
    return LearnedVersion("demo-1", options, MadeFrom("x", (), (), 3), "2026-11-26T00:00:00Z", is_offered, "Because.")


def test_a_page_has_everything_in_it_and_fetches_nothing():
    shown = Page(page(evaluation_of()))
    for tag, attributes in shown.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "form"), tag
        assert not {"src", "onload", "onclick", "srcset"} & attributes.keys(), (tag, attributes)
        if tag == "a":
            assert (attributes["href"] or "").startswith("http://studio:8080/projects/7/data?task=")
    policy = next(attributes for tag, attributes in shown.tags if "http-equiv" in attributes)
    assert (policy["content"] or "").startswith("default-src 'none'")
    assert "url(" not in page(evaluation_of())
    assert sum(tag == "svg" for tag, _ in shown.tags) >= 4


def test_words_of_strangers_stay_words():
    evaluation = evaluation_of(name=HOSTILE, label=HOSTILE)
    hostile = Calibration(names=((HOSTILE, HOSTILE + "x"),), edges=((HOSTILE, 0.1, 0.1),))
    text = page(evaluation, version_of(hostile))
    assert "<img" not in text
    assert HOSTILE in Page(text).words


def test_the_page_says_how_it_was_measured_and_what_to_doubt():
    words = Page(page(evaluation_of())).words
    assert "No task is held out" in words
    assert "Quality is measured on all corrected tasks (3 tasks, 7 events)." in words
    assert "lean towards the model version they began from" in words
    assert "task 4: Its video is <gone>." in words
    assert re.search(r"m-1\s+3\s+6\s+3\s+0\s+0\s+0\s+3\s+3", words)  # three annotations of it, half of it kept


def test_numbers_of_the_page_are_those_of_the_evaluation():
    evaluation = evaluation_of()
    words = Page(page(evaluation)).words
    newest = evaluation.versions[-1].quality
    assert f"{newest.f1['0.5'].value:.2f} (n 3)" in words
    assert f"{newest.precision.value:.2f}" in words
    assert evaluation.agreement is not None
    assert f"{evaluation.agreement.f1['0.5']:.2f}" in words


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        (Calibration(), ["the model is asked and read as before"]),
        (Calibration(asked=(), names=(("red square", "defect"), ("*", None))), ["in its own words", "red square defect",
                                                                              "anything else nothing"]),
        (Calibration(asked=("old", "older"), names=(("old", "new"),)), ["with other labels", "old, older"]),
        (Calibration(edges=(("*", -0.7, 0.5),)), ["Edges of all labels: starts -0.70 s, ends +0.50 s"]),
        (Calibration(edges=(("*", 0.0, 0.1), ("door", 0.2, 0.0))), ["Edges of other labels", "Edges of door"]),
        (Calibration(score=(0.5, -0.1), thresholds=(("*", 0.3),)), ["log-odds times 0.50", "Least score of all"]),
    ],
)  # fmt: skip
def test_what_was_learned_is_said_in_words(calibration: Calibration, words: list[str]):
    part = Part("names", "agreement", 0.5, 0.75, kept=True)
    shown = " ".join(Page(page(evaluation_of(), version_of(calibration), [part])).words.split())
    for each in ["names agreement 0.500 0.750 kept", "This version is offered.", *words]:
        assert each in shown


def test_a_version_that_is_not_offered_says_why():
    words = Page(page(evaluation_of(), version_of(Calibration(), is_offered=False))).words
    assert "This version is not offered." in words
    assert "Because." in words


def test_the_curve_says_whether_more_is_worth_it():
    rising = [CurvePoint(share, round(20 * share), share, share - 0.1, share) for share in (0.25, 0.5, 0.75, 1.0)]
    assert "more of them will" in Page(page(evaluation_of(curve=rising))).words
    flat = [CurvePoint(share, round(20 * share), 0.8, 0.7, 0.9) for share in (0.25, 0.5, 0.75, 1.0)]
    assert "changed little" in Page(page(evaluation_of(curve=flat))).words
    assert "Is correcting more worth it?" not in Page(page(evaluation_of())).words


def test_a_model_that_finds_nothing_has_a_page_too():
    words = Page(page(evaluation_of(found=False))).words
    assert "What a score is worth" not in words
    assert "speech is missed (4)" in words


def test_the_page_fits_on_paper_and_on_a_phone(browser: Browser):
    hundred = "a label of a hundred letters " * 4
    shown = browser.new_page(java_script_enabled=False)
    shown.set_content(page(evaluation_of(label=hundred), version_of(Calibration(edges=(("*", 0.1, 0.2),)))))
    for width, media in ((673, "print"), (400, "screen")):  # A4 less its margins
        shown.emulate_media(media=media)
        shown.set_viewport_size({"width": width, "height": 800})
        assert shown.locator("html").bounding_box()["width"] == width
        assert shown.locator("body").evaluate("body => body.scrollWidth") <= width
    shown.close()
