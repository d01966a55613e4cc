"""From corrections to a learned version, and to the numbers of one: the order of the steps.

    Source -> Material: the model is asked in every way -> calibrate -> evaluate, on tasks that were not learned from
           -> LearnedVersion

Knows no files but through `Source`, and no model but through a predictor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from omni_timeline.learning.asking import Asked, Model, ask, way_to_ask, ways_to_ask
from omni_timeline.learning.calibrate import Learned, Part, calibrate
from omni_timeline.learning.corrections import CorrectedTask
from omni_timeline.learning.curve import learning_curve
from omni_timeline.learning.evaluation import Evaluation, compare, evaluate
from omni_timeline.learning.material import Material
from omni_timeline.learning.quality import Difference, improvement
from omni_timeline.learning.sources import Source
from omni_timeline.learning.version import LearnedVersion, MadeFrom
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Progress
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Outcome:
    """What learning gave: a version, which may be no better than before.

    Attributes:
        version: as it would be saved.
        parts: how its parts were tried.
        evaluation: the numbers.
        material: what it was learned from.
        found: what people would see of videos with what was not learned from them, by key.
    """

    version: LearnedVersion
    parts: tuple[Part, ...]
    evaluation: Evaluation
    material: Material
    found: Mapping[str, Sequence[Segment]]


@dataclass(frozen=True)
class _Candidate:
    """What may become a version: a calibration, and what it does to tasks that it was not learned from.

    Attributes:
        material: what it was learned from, and the held-out tasks.
        learned: the calibration.
    """

    material: Material
    learned: Learned

    @classmethod
    def calibrated(cls, material: Material) -> _Candidate:
        """The best calibration of a model's answers."""
        examples = material.examples(material.learned_from)
        return cls(material, calibrate(examples, material.source.config.labels, material.shown))

    @property
    def options(self) -> PredictOptions:
        """How the project is predicted with it."""
        calibration = self.learned.calibration
        return replace(self.material.options, calibration=None if calibration.changes_nothing else calibration)

    @property
    def measured(self) -> tuple[Sequence[CorrectedTask], str]:
        """The tasks to measure it on, and which they are, in words."""
        if self.material.held_out:
            return self.material.held_out, "the held-out tasks, from which nothing was learned"
        return self.material.learned_from, "all tasks, each predicted by what was learned from the others"

    @cached_property
    def found(self) -> Mapping[str, Sequence[Segment]]:
        """What people would see of each video, by key: by what was learned without that video."""
        return self.material.found(self.learned.calibration) | dict(self.learned.left_out)

    def verdict(self) -> tuple[bool, str]:
        """Whether it is offered, and why, in a sentence.

        Every corrected task tells, by what was learned without it: the held-out ones, and each other one left out in
        its turn. A handful of held-out tasks alone would decide by chance; they decide where they are clearly worse.
        """
        if self.learned.calibration.changes_nothing:
            return False, "No part of a calibration helped on tasks that it was not learned from."
        held_out = self.material.held_out
        if held_out and (high := (alone := self._change(held_out)).f1["0.5"].high) is not None and high < 0:
            return False, f"It is clearly worse on the held-out tasks: {told(alone)}."
        every = self._change((*self.material.learned_from, *held_out))
        if every.f1["0.5"].value + every.mean_iou.value < 0:
            return False, f"It is worse on tasks that it was not learned from: {told(every)}."
        return True, f"On tasks that it was not learned from: {told(every)}."

    def _change(self, tasks: Sequence[CorrectedTask]) -> Difference:
        return improvement(compare(tasks, self.material.now), compare(tasks, self.found))


