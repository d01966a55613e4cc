"""Segments as the lines that a model should write. `parser` reads them back: the two are each other's inverse."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from omni_timeline.answers.parser import COLON, PAUSES, one_line, possible_entries, words_of
from omni_timeline.segments import Segment

NO_EVENTS = "No events."


def format_segments(segments: Iterable[Segment], *, decimals: int = 1) -> str:
    """The segments as a model should write them, one a line in their order; "No events." for none.

        From 3.2 to 7.8, red square.
        From 8.0 to 9.5, low tone: a hum that fades away.

    `parse_segments` gives the same segments back, without scores and but for what a line cannot hold: times are
    rounded to `decimals` (more where start and end would fall together); white space is squeezed; final full stops,
    commas and Markdown's marks go; a colon inside a label becomes a dash; punctuation goes where the words after it
    would read as the times of a further segment.
    """
    return "\n".join(_format_line(segment, decimals) for segment in sorted(segments)) or NO_EVENTS


def _format_line(segment: Segment, decimals: int) -> str:
    label = words_of(one_line(COLON.sub(" - ", one_line(segment.label)))) or "event"
    text = words_of(one_line(segment.text))
    words = f"{label}: {text}" if text else label
    cuts = [0, *(position for position, _ in possible_entries(words)), len(words)]
    parts = [words[a:b].strip() for a, b in pairwise(cuts)]  # all but the first would read as further entries
    before = [part.rstrip(PAUSES + "!?！？") for part in parts[:-1]]
    first, *rest = [part for part in (*before, parts[-1]) if part]
    words = " ".join([first, *(part[:1].lower() + part[1:] for part in rest)])
    start, end = f"{abs(segment.start):.{decimals}f}", f"{segment.end:.{decimals}f}"  # abs: never "-0.0"
    while start == end:
        decimals += 1
        start, end = f"{abs(segment.start):.{decimals}f}", f"{segment.end:.{decimals}f}"
    return f"From {start} to {end}, {words}."
