"""How well estimated segments agree with reference segments.

Conventions
    A segment is a span of seconds with a label; text and score are not compared. Labels agree when they are equal but
    for case and the white space around them. The overlap of two segments is their intersection over their union (IoU);
    they may match when it is at least `iou` and their labels agree. The matching is one-to-one and as large as it can
    be, with pairs of larger overlap tried first.

    Scores of several clips are pooled by adding up their counts (micro average), not by averaging their values.

    Precision, recall and F1 of nothing against nothing are 1: a clip without events for which none was predicted is
    right. Where only one side is empty they are 0. Some scorers (mir_eval) give 0 in both cases.

    The mean IoU is taken over the reference segments; one that is not matched counts as 0.

    Average precision is ActivityNet's (its Evaluation/eval_detection.py): within a clip each estimate, highest score
    first, takes the free reference segment of its label that it overlaps most, if by at least `iou`; precision is the
    highest at that recall or above; mAP is the mean over labels of the reference and over IoU .5, .55, ..., .95.

    A calibration error (ECE) is never 0 in a sample: `calibration_error_floor` says what scores that are exactly right
    would show.

Knows nothing of videos, models or Label Studio.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from omni_timeline.segments import Segment
from omni_timeline.segments import iou as overlap_ratio  # `iou` is the threshold here

ACTIVITYNET_IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
BINS = 10  # of a calibration error
Clip = tuple[Sequence[Segment], Sequence[Segment]]  # what is there, and what was estimated


@dataclass(frozen=True)
class Score:
    """Counts of one clip or of many, and what follows from them.

    Attributes:
        matched: pairs of a reference and an estimated segment.
        reference: reference segments.
        estimated: estimated segments.
        total_iou: sum of the matched pairs' IoU.
    """

    matched: int
    reference: int
    estimated: int
    total_iou: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.matched <= min(self.reference, self.estimated):
            raise ValueError(f"{self.matched} pairs cannot match {self.reference} with {self.estimated} segments")

    @property
    def precision(self) -> float:
        """The part of the estimated segments that match."""
        return _ratio(self.matched, self.estimated, otherwise=not self.reference)

    @property
    def recall(self) -> float:
        """The part of the reference segments that are matched."""
        return _ratio(self.matched, self.reference, otherwise=not self.estimated)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.matched, self.reference + self.estimated, otherwise=True)

    @property
    def mean_iou(self) -> float:
        """Mean over the reference segments of the IoU with their match, 0 for those without."""
        return _ratio(self.total_iou, self.reference, otherwise=not self.estimated)


def match(
    reference: Sequence[Segment], estimate: Sequence[Segment], min_iou: float = 0.5
) -> list[tuple[Segment, Segment]]:
    """Pairs of a reference and an estimated segment: a largest one-to-one matching, in the order of the reference."""
    if not 0 < min_iou <= 1:
        raise ValueError(f"the IoU that makes a match lies between 0 and 1, got {min_iou}")
    partners = []
    labels = [_label(found) for found in estimate]
    for wanted in reference:
        label = _label(wanted)
        overlaps = [
            (overlap_ratio(wanted, estimate[index]), index) for index, other in enumerate(labels) if other == label
        ]
        partners.append([index for overlap, index in sorted(overlaps, key=lambda o: -o[0]) if overlap >= min_iou])
    taken_by: dict[int, int] = {}
    for first in range(len(reference)):
        _augment(first, partners, taken_by)
    return [
        (reference[wanted], estimate[found]) for found, wanted in sorted(taken_by.items(), key=lambda pair: pair[1])
    ]


def event_f1(reference: Sequence[Segment], estimate: Sequence[Segment], iou: float = 0.5) -> Score:
    """The score of one clip; a pair matches at an overlap of at least `iou`."""
    pairs = match(reference, estimate, iou)
    return Score(len(pairs), len(reference), len(estimate), sum(overlap_ratio(a, b) for a, b in pairs))


def pool(scores: Iterable[Score]) -> Score:
    """The score of many clips taken together: their counts added up."""
    every = list(scores)
    return Score(
        sum(score.matched for score in every),
        sum(score.reference for score in every),
        sum(score.estimated for score in every),
        sum(score.total_iou for score in every),
    )


def boundary_errors(reference: Sequence[Segment], estimate: Sequence[Segment], iou: float = 0.5) -> list[float]:
    """How far the matched pairs' starts and ends lie apart: two absolute values in seconds for each pair."""
    pairs = match(reference, estimate, iou)
    return [abs(error) for a, b in pairs for error in (a.start - b.start, a.end - b.end)]


def edge_hits(reference: Sequence[Segment], estimate: Sequence[Segment], tolerance: float = 0.5) -> Score:
    """How many starts and ends lie within `tolerance` seconds of each other, whatever their labels.

    Starts are compared with starts and ends with ends, one-to-one.
    """
    starts = _within([s.start for s in reference], [s.start for s in estimate], tolerance)
    ends = _within([s.end for s in reference], [s.end for s in estimate], tolerance)
    return Score(starts + ends, 2 * len(reference), 2 * len(estimate))


