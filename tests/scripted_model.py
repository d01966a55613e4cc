"""A model that answers by the name of the file, for tests of what is around it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omni_timeline.errors import OmniTimelineError
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Priority, Progress
from omni_timeline.pipeline.statistics import Statistics
from omni_timeline.segments import Segment

SPEECH = Segment(1.0, 2.5, "Speech", "someone speaks", 0.9)
CHECKPOINT = "scripted-1"


@dataclass
class ScriptedModel:
    """As `Scheduler`, but for the models.

    Attributes:
        answers: by the name of the file; segments, or what is raised. Others have `SPEECH`.
        seconds: how long a video takes; one is worked on at a time.
        gate: nothing is predicted before it is open.
    """

    answers: dict[str, tuple[Segment, ...] | Exception] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    text: str = ""
    seconds: float = 0.0
    state: Literal["loading", "ready", "failed"] = "ready"
    error: OmniTimelineError | None = None
    checkpoint_version: str | None = CHECKPOINT
    description: str | None = "a script"
    loads: int = 1
    doing: str = ""
    silent: dict[str, float] = field(default_factory=dict)
    without: dict[str, OmniTimelineError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    options_seen: list[PredictOptions] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    closed: bool = False
    _change: threading.Condition = field(default_factory=threading.Condition)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def know(self, version: str | None = CHECKPOINT, error: OmniTimelineError | None = None) -> None:
        """The end of loading."""
        with self._change:
            self.checkpoint_version, self.error = version, error
            self.state = "failed" if error else "ready"
            self._change.notify_all()

    def wait_for_version(self, seconds: float) -> str | None:
        with self._change:
            self._change.wait_for(lambda: self.checkpoint_version is not None or self.error is not None, seconds)
        return self.checkpoint_version

    def start(self) -> None:
        pass

    def lately(self) -> dict[str, float]:
        return Statistics().lately()

    def silent_seconds(self) -> dict[str, float]:
        return self.silent

    def lost(self) -> dict[str, OmniTimelineError]:
        return self.without

    def predict(
        self,
        path: Path,
        options: PredictOptions | None = None,
        on_progress: OnProgress | None = None,
        *,
        priority: Priority = Priority.REQUEST,
        group: str | None = None,
    ) -> Prediction:
        options = options or PredictOptions()
        self.priorities.append(priority)
        self.asked.append(path.name)
        self.options_seen.append(options)
        self.gate.wait(30)
        with self._turn:
            time.sleep(self.seconds)
        if on_progress:
            on_progress(Progress("windows", 1, 1))
        answer = self.answers.get(path.name, (SPEECH,))
        if isinstance(answer, Exception):
            raise answer
        if options.calibration is not None:
            answer = options.calibration.apply(answer, 30.0)
        assert self.checkpoint_version is not None
        return Prediction(
            path, 30.0, answer, options.version(self.checkpoint_version), self.text, self.warnings, {"mended": 1}
        )

    def close(self) -> None:
        self.closed = True
