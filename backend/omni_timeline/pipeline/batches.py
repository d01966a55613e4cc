"""Which clips the model is given together.

A batch costs what its longest row costs, times its rows: shorter ones are padded. So rows of similar length go
together, the one that is due first with those that are like it, up to a budget of tokens. Knows no threads, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

MAX_ROWS = 32  # beyond it answers wait for each other longer than they gain
FILLED = 0.85  # of a batch's tokens, at least, are not padding


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
    first, _ = ordered[0]
    batch: list[Waiting] = [ordered[0][1]]
    if first.is_alone:
        return batch
    longest = total = first.tokens
    for cost, row in ordered[1:]:
        if len(batch) == MAX_ROWS:
            break
        if cost.kind != first.kind or cost.is_alone:
            continue
        padded = max(longest, cost.tokens) * (len(batch) + 1)
        if padded <= budget and total + cost.tokens >= FILLED * padded:
            batch.append(row)
            longest, total = max(longest, cost.tokens), total + cost.tokens
    return batch


def is_full(batch: Sequence[RowCost], budget: int) -> bool:
    """Whether one more row like these would be too many."""
    return len(batch) >= MAX_ROWS or max(cost.tokens for cost in batch) * (len(batch) + 1) > budget
