"""The lists of the status page: the last predictions, and the last failures, which outlive the process.

Knows nothing of tasks beyond their ids, and nothing of web pages.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from omni_timeline.service.journal import Journal

SHOWN_PREDICTIONS, SHOWN_FAILURES = 20, 50
MAX_SENTENCE = 1000  # characters; an address in it may be longer


@dataclass(frozen=True)
class TaskLine:
    """A task on the status page, with a few words.

    Attributes:
        task: its id, or "".
        project: the project's id, or "".
        words: how far it is, or the outcome.
        at: when, in seconds since 1970.
        warnings: what a person should know of the video or of its prediction, a sentence each.
    """

    task: str
    project: str
    words: str
    at: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskFailure:
    """A failure on the status page.

    Attributes:
        at: when, in seconds since 1970.
        task: the task's id; "" if the failure concerns no single task.
        project: the project's id, or "".
        sentence: what went wrong, and what to change.
    """

    at: float
    task: str
    project: str
    sentence: str


class History:
    """The last predictions and failures. May be used by several threads; only `save` waits for the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._predictions: deque[TaskLine] = deque(maxlen=SHOWN_PREDICTIONS)
        rows = journal.read(lambda file: file.execute("SELECT at, task, project, sentence FROM failures").fetchall())
        self._failures: deque[TaskFailure] = deque((TaskFailure(*row) for row in rows), maxlen=SHOWN_FAILURES)
        self._is_saved = True

    def predict(
        self, task: str, project: str, entry: Mapping[str, Any], seconds: float, warnings: Sequence[str] = ()
    ) -> None:
        """Add a prediction that took so many seconds."""
        regions = {region["id"] for region in entry.get("result", [])}
        score = f", score {entry['score']:.2f}" if "score" in entry else ""
        words = f"{len(regions)} region{'s' * (len(regions) != 1)}{score}, {seconds:.1f} s"
        with self._lock:
            self._predictions.append(TaskLine(task, project, words, time.time(), tuple(map(_shortened, warnings))))

    def fail(self, task: str, project: str, sentence: str) -> None:
        """Add a failure; it replaces an earlier one of the same task with the same sentence."""
        sentence = _shortened(sentence)
        with self._lock:
            for other in [each for each in self._failures if (each.task, each.sentence) == (task, sentence)]:
                self._failures.remove(other)
            self._failures.append(TaskFailure(time.time(), task, project, sentence))
            self._is_saved = False

    def save(self) -> None:
        """Write new failures to the journal. To be called regularly, and not within a request."""
        with self._lock:
            if self._is_saved:
                return
            rows = [astuple(failure) for failure in self._failures]
            self._is_saved = True

        def act(journal: sqlite3.Connection) -> None:
            journal.execute("DELETE FROM failures")
            journal.executemany("INSERT INTO failures (at, task, project, sentence) VALUES (?, ?, ?, ?)", rows)

        self._journal.write(act)

    def predictions(self) -> list[TaskLine]:
        """The last ones, newest first."""
        with self._lock:
            return list(reversed(self._predictions))

    def failures(self) -> list[TaskFailure]:
        """The last ones, newest first."""
        with self._lock:
            return list(reversed(self._failures))


def _shortened(sentence: str) -> str:
    """A sentence as the page can show it: an address in it may be long, and hold halves of characters."""
    sentence = sentence.encode(errors="replace").decode()
    return sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[:MAX_SENTENCE]} …"
