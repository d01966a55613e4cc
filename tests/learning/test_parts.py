"""Each part of a calibration, from pairs whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from omni_timeline.learning.parts import (
    BOLD,
    CAREFUL,
    learn_edges,
    learn_names,
    learn_score,
    learn_thresholds,
)
from omni_timeline.pipeline.calibration import Calibration, logistic
from omni_timeline.segments import Segment


def pair(said: str | None, corrected: str | None):
    """One pair that counts fully; times do not matter here."""
    return (
        (Segment(0, 1, said) if said else None, Segment(0, 1, corrected) if corrected else None),
        1.0,
    )


def names(*tasks, labels=("defect", "alarm"), boldness=CAREFUL) -> dict[str, str | None]:
    return dict(learn_names(tasks, labels, boldness))


def test_what_is_said_means_what_it_was_corrected_to_most_often():
    found = names(
        [pair("red square", "defect"), pair("high tone", "alarm")],
        [pair("red square", "defect"), pair("green circle", None), pair("red square", "alarm")],
    )
    assert (found["red square"], found["high tone"], found["green circle"]) == ("defect", "alarm", None)


def test_words_that_nobody_said_yet_are_left_out():
    found = names([pair("red square", "defect"), pair("high tone", "alarm")], [pair("red square", "defect")])
    assert found["*"] is None


def test_words_that_nobody_said_yet_mean_what_nearly_all_rare_words_mean():
    """A model in free words never says the same twice; where all of it is one label, so is what comes next."""
    tasks = [[pair(f"a man walks, number {n}", "worker")] for n in range(6)]
    assert names(*tasks, labels=("worker", "car"))["*"] == "worker"
    mixed = [[pair(f"thing {n}", "worker" if n % 2 else "car")] for n in range(12)]
    assert names(*mixed, labels=("worker", "car"))["*"] is None


@pytest.mark.parametrize(("others", "label"), [(1, "speech"), (2, "speech"), (3, "music"), (5, "music")])
def test_a_label_of_the_project_must_be_outvoted_clearly(others: int, label: str):
    tasks = [[pair("speech", "music")] for _ in range(others)]
    assert names(*tasks, labels=("speech", "music"))["speech"] == label


def test_the_votes_for_its_own_name_count_against_it():
    tasks = [[pair("speech", "speech")] * 2, [pair("speech", "music")] * 4]
    assert names(*tasks, labels=("speech", "music"))["speech"] == "speech"
    assert names(*tasks, labels=("speech", "music"), boldness=BOLD)["speech"] == "music"


def test_a_label_that_was_never_said_keeps_its_name():
    assert names([pair("speech", "speech")], labels=("speech", "music"))["music"] == "music"


def test_a_label_that_is_right_every_third_time_is_not_silenced():
    """Leaving it out would lose what is right; a wrong suggestion costs one key."""
    tasks = [[pair("alarm", "alarm"), pair("alarm", None), pair("alarm", None)] for _ in range(4)]
    assert names(*tasks)["alarm"] == "alarm"


def test_where_nobody_marked_anything_there_is_no_map():
    assert names([pair("red square", None), pair("high tone", None)]) == {}


def test_one_of_two_people_counts_half():
    two = [(pair("red square", "defect")[0], 0.5), (pair("red square", None)[0], 0.5)]
    assert names(two, [pair("red square", None), pair("high tone", "alarm")])["red square"] is None
    assert names(two, [pair("red square", "defect")])["red square"] == "defect"


def test_spelling_does_not_matter_and_the_projects_is_kept():
    found = names([pair("Defect", "defect"), pair("RED square", "defect")], [pair("red  square", "defect")])
    assert found["defect"] == "defect"
    assert found["RED square"] == "defect"
    assert "red  square" not in found


def moved(label: str, start: float, end: float, count: int, at: float = 10.0):
    return [((Segment(at, at + 5, label), Segment(at + start, at + 5 + end, label)), 60.0) for _ in range(count)]


def edges(pairs, shrinkage: float = math.inf) -> dict[str, tuple[float, float]]:
    return {label: (start, end) for label, start, end in learn_edges(pairs, Calibration(), shrinkage)}


def test_edges_are_the_median_of_what_people_moved():
    pairs = moved("a", -0.7, 0.5, 6) + moved("b", -0.6, 0.4, 4) + moved("b", 3.0, -1.0, 1)
    assert edges(pairs) == {"*": (-0.7, 0.5)}


def test_a_few_pairs_move_nothing():
    assert edges(moved("a", -0.7, 0.5, 7)) == {}


def test_edges_that_chance_may_have_moved_stay():
    """Half a second up and down: sixty such edges have a median of some hundredths."""
    rng = np.random.default_rng(0)
    noise = [moved("a", *(float(x) for x in rng.uniform(-0.5, 0.5, 2)), 1)[0] for _ in range(60)]
    assert edges(noise, shrinkage=1.0) == {}


def test_a_labels_own_edges_are_pulled_towards_those_of_all():
    pairs = moved("a", 0.0, 0.0, 20) + moved("b", 1.0, 1.0, 5)
    own = edges(pairs, shrinkage=5.0)
    assert own["*"] == (0.0, 0.0)
    assert own["b"] == pytest.approx((0.5, 0.5))  # five pairs against five
    assert edges(pairs, shrinkage=1.0)["b"] == pytest.approx((5 / 6, 5 / 6), abs=1e-3)
    assert "c" not in edges(pairs + moved("c", 2.0, 2.0, 2), shrinkage=1.0)


def test_edges_where_the_video_begins_or_ends_say_nothing():
    at_the_start = [((Segment(0.5, 5, "a"), Segment(0.0, 5, "a")), 60.0)] * 10
    at_the_end = [((Segment(50, 58, "a"), Segment(50, 60, "a")), 60.0)] * 10
    assert edges(at_the_start + at_the_end) == {}


def test_pairs_of_other_labels_do_not_move_edges():
    other = [((Segment(10, 15, "a"), Segment(12, 15, "b")), 60.0)] * 20
    assert edges(other + moved("a", 0.0, 0.0, 10)) == {}


def test_scores_become_the_share_that_is_right():
    """The model is too sure: at log-odds x it is right with the chance of x/2 - 1."""
    rng = np.random.default_rng(3)
    odds = rng.normal(2.0, 1.5, size=4000)
    judged = [("a", logistic(float(x)), bool(rng.random() < logistic(float(x) / 2 - 1)), 1.0) for x in odds]
    slope, offset = learn_score(judged, ridge=1.0)
    assert slope == pytest.approx(0.5, abs=0.06)
    assert offset == pytest.approx(-1.0, abs=0.15)


def test_a_few_scores_hardly_change_anything():
    slope, offset = learn_score([("a", 0.9, False, 1.0), ("a", 0.8, True, 1.0)], ridge=25.0)
    assert (slope, offset) == pytest.approx((1.0, 0.0), abs=0.1)


@pytest.mark.parametrize("judged", [[], [("a", 0.99, False, 1.0), ("a", 0.01, True, 1.0)] * 200])
def test_no_score_map_where_there_is_nothing_to_learn(judged):
    assert learn_score(judged, ridge=1.0) is None


def test_scores_of_exactly_0_and_1_do_no_harm():
    slope, _ = learn_score([("a", 1.0, True, 1.0), ("a", 0.0, False, 1.0)] * 20, ridge=1.0)
    assert slope > 0


def test_the_threshold_is_where_f1_is_best():
    judged = [("a", 0.9, True, 1.0), ("a", 0.8, True, 1.0), ("a", 0.3, False, 1.0), ("a", 0.2, False, 1.0)]
    assert learn_thresholds(judged, {"a": 2}, own=False) == (("*", 0.55),)
    right = [(label, score, True, weight) for label, score, _, weight in judged]
    assert learn_thresholds(right, {"a": 4}, own=False) == ()


def test_labels_with_enough_segments_have_thresholds_of_their_own():
    sure = [("sure", score, score > 0.8, 1.0) for score in np.linspace(0.5, 0.95, 20)]
    unsure = [("unsure", score, score > 0.2, 1.0) for score in np.linspace(0.05, 0.6, 20)]
    rare = [("rare", 0.1, False, 1.0)] * 3
    found = dict(learn_thresholds([*sure, *unsure, *rare], {"sure": 7, "unsure": 15, "rare": 1}, own=True))
    assert found["sure"] == pytest.approx(0.8, abs=0.02)
    assert found["unsure"] == pytest.approx(0.2, abs=0.02)
    assert "rare" not in found
