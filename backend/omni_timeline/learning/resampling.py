"""How sure a number is that was counted over tasks: bootstrap intervals, the same draws in every run.

Tasks are drawn, never segments: the segments of one video are alike. Knows counts and nothing of what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 1000
SEED = 20_261_126
COVERED = 0.95  # of the draws lie within an interval

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval that holds 95 of 100 draws of as many tasks.

    Attributes:
        value: counted over all tasks.
        low: None where there are fewer than two tasks.
        high: likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None


def estimate(counts: Sequence[Sequence[float]], number: Callable[[Numbers], Numbers]) -> Estimate:
    """A number that follows from sums over tasks.

    Args:
        counts: for each task what is summed.
        number: from sums, with the last axis as in `counts`, to numbers.
    """
    rows = np.asarray(counts, float)
    value = float(number(rows.sum(axis=0)))
    if len(rows) < 2:
        return Estimate(value)
    return Estimate(value, *_bounds(number(draws(len(rows)) @ rows)))


def difference(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], number: Callable[[Numbers], Numbers]
) -> Estimate:
    """How much a number rises from one count to another of the same tasks."""
    rows = [np.asarray(counts, float) for counts in (before, after)]
    first, second = (float(number(each.sum(axis=0))) for each in rows)
    if len(rows[0]) < 2:
        return Estimate(second - first)
    weights = draws(len(rows[0]))
    return Estimate(second - first, *_bounds(number(weights @ rows[1]) - number(weights @ rows[0])))


def draws(tasks: int, count: int = DRAWS) -> Numbers:
    """How often each task is drawn, for each draw: (count, tasks)."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(tasks, np.full(tasks, 1 / tasks), size=count).astype(float)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """The interval that holds 95 of 100 of these values."""
    return _bounds(np.asarray(values, float))


def ratio(above: Numbers, below: Numbers, otherwise: Numbers | float = 1.0) -> Numbers:
    """`above` over `below`, element by element; `otherwise` where that is over nothing."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), otherwise)


def _bounds(values: Numbers) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)
