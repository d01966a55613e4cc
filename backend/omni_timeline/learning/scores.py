"""What goes wrong in the segments of one model version, and what their scores are worth.

All definitions are those of `metrics`. Knows segments, and not where they come from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from omni_timeline.learning.pairs import pair_by_time
from omni_timeline.learning.quality import RIGHT, Comparison
from omni_timeline.metrics import brier, calibration_error, calibration_error_floor, match

THRESHOLDS = tuple(step / 20 for step in range(20))
MISSED, SPURIOUS = "missed", "spurious"


@dataclass(frozen=True)
class Confusion:
    """What was called what: pairs by time alone, IoU of at least .5.

    Attributes:
        labels: in the order of their frequency.
        counts: how often a corrected label (or SPURIOUS) met a found one (or MISSED).
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class ThresholdPoint:
    """Precision, recall and F1 (IoU .5) of the segments with a score of at least `threshold`."""

    threshold: float
    precision: float
    recall: float
    f1: float
    shown: int


@dataclass(frozen=True)
class Reliability:
    """How far a score is the share of right segments (IoU .5).

    Attributes:
        segments: how many have a score.
        bins: for tenths with segments in them: lowest score, how many, mean score, share of right ones.
        error: mean distance of the two (ECE).
        floor: the error that exactly right scores would show in so many segments.
        brier: mean square by which scores miss what is so.
    """

    segments: int
    bins: tuple[tuple[float, int, float, float], ...]
    error: float
    floor: float
    brier: float


def confusion(comparisons: Iterable[Comparison]) -> Confusion:
    """What was called what, what was missed and what was spurious."""
    counts: Counter[tuple[str, str]] = Counter()
    labels: Counter[str] = Counter()
    for each in comparisons:
        for found, corrected in pair_by_time(each.found, each.corrected, RIGHT):
            counts[corrected.label if corrected else SPURIOUS, found.label if found else MISSED] += 1
            labels.update(segment.label for segment in (corrected, found) if segment)
    return Confusion(
        tuple(label for label, _ in labels.most_common()),
        tuple((corrected, found, count) for (corrected, found), count in counts.most_common()),
    )


def thresholds(comparisons: Sequence[Comparison]) -> tuple[ThresholdPoint, ...]:
    """What remains at each threshold; none where segments have no scores."""
    judged, wanted = _judged(comparisons), sum(len(each.corrected) for each in comparisons)
    points = []
    for threshold in THRESHOLDS if judged else ():
        shown = [right for score, right in judged if score >= threshold]
        matched = sum(shown)
        points.append(
            ThresholdPoint(
                threshold,
                precision=matched / len(shown) if shown else float(not wanted),
                recall=matched / wanted if wanted else float(not shown),
                f1=2 * matched / (len(shown) + wanted) if len(shown) + wanted else 1.0,
                shown=len(shown),
            )
        )
    return tuple(points)


def reliability(comparisons: Sequence[Comparison]) -> Reliability | None:
    """What scores are worth; None where segments have none."""
    judged = _judged(comparisons)
    if not judged:
        return None
    scores, right = [score for score, _ in judged], [is_right for _, is_right in judged]
    tenths: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for score, is_right in judged:
        tenths[min(int(score * 10), 9)].append((score, is_right))
    return Reliability(
        segments=len(judged),
        bins=tuple(
            (tenth / 10, len(inside), fmean(score for score, _ in inside), fmean(is_right for _, is_right in inside))
            for tenth, inside in sorted(tenths.items())
        ),
        error=calibration_error(scores, right),
        floor=calibration_error_floor(scores),
        brier=brier(scores, right),
    )


def _judged(comparisons: Iterable[Comparison]) -> list[tuple[float, bool]]:
    """The score of each found segment that has one, and whether it is right."""
    judged = []
    for each in comparisons:
        right = {id(found) for _, found in match(each.corrected, each.found, RIGHT)}
        judged += [(found.score, id(found) in right) for found in each.found if found.score is not None]
    return judged
