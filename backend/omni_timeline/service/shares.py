"""How much of the room for work each project has: half of what the others leave.

So a project with very long videos keeps no other waiting, and one that is alone has half of all. Knows numbers only.
Not safe for threads: its user holds a lock.
"""

from __future__ import annotations

from collections import Counter


class Shares:
    """The tasks that are worked on, counted by project.

    Args:
        room: how many tasks may be worked on at a time.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._begun = Counter[str]()

    def begin(self, project: str) -> None:
        """Count a task of a project."""
        self._begun[project] += 1

    def end(self, project: str) -> None:
        """Count it no more."""
        self._begun -= Counter([project])

    def has(self, project: str) -> bool:
        """Whether a project may begin with one more task."""
        own = self._begun[project]
        return 2 * own < self.room - (self._begun.total() - own)

    def busy(self) -> list[str] | None:
        """The projects that may not begin with one more task; None where no project may."""
        if self._begun.total() >= self.room:
            return None
        return [project for project in self._begun if not self.has(project)]
