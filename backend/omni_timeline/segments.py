"""Segments: what happens from when to when; and the arithmetic of spans, for anything with a start and an end.

Knows no text, no model and no video. All numbers are seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal, Protocol


@total_ordering
@dataclass(frozen=True)
class Segment:
    """What happens from `start` to `end`, in seconds of the whole video. Ordered by time, then by the rest.

    Attributes:
        start: seconds, at least 0.
        end: seconds, after `start`.
        label: what happens, in a word or a few; not blank.
        text: what there is to say beyond the label, or "".
        score: how sure the model is, 0 to 1; None where there is no score.
        looks: "agree" or "differ" where several looks at the video saw this stretch; "" where one did, or none.

    Raises:
        ValueError: an attribute is outside of these bounds.
    """

    start: float
    end: float
    label: str
    text: str = ""
    score: float | None = None
    looks: Literal["", "agree", "differ"] = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and 0 <= self.start < self.end):
            raise ValueError(f"a segment needs 0 <= start < end, got {self.start} to {self.end}")
        if not self.label.strip():
            raise ValueError(f"the segment from {self.start} to {self.end} needs a label")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"a score lies between 0 and 1, got {self.score}")

    def __lt__(self, other: Segment) -> bool:
        return self._sort_key < other._sort_key

    @property
    def _sort_key(self) -> tuple[float, float, str, str, float, str]:
        score = -1.0 if self.score is None else self.score
        return self.start, self.end, self.label, self.text, score, self.looks

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


def written_score(score: float) -> float:
    """A score as others get to see it, to four digits: those behind hang on the clips that shared a batch with it."""
    return round(score, 4)


class Span(Protocol):
    """Anything that lasts from `start` to `end`."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def end(self) -> float:
        """Seconds."""


def common(one: Span, other: Span) -> tuple[float, float] | None:
    """Start and end of what two spans have in common; None where they only touch or lie apart."""
    start, end = max(one.start, other.start), min(one.end, other.end)
    return (start, end) if start < end else None


def overlap(one: Span, other: Span) -> float:
    """How many seconds two spans have in common."""
    both = common(one, other)
    return both[1] - both[0] if both else 0.0


def iou(one: Span, other: Span) -> float:
    """Intersection over union of two spans, 0 to 1."""
    shared = overlap(one, other)
    return shared / (one.end - one.start + other.end - other.start - shared) if shared else 0.0
