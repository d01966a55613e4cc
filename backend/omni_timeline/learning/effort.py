"""What suggestions cost people: what they kept, moved, renamed, deleted and added.

A region that a person changes keeps its id in Label Studio, so that what became of each suggestion is known; only what
is left without a partner on both sides is paired by time. Knows regions, and no model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from omni_timeline.learning.corrections import CorrectedTask, Correction, Region, Suggestion
from omni_timeline.learning.pairs import Pair, pair_by_time
from omni_timeline.learning.resampling import Estimate, estimate, ratio
from omni_timeline.segments import Segment

MOVED = 1e-3  # s; edges are whole frames or floats that come back as they were


@dataclass(frozen=True)
class Effort:
    """What became of the suggestions of one model version.

    Attributes:
        version: the model version.
        is_shown: whether people saw the suggestions. If not, their annotations are put beside what the model says now.
        tasks: how many.
        annotations: how many.
        suggested: suggestions.
        kept: of these, as they were.
        moved: with another start or end.
        renamed: with another label.
        rewritten: with another text.
        deleted: without a successor.
        added: regions that were not suggested.
        acceptance: kept of suggested.
        start_moved: seconds by which starts were moved, median and 90th percentile, of those that were.
        end_moved: likewise for ends.
        seconds_a_minute: seconds by which edges were moved, for each minute of video.
        lead_time: seconds that an annotation took, the median; of those that were not shown, from scratch. None where
            it is unknown.
        timed: of how many annotations that is known.
    """

    version: str
    is_shown: bool
    tasks: int
    annotations: int
    suggested: int
    kept: int
    moved: int
    renamed: int
    rewritten: int
    deleted: int
    added: int
    acceptance: Estimate | None
    start_moved: tuple[float, float] | None
    end_moved: tuple[float, float] | None
    seconds_a_minute: float | None
    lead_time: float | None
    timed: int


@dataclass(frozen=True)
class _Changes:
    """What one person did to one task's suggestions."""

    key: str
    pairs: Sequence[Pair]
    duration: float | None
    seconds: float | None
    updated: str


def efforts(
    tasks: Iterable[CorrectedTask],
    durations: Mapping[str, float],
    now: Mapping[str, Sequence[Segment]],
    now_version: str,
) -> tuple[Effort, ...]:
    """What the suggestions of each model version cost, in the order of their first corrections.

    Last comes what correcting the model as it is now would have cost, for annotations whose suggestion is not known.

    Args:
        tasks: those that were corrected.
        durations: seconds of their videos by key, as far as they are known.
        now: what the model says of their videos now, by key.
        now_version: its model version.
    """
    groups: dict[tuple[bool, str], list[_Changes]] = defaultdict(list)
    for task in tasks:
        for correction in task.corrections:
            began_from = correction.began_from
            if began_from is not None:
                key, pairs = (True, began_from.version or "unnamed"), changes(began_from, correction)
            elif task.key in now:
                key, pairs = (False, now_version), pair_by_time(now[task.key], correction.segments)
            else:
                continue
            is_timed = began_from is not None or correction.is_from_scratch
            seconds = correction.seconds if is_timed else None
            groups[key].append(_Changes(task.key, pairs, durations.get(task.key), seconds, correction.updated))
    first = {key: min(each.updated for each in annotations) for key, annotations in groups.items()}
    ordered = sorted(groups, key=lambda key: (not key[0], first[key], key))
    return tuple(_effort(version, groups[is_shown, version], is_shown=is_shown) for is_shown, version in ordered)


def changes(began_from: Suggestion, correction: Correction) -> list[Pair]:
    """Each suggestion beside what became of it, None where it was deleted; None beside each that was added."""
    suggested, corrected = _by_id(began_from.regions), _by_id(correction.regions)
    same = [key for key in suggested if key in corrected]
    deleted = [segment for key, segment in suggested.items() if key not in corrected]
    added = [segment for key, segment in corrected.items() if key not in suggested]
    return [(suggested[key], corrected[key]) for key in same] + pair_by_time(deleted, added)


def _by_id(regions: Sequence[Region]) -> dict[tuple[str, int], Segment]:
    """The segments by their id and, where a region has several, their place in it."""
    found: dict[tuple[str, int], Segment] = {}
    for region in regions:
        place = 0
        while (region.id, place) in found:
            place += 1
        found[region.id, place] = region.segment
    return found


def _effort(version: str, annotations: Sequence[_Changes], *, is_shown: bool) -> Effort:
    pairs = [pair for each in annotations for pair in each.pairs]
    changed = [(said, became) for said, became in pairs if said and became]
    starts = [abs(became.start - said.start) for said, became in changed]
    ends = [abs(became.end - said.end) for said, became in changed]
    counts: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for each in annotations:
        for said, became in each.pairs:
            counts[each.key][0] += bool(said and became and _is_kept(said, became))
            counts[each.key][1] += said is not None
    suggested = sum(said is not None for said, _ in pairs)
    minutes = sum(each.duration or 0.0 for each in annotations) / 60
    times = [each.seconds for each in annotations if each.seconds is not None]
    return Effort(
        version=version,
        is_shown=is_shown,
        tasks=len(counts.keys() | {each.key for each in annotations}),
        annotations=len(annotations),
        suggested=suggested,
        kept=sum(_is_kept(said, became) for said, became in changed),
        moved=sum(max(start, end) > MOVED for start, end in zip(starts, ends, strict=True)),
        renamed=sum(said.label != became.label for said, became in changed),
        rewritten=sum(said.text != became.text for said, became in changed),
        deleted=sum(became is None for _, became in pairs),
        added=sum(said is None for said, _ in pairs),
        acceptance=estimate(list(counts.values()), lambda sums: ratio(sums[..., 0], sums[..., 1]))
        if suggested
        else None,
        start_moved=_typical(starts),
        end_moved=_typical(ends),
        seconds_a_minute=sum(starts + ends) / minutes if minutes else None,
        lead_time=median(times) if times else None,
        timed=len(times),
    )


def _is_kept(said: Segment, became: Segment) -> bool:
    is_there = max(abs(said.start - became.start), abs(said.end - became.end)) <= MOVED
    return is_there and said.label == became.label and said.text == became.text


def _typical(moves: Sequence[float]) -> tuple[float, float] | None:
    """Median and 90th percentile of those that are a move at all."""
    moved = [move for move in moves if move > MOVED]
    return (float(np.median(moved)), float(np.quantile(moved, 0.9))) if moved else None
