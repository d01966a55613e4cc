"""Windows over a long video, and one list of segments from what was seen in each.

Knows the arithmetic of overlapping windows and when two reports are of one event; docs/windows.md says it in words.
Knows no model and no files. Times are seconds of the whole video.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from omni_timeline.segments import Segment, common, overlap

OVERLAP = 1 / 6  # of a window: with 48 s, 8 s are seen twice
SAME_EVENT = 0.5  # of the shorter report, within what both windows saw, must be shared
BORDER = 0.25  # s at a window's border: an event that is only reported within it may have been cut there
REACH = 1.5  # s between an event and a remnant of it at the border of the next window, at most
SAME_WORDS = 0.5  # of all words of two free labels must be shared


@dataclass(frozen=True, order=True)
class Window:
    """A stretch of the video that the model sees in one go."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


def split_windows(duration: float, window_seconds: float | None) -> list[Window]:
    """The fewest windows of equal length, at most `window_seconds`, that cover a video and overlap by a sixth.

    One window, the whole, for a video that is no longer, or with None.
    """
    if window_seconds is None or duration <= window_seconds:
        return [Window(0.0, duration)]
    overlap = window_seconds * OVERLAP
    count = math.ceil((duration - overlap) / (window_seconds - overlap))
    length = (duration + (count - 1) * overlap) / count
    starts = [index * (length - overlap) for index in range(count)]
    return [Window(start, min(start + length, duration)) for start in starts[:-1]] + [Window(starts[-1], duration)]


@dataclass(frozen=True, order=True)
class WindowedSegment:
    """A segment, and the window in which it was seen."""

    window: Window
    segment: Segment


@dataclass(frozen=True)
class _Track:
    """An event as far as it has been followed: from the first window that saw it to `window`."""

    segment: Segment
    window: Window


def merge_windows(reports: Iterable[WindowedSegment], *, free_words: bool = False) -> tuple[Segment, ...]:
    """One segment for each event, sorted, from the reports of all windows.

    Two reports are of one event when they come from windows that follow each other and overlap, their labels agree, and
    within what both windows saw they share at least half of the shorter one. Each report has at most one partner in the
    next window, those that share most first. The event's edges are those of the window that saw the edge further from
    its own border, its score the better one. A report without such a partner that its window's border cut, and that the
    other window saw all of, is a remnant of an event of its label that is there within `REACH`, and is left out. So
    reports from one window are never joined, the order of the reports does not matter, merging again changes nothing,
    and every instant of the result was reported by some window.

    Args:
        reports: in any order.
        free_words: labels are the model's own words: two agree when they share half of them. Else they must be equal.
    """
    tracks: list[_Track] = []
    finished: list[Segment] = []
    for window, group in groupby(sorted(set(reports)), key=lambda report: report.window):
        candidates = [track for track in tracks if track.window.end > window.start]
        finished += [track.segment for track in tracks if track.window.end <= window.start]
        found = sorted({report.segment for report in group})
        pairs = _partners(candidates, found, window, free_words)
        tracks = [track for index, track in enumerate(candidates) if index not in pairs.values()]
        for index, segment in enumerate(found):
            joined = _joined(candidates[pairs[index]], segment, window) if index in pairs else segment
            tracks.append(_Track(joined, window))
    return tuple(sorted({*finished, *(track.segment for track in tracks)}))


def _partners(tracks: list[_Track], found: list[Segment], window: Window, free_words: bool) -> dict[int, int]:
    """For a segment of the new window, by number, the number of the track that it goes on with."""
    shares = []
    for number, track in enumerate(tracks):
        if track.window == window:
            continue
        for index, segment in enumerate(found):
            share, seconds = shared(track.segment, segment, Window(window.start, track.window.end))
            if not same_label(track.segment.label, segment.label, free_words):
                continue
            if share >= SAME_EVENT:
                shares.append((-seconds, number, index))
            elif _remnant(track, segment, window) is not None:
                shares.append((abs(track.segment.end - segment.start), number, index))
    partners: dict[int, int] = {}
    for _, number, index in sorted(shares):
        if index not in partners and number not in partners.values():
            partners[index] = number
    return partners


def shared(one: Segment, other: Segment, both: Window) -> tuple[float, float]:
    """How much of the shorter of two segments they share within what `both` windows saw; and the seconds of it."""
    seen = [Window(*piece) for segment in (one, other) if (piece := common(segment, both))]
    if len(seen) < 2:
        return 0.0, 0.0
    shared = overlap(*seen)
    return shared / min(window.duration for window in seen), shared


def _remnant(track: _Track, segment: Segment, window: Window) -> Segment | None:
    """Which of two reports is only the rest of the other, cut by the border of its own window; None for neither."""
    earlier = track.segment
    if abs(earlier.end - segment.start) > REACH:
        return None
    if segment.start <= window.start + BORDER and segment.end <= track.window.end - BORDER:
        return segment
    if earlier.end >= track.window.end - BORDER and earlier.start >= window.start + BORDER:
        return earlier
    return None


def _joined(track: _Track, segment: Segment, window: Window) -> Segment:
    """One event from what was known of it and what the next window says."""
    earlier = track.segment
    if (remnant := _remnant(track, segment, window)) is not None:
        return earlier if remnant is segment else segment
    middle = (window.start + track.window.end) / 2  # before it, the earlier window sees more of what is around
    start = earlier.start if (earlier.start + segment.start) / 2 < middle else segment.start
    end = earlier.end if (earlier.end + segment.end) / 2 < middle else segment.end
    words = max(earlier, segment, key=lambda report: (report.duration, len(report.text)))
    scores = [report.score for report in (earlier, segment) if report.score is not None]
    return replace(words, start=start, end=end, score=max(scores, default=None))


def same_label(one: str, other: str, free_words: bool = False) -> bool:
    """Whether two labels mean the same."""
    if one == other or not free_words:
        return one == other
    words = [set(re.findall(r"\w+", label.casefold())) for label in (one, other)]
    return len(words[0] & words[1]) >= max(1.0, SAME_WORDS * len(words[0] | words[1]))
