"""Which windows of a video the model looks at, round by round, and what the readings of them add up to.

A round's windows can be looked at in any order and beside those of other videos; the next round follows from what was
read in this one. Knows no model and no files: whoever drives `look_at` decodes, asks and reads.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from omni_timeline.pipeline.options import MIN_WINDOW_SECONDS, PredictOptions
from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.refine import refine_edges, refinement_windows
from omni_timeline.pipeline.windows import Window, WindowedSegment, merge_windows, split_windows
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Round:
    """Windows to look at before anything else can be decided.

    Attributes:
        stage: what they are for, in a word.
        windows: in order of time; none where there is nothing to look at.
    """

    stage: str
    windows: tuple[Window, ...]


def look_at(duration: float, options: PredictOptions) -> Generator[Round, Sequence[Reading], tuple[Segment, ...]]:
    """The rounds of a video of `duration` seconds; takes a reading for each window, returns the segments, sorted."""
    if options.stretch is not None:
        start, end = options.stretch
        [reading] = yield Round(
            "looking", (Window(max(0.0, min(start, duration - MIN_WINDOW_SECONDS)), min(end, duration)),)
        )
        return _calibrated(reading.segments, duration, options)
    windows = tuple(split_windows(duration, options.window_seconds))
    readings = yield Round("windows", windows)
    segments = merge_windows(
        (
            WindowedSegment(window, segment)
            for window, reading in zip(windows, readings, strict=True)
            for segment in reading.segments
        ),
        free_words=not options.closed_labels,
    )
    if options.refine:
        planned = refinement_windows(segments, duration, options.window_seconds)
        closer = yield Round("refining", tuple(look.window for look in planned))
        segments = refine_edges(
            segments, [(look, reading.segments) for look, reading in zip(planned, closer, strict=True)]
        )
    segments = _calibrated(segments, duration, options)
    return tuple(segment for segment in segments if segment.score is None or segment.score >= options.score_threshold)


def _calibrated(segments: Sequence[Segment], duration: float, options: PredictOptions) -> tuple[Segment, ...]:
    """The segments as the project would have them, where its options have learned how."""
    return tuple(segments) if options.calibration is None else options.calibration.apply(segments, duration)