@dataclass(frozen=True)
class RankedHit:
    """An estimated segment, and at which of several IoU thresholds it is right.

    Attributes:
        label: the estimate's label in lower case, so that labels that agree are equal.
        score: the estimate's score; 0 where it has none.
        right: whether the estimate is right, for each threshold.
    """

    label: str
    score: float
    right: tuple[bool, ...]


def ranked_hits(
    reference: Sequence[Segment], estimate: Sequence[Segment], ious: Sequence[float] = ACTIVITYNET_IOUS
) -> list[RankedHit]:
    """Which estimates of one clip are right, as ActivityNet counts it; highest score first."""
    ordered = sorted(estimate, key=lambda segment: -(segment.score or 0.0))
    taken: list[set[int]] = [set() for _ in ious]
    hits = []
    for found in ordered:
        overlaps = sorted(
            (-overlap_ratio(found, wanted), number)
            for number, wanted in enumerate(reference)
            if _label(wanted) == _label(found)
        )
        right = []
        for threshold, used in zip(ious, taken, strict=True):
            partner = next((n for share, n in overlaps if -share >= threshold and n not in used), None)
            used |= set() if partner is None else {partner}
            right.append(partner is not None)
        hits.append(RankedHit(_label(found), found.score or 0.0, tuple(right)))
    return hits


def average_precision(hits: Sequence[tuple[float, bool]], wanted: int) -> float:
    """The area under precision over recall.

    Args:
        hits: score, and whether it is right, of all estimates of one label.
        wanted: how many reference segments there are, at least one.
    """
    precisions, recalls, right = [1.0], [0.0], 0
    for number, (_, is_right) in enumerate(sorted(hits, key=lambda hit: -hit[0]), 1):
        right += is_right
        precisions.append(right / number)
        recalls.append(right / wanted)
    area, best = 0.0, 0.0
    for step in range(len(recalls) - 1, 0, -1):
        best = max(best, precisions[step])
        area += best * (recalls[step] - recalls[step - 1])
    return area


def average_precisions(clips: Iterable[Clip], ious: Sequence[float] = ACTIVITYNET_IOUS) -> dict[str, float]:
    """The mean average precision over `ious`, for each label of the reference, in lower case."""
    wanted: dict[str, int] = defaultdict(int)
    hits: dict[str, list[RankedHit]] = defaultdict(list)
    for reference, estimate in clips:
        for segment in reference:
            wanted[_label(segment)] += 1
        for hit in ranked_hits(reference, estimate, ious):
            hits[hit.label].append(hit)
    return mean_precisions(hits, wanted)


def mean_precisions(hits: Mapping[str, Sequence[RankedHit]], wanted: Mapping[str, int]) -> dict[str, float]:
    """As `average_precisions`, from the hits of all clips and the number of reference segments, by label."""
    return {
        label: fmean(
            average_precision(
                [(hit.score, right) for hit, right in zip(hits.get(label, ()), column, strict=True)], count
            )
            for column in zip(*(hit.right for hit in hits[label]), strict=True)
        )
        if hits.get(label)
        else 0.0
        for label, count in wanted.items()
    }


def brier(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The mean square by which scores miss 1 for what is right and 0 for what is wrong."""
    return fmean((score - is_right) ** 2 for score, is_right in zip(scores, right, strict=True))


def calibration_error(scores: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """How far, on average, the share of right ones is from the mean score, within bins of equal width (ECE)."""
    numbers = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
    gaps = np.bincount(numbers, np.asarray(scores) - np.asarray(right, float), minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def calibration_error_floor(scores: Sequence[float], bins: int = BINS, draws: int = 1000, seed: int = 0) -> float:
    """The calibration error that such scores show on average where each of them is exactly the chance to be right."""
    rng = np.random.default_rng(seed)
    chances = np.asarray(scores)
    return fmean(calibration_error(scores, (rng.random(len(chances)) < chances).tolist(), bins) for _ in range(draws))


def _within(wanted: Sequence[float], found: Sequence[float], tolerance: float) -> int:
    """How many pairs of instants lie within `tolerance` of each other, one-to-one: earliest first is as many as can."""
    waiting, pairs = deque(sorted(found)), 0
    for instant in sorted(wanted):
        while waiting and waiting[0] < instant - tolerance:
            waiting.popleft()
        if waiting and waiting[0] <= instant + tolerance:
            waiting.popleft()
            pairs += 1
    return pairs


def _augment(first: int, partners: Sequence[Sequence[int]], taken_by: dict[int, int]) -> None:
    """Give the reference segment `first` a partner, moving others to another partner where that makes room."""
    came_from: dict[int, int] = {}
    queue = deque([first])
    while queue:
        wanted = queue.popleft()
        for found in partners[wanted]:
            if found in came_from:
                continue
            came_from[found] = wanted
            if found in taken_by:
                queue.append(taken_by[found])
                continue
            free: int | None = found  # walk back to `first`, each segment taking the partner found for it
            while free is not None:
                owner = came_from[free]
                previous = next((index for index, by in taken_by.items() if by == owner), None)
                taken_by[free] = owner
                free = previous
            return


def _label(segment: Segment) -> str:
    return segment.label.strip().casefold()


def _ratio(part: float, whole: int, *, otherwise: bool) -> float:
    return part / whole if whole else float(otherwise)
