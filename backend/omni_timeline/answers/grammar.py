r"""The texts that a model may write about a clip, as a grammar made of a project's labels; and their exact reader.

    From 3.2 to 7.8, red square.
    From 8.0 to 9.5, low tone: a hum that fades away.

These are the lines of `lines.format_segments`, which models are trained to write, with times inside the clip, each
start before its end, and labels of the project; or "No events.". The language is regular, so it holds for any
tokenizer and any model, one with random weights included. docs/grammar.md measures its cost.

Knows the syntax of grammars that llguidance takes. Knows no tokens and no tensors: `model` follows the grammar.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from omni_timeline.answers.lines import NO_EVENTS, format_segments
from omni_timeline.answers.parser import ROUNDING, Counts, Parsed, parse_segments
from omni_timeline.segments import Segment

MAX_LINES = 50  # as many events as a clip has frames; a model that writes more is repeating itself
MAX_LABEL = 80  # characters of a label in free text
MAX_DESCRIPTION = 240  # characters
MAX_CLIP_SECONDS = 100_000.0  # s: more than a day; the grammar's size grows with the clip's duration

_LINE = re.compile(r"From ([0-9]+\.[0-9]) to ([0-9]+\.[0-9]), (.+)\.")
_PAUSES = " .,;"  # what a model may put before the final full stop of its own words
# Control characters and everything that ends a line somewhere would tear a line, in a table or in Label Studio.
_TEARING = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_WORDS = rf"[\p{{L}}\p{{N}}][^:{_TEARING}]{{0,{MAX_LABEL - 1}}}"
_DESCRIPTION = rf"[\p{{L}}\p{{N}}][^{_TEARING}]{{0,{MAX_DESCRIPTION - 1}}}"


@dataclass(frozen=True)
class Grammar:
    """The texts that may be written about one clip.

    Attributes:
        labels: the labels, of which each line has one; empty: each line says in free words what happens.
        duration: seconds of the clip, as the model counts them.
        descriptions: whether a description may follow the label; it may always be left out.
        max_lines: how many lines may be written.

    Raises:
        ValueError: an attribute is invalid.
    """

    labels: tuple[str, ...]
    duration: float
    descriptions: bool = False
    max_lines: int = MAX_LINES

    def __post_init__(self) -> None:
        if not 0 < self.duration <= MAX_CLIP_SECONDS:
            raise ValueError(f"a grammar is for 0 to {MAX_CLIP_SECONDS:g} s, got {self.duration}")
        if self.max_lines < 1:
            raise ValueError(f"an answer needs room for a line, got {self.max_lines}")
        if len(set(self.labels)) < len(self.labels) or not all(label.strip() for label in self.labels):
            raise ValueError(f"labels are different words, got {self.labels}")

    @property
    def is_free(self) -> bool:
        """Whether the labels are the model's own words."""
        return not self.labels

    @cached_property
    def spoken(self) -> Mapping[str, str]:
        """The labels by the way they are written in a line; empty for free words.

        A label is written as `format_segments` writes it: on one line, a colon as a dash. Of labels that would be
        written the same, one that is written unchanged keeps its name; the others get a number.
        """
        return {} if self.is_free else _spoken(self.labels)

    @cached_property
    def text(self) -> str:
        """The grammar, as llguidance takes it: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md."""
        label = f"/{_WORDS}/" if self.is_free else " | ".join(map(_quoted, self.spoken))
        description = f'(": " /{_DESCRIPTION}/)?' if self.descriptions else ""
        return "\n".join(
            (
                # A new line at the end is allowed since tokens like ".\n" would else be the end of nothing.
                f'start: {_quoted(NO_EVENTS)} | LINE ("\\n" LINE){{0,{self.max_lines - 1}}} "\\n"?',
                # One terminal for a line: a lexer that took labels alone would have to know where "A. B" ends.
                f'LINE: "From " TIMES ", " LABEL {description} "."',
                f"TIMES: /{_times(self._limit)}/",
                f"LABEL: {label}",
            )
        )

    @property
    def _limit(self) -> int:
        """The last time that can be written, in tenths of a second."""
        return max(1, math.floor(10 * (self.duration + ROUNDING) + 1e-6))

    def read(self, text: str) -> Parsed:
        """The segments of an answer, in order; with the project's own labels where it has several.

        Unlike `parse_segments`, this does not guess. Lines outside the grammar, such as a last one that was cut off,
        are dropped and counted.
        """
        if text.strip() in ("", NO_EVENTS):
            return Parsed()
        tally = dict.fromkeys(("reversed", "outside", "repeated", "unreadable", "cut_off"), 0)
        found: dict[Segment, tuple[int, int]] = {}
        lines, begin = text.rstrip("\n").split("\n"), 0
        for number, line in enumerate(lines, 1):
            span = begin, begin + len(line)
            begin = span[1] + 1
            entry = _LINE.fullmatch(line)
            label, description = self._label_and_description(entry[3]) if entry else (None, "")
            if entry is None or label is None:
                tally["cut_off" if number == len(lines) and not text.endswith(".") else "unreadable"] += 1
                continue
            start, end = float(entry[1]), min(float(entry[2]), self.duration)
            if float(entry[2]) <= start:
                tally["reversed"] += 1
            elif not start < end:
                tally["outside"] += 1
            else:
                segment = Segment(start, end, label, description)
                tally["repeated"] += segment in found
                found.setdefault(segment, span)
        ordered = tuple(sorted(found))
        return Parsed(ordered, tuple(found[segment] for segment in ordered), Counts(**tally))

    def _label_and_description(self, words: str) -> tuple[str | None, str]:
        label, _, description = words.partition(": ") if self.descriptions else (words, "", "")
        known = label.strip(_PAUSES) or None if self.is_free else self.spoken.get(label)
        return known, description.strip(_PAUSES)


