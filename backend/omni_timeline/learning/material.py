"""What is learned from and measured on: a project's corrections beside what the model says of the same videos.

Knows which tasks may be learned from. Knows nothing of how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from omni_timeline.errors import RequestError
from omni_timeline.learning.asking import Answers, Asked, Model, ask
from omni_timeline.learning.calibrate import Example, Shown
from omni_timeline.learning.corrections import CorrectedTask
from omni_timeline.learning.sources import Source
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Material:
    """Corrections, and the model's answers.

    Attributes:
        source: the corrections.
        checkpoint: the model's version.
        options: how the project is predicted now, without a calibration.
        answers: what the model says.
    """

    source: Source
    checkpoint: str
    options: PredictOptions
    answers: Answers

    @classmethod
    def collect(
        cls,
        source: Source,
        model: Model,
        options: PredictOptions,
        ways: Mapping[Asked, PredictOptions],
        on_progress: OnProgress,
        max_seconds: float = 0.0,
    ) -> Material:
        """Ask the model about every corrected video, in every one of `ways`.

        Raises:
            RequestError: there is no correction, or no video can be predicted.
        """
        tasks = source.corrections.tasks
        if not tasks:
            raise RequestError(f"Nobody has corrected anything in {source.name} yet.")
        answers = ask(source, tasks, ways, model, on_progress, max_seconds)
        if not answers.durations:
            raise RequestError(f"No video of {source.name} could be predicted: {next(iter(answers.failures.values()))}")
        return cls(source, model.version, replace(options, calibration=None), answers)

    @property
    def shown(self) -> Shown:
        """What people get to see of segments."""
        return Shown(self.source.config.labeled, self.options.score_threshold)

    @property
    def version(self) -> str:
        """The model version of the project as it is predicted now."""
        return self.options.version(self.checkpoint)

    @cached_property
    def learned_from(self) -> tuple[CorrectedTask, ...]:
        """The tasks that are not held out and have an answer."""
        return self._tasks(is_held_out=False)

    @cached_property
    def held_out(self) -> tuple[CorrectedTask, ...]:
        """The tasks that are held out and have an answer."""
        return self._tasks(is_held_out=True)

    @cached_property
    def now(self) -> dict[str, tuple[Segment, ...]]:
        """What people see of each video now, by key."""
        return self.found(Calibration())

    def found(self, calibration: Calibration) -> dict[str, tuple[Segment, ...]]:
        """What people would see of each video with a calibration, by key."""
        said, durations = self.answers.segments[calibration.asked], self.answers.durations
        return {key: self.shown(calibration.apply(segments, durations[key])) for key, segments in said.items()}

    def examples(self, tasks: Sequence[CorrectedTask]) -> dict[Asked, list[Example]]:
        """The videos of tasks as the model answers them, by what it was asked; tasks with one video are one example."""
        corrected: dict[str, tuple[tuple[Segment, ...], ...]] = {}
        for task in tasks:
            corrected[task.key] = corrected.get(task.key, ()) + tuple(each.segments for each in task.reference)
        return {
            asked: [Example(key, self.answers.durations[key], said[key], people) for key, people in corrected.items()]
            for asked, said in self.answers.segments.items()
        }

    def _tasks(self, *, is_held_out: bool) -> tuple[CorrectedTask, ...]:
        held_out = self.source.corrections.split.held_out
        return tuple(
            task
            for task in self.source.corrections.tasks
            if task.key in self.answers.durations and (task.key in held_out) == is_held_out
        )
