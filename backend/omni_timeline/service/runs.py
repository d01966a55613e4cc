"""Where learning of each project stands: one small file a project, which outlives the process.

    idle -> queued -> running -> in use | not used | failed -> queued ...

Knows states and files. Knows nothing of what is learned or of who does it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from omni_timeline.errors import BusyError
from omni_timeline.learning.versions import LearnedVersions, write_whole

State = Literal["idle", "queued", "running", "in use", "not used", "failed"]

FILE = "learning.json"
MAX_ATTEMPTS = 3  # to learn, if the server or the learning process is killed each time
MAX_PROJECTS = 10_000
MAX_NEW = 100_000  # annotations that are told apart

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Where learning of one project stands.

    Attributes:
        project: its number.
        state: what is being done; "idle" before the first time.
        at: since when, in seconds since 1970.
        why: who or what asked for it, in words.
        words: how far it is, or what came of it.
        note: what else the person who asked should know.
        version: the version that came of it; "" where none did.
        numbers: what that is worth, in a line.
        attempts: how often it was begun.
        not_before: when it may be begun at the earliest, in seconds since 1970.
        began: when the last one began, in seconds since 1970.
        new: annotations that were made or changed since then.
        wants_learning: whether the project is to be learned without being asked for, as soon as there are enough.
        count: how many annotations the project had when Label Studio last said so; None where it did not.
        count_before: the same when the last one began.
        pressed: when something came that may be a press of Start Training, in seconds since 1970; 0 for nothing.
    """

    project: int
    state: State = "idle"
    at: float = 0.0
    why: str = ""
    words: str = ""
    note: str = ""
    version: str = ""
    numbers: str = ""
    attempts: int = 0
    not_before: float = 0.0
    began: float = 0.0
    new: tuple[int, ...] = ()
    wants_learning: bool = False
    count: int | None = None
    count_before: int | None = None
    pressed: float = 0.0

    @property
    def corrections(self) -> int:
        """How many annotations were made or changed since the last one began, as far as is known."""
        more = 0 if self.count is None or self.count_before is None else self.count - self.count_before
        return max(more, len(self.new))

    @property
    def is_pending(self) -> bool:
        """Whether it waits, or is being worked on."""
        return self.state in ("queued", "running")


class Runs:
    """The runs of all projects, in memory and on disk. May be used by several threads.

    Attributes:
        trouble: why they cannot be written at present; None while all is well.
    """

    def __init__(self, versions: LearnedVersions) -> None:
        self._versions = versions
        self._lock = threading.Lock()
        self._saving = threading.Lock()  # so that nothing older is written after something newer
        self._unsaved: set[int] = set()
        self._runs = {run.project: run for run in _kept(versions.folder)}
        self.trouble: str | None = None

    def get(self, project: int) -> Run:
        """The run of a project."""
        with self._lock:
            return self._runs.get(project, Run(project))

    def all(self) -> list[Run]:
        """Those of projects in which anything was asked for, the newest first."""
        with self._lock:
            return sorted(
                (run for run in self._runs.values() if run.state != "idle"), key=lambda run: run.at, reverse=True
            )

    def next(self, now: float) -> Run | None:
        """The one that has been queued for longest and may be begun."""
        queued = [run for run in self.all() if run.state == "queued" and run.not_before <= now]
        return min(queued, key=lambda run: run.at, default=None)

    def enqueue(self, project: int, why: str) -> tuple[Run, bool]:
        """Queue a project, unless it is pending already; the run, and whether it is new. It is on disk then.

        Raises:
            BusyError: too many projects are known.
        """
        with self._lock:
            if project not in self._runs and len(self._runs) >= MAX_PROJECTS:
                raise BusyError(f"{MAX_PROJECTS:,} projects have been learned from; no other can be.")
            run = self._runs.get(project, Run(project))
            is_new = not run.is_pending
            if is_new:
                run = replace(
                    run, state="queued", at=time.time(), why=why, words="", note="", version="", numbers="",
                    attempts=0, not_before=0.0, pressed=0.0,
                )  # fmt: skip
                self._put(run)
        self.save()
        return run, is_new

    def change(self, project: int, **fields: Any) -> Run:
        """The run with other values; on disk at the next `save`."""
        with self._lock:
            run = replace(self._runs.get(project, Run(project)), **fields)
            self._put(run)
            return run

    def add(self, project: int, annotations: Sequence[int], *, wants_learning: bool) -> None:
        """Note annotations that were made or changed, and whether the project is to be learned of itself."""
        with self._lock:
            if project not in self._runs and (not wants_learning or len(self._runs) >= MAX_PROJECTS):
                return
            run = self._runs.get(project, Run(project))
            new = tuple(dict.fromkeys([*run.new, *annotations]))[-MAX_NEW:]
            self._put(replace(run, new=new, wants_learning=wants_learning, pressed=0.0))

    def pressed(self, before: float) -> list[Run]:
        """The projects in which Start Training was pressed before that time and no annotation came with it."""
        with self._lock:
            return [run for run in self._runs.values() if 0 < run.pressed <= before]

    def due(self, last_began: float, corrections: int) -> list[Run]:
        """The projects to learn without Start Training: with so many new corrections, and not begun since then."""
        with self._lock:
            return [
                run
                for run in self._runs.values()
                if run.wants_learning
                and not run.is_pending
                and run.corrections >= corrections
                and run.began <= last_began
            ]

    def save(self) -> None:
        """Write what has changed. Not to be called within a request that must be quick."""
        with self._saving:
            with self._lock:
                rows = [self._runs[project] for project in self._unsaved]
                self._unsaved.clear()
            troubles = [trouble for run in rows if (trouble := self._write(run))]
            if rows:
                self.trouble = troubles[0] if troubles else None

    def _write(self, run: Run) -> str | None:
        """Write a run. Why it is not written; None if it is."""
        try:
            folder = self._versions.project(run.project)
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FILE, json.dumps(asdict(run)))
        except OSError as error:
            with self._lock:
                self._unsaved.add(run.project)
            return f"What is to be learned cannot be noted in CACHE_DIR ({error.strerror}): make room there."
        return None

    def _put(self, run: Run) -> None:
        self._runs[run.project] = run
        self._unsaved.add(run.project)


def _kept(folder: Path) -> list[Run]:
    """What is on disk. What was running when the process ended is queued again."""
    found = []
    for file in folder.glob(f"project-*/{FILE}"):
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            run = Run(**{**values, "new": tuple(values["new"])})
            if run.state not in get_args(State) or f"project-{run.project}" != file.parent.name:
                raise ValueError("it is of another form")
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is not used: %s", file, error)
            continue
        found.append(_again(run) if run.state == "running" else run)
    return found


def _again(run: Run) -> Run:
    """A run whose process has ended before its time."""
    if run.attempts >= MAX_ATTEMPTS:
        words = f"It was given up: it was begun {run.attempts} times and ended before it was through each time."
        return replace(run, state="failed", at=time.time(), words=words)
    return replace(run, state="queued", words="")
