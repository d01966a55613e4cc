from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.metrics import Score, boundary_errors, event_f1, match, pool
from omni_timeline.segments import Segment, iou


def red(start: float, end: float) -> Segment:
    return Segment(start, end, "red square")


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        (red(0, 4), red(0, 4), 1.0),
        (red(0, 4), red(2, 6), 2 / 6),
        (red(0, 4), red(1, 3), 2 / 4),
        (red(0, 4), red(4, 6), 0.0),  # touching is not overlapping
        (red(0, 4), red(5, 6), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(a, b, overlap):
    assert iou(a, b) == iou(b, a) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("reference", "estimate", "precision", "recall", "f1", "mean_iou"),
    [
        # Two right (IoU 1 and 0.8), one missed, one invented.
        ([red(0, 4), red(5, 10), red(20, 30)], [red(0, 4), red(5, 9), red(40, 50), red(60, 61)],
         2 / 4, 2 / 3, 4 / 7, 1.8 / 3),
        ([red(0, 4)], [red(0, 2)], 1.0, 1.0, 1.0, 0.5),  # exactly at the threshold counts
        ([red(0, 4)], [red(0, 1.9)], 0.0, 0.0, 0.0, 0.0),
        ([red(0, 4)], [red(0, 4), red(0, 4)], 0.5, 1.0, 2 / 3, 1.0),  # saying it twice does not count twice
        ([red(0, 4)], [Segment(0, 4, "RED square ")], 1.0, 1.0, 1.0, 1.0),
        ([red(0, 4)], [Segment(0, 4, "blue square")], 0.0, 0.0, 0.0, 0.0),
        ([red(0, 4)], [Segment(0, 4, "red square", text="anything", score=0.1)], 1.0, 1.0, 1.0, 1.0),
        ([red(0, 4)], [], 0.0, 0.0, 0.0, 0.0),
        ([], [red(0, 4)], 0.0, 0.0, 0.0, 0.0),
        ([], [], 1.0, 1.0, 1.0, 1.0),  # mir_eval says 0; here nothing was there and nothing was said
    ],
)  # fmt: skip
def test_scores_are_those_worked_out_by_hand(reference, estimate, precision, recall, f1, mean_iou):
    score = event_f1(reference, estimate)
    assert (score.precision, score.recall, score.f1, score.mean_iou) == pytest.approx((precision, recall, f1, mean_iou))


def test_the_threshold_can_be_chosen():
    assert event_f1([red(0, 4)], [red(0, 3)], iou=0.7).f1 == 1.0
    assert event_f1([red(0, 4)], [red(0, 3)], iou=0.8).f1 == 0.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        event_f1([red(0, 4)], [red(0, 3)], iou=0.0)  # everything would match everything


def test_a_pair_gives_way_where_that_makes_room_for_another():
    # Pairing greedily by overlap, 0-10 takes 1-10 (0.9) and leaves 4-10 without a partner: only 0-7 is left (0.3).
    reference, estimate = [red(0, 10), red(4, 10)], [red(1, 10), red(0, 7)]
    assert match(reference, estimate) == [(red(0, 10), red(0, 7)), (red(4, 10), red(1, 10))]


def test_a_long_chain_of_pairs_that_give_way_needs_no_deep_recursion():
    # Each takes the estimate before it; the last one, whose only partner is then taken, makes all of them move on.
    reference = [red(10 * n, 10 * n + 10) for n in reversed(range(1100))]
    estimate = [red(10 * n + 6, 10 * n + 16) for n in range(1100)]
    assert event_f1(reference, estimate, iou=0.2).matched == 1100


spans = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda t: red(t[0], t[0] + t[1]))


@given(st.lists(spans, max_size=5), st.lists(spans, max_size=5), st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_no_other_one_to_one_matching_has_more_pairs(reference, estimate, threshold):
    fewer, more = sorted((reference, estimate), key=len)
    most = max(sum(iou(a, b) >= threshold for a, b in zip(fewer, order, strict=False)) for order in permutations(more))
    pairs = match(reference, estimate, threshold)
    assert len(pairs) == most == event_f1(estimate, reference, threshold).matched
    assert all(iou(a, b) >= threshold for a, b in pairs)


def test_pooling_adds_counts_instead_of_averaging_scores():
    easy, hard = event_f1([red(0, 4)], [red(0, 4)]), event_f1([red(n, n + 1) for n in range(9)], [])
    assert pool([easy, hard]) == Score(matched=1, reference=10, estimated=1, total_iou=1.0)
    assert pool([easy, hard]).f1 == pytest.approx(2 / 11)  # the mean of 1.0 and 0.0 would be 0.5
    assert pool([]).f1 == 1.0


def test_boundary_errors_are_those_of_matched_pairs_only():
    reference = [red(0, 4), red(10, 20), red(30, 31)]
    estimate = [red(0.5, 4), red(10, 18), red(50, 51)]
    assert boundary_errors(reference, estimate) == pytest.approx([0.5, 0.0, 0.0, 2.0])
    assert boundary_errors(reference, []) == []


def test_a_score_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="cannot match"):
        Score(matched=2, reference=1, estimated=3)
