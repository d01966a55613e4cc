"""What several looks at the same event are worth: one segment for it, and a score that says whether they agree.

Knows the arithmetic of looks that agree and differ; docs/confidence.md says what it is worth. Knows no model and no
files. Times are seconds of the whole video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.windows import BORDER, SAME_EVENT, Window, same_label
from omni_timeline.segments import Segment, common, iou, overlap

SURE = 0.95  # a segment with such a score is not lost, whatever other looks say
SAME_TWICE = 0.5  # IoU of two segments of one label, above which they are one event written twice


def one_for_each_event(segments: Sequence[Segment], free_words: bool = False) -> tuple[Segment, ...]:
    """The segments, sorted, without those that are the same event as a surer one."""
    kept: list[Segment] = []
    for segment in sorted(segments, key=lambda each: (-_score(each), -each.duration, each)):
        if not any(is_same_event(segment, other, free_words) for other in kept):
            kept.append(segment)
    return tuple(sorted(kept))


def is_same_event(one: Segment, other: Segment, free_words: bool = False) -> bool:
    """Whether two segments of one list are one event written twice, with edges a little apart."""
    return iou(one, other) > SAME_TWICE and same_label(one.label, other.label, free_words)


def has_repeats(segments: Sequence[Segment], free_words: bool = False) -> bool:
    """Whether an event is among them twice."""
    return any(
        is_same_event(one, other, free_words) for number, one in enumerate(segments) for other in segments[:number]
    )


def with_sure_ones(
    segments: Sequence[Segment], readings: Mapping[Window, Reading], free_words: bool = False
) -> tuple[Segment, ...]:
    """The segments, sorted, and what a look was sure of that no segment shares half of: closer looks may miss it.

    Without what reaches the border of its window, where an event is only seen in part.
    """
    kept = list(segments)
    sure = [
        each
        for window, reading in readings.items()
        for each in reading.segments
        if _score(each) >= SURE and window.start + BORDER < each.start and each.end < window.end - BORDER
    ]
    for segment in sorted(sure, key=lambda each: (-_score(each), -each.duration, each)):
        if not any(
            overlap(segment, other) >= SAME_EVENT * min(segment.duration, other.duration)
            and same_label(segment.label, other.label, free_words)
            for other in kept
        ):
            kept.append(segment)
    return tuple(sorted(kept))


def with_agreement(
    segments: Sequence[Segment], readings: Mapping[Window, Reading], free_words: bool = False
) -> tuple[Segment, ...]:
    """The segments, each with the score that it deserves by all looks that saw at least half of it.

    It is the square of the best of their scores, since the model is surer than it has reason to be; where no more than
    half of several looks report the segment, times the root of the share that does.
    """
    return tuple(_judged(segment, readings, free_words) for segment in segments)


def _judged(segment: Segment, readings: Mapping[Window, Reading], free_words: bool) -> Segment:
    if segment.score is None:
        return segment
    looks, scores = 0, [segment.score]
    for window, reading in readings.items():
        piece = common(segment, window)
        if piece is None or piece[1] - piece[0] < SAME_EVENT * segment.duration:
            continue
        looks += 1
        same = [
            _score(other)
            for other in reading.segments
            if same_label(segment.label, other.label, free_words) and iou(Window(*piece), other) >= SAME_EVENT
        ]
        scores += [max(same)] if same else []
    agreeing, best = len(scores) - 1, max(scores)
    if looks < 2:
        return replace(segment, score=best**2)
    if 2 * agreeing > looks:
        return replace(segment, score=best**2, looks="agree")
    return replace(segment, score=best**2 * math.sqrt(max(agreeing, 1) / looks), looks="differ")


def _score(segment: Segment) -> float:
    return 1.0 if segment.score is None else segment.score
