"""How good the segments of one model version are, measured against what people made of them.

Each annotation is compared by itself: a task that two people annotated counts twice, and its two annotations are drawn
together in every interval. All definitions are those of `metrics`. Knows segments, and not where they come from.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, median

from omni_timeline.learning.resampling import Estimate, Numbers, bounds, difference, draws, estimate, ratio
from omni_timeline.metrics import (
    RankedHit,
    edge_hits,
    event_f1,
    match,
    mean_precisions,
    ranked_hits,
)
from omni_timeline.segments import Segment

RIGHT = 0.5  # IoU from which a segment is right, where nothing else is said
IOUS = (0.3, 0.5, 0.7)
EDGE_SECONDS = 0.5  # s that an edge may be off
MAP_DRAWS = 200  # each takes all labels and thresholds


@dataclass(frozen=True)
class Comparison:
    """What a model version says of a video, beside what one person says.

    Attributes:
        key: names the task; what is drawn together.
        corrected: the person's segments.
        found: the model version's.
    """

    key: str
    corrected: tuple[Segment, ...]
    found: tuple[Segment, ...]


@dataclass(frozen=True)
class LabelQuality:
    """One label's numbers.

    Attributes:
        label: as it is first spelled.
        corrected: segments that people marked.
        found: segments of the model version.
        matched: pairs of them at IoU .5.
        f1: at IoU .5.
        average_precision: ActivityNet's; None where people never marked it.
        start: median of corrected - found starts of the pairs, in seconds; None without pairs.
        end: likewise of their ends.
    """

    label: str
    corrected: int
    found: int
    matched: int
    f1: Estimate
    average_precision: float | None
    start: float | None
    end: float | None


@dataclass(frozen=True)
class Quality:
    """What the segments of one model version are worth.

    Attributes:
        tasks: how many.
        annotations: how many were compared.
        corrected: segments in them.
        found: segments of the model version.
        f1: at IoU .3, .5 and .7.
        precision: at IoU .5.
        recall: at IoU .5.
        mean_iou: over the corrected segments; 0 for those that were not found.
        mean_average_precision: ActivityNet's, IoU .5 to .95.
        edges: F1 of starts and ends within half a second, whatever their labels.
        start: median of corrected - found starts, in seconds; None where nothing matched.
        end: likewise.
        labels: the same by label, the most frequent first.
    """

    tasks: int
    annotations: int
    corrected: int
    found: int
    f1: dict[str, Estimate]
    precision: Estimate
    recall: Estimate
    mean_iou: Estimate
    mean_average_precision: Estimate
    edges: Estimate
    start: float | None
    end: float | None
    labels: tuple[LabelQuality, ...]


@dataclass(frozen=True)
class Difference:
    """How much a model version is better than another on the same tasks."""

    tasks: int
    f1: dict[str, Estimate]
    mean_iou: Estimate


def quality(comparisons: Sequence[Comparison]) -> Quality:
    """The numbers of one model version; of none where there is nothing to compare."""
    counts = {iou: _by_task(comparisons, partial(_score, iou=iou)) for iou in IOUS}
    at_half = counts[RIGHT]
    pairs = [pair for each in comparisons for pair in match(each.corrected, each.found)]
    precisions, mean_precision = _average_precisions(comparisons)
    return Quality(
        tasks=len(at_half),
        annotations=len(comparisons),
        corrected=sum(len(each.corrected) for each in comparisons),
        found=sum(len(each.found) for each in comparisons),
        f1={f"{iou:g}": estimate(rows, f1) for iou, rows in counts.items()},
        precision=estimate(at_half, precision),
        recall=estimate(at_half, recall),
        mean_iou=estimate(at_half, mean_iou),
        mean_average_precision=mean_precision,
        edges=estimate(_by_task(comparisons, _edges), f1),
        start=_median(corrected.start - found.start for corrected, found in pairs),
        end=_median(corrected.end - found.end for corrected, found in pairs),
        labels=_by_label(comparisons, precisions, pairs),
    )


def improvement(before: Sequence[Comparison], after: Sequence[Comparison]) -> Difference:
    """How much better `after` is, on the same tasks."""
    rows = {iou: [_by_task(each, partial(_score, iou=iou)) for each in (before, after)] for iou in IOUS}
    return Difference(
        tasks=len(rows[RIGHT][0]),
        f1={f"{iou:g}": difference(one, other, f1) for iou, (one, other) in rows.items()},
        mean_iou=difference(rows[RIGHT][0], rows[RIGHT][1], mean_iou),
    )


def f1(sums: Numbers) -> Numbers:
    """F1 from matched, corrected and found."""
    return ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def precision(sums: Numbers) -> Numbers:
    """Precision from matched, corrected and found."""
    return ratio(sums[..., 0], sums[..., 2], otherwise=(sums[..., 1] == 0).astype(float))


def recall(sums: Numbers) -> Numbers:
    """Recall from matched, corrected and found."""
    return ratio(sums[..., 0], sums[..., 1], otherwise=(sums[..., 2] == 0).astype(float))


def mean_iou(sums: Numbers) -> Numbers:
    """Mean IoU from matched, corrected, found and the matches' IoU."""
    return ratio(sums[..., 3], sums[..., 1], otherwise=(sums[..., 2] == 0).astype(float))