@lru_cache(maxsize=64)
def _spoken(labels: tuple[str, ...]) -> Mapping[str, str]:
    taken: dict[str, str] = {}
    for label in sorted(labels, key=lambda label: _as_written(label) != label):
        plain = wanted = _as_written(label)
        number = 1
        while wanted in taken:
            number += 1
            wanted = f"{plain} ({number})"
        taken[wanted] = label
    return taken


def _as_written(label: str) -> str:
    """The label in the line that `format_segments` makes of it."""
    [segment] = parse_segments(format_segments([Segment(0.0, 1.0, label)]), 1.0).segments
    return segment.label


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# --- Times -----------------------------------------------------------------------------------------------------------
# A regular expression for "3.2 to 7.8" that holds start < end <= limit has to remember the start until the end is
# written, so it lists the starts' whole seconds, and its size grows with the limit: 10 kB for 48 s, 150 kB for 10
# minutes. Each end is a few ranges of digits.


@lru_cache(maxsize=64)
def _times(limit: int) -> str:
    """Matches "a to b" with 0 <= a < b <= limit, all in tenths of a second."""
    whole_seconds = []
    for second in range((limit - 1) // 10 + 1):
        first, last = 10 * second, min(10 * second + 9, limit)
        starts = [f"{start - first} to {_between(start + 1, last)}" for start in range(first, last)]
        if last < limit:
            starts.append(f"[0-9] to {_between(last + 1, limit)}")
        whole_seconds.append(rf"{second}\.({'|'.join(starts)})")
    return "|".join(whole_seconds)


def _between(low: int, high: int) -> str:
    """Matches the numbers low..high, in tenths, with one decimal."""
    ranges = []
    for digits in range(2, len(str(high)) + 2):
        bottom, top = max(low, 10 ** (digits - 1) if digits > 2 else 0), min(high, 10**digits - 1)
        if bottom <= top:
            ranges += [
                rf"{whole}\.{tenth}"
                for *seconds, tenth in _digit_ranges(f"{bottom:0{digits}}", f"{top:0{digits}}")
                for whole in ["".join(seconds)]
            ]
    return f"({'|'.join(ranges)})"


def _digit_ranges(low: str, high: str) -> list[list[str]]:
    """Matches low..high, two numbers of as many digits: one list of digit classes for each range."""
    if not low:
        return [[]]
    rest = len(low) - 1
    nines, zeros = "9" * rest, "0" * rest
    first, last = int(low[0]), int(high[0])
    if first == last:
        return [[low[0], *more] for more in _digit_ranges(low[1:], high[1:])]
    below = above = list[list[str]]()
    if low[1:] != zeros:
        below = [[low[0], *more] for more in _digit_ranges(low[1:], nines)]
        first += 1
    if high[1:] != nines:
        above = [[high[0], *more] for more in _digit_ranges(zeros, high[1:])]
        last -= 1
    middle = [[str(first) if first == last else f"[{first}-{last}]", *["[0-9]"] * rest]] if first <= last else []
    return below + middle + above
