"""Which clips the model is given together.

A batch costs what its longest row costs, times its rows: shorter ones are padded. So rows of similar length go
together, the one that is due first with those that are like it, up to a budget of tokens. A batch also costs its steps,
however few its rows: where all that wait fit into one, they need not be as similar. Knows no threads and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

MAX_ROWS = 32  # beyond it answers wait for each other longer than they gain
FILLED = 0.85  # of a batch's tokens, at least, are not padding
FILLED_BY_FEW = 0.5  # likewise, where all rows that wait fit into one batch: a second one costs more than padding


@dataclass(frozen=True)
class RowCost:
    """What matters of a row when batches are made.

    Attributes:
        due: rows that are due earlier go first; any clock.
        tokens: how long its prompt is.
        kind: rows of different kinds never share a batch.
        is_alone: it has brought a model's process down, perhaps: it goes by itself.
    """

    due: float
    tokens: int
    kind: object
    is_alone: bool = False


Waiting = TypeVar("Waiting")


def choose_batch(waiting: Sequence[tuple[RowCost, Waiting]], budget: int) -> list[Waiting]:
    """The next batch: the row that is due first, and those like it that fit, in the order in which they are due.

    Args:
        waiting: every row that could go, with its cost.
        budget: tokens that a batch may have, padding included; a single row may have more.

    Returns:
        At least one row where there is any.
    """
    if not waiting:
        return []
    ordered = sorted(waiting, key=lambda each: each[0].due)
    first, row = ordered[0]
    if first.is_alone:
        return [row]
    alike = [each for each in ordered if each[0].kind == first.kind and not each[0].is_alone]
    costs = [cost.tokens for cost, _ in alike]
    are_few = len(costs) <= MAX_ROWS and max(costs) * len(costs) <= budget
    chosen, longest, total = {0}, costs[0], costs[0]
    for filled in (FILLED, FILLED_BY_FEW) if are_few else (FILLED,):
        for number, tokens in enumerate(costs):
            padded = max(longest, tokens) * (len(chosen) + 1)
            has_room = len(chosen) < MAX_ROWS and padded <= budget
            if number not in chosen and has_room and total + tokens >= filled * padded:
                chosen.add(number)
                longest, total = max(longest, tokens), total + tokens
    return [alike[number][1] for number in sorted(chosen)]


def is_full(batch: Sequence[RowCost], budget: int) -> bool:
    """Whether one more row like these would be too many."""
    return len(batch) >= MAX_ROWS or max(cost.tokens for cost in batch) * (len(batch) + 1) > budget
