"""A calibration from corrections: what a project calls things, where it begins and ends them, what scores are worth.

    said, corrected --- pair_by_time ---> pairs --- parts ---> names, edges, score, thresholds

Each part has to prove itself: it is learned from all tasks but one and applied to that one, each in its turn, and is
kept only where it clearly helps there. In the same way the model is asked in several ways, with the project's labels,
with those it had before and in its own words, and the project's labels stay unless another way is better.

Knows segments only: no model, no video, no Label Studio.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from omni_timeline.learning.pairs import SAME_TIME, pair_by_time
from omni_timeline.learning.parts import (
    BOLD,
    CAREFUL,
    Boldness,
    Judged,
    learn_edges,
    learn_names,
    learn_score,
    learn_thresholds,
)
from omni_timeline.metrics import match
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.segments import Segment, iou

MIN_TASKS = 3  # fewer cannot speak for each other
MAX_FOLDS = 40  # of more tasks several are left out at a time
BOLDNESS = (CAREFUL, BOLD)
SHRINKAGES = (math.inf, 5.0, 1.0)  # pairs that the median of all labels counts for
RIDGES = (25.0, 5.0, 1.0)  # how strongly a score map is pulled towards no change
WORTH_IT = 0.001  # that a part has to add
OTHER_WAY = 0.5  # standard errors by which another way to ask must be better
RIGHT = 0.5  # IoU from which a segment is right

Asked = tuple[str, ...] | None
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """One corrected video.

    Attributes:
        key: names the video; no two examples have the same.
        duration: seconds of the video.
        said: what the model says, asked in one way and not calibrated.
        corrected: what each person made of it, at least one.
    """

    key: str
    duration: float
    said: tuple[Segment, ...]
    corrected: tuple[tuple[Segment, ...], ...]


@dataclass(frozen=True)
class Shown:
    """What people get to see of calibrated segments: with the project's labels, sure enough.

    Attributes:
        labeled: gives a segment whose words are none of the project's labels one of them.
        least_score: of a segment that is shown.
    """

    labeled: Callable[[Segment], Segment]
    least_score: float = 0.0

    def __call__(self, segments: Iterable[Segment]) -> tuple[Segment, ...]:
        """Those that are shown, sorted."""
        sure = (each for each in segments if each.score is None or each.score >= self.least_score)
        return tuple(sorted(map(self.labeled, sure)))


@dataclass(frozen=True)
class Plan:
    """Which parts a calibration has, and how each is learned.

    Attributes:
        names: how much it takes to give a thing another name, or none; None for no map.
        edges: pairs that the median of all labels counts for beside those of one label; None for no edges.
        score: how strongly the score map is pulled towards no change; None for no map.
        thresholds: for all labels together, or for each label its own.
    """

    names: Boldness | None = None
    edges: float | None = None
    score: float | None = None
    thresholds: Literal["all", "own"] | None = None


@dataclass(frozen=True)
class Part:
    """What became of one part of a calibration.

    Attributes:
        name: names, edges, score or thresholds.
        measure: what it had to raise: "agreement" (F1 in which a match counts as much as it overlaps), or for the
            score "1 - Brier".
        before: without it, on tasks that it was not learned from.
        after: with it, likewise; of several ways to learn it, with the best one.
        kept: whether it is a part of the calibration.
    """

    name: Literal["names", "edges", "score", "thresholds"]
    measure: Literal["agreement", "1 - Brier"]
    before: float
    after: float
    kept: bool


@dataclass(frozen=True)
class Learned:
    """A calibration, and what speaks for it.

    Attributes:
        calibration: it may change nothing.
        parts: those that were tried, in their order.
        left_out: what is shown of each video by a calibration that was learned without it, by key.
    """

    calibration: Calibration
    parts: tuple[Part, ...]
    left_out: Mapping[str, tuple[Segment, ...]]


@dataclass(frozen=True)
class _Stage:
    """A part, the ways to learn it from the most careful to the boldest, and how it is judged.

    Attributes:
        clearly: standard errors by which it must help.
    """

    part: Literal["names", "edges", "score", "thresholds"]
    ways: tuple[Any, ...]
    clearly: float = 2.0


STAGES = (
    _Stage("names", BOLDNESS, clearly=1.0),
    _Stage("edges", SHRINKAGES),
    _Stage("score", RIDGES),
    _Stage("thresholds", ("all", "own")),
)


def calibrate(asked: Mapping[Asked, Sequence[Example]], labels: Sequence[str], shown: Shown) -> Learned:
    """The calibration that helps most, or one that changes nothing.

    Args:
        asked: the corrected videos as the model answers them, by what it was asked; the first is how it is asked now.
        labels: those of the project.
        shown: what people get to see.
    """
    ways = [_Learner(way, examples, labels, shown) for way, examples in asked.items()]
    best, learned = ways[0], ways[0].learn()
    now = ways[0].left_out(Plan())
    for way in ways[1:]:
        other = way.learn(now)
        if not other.calibration.names:
            continue  # its words are not the project's
        before, after = best.agreement(learned.left_out), way.agreement(other.left_out)
        if is_clearly_better(before, after, OTHER_WAY):
            best, learned = way, other
    return learned


class _Learner:
    """Learns from the answers to one way of asking."""

    def __init__(self, asked: Asked, examples: Sequence[Example], labels: Sequence[str], shown: Shown) -> None:
        self._asked = asked
        self._examples = list(examples)
        self._labels = labels
        self._shown = shown
        self._seen: dict[tuple[Calibration, str], list[Judged]] = {}
        self._pairs = {
            example.key: [
                (pair, 1 / len(example.corrected))
                for corrected in example.corrected
                for pair in pair_by_time(example.said, corrected)
            ]
            for example in examples
        }

    def learn(self, now: Mapping[str, tuple[Segment, ...]] | None = None) -> Learned:
        """The parts that help, tried one after the other.

        Args:
            now: what is shown of each video now, where the model is asked otherwise now. Words that are none of the
                project's labels mean nothing without names, so that names have to be better than that.
        """
        plan, parts = Plan(), list[Part]()
        estimates = self.left_out(plan) if now is None else dict(now)
        for stage in STAGES if len(self._examples) >= MIN_TASKS else ():
            judge = self.surety if stage.part == "score" else self.agreement
            first = before = judge(estimates)
            tried = []
            for way in stage.ways:
                other = replace(plan, **{stage.part: way})
                found = self.left_out(other)
                after = judge(found)
                tried.append(pooled(after))
                if is_clearly_better(before, after, stage.clearly):
                    plan, estimates, before = other, found, after
            measure: Literal["agreement", "1 - Brier"] = "1 - Brier" if stage.part == "score" else "agreement"
            is_better = getattr(plan, stage.part) is not None
            parts.append(
                Part(stage.part, measure, pooled(first), pooled(before) if is_better else max(tried), is_better)
            )
        calibration = self._fit(self._examples, plan)
        kept = [replace(part, kept=bool(getattr(calibration, part.name))) for part in parts]
        return Learned(calibration, tuple(kept), estimates)

    def agreement(self, estimates: Mapping[str, Sequence[Segment]]) -> Numbers:
        """For each task twice the overlap of what matches, and how many segments there are in both lists."""
        return np.array([self._agreement(example, estimates[example.key]) for example in self._examples])

    def surety(self, estimates: Mapping[str, Sequence[Segment]]) -> Numbers:
        """For each task how many segments have a score, less the squares by which it misses; and how many they are."""
        rows = []
        for example in self._examples:
            judged = list(_judged(estimates[example.key], example))
            weight = sum(weight for *_, weight in judged)
            missed = sum(weight * (score - right) ** 2 for _, score, right, weight in judged)
            rows.append((weight - missed, weight))
        return np.array(rows)

    def _agreement(self, example: Example, estimate: Sequence[Segment]) -> tuple[float, float]:
        weight = 1 / len(example.corrected)
        shared = sum(
            iou(*pair) for corrected in example.corrected for pair in match(corrected, estimate, min_iou=SAME_TIME)
        )
        return 2 * weight * shared, weight * sum(len(corrected) + len(estimate) for corrected in example.corrected)

    def left_out(self, plan: Plan) -> dict[str, tuple[Segment, ...]]:
        """What is shown of each task by a calibration of this plan that is learned from the others."""
        folds = min(len(self._examples), MAX_FOLDS)
        estimates = {}
        for fold in range(folds):
            others = [example for number, example in enumerate(self._examples) if number % folds != fold]
            calibration = self._fit(others, plan)
            for example in self._examples[fold::folds]:
                estimates[example.key] = self._shown(calibration.apply(example.said, example.duration))
        return estimates

    def _fit(self, examples: Sequence[Example], plan: Plan) -> Calibration:
        """The calibration of this plan that follows from these examples."""
        fitted = Calibration(asked=self._asked)
        if plan.names is not None:
            pairs = [self._pairs[example.key] for example in examples]
            fitted = replace(fitted, names=learn_names(pairs, self._labels, plan.names))
        if plan.edges is not None:
            durations = [(pair, example.duration) for example in examples for pair, _ in self._pairs[example.key]]
            fitted = replace(fitted, edges=learn_edges(durations, fitted, plan.edges))
        if plan.score is not None:
            fitted = replace(fitted, score=learn_score(self._judged(examples, fitted), plan.score))
        if plan.thresholds:
            thresholds = learn_thresholds(
                self._judged(examples, fitted), _wanted(examples), own=plan.thresholds == "own"
            )
            fitted = replace(fitted, thresholds=thresholds)
        return fitted

    def _judged(self, examples: Sequence[Example], fitted: Calibration) -> list[Judged]:
        """Which of the segments are right that a calibration without thresholds gives."""
        unscored = replace(fitted, score=None)  # what is right does not hang on scores, so that it is found out once
        judged: list[Judged] = []
        for example in examples:
            if (unscored, example.key) not in self._seen:
                found = map(self._shown.labeled, unscored.apply(example.said, example.duration))
                self._seen[unscored, example.key] = list(_judged(list(found), example))
            judged += self._seen[unscored, example.key]
        return [(label, fitted.rescored(score), right, weight) for label, score, right, weight in judged]


def _wanted(examples: Sequence[Example]) -> dict[str, float]:
    """How many corrected segments there are of each label; of several people's, the mean."""
    wanted: dict[str, float] = defaultdict(float)
    for example in examples:
        for corrected in example.corrected:
            for segment in corrected:
                wanted[segment.label] += 1 / len(example.corrected)
    return wanted


