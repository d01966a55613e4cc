"""What became of the tasks of a job: counted, and told to programs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from omni_timeline.batch.outcomes import AlreadyThere, Failed, Outcome, Predicted, Task


@dataclass(frozen=True)
class Failure:
    """A task that has failed.

    Attributes:
        task: what people call it.
        video: what people call its video.
        reason: a sentence.
    """

    task: str
    video: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without the name of the video: the same for all that failed in this way."""
        return self.reason.replace(self.video, "…") if self.video else self.reason


class Report:
    """Counts outcomes. May be used by several threads.

    Args:
        video: what people call the video of a task.
        on_change: called after each outcome.
        clock: seconds on any clock that does not go back.

    Attributes:
        predicted: tasks that have got a prediction.
        kept: those of them whose video was predicted before, so that the model was not asked.
        there: tasks that had one before.
        failures: the others.
        removed: predictions of old versions that were removed.
        seconds_by_stage: of all videos together.
    """

    def __init__(
        self,
        video: Callable[[Task], str],
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._video = video
        self._on_change = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self.predicted = self.kept = self.there = self.removed = 0
        self.failures: list[Failure] = []
        self.seconds_by_stage: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count what came of a task; a task that was put off is not counted."""
        with self._lock:
            if isinstance(outcome, Predicted):
                self.predicted += 1
                self.kept += outcome.is_kept
                self.seconds_by_stage.update(dict(outcome.seconds))
            elif isinstance(outcome, AlreadyThere):
                self.there += 1
            elif isinstance(outcome, Failed):
                self.failures.append(Failure(outcome.task.key, self._video(outcome.task), outcome.reason))
        self._on_change()

    @property
    def done(self) -> int:
        """Tasks that nothing is left to do for."""
        return self.predicted + len(self.failures)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._began

    def reasons(self) -> list[tuple[str, int]]:
        """Why tasks have failed, and how many for each reason; the most frequent first."""
        return Counter(failure.kind for failure in self.failures).most_common()

    def as_object(self) -> dict[str, Any]:
        """All of it, as a JSON object."""
        return {
            "seconds": round(self.seconds, 3),
            "tasks_a_minute": round(60 * self.predicted / max(self.seconds, 1e-9), 2),
            "predicted": self.predicted,
            "without_asking_the_model": self.kept,
            "already_there": self.there,
            "failed": len(self.failures),
            "removed_predictions": self.removed,
            "seconds_by_stage": {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds_by_stage.items())},
            "reasons": [{"reason": reason, "tasks": count} for reason, count in self.reasons()],
            "failures": [vars(failure) for failure in self.failures],
        }
