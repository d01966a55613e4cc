"""What breaks in months of running, done on purpose: after it no task is lost and no prediction is there twice.

Between the backend and the real Label Studio stands a proxy that answers wrongly when it is told to.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
import requests

from omni_timeline.pipeline.prediction import ANSWERING

from .backends import PATIENCE, Server, different, serving, stored, until
from .health import Health
from .label_studio import LabelStudio
from .proxy import Proxy, proxied

pytestmark = pytest.mark.e2e

TASKS = 6  # of each project
COUNTS: Counter[str] = Counter()  # shown at the end
HEALTH = Health()


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    """Prints the counts of all tests here, and how quickly /health was answered meanwhile."""
    yield
    found = {name: COUNTS.pop(name, 0) for name in ("tasks", "lost", "twice")}
    print(f"\n{COUNTS.total()} faults injected: {', '.join(f'{count} x {name}' for name, count in COUNTS.items())}")
    print(f"{found['tasks']} tasks, {found['lost']} lost, {found['twice']} predicted twice\n\n{HEALTH.table()}")
    assert found["lost"] == found["twice"] == 0
    assert not HEALTH.missed
    assert HEALTH.slowest() < 1.0  # Label Studio waits so long


@pytest.fixture(scope="module")
def proxy(studio: LabelStudio) -> Iterator[Proxy]:
    with proxied(studio.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the backend, and Label Studio's document root."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "videos").mkdir()
    return folder


def settings(proxy: Proxy, folder: Path) -> dict[str, str]:
    """However quick the machine is, no prediction is ready when a request is answered: all of them are pushed."""
    return {
        "LABEL_STUDIO_URL": proxy.url, "LOCAL_FILES_ROOT": str(folder / "videos"), "PREDICT_DEADLINE_SECONDS": "0.01",
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


def asked_while(server: Server, what: str) -> AbstractContextManager[None]:
    """/health is asked all the time."""
    return HEALTH.asked(lambda: server.url, lambda: what)


def test_the_model_is_killed_in_the_middle_of_a_prediction(
    studio: LabelStudio, server: Server, folder: Path, samples: list[Path], request: pytest.FixtureRequest
):
    project, tasks = make_project(studio, server, folder, samples, request)
    os.kill(server.model(), signal.SIGSTOP)  # so that it is not done before anybody looks
    studio.retrieve_predictions(project)
    assert until(lambda: any(ANSWERING in row["words"] for row in server.get("/status.json")["running"]))
    with asked_while(server, "kill -9 of the model"):
        os.kill(server.model(), signal.SIGKILL)
        COUNTS["kill -9 of the model"] += 1
        health = requests.get(f"{server.url}/health", timeout=1)  # Label Studio waits so long
        assert health.status_code == 200
        assert all_there_once(studio, server, tasks)


@pytest.mark.parametrize("which", ["a decoder", "the process that starts decoders"])
def test_a_decoder_is_killed_in_the_middle_of_a_video(
    which: str,
    studio: LabelStudio,
    server: Server,
    folder: Path,
    samples: list[Path],
    request: pytest.FixtureRequest,
):
    project, tasks = make_project(studio, server, folder, samples, request)
    with asked_while(server, f"kill -9 of {which}"):
        with ThreadPoolExecutor() as beside:
            killing = beside.submit(kill_a_decoder, server, which, set(server.decoders()))
            studio.retrieve_predictions(project)
            assert killing.result()
        COUNTS[f"kill -9 of {which}"] += 1
        assert all_there_once(studio, server, tasks)


def kill_a_decoder(server: Server, which: str, idle: set[int]) -> bool:
    """Kill the process as soon as a decoder is at work that is none of the `idle` ones: a video takes a moment."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        starter, *decoders = server.decoders() or [0]
        if working := set(decoders) - idle:
            with suppress(ProcessLookupError):  # its video is done
                os.kill(working.pop() if which == "a decoder" else starter, signal.SIGKILL)
                return True
    return False


def test_the_model_hangs(
    studio: LabelStudio, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest, tmp_path: Path
):
    with serving(studio, tmp_path, MODEL_SILENCE_SECONDS="30", **settings(proxy, folder)) as server:
        project, tasks = make_project(studio, server, folder, samples, request)
        with asked_while(server, "SIGSTOP of the model"):
            os.kill(server.model(), signal.SIGSTOP)  # before it has work, which may be done in a moment
            COUNTS["SIGSTOP of the model"] += 1
            studio.retrieve_predictions(project)
            assert until(lambda: any(each["kind"] == "silent" for each in server.get("/health")["troubles"]))
            assert all_there_once(studio, server, tasks)


def test_label_studio_answers_wrongly_in_every_way(
    studio: LabelStudio, server: Server, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest
):
    project, tasks = make_project(studio, server, folder, samples, request)
    proxy.last = ""
    # Before the last one fewer than TASKS are stored, whichever calls these meet: a push is left for it.
    proxy.faults = ["500", "", "late 500", "", "429", "401", "401", "", "html", "", "late end"]
    with HEALTH.asked(lambda: server.url, lambda: proxy.last and f"Label Studio: {proxy.last}"):
        studio.retrieve_predictions(project)
        assert until(lambda: not proxy.faults)
        assert all_there_once(studio, server, tasks)
    COUNTS.update(proxy.injected)
    said = " ".join(row["sentence"] for row in server.get("/status.json")["failures"])
    assert "Label Studio answers 500" in said
    assert "LABEL_STUDIO_API_KEY" in said


def test_the_whole_server_is_killed_in_the_middle_of_pushes_and_the_next_model_while_it_loads(
    studio: LabelStudio, proxy: Proxy, folder: Path, samples: list[Path], request: pytest.FixtureRequest, tmp_path: Path
):
    with serving(studio, tmp_path, **settings(proxy, folder)) as server:
        project, tasks = make_project(studio, server, folder, samples, request)
        passed = proxy.hold_after = proxy.pushes + 2
        studio.retrieve_predictions(project)
        assert until(lambda: proxy.pushes > passed)
        server.kill()  # while a push is on its way that Label Studio will store
    COUNTS["kill -9 of the server"] += 1
    proxy.hold_after = math.inf
    proxy.gate.set()
    assert sum(stored(studio, tasks)) < TASKS
    with (
        serving(studio, tmp_path, ready=False, **settings(proxy, folder)) as next_one,
        asked_while(next_one, "after kill -9 of the server, and of the model while it loads"),
    ):
        assert until(lambda: next_one.get("/health")["model_version"] is not None)
        assert next_one.get("/health")["state"] == "loading"
        os.kill(next_one.model(), signal.SIGKILL)  # and that too
        COUNTS["kill -9 of the model"] += 1
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
        with asked_while(server, "full disk"):
            studio.retrieve_predictions(project)
            assert all_there_once(studio, server, tasks)
        COUNTS["full disk"] += 1
        assert any("make room" in trouble["sentence"] for trouble in server.get("/status.json")["troubles"])
