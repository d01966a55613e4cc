"""How one project reads a model, learned from its corrections: names, edges, scores, thresholds.

    asked        what the model chooses its labels from
    names        what the project calls that which the model says; some of it nothing at all
    edges        seconds that people begin and end events earlier or later than the model does
    score        what a score of the model is worth, as the share of right segments
    thresholds   scores below which a segment is more often wrong than it helps

A value and one pure function. Knows no model, no video and not how any of it is learned.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Self

from omni_timeline.segments import Segment

ANY = "*"  # in place of a label: all that are not listed
LIKE = 0.5  # of all words of two phrases must be shared, as where windows are merged
MAX_LOG_ODDS = 12.0  # beyond it a score is 0 or 1 to five digits


@dataclass(frozen=True)
class Calibration:
    """How the answers of a model are read. The default changes nothing.

    Attributes:
        asked: the labels that the model chooses from. None: those of the options. Empty: it writes its own words.
        names: pairs of what the model says and the project's label for it, None for what is left out. `ANY` stands for
            all that resembles nothing in the list; without it, that keeps its words.
        edges: triples of a label of the project and the seconds to add to starts and to ends; `ANY` for other labels.
        score: slope and offset of the log-odds of a score (Platt); None leaves scores as they are.
        thresholds: pairs of a label of the project and the least score of a segment; `ANY` for other labels.

    Raises:
        ValueError: a part that is not of this form.
    """

    asked: tuple[str, ...] | None = None
    names: tuple[tuple[str, str | None], ...] = ()
    edges: tuple[tuple[str, float, float], ...] = ()
    score: tuple[float, float] | None = None
    thresholds: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for part in ("names", "edges", "thresholds"):
            keys = [label_key(entry[0]) for entry in getattr(self, part)]
            if len(set(keys)) < len(keys):
                raise ValueError(f"{part} must list each label once")
        seconds = [second for _, *pair in self.edges for second in pair]
        if not all(map(math.isfinite, [*seconds, *(self.score or ())])):
            raise ValueError("edges and score must be finite numbers")
        if self.score is not None and self.score[0] < 0:
            raise ValueError(f"a surer segment must not become less sure, got a slope of {self.score[0]}")
        if not all(0 <= threshold <= 1 for _, threshold in self.thresholds):
            raise ValueError("a threshold lies between 0 and 1")

    @property
    def changes_nothing(self) -> bool:
        """Whether the model is asked and read as without a calibration."""
        return self == Calibration()

    def apply(self, segments: Iterable[Segment], duration: float) -> tuple[Segment, ...]:
        """The segments of a video of `duration` seconds as the project would have them, sorted.

        Of two that become the same span with the same label the surer one stays.
        """
        found: dict[tuple[float, float, str], Segment] = {}
        for said in segments:
            name = self.name(said.label)
            if name is None:
                continue
            segment = self._shifted(replace(said, label=name), duration)
            if segment.score is not None:
                segment = replace(segment, score=self.rescored(segment.score))
            if segment.score is not None and segment.score < self._threshold(name):
                continue
            span = segment.start, segment.end, name
            found[span] = max(found.get(span, segment), segment, key=lambda each: each.score or 0.0)
        return tuple(sorted(found.values()))

    def name(self, said: str) -> str | None:
        """The project's label for what the model says; None where it is left out."""
        key = label_key(said)
        if key in self._names:
            return self._names[key]
        if self.asked == () and (votes := self._votes(key)):
            return max(votes, key=lambda name: votes[name])
        return self._names.get(ANY, said)

    def rescored(self, score: float) -> float:
        """What a score of the model is worth."""
        if self.score is None:
            return score
        slope, offset = self.score
        return logistic(slope * log_odds(score) + offset)

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The reverse.

        Raises:
            ValueError: `text` is not what `to_json` writes.
        """
        try:
            fields = json.loads(text)
            return cls(
                asked=None if fields["asked"] is None else tuple(map(str, fields["asked"])),
                names=tuple((str(said), None if name is None else str(name)) for said, name in fields["names"]),
                edges=tuple((str(label), float(start), float(end)) for label, start, end in fields["edges"]),
                score=None if fields["score"] is None else (float(fields["score"][0]), float(fields["score"][1])),
                thresholds=tuple((str(label), float(threshold)) for label, threshold in fields["thresholds"]),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"not a calibration: {error!r}") from error

    def _shifted(self, segment: Segment, duration: float) -> Segment:
        """With its edges where people put them, inside the video; as it is where it would end before it starts."""
        earlier, later = self._edges.get(label_key(segment.label), self._edges.get(ANY, (0.0, 0.0)))
        start, end = max(0.0, segment.start + earlier), min(max(duration, segment.end), segment.end + later)
        return replace(segment, start=start, end=end) if start < end else segment

    def _threshold(self, label: str) -> float:
        return self._thresholds.get(label_key(label), self._thresholds.get(ANY, 0.0))

    def _votes(self, key: str) -> dict[str | None, float]:
        """For each name, how much the phrases that mean it have in common with a phrase that is not listed."""
        words = _words(key)
        votes: dict[str | None, float] = defaultdict(float)
        for known, name in self._phrases:
            alike = len(words & known) / max(1, len(words | known))
            if alike >= LIKE:
                votes[name] += alike
        return votes

    @cached_property
    def _names(self) -> Mapping[str, str | None]:
        return {label_key(said): name for said, name in self.names}

    @cached_property
    def _phrases(self) -> tuple[tuple[frozenset[str], str | None], ...]:
        return tuple((_words(key), name) for key, name in self._names.items() if key != ANY)

    @cached_property
    def _edges(self) -> Mapping[str, tuple[float, float]]:
        return {label_key(label): (start, end) for label, start, end in self.edges}

    @cached_property
    def _thresholds(self) -> Mapping[str, float]:
        return {label_key(label): threshold for label, threshold in self.thresholds}


def log_odds(score: float) -> float:
    """The logarithm of a score's odds, within what a score can tell."""
    if score <= 0 or score >= 1:
        return -MAX_LOG_ODDS if score <= 0 else MAX_LOG_ODDS
    return min(max(math.log(score / (1 - score)), -MAX_LOG_ODDS), MAX_LOG_ODDS)


def logistic(odds: float) -> float:
    """The score with these log-odds, 0 to 1; without overflow."""
    return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


def label_key(label: str) -> str:
    """What two spellings of a label have in common: case and white space do not count."""
    return " ".join(label.casefold().split())


def _words(key: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", key))
