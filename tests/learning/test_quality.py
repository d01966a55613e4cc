"""The numbers of one model version, by hand, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from omni_timeline.learning.pairs import pair_by_time
from omni_timeline.learning.quality import Comparison, improvement, quality
from omni_timeline.learning.resampling import difference, estimate, ratio
from omni_timeline.learning.scores import MISSED, SPURIOUS, confusion, reliability, thresholds
from omni_timeline.segments import Segment


def s(start: float, end: float, label: str = "a", score: float | None = None) -> Segment:
    return Segment(start, end, label, score=score)


EASY = Comparison("one", (s(0, 4), s(10, 14)), (s(0.4, 4, score=0.9), s(10, 13, score=0.8), s(20, 21, score=0.3)))
HARD = Comparison("two", (s(0, 4, "b"), s(6, 8, "a")), (s(0, 4, "a", 0.6),))


def test_numbers_are_those_worked_out_by_hand():
    found = quality([EASY, HARD])
    assert (found.tasks, found.annotations, found.corrected, found.found) == (2, 2, 4, 4)
    assert found.f1["0.5"].value == pytest.approx(2 * 2 / 8)
    assert found.f1["0.7"].value == pytest.approx(2 * 2 / 8)
    assert found.precision.value == found.recall.value == pytest.approx(2 / 4)
    assert found.mean_iou.value == pytest.approx((0.9 + 0.75) / 4)
    assert found.edges.value == pytest.approx((2 + 1 + 2) * 2 / 16)  # of 8 and 8: two and a half of three pairs
    assert (found.start, found.end) == pytest.approx((-0.2, 0.5))
    assert [(each.label, each.corrected, each.found, each.matched) for each in found.labels] == [
        ("a", 3, 4, 2),
        ("b", 1, 0, 0),
    ]
    assert found.labels[0].f1.value == pytest.approx(2 * 2 / 7)
    # IoU .9 and .75: right at nine and six of the ten thresholds; the wrong one at 0.6 comes after both.
    assert found.labels[0].average_precision == pytest.approx(np.mean([2 / 3] * 6 + [1 / 3] * 3 + [0]))
    assert found.mean_average_precision.value == pytest.approx(found.labels[0].average_precision / 2)


@pytest.mark.parametrize(
    ("corrected", "found", "precision", "recall", "f1"),
    [((), (), 1, 1, 1), ((s(0, 1),), (), 0, 0, 0), ((), (s(0, 1),), 0, 0, 0)],
)
def test_nothing_against_nothing_is_right_as_in_metrics(corrected, found, precision, recall, f1):
    numbers = quality([Comparison("one", corrected, found)])
    assert (numbers.precision.value, numbers.recall.value, numbers.f1["0.5"].value) == (precision, recall, f1)


def test_two_annotations_of_one_task_count_twice_and_are_drawn_together():
    twice = quality([EASY, EASY, HARD])
    assert (twice.tasks, twice.annotations, twice.corrected) == (2, 3, 6)
    assert twice.f1["0.5"].value == pytest.approx(2 * 4 / 13)


def test_an_improvement_is_over_the_same_tasks():
    better = Comparison("two", HARD.corrected, HARD.corrected)
    change = improvement([EASY, HARD], [EASY, better])
    assert change.tasks == 2
    assert change.f1["0.5"].value == pytest.approx(2 * 4 / 9 - 2 * 2 / 8)
    assert change.f1["0.5"].low == 0.0  # where only the first task is drawn, nothing changes


def test_an_interval_holds_the_share_that_it_says():
    """Of a hundred samples of a known rate, the interval must miss it in about five."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(100):
        counts = [(right, 4) for right in rng.binomial(4, 0.7, size=60)]
        found = estimate(counts, share)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high
        held += found.low <= 0.7 <= found.high
    assert 88 <= held <= 100


def share(sums):
    return ratio(sums[..., 0], sums[..., 1])


def test_intervals_are_the_same_in_every_run_and_missing_for_one_task():
    rows = [(1, 2), (3, 4), (0, 3)]
    assert estimate(rows, share) == estimate(rows, share)
    assert estimate(rows[:1], share).low is None
    assert difference(rows, rows, share).high == 0.0


def test_the_confusion_is_by_time_alone():
    counts = dict(((corrected, found), count) for corrected, found, count in confusion([EASY, HARD]).counts)
    assert counts == {("a", "a"): 2, (SPURIOUS, "a"): 1, ("b", "a"): 1, ("a", MISSED): 1}


def test_precision_and_recall_over_the_threshold():
    points = {point.threshold: point for point in thresholds([EASY, HARD])}
    assert points[0.0].precision == pytest.approx(2 / 4)
    assert points[0.5].precision == pytest.approx(2 / 3)
    assert points[0.7].precision == pytest.approx(1.0)
    assert points[0.9].recall == pytest.approx(1 / 4)
    assert points[0.95].shown == 0
    assert thresholds([Comparison("one", (s(0, 1),), (s(0, 1),))]) == ()  # nobody said how sure


def test_a_reliable_score_is_near_its_floor_and_an_unreliable_one_is_not():
    rng = np.random.default_rng(1)
    honest, proud = [], []
    for number in range(400):
        score = float(rng.uniform(0.3, 1.0))
        is_right = rng.random() < score
        wanted = (s(0, 2),) if is_right else (s(10, 12),)
        honest.append(Comparison(str(number), wanted, (s(0, 2, score=score),)))
        proud.append(Comparison(str(number), wanted, (s(0, 2, score=min(1.0, score + 0.3)),)))
    good, bad = reliability(honest), reliability(proud)
    assert good is not None
    assert bad is not None
    assert good.error < 1.5 * good.floor
    assert bad.error > 4 * bad.floor
    assert good.brier < bad.brier
    assert sum(count for _, count, _, _ in good.bins) == good.segments == 400
    assert reliability([Comparison("one", (), ())]) is None


def test_pairs_by_time_take_the_largest_overlap_first_and_leave_nothing_out():
    said, corrected = [s(0, 10, "x"), s(9, 12, "y")], [s(0, 9, "p"), s(8, 12.5, "q"), s(30, 31, "r")]
    assert pair_by_time(said, corrected) == [
        (said[0], corrected[0]),
        (said[1], corrected[1]),
        (None, corrected[2]),
    ]
    assert pair_by_time([s(0, 1)], [s(5, 6)]) == [(s(0, 1), None), (None, s(5, 6))]
    assert pair_by_time([], []) == []
