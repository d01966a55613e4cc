"""Whether an adapter is trained, and whether it is used: where calibration does not suffice, and if it helps more.

    Outcome of calibrating -> why_not -> train -> measured on the held-out tasks, against what there was -> Outcome

Knows the order, and what counts as better.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from omni_timeline.errors import OmniTimelineError
from omni_timeline.learning.asking import Model as Predictor
from omni_timeline.learning.corrections import CorrectedTask
from omni_timeline.learning.evaluation import compare, evaluate
from omni_timeline.learning.learn import Outcome, shown_with
from omni_timeline.learning.lessons import Classroom, Lesson
from omni_timeline.learning.material import Material
from omni_timeline.learning.quality import improvement
from omni_timeline.learning.training import Recipe, Trained, train
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.media.isolated import Decoder
from omni_timeline.metrics import event_f1, pool
from omni_timeline.model.adapter import Adapter
from omni_timeline.model.family import Model
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import OnProgress
from omni_timeline.segments import Segment

ENOUGH = 0.8  # F1 on the held-out tasks, from which on nothing is trained
WORTH_IT = 0.05  # F1 there that an adapter must add
MAX_REPLAYED_LABELS = 30  # more make a prompt that no project has

Found = Mapping[str, Sequence[Segment]]


@dataclass(frozen=True)
class TrainingPlan:
    """How an adapter is trained for a project.

    Attributes:
        folder: where the training can go on after an interruption; removed by the caller that saves the version.
        recipe: rates, steps and so on.
        replay: videos about which the model is to go on answering as it does.
        max_seconds: for how long at most; 0 for as long as it takes.
    """

    folder: Path
    recipe: Recipe = field(default_factory=Recipe)
    replay: tuple[Path, ...] = ()
    max_seconds: float = 0.0


def why_not(outcome: Outcome) -> str:
    """Why nothing is trained after a calibration, in a sentence; "" where something is."""
    material = outcome.material
    if outcome.version.options.remap != "real":
        return "Nothing was trained: that needs the video's real time (remap)."
    if not material.held_out:
        return (
            "Nothing was trained: without held-out tasks there is no way to tell whether it helps. Star some tasks, or "
            "correct more."
        )
    f1 = _f1(material.held_out, _before(outcome))
    if f1 >= ENOUGH:
        return f"Nothing was trained: F1 on the held-out tasks is {f1:.2f} without."
    return ""


def improve(
    outcome: Outcome, model: Model, plan: TrainingPlan, on_progress: OnProgress = lambda progress: None
) -> Outcome:
    """The outcome with an adapter where that is better, else the one that there was, with a word about it.

    Args:
        outcome: of calibrating.
        model: the checkpoint, loaded in this process; it is of no other use afterwards.
        plan: how.
        on_progress: called at each step.

    Raises:
        OmniTimelineError: a video cannot be read, or memory does not suffice.
        OSError: the folder cannot be written.
    """
    material, version = outcome.material, outcome.version
    options = material.options
    pipeline = Pipeline(model)
    predictor = Predictor(model.version, pipeline.predict)
    with ExitStack() as opened:
        lessons = _lessons(material, opened)
        new = Classroom(lessons, model.family, model.facts, plan.recipe.seed, pipeline.decoder)
        replayed = _replayed(predictor, model, options, plan, pipeline.decoder)
        training = model.family.train(
            model, material.source.config.labels, plan.recipe.seed, with_towers=plan.recipe.with_towers
        )

        def measure() -> float:
            """The model answers with what is trained: the adapter that its options name is none."""
            return _f1(material.held_out, shown_with(material.source, predictor, options, material.held_out, _quiet))

        task = _task(version, lessons, plan)
        trained = train(training, new, replayed, plan.recipe, measure, plan.folder, task, on_progress, plan.max_seconds)
    adapted = replace(options, adapter=Adapter.find(trained.adapter))
    found = shown_with(material.source, predictor, adapted, material.held_out, on_progress)
    return _judged(outcome, adapted, found, trained)


def _judged(outcome: Outcome, adapted: PredictOptions, found: Found, trained: Trained) -> Outcome:
    """The outcome that is better on the held-out tasks."""
    material, version, before = outcome.material, outcome.version, _before(outcome)
    held_out = [task for task in material.held_out if task.key in found]
    change = improvement(compare(held_out, before), compare(held_out, found))
    f1 = _f1(held_out, before), _f1(held_out, found)
    numbers = f"F1 {f1[0]:.2f} without, {f1[1]:.2f} with, on {len(held_out)} held-out tasks"
    words = f"Trained for {trained.checks[-1].step} steps, {trained.seconds / 60:.0f} minutes: {numbers}."
    if trained.stopped:
        words += f" It ended before its {trained.steps} steps: {trained.stopped}."
    if change.f1["0.5"].value < WORTH_IT or change.mean_iou.value < 0:
        return replace(outcome, version=replace(version, training=f"{words} The adapter is not used."))
    evaluation = evaluate(
        material,
        held_out,
        outcome.evaluation.measured_on,
        learned=found,
        learned_version=adapted.version(version.base),
        curve=outcome.evaluation.curve,
    )
    version = replace(
        version,
        options=adapted,
        is_offered=True,
        reason=f"An adapter was trained, and it is better where it was not trained: {numbers}.",
        training=f"{words} The calibration is not used beside it: the adapter says what the project calls things.",
    )
    return Outcome(version, (), evaluation, material, found)


def _before(outcome: Outcome) -> Found:
    """The better of what people see now and what they would see with the calibration, on the held-out tasks."""
    material = outcome.material
    if not outcome.version.is_offered:
        return material.now
    calibrated = material.found(outcome.version.calibration)
    return max(calibrated, material.now, key=lambda found: _f1(material.held_out, found))


def _f1(tasks: Sequence[CorrectedTask], found: Found) -> float:
    return pool(event_f1(each.corrected, each.found) for each in compare(tasks, found)).f1


def _lessons(material: Material, opened: ExitStack) -> list[Lesson]:
    """The corrected videos that are not held out; their files are kept while `opened` is."""
    lessons: dict[str, Lesson] = {}
    for task in material.learned_from:
        people = tuple(each.segments for each in task.reference)
        if task.key in lessons:
            people = (*lessons[task.key].people, *people)
            path = lessons[task.key].path
        else:
            path = opened.enter_context(material.source.videos.local(task.video, task_id=task.task))
        lessons[task.key] = Lesson(path, material.options, people)
    return list(lessons.values())


def _replayed(
    predictor: Predictor, model: Model, options: PredictOptions, plan: TrainingPlan, decoder: Decoder
) -> Classroom | None:
    """Videos with what the model says of them before it is trained, in its own words and with these as labels."""
    free = replace(options, labels=(), hints=(), adapter=None, calibration=None, score_threshold=0.0)
    said = []
    for path in plan.replay:
        try:
            said.append((path, predictor.predict(path, free).segments))
        except OmniTimelineError:
            continue  # no video, or a damaged one: the others do
    if not said:
        return None
    words = tuple(sorted({segment.label for _, segments in said for segment in segments}))
    with_labels = replace(free, labels=words[:MAX_REPLAYED_LABELS], descriptions=options.descriptions)
    lessons = [Lesson(path, asked, (segments,)) for path, segments in said for asked in (with_labels, free)]
    return Classroom(lessons, model.family, model.facts, plan.recipe.seed + 1, decoder)


def _task(version: LearnedVersion, lessons: Sequence[Lesson], plan: TrainingPlan) -> str:
    """Names what is trained on and how: the same goes on where it was interrupted."""
    people = [[asdict(segment) for segment in segments] for lesson in lessons for segments in lesson.people]
    words = [version.base, version.made_from.learned, people, asdict(plan.recipe), list(map(str, plan.replay))]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _quiet(_: object) -> None:
    """Says nothing."""
