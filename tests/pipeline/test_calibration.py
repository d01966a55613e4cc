"""A calibration names, shifts, weighs and drops what a model says; without one nothing changes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.pipeline.calibration import Calibration, log_odds, logistic
from omni_timeline.pipeline.looks import look_at
from omni_timeline.pipeline.options import RESULTS_VERSION, PredictOptions
from omni_timeline.pipeline.reading import Reading
from omni_timeline.segments import Segment

EVERYTHING = Calibration(
    asked=("red square", "low tone"),
    names=(("red square", "Defect"), ("low tone", None), ("*", "Other")),
    edges=(("Defect", -0.5, 0.25), ("*", 0.0, 1.0)),
    score=(2.0, -1.0),
    thresholds=(("Defect", 0.4), ("*", 0.2)),
)


def said(start: float, end: float, label: str, score: float | None = 0.9) -> Segment:
    return Segment(start, end, label, "words", score)


def test_the_default_changes_nothing():
    segments = (said(0, 2, "a", 0.1), said(1, 3, "B", None))
    assert Calibration().apply(segments, 3.0) == segments
    assert Calibration().changes_nothing
    assert not EVERYTHING.changes_nothing


def test_names_are_replaced_left_out_or_kept():
    names = Calibration(names=(("red square", "Defect"), ("low tone", None)))
    found = names.apply([said(0, 1, "Red  square"), said(1, 2, "low tone"), said(2, 3, "door")], 5.0)
    assert [segment.label for segment in found] == ["Defect", "door"]  # what is not listed keeps its words
    assert [segment.text for segment in found] == ["words", "words"]


@pytest.mark.parametrize(("rest", "label"), [("Other", "Other"), (None, None)])
def test_a_star_stands_for_all_that_is_not_listed(rest: str | None, label: str | None):
    names = Calibration(names=(("red square", "Defect"), ("*", rest)))
    assert names.name("something else") == label
    assert names.name("red square") == "Defect"


def test_free_words_mean_what_the_most_alike_phrases_mean():
    names = Calibration(
        asked=(),
        names=(
            ("a man in a yellow vest walks", "worker"),
            ("man in yellow vest stands", "worker"),
            ("yellow forklift drives", "forklift"),
            ("a door", None),
            ("*", "other"),
        ),
    )
    assert names.name("man in yellow vest walks") == "worker"
    assert names.name("the yellow forklift drives") == "forklift"
    assert names.name("a door opens") is None
    assert names.name("music") == "other"


def test_labels_of_a_list_do_not_mean_what_is_like_them():
    """ "door open" is not "door": the model chose between the two."""
    names = Calibration(asked=("door", "door open"), names=(("door", "Door"),))
    assert names.name("door open") == "door open"


def test_edges_move_by_label_and_stay_inside_the_video():
    edges = Calibration(edges=(("late", 0.5, 1.0), ("*", -0.5, 0.0)))
    assert edges.apply([said(1, 2, "late"), said(1, 2, "other")], 10.0) == (
        said(0.5, 2, "other"),
        said(1.5, 3, "late"),
    )
    assert edges.apply([said(0.2, 2, "other"), said(8, 9.5, "late")], 10.0) == (
        said(0.0, 2, "other"),
        said(8.5, 10.0, "late"),
    )


def test_a_segment_that_would_end_before_it_starts_stays():
    assert Calibration(edges=(("*", 1.0, -1.0),)).apply([said(1, 2, "a")], 10.0) == (said(1, 2, "a"),)


def test_a_segment_that_ends_after_the_video_is_not_cut():
    """Label Studio's last frame may end a little later than the file."""
    assert Calibration(edges=(("*", 0.0, 0.5),)).apply([said(1, 10.02, "a")], 10.0) == (said(1, 10.02, "a"),)


def test_scores_become_other_scores_in_the_same_order():
    scores = Calibration(score=(0.5, -0.2))
    found = [segment.score for segment in scores.apply([said(n, n + 1, "a", n / 10) for n in range(11)], 20.0)]
    assert found == sorted(found)
    assert found[5] == pytest.approx(logistic(-0.2))
    assert scores.apply([said(0, 1, "a", None)], 5.0) == (said(0, 1, "a", None),)


def test_segments_below_the_threshold_of_their_label_are_left_out():
    thresholds = Calibration(thresholds=(("strict", 0.8), ("*", 0.3)))
    segments = [
        said(0, 1, "strict", 0.7),
        said(1, 2, "other", 0.7),
        said(2, 3, "other", 0.2),
        said(3, 4, "other", None),
    ]
    assert thresholds.apply(segments, 5.0) == (segments[1], segments[3])


