"""The parts of a calibration, each learned from pairs of what was said and what it was corrected to.

        names        for each thing that is said, what it was corrected to most often; none is an answer too
        edges        median of corrected - said, of all labels together or label by label
        score        Platt's two numbers on the log-odds, pulled towards no change
        thresholds   where F1 is best, of all labels together or label by label

Whether a part helps is not known here: `calibrate` tries it on tasks that it was not learned from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from omni_timeline.learning.pairs import Pair
from omni_timeline.pipeline.calibration import ANY, Calibration, label_key, log_odds

RARE = 5.0  # pairs of words from a single task, from which they tell what words of no task mean
MOST = 2 / 3  # of these pairs must agree
EDGES, OWN_EDGES = 8, 4  # pairs from which edges are learned, and from which a label has its own
CERTAIN = 3.0  # standard errors by which a median must differ
SPREAD = 0.05  # s; edges of a few pairs may agree by chance
BORDER = 0.05  # s from where the video begins or ends: such an edge was not chosen
OWN_THRESHOLD = 12  # segments from which a label has a threshold of its own


@dataclass(frozen=True)
class Boldness:
    """How much it takes to give what is said another name, or none.

    Attributes:
        lead: pairs by which another name must outvote a label of the project.
        nothing: what a vote for no name counts against a label of the project; silencing it costs more than a wrong
            suggestion now and then.
    """

    lead: float
    nothing: float


CAREFUL, BOLD = Boldness(lead=3.0, nothing=0.5), Boldness(lead=1.0, nothing=1.0)

Votes = dict[str | None, float]  # by name, None for nothing
Weighed = tuple[Pair, float]  # and how much it counts: each of several people counts less
Judged = tuple[str, float, bool, float]  # label, score, whether it is right, how much it counts


def learn_names(
    pairs: Sequence[Sequence[Weighed]], labels: Sequence[str], boldness: Boldness
) -> tuple[tuple[str, str | None], ...]:
    """What each thing that is said was corrected to most often, None for nothing; with `ANY` for what was never said.

    A label of the project keeps its name unless it is clearly outvoted, and where it was never said: a chance
    partner or a slip must not take it away. Other words have no name to keep, and one pair decides. Words that were
    never said mean what most words mean that one task alone has; nothing, where those have no clear majority. No map
    where nothing that is said would keep a name.

    Args:
        pairs: those of each task.
        labels: those of the project.
        boldness: how much it takes to change a name.
    """
    own = {label_key(label): label for label in labels}
    spelled = dict(own)
    votes: dict[str, Votes] = defaultdict(lambda: defaultdict(float))
    tasks: dict[str, set[int]] = defaultdict(set)
    for task, of_task in enumerate(pairs):
        for (said, corrected), weight in of_task:
            if said is not None:
                key = label_key(said.label)
                spelled.setdefault(key, said.label)
                if corrected is None:
                    votes[key][None] += weight * (boldness.nothing if key in own else 1.0)
                else:
                    votes[key][corrected.label] += weight
                tasks[key].add(task)
    names: dict[str, str | None] = dict(own)
    for key, counted in votes.items():
        best, most = _favourite(counted)
        keeps = key in own and most < counted.get(own[key], 0.0) + boldness.lead
        names[key] = own[key] if keeps else best
    if all(names[key] is None for key in votes):
        return ()  # nothing is marked yet: that is no reason to suggest nothing ever
    strange = [key for key in votes if key not in own]
    if strange:
        names[ANY] = _fate([votes[key] for key in strange if len(tasks[key]) == 1])
    return tuple(sorted((spelled.get(key, key), name) for key, name in names.items()))


def _fate(rare: Sequence[Votes]) -> str | None:
    """What most of these pairs say, None where they are too few or do not agree."""
    together: Votes = defaultdict(float)
    for counted in rare:
        for name, votes in counted.items():
            together[name] += votes
    if not together:
        return None
    best, most = _favourite(together)
    return best if most >= max(MOST * sum(together.values()), RARE) else None


def _favourite(votes: Votes) -> tuple[str | None, float]:
    """The name with the most votes, and how many; a label rather than nothing where they are equal."""
    return max(votes.items(), key=lambda vote: (vote[1], vote[0] is not None, vote[0] or ""))


def learn_edges(
    pairs: Sequence[tuple[Pair, float]], fitted: Calibration, shrinkage: float
) -> tuple[tuple[str, float, float], ...]:
    """The seconds by which people begin and end events later than the model, the median of many; for `ANY` label.

    Also for each label with a few pairs, pulled towards that of all, since a few pairs say little. Nothing where all
    of that is no time at all.

    Args:
        pairs: each with the duration of its video.
        fitted: gives what is said its name: only pairs that agree in it count.
        shrinkage: how many pairs the median of all labels counts for beside those of one label.
    """
    moves: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for (said, corrected), duration in pairs:
        if said is None or corrected is None or fitted.name(said.label) != corrected.label:
            continue
        starts, ends = moves[corrected.label]
        if corrected.start > BORDER:
            starts.append(corrected.start - said.start)
        if corrected.end < duration - BORDER:
            ends.append(corrected.end - said.end)
    every = [[move for each in moves.values() for move in each[side]] for side in (0, 1)]
    shared = [_certain_median(side, 0.0) if len(side) >= EDGES else 0.0 for side in every]
    found = {ANY: shared}
    for label, sides in moves.items() if shrinkage < math.inf else ():
        if min(map(len, sides)) >= OWN_EDGES:
            found[label] = [
                (len(side) * _certain_median(side, common) + shrinkage * common) / (len(side) + shrinkage)
                for side, common in zip(sides, shared, strict=True)
            ]
    moved = {label: (round(start, 3), round(end, 3)) for label, (start, end) in found.items()}
    if set(moved.values()) == {(0.0, 0.0)}:
        return ()
    return tuple((label, *move) for label, move in sorted(moved.items()) if label == ANY or move != moved[ANY])


def _certain_median(values: Sequence[float], otherwise: float) -> float:
    """The median, or `otherwise` where the two are so close that chance may have parted them."""
    middle = median(values)
    spread = max(1.48 * median(abs(value - middle) for value in values), SPREAD)  # a standard deviation, robust
    error = 1.25 * spread / math.sqrt(len(values))
    return middle if abs(middle - otherwise) > CERTAIN * error else otherwise


def learn_score(judged: Sequence[Judged], ridge: float) -> tuple[float, float] | None:
    """Slope and offset of the log-odds that make scores the share of right segments, by Newton's method (Platt).

    Args:
        judged: one for each segment that has a score.
        ridge: how strongly the two are pulled towards slope 1 and offset 0.

    Returns:
        None where nothing has a score, or where surer segments are less often right.
    """
    if not judged:
        return None
    odds = np.array([log_odds(score) for _, score, *_ in judged])
    right = np.array([float(right) for *_, right, _ in judged])
    weight = np.array([weight for *_, weight in judged])
    inputs = np.stack([odds, np.ones_like(odds)])
    unchanged = np.array([1.0, 0.0])

    def cost(line: npt.NDArray[np.float64]) -> float:
        reached = line @ inputs
        misses = np.logaddexp(0.0, reached) - right * reached
        return float(weight @ misses + ridge / 2 * ((line - unchanged) ** 2).sum())

    best = unchanged
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(best @ inputs, -30, 30)))
        gradient = inputs @ (weight * (chance - right)) + ridge * (best - unchanged)
        curvature = (inputs * (weight * chance * (1 - chance))) @ inputs.T + ridge * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while cost(best - step) > cost(best) and np.abs(step).max() > 1e-8:
            step = step / 2  # Newton's step may go too far
        best = best - step
        if np.abs(step).max() < 1e-6:
            break
    slope, offset = (round(float(number), 4) for number in best)
    return (slope, offset) if slope > 0 else None


def learn_thresholds(
    judged: Sequence[Judged], wanted: Mapping[str, float], *, own: bool
) -> tuple[tuple[str, float], ...]:
    """The least scores for the best F1, for `ANY` label; with `own`, also for each label with enough segments.

    Args:
        judged: one for each segment that has a score.
        wanted: how many corrected segments there are of each label.
        own: whether labels have thresholds of their own.
    """
    found = {ANY: _best_threshold(judged, sum(wanted.values()))}
    for label in wanted if own else ():
        of_label = [each for each in judged if each[0] == label]
        if len(of_label) >= OWN_THRESHOLD:
            found[label] = _best_threshold(of_label, wanted[label])
    return tuple(sorted(found.items())) if any(found.values()) else ()


def _best_threshold(judged: Sequence[Judged], wanted: float) -> float:
    """Half-way between the scores of two segments, or 0: the lowest one with the highest F1."""
    ordered = sorted(judged, key=lambda each: -each[1])
    best, threshold, matched, shown = -1.0, 0.0, 0.0, 0.0
    for number, (_, score, right, weight) in enumerate(ordered):
        matched, shown = matched + right * weight, shown + weight
        following = ordered[number + 1][1] if number + 1 < len(ordered) else 0.0
        f1 = 2 * matched / (wanted + shown)
        if following < score and f1 >= best:
            best, threshold = f1, (score + following) / 2 if following else 0.0
    return round(threshold, 4)
