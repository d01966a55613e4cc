"""What breaks in months of running, done on purpose: after it no task is lost and no prediction is there twice.

Between the backend and the real Label Studio stands a proxy that answers wrongly when it is told to.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from omni_timeline.pipeline.prediction import ANSWERING

from .backends import Server, different, serving, stored, until
from .label_studio import LabelStudio

pytestmark = pytest.mark.e2e

TASKS = 6  # of each project
COUNTS: Counter[str] = Counter()  # shown at the end


@dataclass
class Proxy:
    """Passes on what it gets. What concerns predictions and tokens goes wrong, one call after the other.

    Attributes:
        faults: "500", "429", "401", "html", "late 500" (after it has passed the request on) and "late end" (and then
            hangs up); "" goes well, and so does what comes when there are none left.
        hold_after: so many pushes pass; those after them wait for `gate`.
    """

    url: str = ""
    faults: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    pushes: int = 0
    hold_after: float = math.inf
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str) -> str:
        with self.lock:
            meant = path.startswith(("/api/predictions", "/api/token")) and bool(self.faults)
            if meant and self.faults[0].startswith("late"):
                meant = method == "POST" and path.startswith("/api/predictions")  # where it could make a second copy
            wrong = self.faults.pop(0) if meant else ""
            if wrong:
                self.injected[wrong] += 1
            return wrong


WRONG: dict[str, tuple[int, bytes]] = {
    "500": (500, b"<h1>Server Error (500)</h1>"),
    "429": (429, b'{"detail": "Request was throttled."}'),
    "401": (401, b'{"detail": "Invalid token."}'),
    "html": (200, b"<!doctype html><title>Down for maintenance</title>"),
    "late 500": (500, b"<h1>Server Error (500)</h1>"),
}


@pytest.fixture(scope="module")
def proxy(studio: LabelStudio) -> Iterator[Proxy]:
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.command == "POST" and self.path.startswith("/api/predictions"):
                proxy.pushes += 1
                if proxy.pushes > proxy.hold_after:
                    proxy.gate.wait(60)
            wrong = proxy.fault(self.command, self.path)
            if not wrong or wrong.startswith("late"):
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                answer = requests.request(
                    self.command, studio.url + self.path, data=body, headers=headers, timeout=60, allow_redirects=False
                )
                status, content = answer.status_code, answer.content
            if wrong == "late end":
                return
            if wrong:
                status, content = WRONG[wrong]
            with suppress(BrokenPipeError):  # who asked was killed meanwhile
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield proxy
    server.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the backend, and Label Studio's document root."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "videos").mkdir()
    return folder


def settings(proxy: Proxy, folder: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": proxy.url, "LOCAL_FILES_ROOT": str(folder / "videos"), "PREDICT_DEADLINE_SECONDS": "0.3",
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(studio: LabelStudio, proxy: Proxy, folder: Path) -> Iterator[Server]:
    with serving(studio, folder, **settings(proxy, folder)) as server:
        yield server


def make_project(
    studio: LabelStudio, server: Server, folder: Path, samples: list[Path], request: pytest.FixtureRequest
) -> tuple[int, list[int]]:
    """A project of its own with new videos, connected."""
    config = (request.config.rootpath / "label_config.xml").read_text()
    project = studio.create_project(request.node.name[:50], config)
    [sample] = [sample for sample in samples if sample.stem == "silent-12s"]
    numbers = range(project * 100, project * 100 + TASKS)
    videos = [different(sample, number, folder / "videos") for number in numbers]
    tasks = [studio.create_task(project, f"/data/local-files/?d={video.name}") for video in videos]
    studio.connect(project, server.url)
    return project, tasks


def all_there_once(studio: LabelStudio, server: Server, tasks: list[int]) -> bool:
    until(lambda: server.counts()["owed"] == 0)
    counts = stored(studio, tasks)
    COUNTS["tasks"] += len(tasks)
    COUNTS["lost"] += counts.count(0)
    COUNTS["twice"] += sum(count > 1 for count in counts)
    return counts == [1] * len(tasks)


def test_the_model_is_killed_in_the_middle_of_a_prediction(
    studio: LabelStudio, server: Server, folder: Path, samples: list[Path], request: pytest.FixtureRequest
):
    project, tasks = make_project(studio, server, folder, samples, request)
    studio.retrieve_predictions(project)
    assert until(lambda: any(ANSWERING in row["words"] for row in server.get("/status.json")["running"]))
    os.kill(server.model(), signal.SIGKILL)
    COUNTS["kill -9"] += 1
    health = requests.get(f"{server.url}/health", timeout=1)  # Label Studio waits so long
    assert health.status_code == 200
    assert all_there_once(studio, server, tasks)


def test_label_studio_answers_wrongly_in_every_way(
    studio: LabelStudio, server: Server, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest
):
    project, tasks = make_project(studio, server, folder, samples, request)
    proxy.faults = ["500", "", "late 500", "", "", "429", "401", "401", "", "html", "", "", "late end"]
    studio.retrieve_predictions(project)
    assert until(lambda: not proxy.faults)
    assert all_there_once(studio, server, tasks)
    COUNTS.update(proxy.injected)
    said = " ".join(row["sentence"] for row in server.get("/status.json")["failures"])
    assert "Label Studio answers 500" in said
    assert "LABEL_STUDIO_API_KEY" in said


def test_the_whole_server_is_killed_in_the_middle_of_pushes_and_the_next_model_while_it_loads(
    studio: LabelStudio, server: Server, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest
):
    project, tasks = make_project(studio, server, folder, samples, request)
    passed = proxy.hold_after = proxy.pushes + 2
    studio.retrieve_predictions(project)
    assert until(lambda: proxy.pushes > passed)
    server.kill()  # while a push is on its way that Label Studio will store
    COUNTS["kill -9"] += 1
    proxy.hold_after = math.inf
    proxy.gate.set()
    assert sum(stored(studio, tasks)) < TASKS
    with serving(studio, folder, ready=False, **settings(proxy, folder)) as next_one:
        assert until(lambda: next_one.get("/health")["model_version"] is not None)
        assert next_one.get("/health")["state"] == "loading"
        os.kill(next_one.model(), signal.SIGKILL)  # and that too
        COUNTS["kill -9"] += 1
        assert all_there_once(studio, next_one, tasks)


def test_the_disk_is_full(
    studio: LabelStudio, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest, tmp_path: Path
):
    """A disk of 256 KB in a name space of the server's own, with a few pages left for the journal."""
    (tmp_path / "cache").mkdir()
    script = f"mount -t tmpfs -o size=256k none {tmp_path}/cache && head -c 180000 /dev/zero > {tmp_path}/cache/filler"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "sh", "-c", script], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system in a name space: unshare -rm")
    before = [unshare, "-rm", "sh", "-c", f'{script} && exec "$@"', "sh"]
    with serving(studio, tmp_path, before=before, **settings(proxy, folder)) as server:
        project, tasks = make_project(studio, server, folder, samples, request)
        # Its disk as it sees it.
        cache = Path(f"/proc/{server.model()}/root{tmp_path}/cache")
        fill = subprocess.run(["dd", "if=/dev/zero", f"of={cache}/more", "bs=4k"], capture_output=True, text=True)
        assert "No space" in fill.stderr
        studio.retrieve_predictions(project)
        assert all_there_once(studio, server, tasks)
        COUNTS["full disk"] += 1
        assert any("make room" in trouble["sentence"] for trouble in server.get("/status.json")["troubles"])


def test_nothing_was_lost_and_nothing_is_there_twice():
    """Prints the counts of the tests above."""
    faults = sum(count for name, count in COUNTS.items() if name not in ("tasks", "lost", "twice"))
    print(f"\n{faults} faults injected: {dict(COUNTS)}")
    assert faults
    assert COUNTS["lost"] == COUNTS["twice"] == 0