def test_the_threshold_is_one_of_the_new_score():
    assert Calibration(score=(1.0, -2.0), thresholds=(("*", 0.5),)).apply([said(0, 1, "a", 0.8)], 5.0) == ()


def test_of_two_that_become_one_the_surer_stays():
    merged = Calibration(names=(("car", "vehicle"), ("lorry", "vehicle")))
    assert merged.apply([said(0, 1, "car", 0.4), said(0, 1, "lorry", 0.6)], 5.0) == (said(0, 1, "vehicle", 0.6),)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"names": (("a", "b"), ("A ", "c"))}, "once"),
        ({"edges": (("a", float("nan"), 0.0),)}, "finite"),
        ({"score": (-1.0, 0.0)}, "less sure"),
        ({"thresholds": (("a", 1.5),)}, "between 0 and 1"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(part, message):
    with pytest.raises(ValueError, match=message):
        Calibration(**part)


@pytest.mark.parametrize("calibration", [Calibration(), EVERYTHING, Calibration(asked=())])
def test_json_and_back(calibration: Calibration):
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("text", ["7", "{}", '{"asked": 7}', "[]", "nothing", '{"asked": null, "names": [["a"]]}'])
def test_what_is_not_a_calibration_is_refused(text: str):
    with pytest.raises(ValueError, match="not a calibration"):
        Calibration.from_json(text)


@given(st.floats(0, 1))
def test_log_odds_and_back(score: float):
    assert logistic(log_odds(score)) == pytest.approx(score, abs=1e-5)


def look(options: PredictOptions, found: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """What `look_at` makes of one answer about a video of ten seconds."""
    looking = look_at(10.0, options, has_audio=False)
    next(looking)
    try:
        looking.send([Reading(found, "", (), Counter())])
    except StopIteration as end:
        return end.value.segments
    raise AssertionError("one window needs one round")


def test_the_pipeline_calibrates_before_it_applies_the_threshold():
    found = (said(1, 2, "red square", 0.9), said(4, 5, "low tone", 0.9), said(6, 7, "door", 0.4))
    options = PredictOptions(labels=("Defect",), score_threshold=0.5, calibration=EVERYTHING)
    [segment] = look(options, found)
    assert (segment.start, segment.end, segment.label) == (0.5, 2.25, "Defect")
    assert segment.score == pytest.approx(logistic(2 * log_odds(0.9**2) - 1))  # of one look, see `agreement`
    plain = look(PredictOptions(labels=("Defect",)), found)
    assert [(each.start, each.end, each.label) for each in plain] == [(e.start, e.end, e.label) for e in found]


def test_a_stretch_is_read_with_the_calibration_too():
    options = PredictOptions(labels=("Defect",), stretch=(0.0, 10.0), calibration=EVERYTHING)
    assert [segment.label for segment in look(options, (said(1, 2, "red square", 0.9),))] == ["Defect"]


def test_the_model_is_asked_with_the_calibrations_labels():
    labels = ("Defect", "Other")
    asked = PredictOptions(labels=labels, calibration=EVERYTHING)
    assert asked.closed_labels == ("red square", "low tone")
    assert "red square, low tone" in asked.words.user
    assert "Defect" not in asked.words.user
    assert PredictOptions(labels=labels, calibration=Calibration(asked=())).closed_labels == ()
    assert PredictOptions(labels=labels, calibration=Calibration(score=(1.0, 0.5))).closed_labels == labels


def test_the_version_names_the_calibration_and_is_as_it_was_without_one():
    plain = PredictOptions(labels=("speech",))
    versions = {
        plain.version("demo-1"),
        PredictOptions(labels=("speech",), calibration=Calibration()).version("demo-1"),
        PredictOptions(labels=("speech",), calibration=EVERYTHING).version("demo-1"),
    }
    assert len(versions) == 3
    # Without a calibration nothing of it is hashed: stored predictions keep being those of this version.
    settings = {name: value for name, value in asdict(plain).items() if name not in ("calibration", "adapter")}
    told = json.dumps({**settings, "results": RESULTS_VERSION}, sort_keys=True).encode()
    assert plain.version("demo-1") == f"demo-1-{hashlib.sha256(told).hexdigest()[:6]}"


def test_the_version_does_not_depend_on_how_a_calibration_came_about():
    read = Calibration.from_json(json.dumps(json.loads(EVERYTHING.to_json())))
    assert PredictOptions(calibration=read).version("a") == PredictOptions(calibration=EVERYTHING).version("a")