def learn(
    source: Source,
    model: Model,
    options: PredictOptions,
    now: str,
    on_progress: OnProgress = lambda progress: None,
    *,
    max_seconds: float = 0.0,
    with_curve: bool = True,
) -> Outcome:
    """A calibration of a project's corrections, and whether it is better than what the project has.

    Args:
        source: the corrections.
        model: the predictor.
        options: how the project is predicted without a calibration.
        now: the time, in UTC, as ISO 8601 writes it.
        on_progress: called now and then with how far it is.
        max_seconds: for how long the model is asked; 0 for as long as it takes.
        with_curve: whether to find out if more corrections are worth it, which takes longer than all the rest.

    Raises:
        RequestError: there is nothing to learn from.
    """
    ways = ways_to_ask(options, source.corrections)
    material = Material.collect(source, model, options, ways, on_progress, max_seconds)
    on_progress(Progress("calibrating"))
    candidate = _Candidate.calibrated(material)
    measured, measured_on = candidate.measured
    evaluation = evaluate(
        material,
        measured,
        measured_on,
        learned=candidate.found,
        learned_version=candidate.options.version(model.version),
        curve=learning_curve(material, _step(on_progress)) if with_curve else (),
    )
    made_from = MadeFrom(
        source.name, _keys(material.learned_from), _keys(material.held_out), annotations=evaluation.annotations
    )
    version = LearnedVersion(model.version, candidate.options, made_from, now, *candidate.verdict())
    return Outcome(version, candidate.learned.parts, evaluation, material, candidate.found)


def measure(
    source: Source,
    model: Model,
    options: PredictOptions,
    version: LearnedVersion | None = None,
    on_progress: OnProgress = lambda progress: None,
    *,
    with_curve: bool = True,
) -> Evaluation:
    """The numbers of a project: of its model as it is, or beside it of a learned version.

    A learned version is measured on the tasks that it was not learned from.

    Args:
        source: the corrections.
        model: the predictor.
        options: how the project is predicted without a calibration; ignored with a version, which has its own.
        version: the learned version.
        on_progress: called now and then with how far it is.
        with_curve: whether to find out if more corrections are worth it, for which the model is asked in every way.

    Raises:
        RequestError: there is nothing to measure, or the version belongs to another checkpoint.
    """
    if version is not None:
        version.check_base(model.version)
        options = replace(source.config.options(version.options), adapter=None)
    ways = ways_to_ask(options, source.corrections)
    with_curve = with_curve and bool(source.corrections.split.held_out)
    if not with_curve:
        ways = {None: ways[None]}
    calibration = version.calibration if version else Calibration()
    ways[calibration.asked] = way_to_ask(options, calibration.asked)
    material = Material.collect(source, model, options, ways, on_progress)
    measured, measured_on = _measured(material, version)
    found = material.found(calibration) if version else None
    if version is not None and version.options.adapter is not None:
        options = replace(options, adapter=version.options.adapter)
        found = shown_with(source, model, options, measured, on_progress)
    return evaluate(
        material,
        measured,
        measured_on,
        learned=found,
        learned_version=options.version(model.version) if version else "",
        curve=learning_curve(material, _step(on_progress)) if with_curve else (),
    )


def shown_with(
    source: Source, model: Model, options: PredictOptions, tasks: Sequence[CorrectedTask], on_progress: OnProgress
) -> dict[str, tuple[Segment, ...]]:
    """What people would see in the videos of tasks with an adapter, which needs no calibration, by key."""
    ways: dict[Asked, PredictOptions] = {None: replace(options, calibration=None, score_threshold=0.0)}
    answers = ask(source, tasks, ways, model, on_progress)
    shown = Material(source, model.version, options, answers).shown
    return {key: shown(segments) for key, segments in answers.segments[None].items()}


def _measured(material: Material, version: LearnedVersion | None) -> tuple[Sequence[CorrectedTask], str]:
    """The tasks to measure on, and which they are, in words."""
    tasks = (*material.learned_from, *material.held_out)
    if version is None:
        return tasks, "all corrected tasks"
    others = [task for task in tasks if task.key not in version.made_from.learned]
    if others:
        return others, "the tasks that the version was not learned from"
    return tasks, "all tasks, from which the version was learned, so that its numbers are too good"


def told(change: Difference) -> str:
    """How much better something is, in a few words."""
    f1, overlap = change.f1["0.5"].value, change.mean_iou.value
    return f"F1 {f1:+.2f}, mean IoU {overlap:+.2f} ({change.tasks} tasks)"


def _keys(tasks: Sequence[CorrectedTask]) -> tuple[str, ...]:
    return tuple(sorted({task.key for task in tasks}))


def _step(on_progress: OnProgress) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(Progress("learning curve", done, total))
