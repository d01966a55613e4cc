"""Groups that take turns, one element at a time, so that small groups do not wait for large ones.

Knows order only. Not safe for threads: its user holds a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Groups of elements, each in its own order.

    Args:
        waits: whether an element still waits for its turn; others are skipped.
        fits: whether an element may have its turn now; else its group is passed over.
        others: takes the next element of one more group that is kept elsewhere; None if it has none at present.
    """

    def __init__(self, waits: Callable[[T], bool], fits: Callable[[T], bool], others: Callable[[], T | None]) -> None:
        self._waits = waits
        self._fits = fits
        self._others = others
        self._groups: deque[deque[T] | None] = deque([None])  # None is the group that is kept elsewhere
        self._parked: dict[tuple[str, str], deque[T]] = {}

    def add(self, group: Iterable[T]) -> None:
        """Add a group, last in the round."""
        if waiting := deque(each for each in group if self._waits(each)):
            self._groups.append(waiting)

    def park(self, element: T, reason: tuple[str, str]) -> None:
        """Put an element aside until `unpark` finds that the reason has gone."""
        self._parked.setdefault(reason, deque()).append(element)

    def unpark(self, has_gone: Callable[[tuple[str, str]], bool]) -> None:
        """Put what was put aside for reasons that have gone back, as a group for each reason."""
        for reason in [reason for reason in self._parked if has_gone(reason)]:
            self.add(self._parked.pop(reason))

    def next(self) -> T | None:
        """The element whose turn it is; None if none waits."""
        for _ in range(len(self._groups)):
            group = self._groups.popleft()
            found = self._others() if group is None else self._first(group)
            if group is None or group:
                self._groups.append(group)
            if found is not None:
                return found
        return None

    def _first(self, group: deque[T]) -> T | None:
        while group and not self._waits(group[0]):
            group.popleft()
        return group.popleft() if group and self._fits(group[0]) else None
