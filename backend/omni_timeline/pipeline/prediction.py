"""What comes back about a video: plain values that cross processes and fit into a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Self

from omni_timeline.errors import OmniTimelineError
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Prediction:
    """What the model finds in one video.

    Attributes:
        path: the video, as it was given.
        duration: seconds of the whole video.
        segments: sorted, in seconds of the whole video.
        model_version: names the checkpoint and the options: the same version predicts the same.
        text: the model's answers, word for word, one window after the other.
        warnings: one sentence for each thing in the file or in the answer that is not as it should be.
        lines: what became of lines that were not as they should be, by reason.
        windows: how many windows a first pass over the video has.
        in_shorter: how many of these were looked at in shorter ones, by the strongest reason.
        seconds: how long each stage took.
        is_degraded: it was made with less than was asked for, since memory ran out: it is delivered, and not kept.
    """

    path: Path
    duration: float
    segments: tuple[Segment, ...]
    model_version: str
    text: str
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict)
    windows: int = 1
    in_shorter: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    is_degraded: bool = False

    @property
    def looked_again(self) -> str:
        """How many windows were looked at in shorter ones, and why, in a sentence; "" where none was."""
        if not self.in_shorter:
            return ""
        count = sum(self.in_shorter.values())
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(self.in_shorter.items()))
        windows = f"{self.windows} window{'s' * (self.windows > 1)}"
        return f"{count} of {windows} {'was' if count == 1 else 'were'} looked at in shorter ones: {reasons}"

    def to_json(self) -> str:
        """All of it, but where the video was."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "path"}
        values["segments"] = [asdict(segment) for segment in self.segments]
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str, path: Path) -> Self:
        """A prediction from what `to_json` wrote.

        Raises:
            ValueError: `text` is not what `to_json` writes.
        """
        try:
            values = json.loads(text)
            values["segments"] = tuple(Segment(**segment) for segment in values["segments"])
            values["warnings"] = tuple(values["warnings"])
            return cls(path=path, **values)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a prediction: {error}") from error


@dataclass(frozen=True)
class Failure:
    """A video without a prediction, and why."""

    path: Path
    error: OmniTimelineError


@dataclass(frozen=True)
class Progress:
    """How far a video is: `done` of `total` in the stage that is named; a total of 0 where nothing is counted."""

    stage: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.stage} {self.done} of {self.total}" if self.total else self.stage


class Priority(Enum):
    """How urgent a video is: the value is how many seconds after its submission it is due.

    A question from the labeling page goes before all requests of the last eleven minutes, since a slow model may have
    as much to do for them.
    """

    INTERACTIVE = -600.0
    REQUEST = 60.0
    BACKGROUND = 600.0


OPENING, ANSWERING = "opening the video", "with the model"  # stages in which nothing is counted

OnProgress = Callable[[Progress], None]
