"""Segments: what happens from when to when. Knows no text, no model and no video."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import total_ordering


@total_ordering
@dataclass(frozen=True)
class Segment:
    """What happens from `start` to `end`, in seconds of the whole video. Ordered by time, then label, text and score.

    Attributes:
        start: seconds, at least 0.
        end: seconds, after `start`.
        label: what happens, in a word or a few; not blank.
        text: what there is to say beyond the label, or "".
        score: how sure the model is, 0 to 1; None where nobody said.

    Raises:
        ValueError: one of these does not hold.
    """

    start: float
    end: float
    label: str
    text: str = ""
    score: float | None = None

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
    def _sort_key(self) -> tuple[float, float, str, str, float]:
        return self.start, self.end, self.label, self.text, -1.0 if self.score is None else self.score

    @property
    def duration(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start
