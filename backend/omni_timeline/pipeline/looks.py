"""Which windows of a video the model looks at, round by round, and what the readings of them add up to.

A round's windows can be looked at in any order and beside those of other videos; the next round follows from what was
read in this one. Knows no model and no files: the caller of `look_at` decodes, asks and reads.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from omni_timeline.pipeline.adaptive import Looks, Round, look_adaptively
from omni_timeline.pipeline.agreement import one_for_each_event, with_agreement, with_sure_ones
from omni_timeline.pipeline.options import (
    AUTO_WINDOW_SECONDS,
    MIN_WINDOW_SECONDS,
    SOUND_WINDOW_SECONDS,
    PredictOptions,
)
from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.refine import LOOK_FRAMES, doubted_edges, refine_edges, refinement_windows
from omni_timeline.pipeline.windows import Window, WindowedSegment, merge_windows, split_windows
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Found:
    """What all looks at a video add up to.

    Attributes:
        segments: sorted.
        readings: of the windows that the segments come from, in order of time.
        windows: how many windows a first pass has.
        in_shorter: how many of these were looked at in shorter ones, by the strongest reason.
    """

    segments: tuple[Segment, ...]
    readings: tuple[Reading, ...]
    windows: int
    in_shorter: Mapping[str, int]


def look_at(duration: float, options: PredictOptions, *, has_audio: bool) -> Generator[Round, Sequence[Reading], Found]:
    """The rounds of looks at a video; takes a reading for each window of a round, returns what they add up to.

    Args:
        duration: of the video, in seconds.
        options: how it is looked at.
        has_audio: whether it has sound, with which long windows cost more and are worth less.
    """
    if options.stretch is not None:
        start, end = options.stretch
        stretch = Window(max(0.0, min(start, duration - MIN_WINDOW_SECONDS)), min(end, duration))
        [reading] = yield Round("looking", (stretch,))
        return Found(_calibrated(reading.segments, duration, options), (reading,), 1, {})
    free_words = not options.closed_labels
    windows = _first_pass(duration, options, has_audio=has_audio)
    looks = Looks()
    if options.window_seconds == "auto":
        yield from look_adaptively(looks, windows, options.max_looks, free_words=free_words)
    else:
        yield from looks.ask(windows)
    leaves = sorted(looks.leaves)
    segments = merge_windows(
        (WindowedSegment(window, segment) for window in leaves for segment in looks.readings[window].segments),
        free_words=free_words,
    )
    segments = with_sure_ones(one_for_each_event(segments, free_words), looks.readings, free_words)
    segments = with_agreement(segments, looks.readings, free_words)
    if options.refine:
        leaves_read = {window: looks.readings[window] for window in leaves}
        planned = refinement_windows(doubted_edges(segments, leaves_read), duration)
        closer = yield Round("refining", tuple(look.window for look in planned), LOOK_FRAMES)
        segments = refine_edges(
            segments, [(look, reading.segments) for look, reading in zip(planned, closer, strict=True)]
        )
    segments = _calibrated(segments, duration, options)
    return Found(
        tuple(segment for segment in segments if segment.score is None or segment.score >= options.score_threshold),
        tuple(looks.readings[window] for window in leaves),
        len(windows),
        looks.reasons,
    )


def _first_pass(duration: float, options: PredictOptions, *, has_audio: bool) -> list[Window]:
    """The windows that are looked at if there is no reason to look at shorter ones."""
    longest = options.longest_window
    if options.window_seconds == "auto" and has_audio and duration > AUTO_WINDOW_SECONDS:
        longest = SOUND_WINDOW_SECONDS
    return split_windows(duration, longest)


def _calibrated(segments: Sequence[Segment], duration: float, options: PredictOptions) -> tuple[Segment, ...]:
    """The segments as the project would have them, where its options have learned how."""
    return tuple(segments) if options.calibration is None else options.calibration.apply(segments, duration)
