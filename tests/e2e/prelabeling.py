"""`omni-timeline prelabel` in a process of its own, and a Label Studio that can be stopped and started meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from places import ROOT

from .backends import command_of, family
from .label_studio import LabelStudio, local_environ

PREDICTED, SOME_FAILED, INTERRUPTED = 0, 1, 130  # exit codes
LOCAL = "/data/local-files/?d="
DECODER, MODEL = b"omni_timeline.media.worker", b"omni_timeline.model.worker"


@dataclass
class Studio:
    """A Label Studio that can be stopped and started again, with all that it keeps."""

    open: Callable[[], AbstractContextManager[LabelStudio]]
    running: AbstractContextManager[LabelStudio] | None = None
    now: LabelStudio = field(init=False)

    def start(self) -> None:
        self.running = self.open()
        self.now = self.running.__enter__()

    def stop(self) -> None:
        if self.running is not None:
            self.running.__exit__(None, None, None)
            self.running = None

    def project(self, *videos: str) -> int:
        """A new project with a task for each video; its number."""
        number = self.now.create_project("prelabel", (ROOT / "label_config.xml").read_text())
        if not videos:
            return number
        rows = [{"data": {"video": video}} for video in videos]
        self.now.call("POST", f"/api/projects/{number}/import", json=rows)
        return number

    def tasks(self, project: int) -> dict[str, dict[str, Any]]:
        """The tasks of a project with their predictions, by what they call their video."""
        listed = self.now.call("GET", "/api/tasks", params={"project": project, "page_size": 1000, "fields": "all"})
        return {task["data"]["video"]: task for task in listed["tasks"]}

    def predicted(self, project: int) -> int:
        """How many predictions a project has."""
        return int(self.now.call("GET", f"/api/projects/{project}/")["total_predictions_number"])


@dataclass(frozen=True)
class Database:
    """Label Studio's own, which it keeps in this file. Read without asking Label Studio."""

    file: Path

    def tasks(self, project: int) -> dict[int, str]:
        """The address of each task's video, by the task's number."""
        rows = self._rows("SELECT id, data FROM task WHERE project_id = ? ORDER BY id", project)
        return {number: json.loads(data)["video"] for number, data in rows}

    def copies(self, project: int) -> Counter[tuple[int, str]]:
        """How many predictions a task has of a version, for each of both."""
        rows = self._rows("SELECT task_id, model_version FROM prediction WHERE project_id = ?", project)
        return Counter((task, version) for task, version in rows)

    def _rows(self, query: str, project: int) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(query, (project,)).fetchall()


@contextmanager
def prelabel(
    studio: LabelStudio, clips: Path, folder: Path, *arguments: object, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    """The command, running; ended with all that it has started at the end. Its output goes into `folder`/log."""
    usual = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "LOCAL_FILES_ROOT": str(clips),
        "CACHE_DIR": str(folder / "cache"),
        "MODEL": "demo",
        "DEVICE": "cpu",
    }
    environ = local_environ(**{**usual, **settings})
    command = [sys.executable, "-m", "omni_timeline", "prelabel", *map(str, arguments)]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command, env=environ, stdout=log, stderr=log, text=True, start_new_session=True, cwd=folder
        )
    try:
        yield process
    finally:
        for pid in family(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def those(process: subprocess.Popen[str], what: bytes) -> list[int]:
    """The processes of the command whose command line has this in it."""
    return [pid for pid in family(process.pid) if what in command_of(pid)]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
