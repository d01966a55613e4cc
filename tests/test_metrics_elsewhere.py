"""The metrics against implementations of others: mir_eval's, and ActivityNet's definition once more, naively.

FiftyOne and ActivityNet's own evaluation (Evaluation/eval_detection.py) share one definition of average precision; it
is written here again from its description, with none of the code that it is compared with.
"""

from __future__ import annotations

from itertools import pairwise

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_timeline.metrics import (
    ACTIVITYNET_IOUS,
    average_precision,
    average_precisions,
    brier,
    calibration_error,
    calibration_error_floor,
    edge_hits,
    event_f1,
)
from omni_timeline.segments import Segment, iou

LABELS = ("speech", "music", "door")
segments = st.lists(
    st.builds(
        lambda start, length, label, score: Segment(start / 4, (start + length) / 4, label, score=score / 10),
        st.integers(0, 60), st.integers(1, 40), st.sampled_from(LABELS), st.integers(0, 10),
    ),
    max_size=8,
)  # fmt: skip
clips = st.lists(st.tuples(segments, segments), min_size=1, max_size=4)


@given(
    segments, segments, st.sampled_from([0.31, 0.51, 0.71])
)  # no ratio of these segments, where rounding would decide
def test_f1_is_that_of_mir_evals_matching(reference, estimate, threshold):
    """`match_events` finds a largest matching within a distance; here the distance is how little segments overlap."""

    def distance(first, second):
        return np.array([
            [1 - iou(reference[int(a)], estimate[int(b)]) if reference[int(a)].label == estimate[int(b)].label else 2.0
             for b in second]
            for a in first
        ]).reshape(len(first), len(second))  # fmt: skip

    score = event_f1(reference, estimate, threshold)
    if not (reference and estimate):
        assert score.matched == 0
        return
    found = mir_eval.util.match_events(
        np.arange(len(reference)), np.arange(len(estimate)), 1 - threshold, distance=distance
    )
    assert score.matched == len(found)
    assert score.f1 == pytest.approx(mir_eval.util.f_measure(len(found) / len(estimate), len(found) / len(reference)))


@given(segments, segments, st.sampled_from([0.1, 0.5, 1.0]))
def test_edges_within_a_tolerance_are_those_of_mir_evals_onsets(reference, estimate, tolerance):
    matched = 0
    for side in ("start", "end"):
        wanted, found = (np.array(sorted(getattr(s, side) for s in each)) for each in (reference, estimate))
        if wanted.size and found.size:
            matched += len(mir_eval.util.match_events(wanted, found, tolerance))
    score = edge_hits(reference, estimate, tolerance)
    assert (score.matched, score.reference, score.estimated) == (matched, 2 * len(reference), 2 * len(estimate))


def test_edges_of_contiguous_segments_are_mir_evals_boundaries():
    """Where each segment begins as the one before it ends, the edges are the boundaries of `segment.detection`."""
    edges = [0.0, 2.0, 5.0, 9.0, 12.0]
    moved = [0.0, 2.4, 5.7, 9.1, 12.0]
    reference, estimate = ([Segment(a, b, "part") for a, b in pairwise(each)] for each in (edges, moved))
    _, _, f1 = mir_eval.segment.detection(
        np.array([[s.start, s.end] for s in reference]), np.array([[s.start, s.end] for s in estimate]), window=0.5
    )
    # Each inner boundary is an end and a start, the outer ones are one of them: 2 of 3 inner, and both outer ones.
    assert edge_hits(reference, estimate, 0.5).f1 == pytest.approx((2 * 2 + 2) / 8)
    assert f1 == pytest.approx((2 + 2) / 5)


def naive_average_precision(clips, label, threshold) -> float:
    """ActivityNet's: detections of all videos by confidence, each a hit when a free reference overlaps it enough."""
    wanted = [(number, segment) for number, (reference, _) in enumerate(clips) for segment in reference
              if segment.label == label]  # fmt: skip
    found = [(number, segment) for number, (_, estimate) in enumerate(clips) for segment in estimate
             if segment.label == label]  # fmt: skip
    found.sort(key=lambda each: each[1].score, reverse=True)
    used, hits = set(), []
    for number, segment in found:
        best = None
        for index, (other, reference) in enumerate(wanted):
            overlap = iou(segment, reference)
            if other == number and index not in used and overlap >= threshold and (best is None or overlap > best[1]):
                best = (index, overlap)
        hits.append(best is not None)
        if best:
            used.add(best[0])
    precision = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    recall = [sum(hits[: n + 1]) / len(wanted) for n in range(len(hits))]
    area, before = 0.0, 0.0
    for n, value in enumerate(recall):
        area += (value - before) * max(precision[n:])
        before = value
    return area


@settings(deadline=None)
@given(clips)
def test_average_precision_is_activitynets(clips):
    # Detections of one score may be in any order; the definition does not say in which.
    clips = [(reference, [Segment(s.start, s.end, s.label, score=(n + 31 * m) / 999) for n, s in enumerate(estimate)])
             for m, (reference, estimate) in enumerate(clips)]  # fmt: skip
    found = average_precisions(clips)
    present = {segment.label for reference, _ in clips for segment in reference}
    assert found.keys() == present
    for label in present:
        naive = [naive_average_precision(clips, label, threshold) for threshold in ACTIVITYNET_IOUS]
        assert found[label] == pytest.approx(sum(naive) / len(naive))


def test_average_precision_by_hand():
    # Right, wrong, right of three wanted: precision 1 up to a third, 2/3 up to two thirds, nothing beyond.
    assert average_precision([(0.9, True), (0.8, False), (0.7, True)], 3) == pytest.approx(1 / 3 + 2 / 3 * 1 / 3)
    assert average_precision([], 3) == 0.0
    assert average_precision([(0.1, True)], 1) == 1.0


def test_brier_and_calibration_error_by_hand():
    scores, right = [0.95, 0.85, 0.15, 0.15], [True, False, False, True]
    assert brier(scores, right) == pytest.approx((0.05**2 + 0.85**2 + 0.15**2 + 0.85**2) / 4)
    # Three tenths: 0.95 against 1, 0.85 against 0, and two of 0.15 against a half.
    assert calibration_error(scores, right) == pytest.approx((0.05 + 0.85 + 2 * 0.35) / 4)
    assert calibration_error([1.0], [True]) == 0.0


def test_scores_that_are_exactly_right_still_show_an_error():
    """The fewer the segments, the larger: nobody should read 0.05 of 50 segments as a fault of the score."""
    floors = [calibration_error_floor([0.8] * count) for count in (10, 100, 1000)]
    assert floors[0] > floors[1] > floors[2] > 0
    assert floors[1] == pytest.approx(np.sqrt(2 / np.pi) * 0.4 / 10, rel=0.05)  # mean of a folded normal
    assert calibration_error_floor([0.0, 1.0]) == 0.0
