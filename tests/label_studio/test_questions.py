"""What counts as a question about a region, what is asked, and what becomes of the region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.questions import NOTHING, Question
from omni_timeline.pipeline.options import MIN_WINDOW_SECONDS, PredictOptions
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment

CONFIG = LabelConfig.from_xml(
    '<View><Video name="v" value="$video" frameRate="10"/><TimelineLabels name="l" toName="v" smart="true">'
    '<Label value="Speech"/><Label value="Action"/></TimelineLabels>'
    '<TextArea name="t" toName="v" perRegion="true"/></View>'
)


def region(name: str, text: Any, first: int = 101, last: int = 120, label: str = "Speech") -> list[dict[str, Any]]:
    ranges = [{"start": first, "end": last}]
    return [
        {"id": name, "from_name": "l", "to_name": "v", "type": "timelinelabels",
         "value": {"ranges": ranges, "timelinelabels": [label]}},
        {"id": name, "from_name": "t", "to_name": "v", "type": "textarea", "value": {"ranges": ranges, "text": text}},
    ]  # fmt: skip


def find(result: Any) -> Question | None:
    return Question.find(result, CONFIG, {})


def answered(question: Question, *segments: Segment, text: str = "") -> Segment:
    return question.answer(Prediction(Path("a.mp4"), 60.0, segments, "v", text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (["?"], ""), (["? who speaks"], "who speaks"), (["?who speaks ?"], "who speaks"), ("? who", "who"),
        (["A man speaks.", "? who"], "who"), ([" ?"], ""), (["??"], ""), (["?" + "x" * 5000], "x" * 1000),
    ],
)  # fmt: skip
def test_a_text_that_begins_with_the_mark_is_a_question(text: Any, words: str):
    question = find(region("a", text))
    assert question is not None
    assert (question.region, question.words) == ("a", words)


@pytest.mark.parametrize(
    "result",
    [
        None, "?", {}, [], [None, 1, "?"], [{"id": ["a"]}], region("a", ["who?"]), region("a", []), region("a", [""]),
        region("a", ["? who", "A man."]), region("a", [3]), region("a", None),
    ],
)  # fmt: skip
def test_anything_else_is_none(result: Any):
    assert find(result) is None


def test_of_several_questions_the_last_region_has_it():
    question = find([*region("a", ["? one"]), *region("b", ["? two"]), *region("c", ["three"])])
    assert question is not None
    assert (question.region, question.words) == ("b", "two")


def test_a_region_is_looked_at_with_what_is_around_it_and_words_with_the_region_alone():
    where, who = find(region("a", ["?"])), find(region("a", ["? who"]))
    assert where is not None
    assert who is not None
    assert where.options(PredictOptions()).stretch == pytest.approx((7.0, 15.0))
    assert who.options(PredictOptions()).stretch == pytest.approx((10.0, 12.0))
    moment = find(region("a", ["? who"], 1, 1))
    assert moment is not None
    start, end = moment.options(PredictOptions()).stretch or (0.0, 0.0)
    assert start == 0.0
    assert end - start >= MIN_WINDOW_SECONDS


def test_the_event_of_the_same_label_that_shares_most_is_the_regions():
    question = find(region("a", ["?"]))
    assert question is not None
    near, far = Segment(9.5, 12.5, "Speech", "a man speaks"), Segment(11.5, 15.0, "Speech", "another one")
    other = Segment(10.0, 12.0, "Action", "he waves")
    assert answered(question, far, near, other) == near
    assert answered(question, other) == Segment(10.0, 12.0, "Speech", "he waves")
    assert answered(question, Segment(9.0, 11.0, "Speech")).text == "Speech"
    assert answered(question, Segment(13.0, 15.0, "Speech", "later")).text == NOTHING


def test_the_answer_to_words_is_on_one_line_and_not_endless():
    question = find(region("a", ["? who"]))
    assert question is not None
    answer = answered(question, text="A  man\n speaks. " + "x" * 5000)
    assert (answer.start, answer.end, answer.label) == (10.0, 12.0, "Speech")
    assert answer.text.startswith("A man speaks. xxx")
    assert len(answer.text) == 2000
    assert answered(question, text=" \n").text == NOTHING


def test_a_region_whose_label_is_gone_from_the_config_is_refused():
    with pytest.raises(RequestError, match="no label 'Gone' any more"):
        CONFIG.prediction_of("a", Segment(1.0, 2.0, "Gone"), duration=9.0, task_data={}, model_version="v")
