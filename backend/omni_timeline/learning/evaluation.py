"""What a lead wants to know of a project's suggestions, as values: what they cost, how good they are, what is wrong.

    Material, and what a learned version finds ---> Evaluation ---> a page, or one JSON object

Knows how the numbers are put together, and which tasks they may be counted over. How each is counted is known to
`effort`, `quality` and `scores`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from statistics import fmean, median
from typing import Any

from omni_timeline.learning.corrections import CorrectedTask
from omni_timeline.learning.curve import CurvePoint
from omni_timeline.learning.effort import Effort, efforts
from omni_timeline.learning.material import Material
from omni_timeline.learning.pairs import pair_by_time
from omni_timeline.learning.quality import (
    Comparison,
    Difference,
    Quality,
    improvement,
    quality,
)
from omni_timeline.learning.scores import Confusion, Reliability, ThresholdPoint, confusion, reliability, thresholds
from omni_timeline.learning.sources import Source
from omni_timeline.metrics import event_f1, pool
from omni_timeline.segments import Segment

FORMAT = 1
WORST = 10  # tasks that are named
STORED = 3  # model versions of stored predictions that are measured, those with the most tasks

Column = tuple[str, str, Mapping[str, Sequence[Segment]]]  # name, model version, what it finds by key


@dataclass(frozen=True)
class Measured:
    """One model version on the measured tasks.

    Attributes:
        name: "now", "learned", or "stored" for predictions that are in Label Studio.
        model_version: as it is written in predictions.
        quality: its numbers.
        before: how much it is better than the version before it, on the tasks that both have; None for the first.
    """

    name: str
    model_version: str
    quality: Quality
    before: Difference | None


@dataclass(frozen=True)
class Agreement:
    """How far two people agree about the same videos: what a model can hope for.

    Attributes:
        tasks: how many have several people's annotations.
        pairs: pairs of annotations.
        f1: at IoU .3, .5 and .7, either taken as right.
        same_label: of events that overlap by half, the share with the same label; None where none do.
        edge: seconds between their edges, the median; None likewise.
    """

    tasks: int
    pairs: int
    f1: dict[str, float]
    same_label: float | None
    edge: float | None


@dataclass(frozen=True)
class WorstTask:
    """A task whose suggestions need most correcting: F1 at IoU .5, and what is wrong."""

    task: int
    video: str
    link: str | None
    f1: float
    missed: int
    spurious: int
    wrong_label: int
    wrong_edges: int


@dataclass(frozen=True)
class Evaluation:
    """Everything about one project's suggestions.

    Attributes:
        source: what the corrections were read from.
        checkpoint: the model's version, without what it is asked.
        tasks: how many are corrected.
        annotations: by how many annotations.
        left_out: what was not taken, by reason.
        failures: tasks whose video has no prediction, and why.
        split: which tasks are held out, in a sentence.
        measured_on: which tasks the numbers are counted over, in words.
        versions: from the oldest to the newest.
        effort: what the suggestions cost, by model version.
        confusion: of the newest version, and so are those that follow.
        thresholds: what remains at each score.
        suggested_threshold: where F1 is best; None where segments have no scores.
        reliability: what the scores are worth.
        agreement: of two people; None where no task has two.
        worst: the tasks that need most correcting.
        curve: whether more corrections are worth it; empty where nothing is held out.
        labels: the project's.
    """

    source: str
    checkpoint: str
    tasks: int
    annotations: int
    left_out: Mapping[str, int]
    failures: Mapping[int, str]
    split: str
    measured_on: str
    versions: tuple[Measured, ...]
    effort: tuple[Effort, ...]
    confusion: Confusion
    thresholds: tuple[ThresholdPoint, ...]
    suggested_threshold: float | None
    reliability: Reliability | None
    agreement: Agreement | None
    worst: tuple[WorstTask, ...]
    curve: tuple[CurvePoint, ...]
    labels: tuple[str, ...]

    def as_object(self) -> dict[str, Any]:
        """All of it, as plain values for JSON."""
        return {"format": FORMAT, **asdict(self)}


def compare(tasks: Iterable[CorrectedTask], found: Mapping[str, Sequence[Segment]]) -> list[Comparison]:
    """Each annotation of these tasks beside what was found in its video, where something was looked for."""
    return [
        Comparison(task.key, correction.segments, tuple(found[task.key]))
        for task in tasks
        if task.key in found
        for correction in task.reference
    ]


def evaluate(
    material: Material,
    measured: Sequence[CorrectedTask],
    measured_on: str,
    *,
    learned: Mapping[str, Sequence[Segment]] | None = None,
    learned_version: str = "",
    curve: Sequence[CurvePoint] = (),
) -> Evaluation:
    """The numbers of a project.

    Args:
        material: the corrections, and what the model says of their videos.
        measured: the tasks to count over.
        measured_on: which they are, in words.
        learned: what a learned version finds in them, by key; None without one.
        learned_version: its model version.
        curve: whether more corrections are worth it.
    """
    source, corrections = material.source, material.source.corrections
    columns: list[Column] = [
        ("stored", version, found)
        for version, found in stored(measured)
        if version not in (material.version, learned_version)
    ]
    columns.append(("now", material.version, material.now))
    if learned is not None:
        columns.append(("learned", learned_version, learned))
    newest = compare(measured, columns[-1][2])
    points = thresholds(newest)
    best = max(points, key=lambda point: (point.f1, -point.threshold), default=None)
    return Evaluation(
        source=source.name,
        checkpoint=material.checkpoint,
        tasks=len(corrections.tasks),
        annotations=sum(len(task.corrections) for task in corrections.tasks),
        left_out=corrections.left_out,
        failures=material.answers.failures,
        split=corrections.split.sentence,
        measured_on=measured_on,
        versions=tuple(_measured(number, columns, measured) for number in range(len(columns))),
        effort=efforts(corrections.tasks, material.answers.durations, material.now, material.version),
        confusion=confusion(newest),
        thresholds=points,
        suggested_threshold=best.threshold if best else None,
        reliability=reliability(newest),
        agreement=agreement(corrections.tasks),
        worst=_worst(source, measured, columns[-1][2]),
        curve=tuple(curve),
        labels=source.config.labels,
    )


def stored(tasks: Iterable[CorrectedTask]) -> list[tuple[str, dict[str, tuple[Segment, ...]]]]:
    """The stored predictions of these tasks by model version, oldest first; of the versions with the most tasks."""
    found: dict[str, dict[str, tuple[Segment, ...]]] = {}
    for task in tasks:
        for suggestion in task.suggestions:
            found.setdefault(suggestion.version, {})[task.key] = suggestion.segments
    most = sorted(found, key=lambda version: -len(found[version]))[:STORED]
    return [(version, found[version]) for version in found if version in most]


def agreement(tasks: Iterable[CorrectedTask]) -> Agreement | None:
    """How far people agree, over the tasks that several of them annotated; None where none are."""
    several = [task for task in tasks if len(task.corrections) > 1]
    pairs = [(one.segments, other.segments) for task in several for one, other in combinations(task.corrections, 2)]
    if not pairs:
        return None
    together = [
        (one, other)
        for pair in pairs
        for one, other in pair_by_time(*pair, min_iou=0.5)
        if one is not None and other is not None
    ]
    edges = [abs(gap) for one, other in together for gap in (one.start - other.start, one.end - other.end)]
    return Agreement(
        tasks=len(several),
        pairs=len(pairs),
        f1={f"{iou:g}": pool(event_f1(*pair, iou) for pair in pairs).f1 for iou in (0.3, 0.5, 0.7)},
        same_label=fmean(one.label == other.label for one, other in together) if together else None,
        edge=median(edges) if edges else None,
    )


def _measured(
    number: int,
    columns: Sequence[Column],
    tasks: Sequence[CorrectedTask],
) -> Measured:
    name, version, found = columns[number]
    change = None
    if number:
        earlier = columns[number - 1][2]
        both = [task for task in tasks if task.key in found and task.key in earlier]
        change = improvement(compare(both, earlier), compare(both, found)) if both else None
    return Measured(name, version, quality(compare(tasks, found)), change)


def _worst(
    source: Source, tasks: Sequence[CorrectedTask], found: Mapping[str, Sequence[Segment]]
) -> tuple[WorstTask, ...]:
    """The tasks with the lowest F1, those with most errors first where it is equal; none that are right."""
    judged = []
    for task in tasks:
        if task.key not in found:
            continue
        wrong: Counter[str] = Counter()
        score = pool(event_f1(each.segments, found[task.key]) for each in task.reference)
        for correction in task.reference:
            for said, corrected in pair_by_time(found[task.key], correction.segments):
                wrong[_fault(said, corrected)] += 1
        errors = score.reference + score.estimated - 2 * score.matched
        worst = WorstTask(
            task.task, task.video, source.link(task), score.f1,
            missed=wrong["missed"], spurious=wrong["spurious"],
            wrong_label=wrong["label"], wrong_edges=wrong["edges"],
        )  # fmt: skip
        judged.append((score.f1, -errors, task.task, worst))
    return tuple(worst for f1, _, _, worst in sorted(judged, key=lambda each: each[:3])[:WORST] if f1 < 1)


def _fault(said: Segment | None, corrected: Segment | None) -> str:
    if said is None or corrected is None:
        return "missed" if said is None else "spurious"
    if said.label != corrected.label:
        return "label"
    return "" if event_f1([corrected], [said]).matched else "edges"