def _score(comparison: Comparison, iou: float) -> tuple[float, ...]:
    score = event_f1(comparison.corrected, comparison.found, iou)
    return score.matched, score.reference, score.estimated, score.total_iou


def _edges(comparison: Comparison) -> tuple[float, ...]:
    score = edge_hits(comparison.corrected, comparison.found, EDGE_SECONDS)
    return score.matched, score.reference, score.estimated


def _by_task(
    comparisons: Iterable[Comparison], count: Callable[[Comparison], Sequence[float]]
) -> list[tuple[float, ...]]:
    """What is counted, added up for each task, in the order of the tasks' keys."""
    rows: dict[str, tuple[float, ...]] = {}
    for comparison in comparisons:
        counted = tuple(count(comparison))
        earlier = rows.get(comparison.key, (0.0,) * len(counted))
        rows[comparison.key] = tuple(one + other for one, other in zip(earlier, counted, strict=True))
    return [rows[key] for key in sorted(rows)]


def _average_precisions(comparisons: Sequence[Comparison]) -> tuple[dict[str, float], Estimate]:
    """Average precision by label, in lower case, and the mean over labels."""
    hits: dict[str, list[list[RankedHit]]] = defaultdict(list)  # by task: those of each annotation
    wanted: dict[str, Counter[str]] = defaultdict(Counter)
    for each in comparisons:
        hits[each.key].append(ranked_hits(each.corrected, each.found))
        wanted[each.key].update(label_key(segment.label) for segment in each.corrected)
    keys = sorted(hits)
    flat = {key: [hit for of_annotation in hits[key] for hit in of_annotation] for key in keys}

    def of(times: Sequence[int]) -> dict[str, float]:
        by_label: dict[str, list[RankedHit]] = defaultdict(list)
        counts: Counter[str] = Counter()
        for key, often in zip(keys, times, strict=True):
            for hit in flat[key] if often else ():
                by_label[hit.label] += [hit] * often
            for label, count in wanted[key].items() if often else ():
                counts[label] += often * count
        return mean_precisions(by_label, counts)

    every = of([1] * len(keys))
    value = fmean(every.values()) if every else 1.0
    if len(keys) < 2:
        return every, Estimate(value)
    drawn = [of(row.astype(int).tolist()) for row in draws(len(keys), MAP_DRAWS)]
    return every, Estimate(value, *bounds([fmean(each.values()) if each else 1.0 for each in drawn]))


def _by_label(
    comparisons: Sequence[Comparison],
    precisions: Mapping[str, float],
    pairs: Sequence[tuple[Segment, Segment]],
) -> tuple[LabelQuality, ...]:
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for each in comparisons:
        for segment in (*each.corrected, *each.found):
            names.setdefault(label_key(segment.label), segment.label)
        counts.update(label_key(segment.label) for segment in each.corrected)
    found = []
    for key in sorted(names, key=lambda key: (-counts[key], key)):
        only = [
            Comparison(each.key, _with_label(each.corrected, key), _with_label(each.found, key)) for each in comparisons
        ]
        matched = [(corrected, other) for corrected, other in pairs if label_key(corrected.label) == key]
        found.append(
            LabelQuality(
                label=names[key],
                corrected=counts[key],
                found=sum(len(each.found) for each in only),
                matched=len(matched),
                f1=estimate(_by_task(only, partial(_score, iou=RIGHT)), f1),
                average_precision=precisions.get(key),
                start=_median(corrected.start - other.start for corrected, other in matched),
                end=_median(corrected.end - other.end for corrected, other in matched),
            )
        )
    return tuple(found)


def label_key(label: str) -> str:
    """What two spellings of a label have in common, as `metrics` compares them."""
    return label.strip().casefold()


def _with_label(segments: Iterable[Segment], key: str) -> tuple[Segment, ...]:
    return tuple(segment for segment in segments if label_key(segment.label) == key)


def _median(values: Iterable[float]) -> float | None:
    every = list(values)
    return median(every) if every else None
