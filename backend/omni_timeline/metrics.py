"""How well estimated segments agree with reference segments.

Conventions
    A segment is a span of seconds with a label; text and score are not compared. Labels agree when they are equal but
    for case and the white space around them. The overlap of two segments is their intersection over their union (IoU);
    they may match when it is at least `iou` and their labels agree. The matching is one-to-one and as large as it can
    be, with pairs of larger overlap tried first.

    Scores of several clips are pooled by adding up their counts (micro average), not by averaging their values.

    Precision, recall and F1 of nothing against nothing are 1: a clip without events, of which none was said, is right.
    Where only one side is empty they are 0. Some scorers (mir_eval) give 0 in both cases.

    The mean IoU is taken over the reference segments; one that is not matched counts as 0.

Knows nothing of videos, models or Label Studio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from omni_timeline.segments import Segment
from omni_timeline.segments import iou as overlap_ratio  # `iou` is the threshold here


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
