"""What was learned beside the version that a project has already: whether it is worth a change.

Knows what counts as better. Knows nothing of how either was learned, or of what brings a version into use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from omni_timeline.learning.asking import Model, ask, way_to_ask
from omni_timeline.learning.corrections import CorrectedTask
from omni_timeline.learning.evaluation import compare
from omni_timeline.learning.learn import Outcome, shown_with, told
from omni_timeline.learning.material import Material
from omni_timeline.learning.quality import improvement
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.pipeline.prediction import OnProgress
from omni_timeline.segments import Segment


def against(
    outcome: Outcome, in_use: LearnedVersion, model: Model, on_progress: OnProgress = lambda progress: None
) -> Outcome:
    """The outcome, no longer offered where the version in use does the same, or is clearly better.

    Both are compared on the tasks from which neither was learned; the reason says how they do there.

    Args:
        outcome: what was learned.
        in_use: the version that the project has, of the same checkpoint.
        model: the predictor.
        on_progress: called now and then with how far it is.
    """
    version, material = outcome.version, outcome.material
    if not version.is_offered:
        return outcome
    if version.options == in_use.options:
        return _refused(outcome, "These corrections teach what the version in use does already.")
    tasks = (*material.learned_from, *material.held_out)
    unseen = [task for task in tasks if task.key in outcome.found and task.key not in in_use.made_from.learned]
    if not unseen:
        return outcome
    theirs = _found_with(in_use, material, model, unseen, on_progress)
    both = [task for task in unseen if task.key in theirs]
    change = improvement(compare(both, theirs), compare(both, outcome.found))
    high = change.f1["0.5"].high
    if high is not None and high < 0:
        return _refused(outcome, f"It is clearly worse than the version in use: {told(change)}.")
    reason = f"{version.reason} Against the version in use: {told(change)}."
    return replace(outcome, version=replace(version, reason=reason))


def _found_with(
    version: LearnedVersion,
    material: Material,
    model: Model,
    tasks: Sequence[CorrectedTask],
    on_progress: OnProgress,
) -> Mapping[str, Sequence[Segment]]:
    """What people see of the videos of tasks with a version, by key."""
    options = material.source.config.options(version.options)
    if options.adapter is not None:
        return shown_with(material.source, model, options, tasks, on_progress)
    asked = version.calibration.asked
    answers = ask(material.source, tasks, {asked: way_to_ask(options, asked)}, model, on_progress)
    return Material(material.source, material.checkpoint, options, answers).found(version.calibration)


def _refused(outcome: Outcome, reason: str) -> Outcome:
    return replace(outcome, version=replace(outcome.version, is_offered=False, reason=reason))
