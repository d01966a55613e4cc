"""Our server as operators run it, started with any settings; and videos that are all different."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import requests

from places import ROOT

from .label_studio import LabelStudio, free_port, local_environ, running

LOADING_SECONDS = 300.0
PATIENCE = 240.0  # s; only a test that fails waits so long


@dataclass(frozen=True)
class Server:
    """One of them, running."""

    url: str
    log: Path
    process: Popen[bytes]
    auth: tuple[str, str] | None = None

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, auth=self.auth, timeout=30)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json()

    def failures(self) -> dict[str, str]:
        """What the status page says of tasks, by number; the newest of each."""
        return {row["task"]: row["sentence"] for row in reversed(self.get("/status.json")["failures"])}

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.get("/status.json")["counts"]
        return counts

    def processes(self) -> list[int]:
        """The numbers of all its processes, the model's too."""
        return family(self.process.pid)

    def model(self) -> int:
        """The number of the model's process."""
        [found] = [pid for pid in self.processes() if b"omni_timeline.model.worker" in command_of(pid)]
        return found

    def decoders(self) -> list[int]:
        """The numbers of the processes that decode; the first one has started the others."""
        return [pid for pid in self.processes() if b"omni_timeline.media.worker" in command_of(pid)]

    def kill(self) -> None:
        """What a machine without power does: everything at once, nothing is told."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(
    studio: LabelStudio | None,
    folder: Path,
    *,
    port: int = 0,
    ready: bool = True,
    before: Sequence[str] = (),
    **settings: str,
) -> Iterator[Server]:
    """The server with these settings; with the demo checkpoint, ready to predict. `before` starts the command."""
    folder.mkdir(exist_ok=True)
    port, log = port or free_port(), folder / f"backend-{time.monotonic_ns()}.log"
    usual = {"MODEL": "demo", "DEVICE": "cpu", "CACHE_DIR": str(folder / "cache"), "PORT": str(port)}
    if studio is not None:
        usual |= {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": studio.token}
    environ = local_environ(**{**usual, **settings})
    conf = str(ROOT / "backend" / "gunicorn.conf.py")
    command = [*before, sys.executable, "-m", "gunicorn", "-c", conf, "omni_timeline.service.app:create_app()"]
    auth = (settings["BASIC_AUTH_USER"], settings["BASIC_AUTH_PASSWORD"]) if "BASIC_AUTH_USER" in settings else None
    url = f"http://127.0.0.1:{port}"
    with running("The backend", command, environ, log, port, "/versions") as process:
        server = Server(url, log, process, auth)
        if ready:
            until(lambda: server.get("/health")["state"] == "ready", LOADING_SECONDS)
        yield server


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it becomes true."""
    deadline = time.monotonic() + seconds
    while not (now := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return now


def different(video: Path, number: int, folder: Path) -> Path:
    """A copy that shows the same and has other bytes: a "free" box more."""
    path = folder / f"{video.stem}-{number}{video.suffix}"
    words = f"number {number}".encode()
    path.write_bytes(video.read_bytes() + (8 + len(words)).to_bytes(4, "big") + b"free" + words)
    return path


def stored(studio: LabelStudio, tasks: Sequence[int]) -> list[int]:
    """How many predictions each task has."""
    return [len(studio.predictions(task)) for task in tasks]


def family(pid: int) -> list[int]:
    """The numbers of a process and of all that it has started, and those have."""
    found, new = [], [pid]
    while new:
        found += new
        new = [child for parent in new for child in _children(parent)]
    return found


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for child in (thread / "children").read_text().split()
        ]
    except OSError:
        return []


def command_of(pid: int) -> bytes:
    """The command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
