"""A closer look at where events begin and end.

The real-time remap gives the model a clock as fine as its frames are dense: 50 frames of 48 s are a second apart, 16 of
4 s a quarter. So short windows are laid around the edges whose digits the model was not sure of, the model is asked
again, and an edge moves to where the close look puts the same event's. Nothing appears and nothing goes away. Knows no
model and no files; times are seconds of the whole video.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.windows import Window
from omni_timeline.segments import Segment

LOOK_SECONDS = 4.0  # s of a window around an edge
LOOK_FRAMES = 16  # of it, at most: a quarter of a second from one to the next
ROOM = 1.0  # s around an edge that its look sees, at least
SURE_DIGITS = 0.85  # probability of the written number from which on there is nothing to look for
REACH = 2.0  # s that an edge may move, at most; farther, it is another event's
BORDER = 0.25  # s at a look's own borders, where an edge is only where the window begins or ends
WORTH_IT = 4.0  # a look must be this many times shorter than the window before


@dataclass(frozen=True)
class Look:
    """A short window, and the edges (seconds) that it is there for, all of them well inside."""

    window: Window
    edges: tuple[float, ...]


def doubted_edges(segments: Iterable[Segment], readings: Mapping[Window, Reading]) -> set[float]:
    """The edges whose digits the model was not sure of, as far as they come from windows that are long enough."""
    settled = {
        edge
        for window, reading in readings.items()
        for edge, score in reading.edges.items()
        if score >= SURE_DIGITS or window.duration < WORTH_IT * LOOK_SECONDS
    }
    return {edge for segment in segments for edge in (segment.start, segment.end)} - settled


def refinement_windows(edges: Iterable[float], duration: float) -> list[Look]:
    """The windows to look at again: one for each edge, or for several that fit into it with room around them.

    None for an edge where the video itself begins or ends, and none in a video that is hardly longer than a look.
    """
    if duration < WORTH_IT * LOOK_SECONDS:
        return []
    inner = sorted(edge for edge in set(edges) if BORDER < edge < duration - BORDER)
    found: list[Look] = []
    while inner:
        together = [edge for edge in inner if edge <= inner[0] + LOOK_SECONDS - 2 * ROOM]
        inner = inner[len(together) :]
        start = min(max((together[0] + together[-1]) / 2 - LOOK_SECONDS / 2, 0.0), duration - LOOK_SECONDS)
        found.append(Look(Window(start, start + LOOK_SECONDS), tuple(together)))
    return found


def refine_edges(segments: Iterable[Segment], seen: Sequence[tuple[Look, Sequence[Segment]]]) -> tuple[Segment, ...]:
    """The segments, sorted, with each edge where the look that is there for it saw the nearest one of that label.

    An edge stays where it is when the look saw none within reach, or when the segment would end before it starts.
    """
    result = []
    for segment in segments:
        same = [(look, [other for other in found if other.label == segment.label]) for look, found in seen]
        start = _moved(segment.start, [(look, [other.start for other in found]) for look, found in same])
        end = _moved(segment.end, [(look, [other.end for other in found]) for look, found in same])
        result.append(replace(segment, start=start, end=end) if start < end else segment)
    return tuple(sorted(result))


def _moved(edge: float, seen: Iterable[tuple[Look, Sequence[float]]]) -> float:
    """The nearest edge that the look at `edge` saw, but for those where its own window begins or ends."""
    for look, candidates in seen:
        if edge in look.edges:
            inside = [second for second in candidates if _is_inside(second, look.window)]
            nearest = min(inside, key=lambda second: (abs(second - edge), second), default=edge)
            return nearest if abs(nearest - edge) <= REACH else edge
    return edge


def _is_inside(second: float, window: Window) -> bool:
    return window.start + BORDER < second < window.end - BORDER