def _judged(segments: Sequence[Segment], example: Example) -> Iterator[Judged]:
    """Label, score, whether it is right and how much it counts, for each segment that has a score and each person."""
    for corrected in example.corrected:
        right = {id(found) for _, found in match(corrected, segments, min_iou=RIGHT)}
        for segment in segments:
            if segment.score is not None:
                yield segment.label, segment.score, id(segment) in right, 1 / len(example.corrected)


def pooled(rows: Numbers) -> float:
    """The sum of the first column over that of the second; 1 where there is nothing to count."""
    return float(_pooled(rows.sum(axis=0, keepdims=True))[0])


def _pooled(sums: Numbers) -> Numbers:
    above, below = sums.T
    return np.where(below > 1e-9, above / np.maximum(below, 1e-9), 1.0)


def is_clearly_better(before: Numbers, after: Numbers, clearly: float = 2.0) -> bool:
    """Whether `pooled` rises by so many standard errors, by the jackknife over tasks; by more where tasks are few."""
    change = pooled(after) - pooled(before)
    count = len(before)
    few = 1 + (clearly**2 + 1) / (4 * (count - 1))  # Student's t for this many normal deviations
    without = [_pooled(rows.sum(axis=0) - rows) for rows in (after, before)]
    error = math.sqrt((count - 1) * float(np.var(without[0] - without[1])))
    return change > max(clearly * few * error, WORTH_IT)
