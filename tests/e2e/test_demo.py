"""`make demo`, from an empty folder: ready, stopped, run again, and left running in the background."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

from demo.label_studio import EMAIL, PASSWORD, session_of
from demo.servers import is_free

pytestmark = pytest.mark.e2e

READY_SECONDS = 900.0
STOP_SECONDS = 60.0
CLIPS = {"silent-12s.mp4", "sound-20s.mp4", "tall-45s.mp4", "wide-30s.mp4", "long-180s.mp4"}


@dataclass(frozen=True)
class Demo:
    """What the demo printed when it was ready, and what its Label Studio has."""

    said: str
    label_studio: str
    project: int
    backend: str
    projects: dict[str, int]  # how many tasks of each are annotated
    predictions: dict[str, list[int]]  # by the name of the clip: their numbers

    @classmethod
    def read(cls, said: str) -> Demo:
        """Looks with the printed address and login, as a person would."""
        page = re.search(r"Label Studio: +(http://127\.0\.0\.1:\d+)/projects/(\d+)/data", said)
        backend = re.search(r"The backend: +(http://\S+)", said)
        assert page, said
        assert backend, said
        assert re.search(rf"login +{EMAIL}\n +password +{PASSWORD}\n", said), said
        url, project = page[1], int(page[2])
        with session_of(url) as session:
            projects = session.get(f"{url}/api/projects/", timeout=60).json()["results"]
            listed = session.get(f"{url}/api/tasks", params={"project": project, "page_size": 100}, timeout=60).json()
            predictions = {
                task["data"]["clip"]: [
                    prediction["id"]
                    for prediction in session.get(f"{url}/api/predictions/?task={task['id']}", timeout=60).json()
                ]
                for task in listed["tasks"]
            }
            assert len(predictions) == listed["total"]
        return cls(
            said,
            url,
            project,
            backend[1],
            {found["title"]: found["num_tasks_with_annotations"] for found in projects},
            predictions,
        )


@pytest.fixture(scope="module")
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    venv = os.environ.get("LABEL_STUDIO_VENV", request.config.rootpath / ".venv-label-studio")
    folder = tmp_path_factory.mktemp("demo")
    return [sys.executable, "-m", "demo", "--folder", str(folder), "--label-studio-venv", str(venv)]


@contextmanager
def in_the_foreground(command: list[str], log: Path, root: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The demo once it says that it is ready, and all it said until then."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "Everything it keeps" not in (said := log.read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
        yield process, said
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


@pytest.fixture(scope="module")
def first(command: list[str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The first run, stopped with Ctrl-C."""
    log = tmp_path_factory.mktemp("first") / "said.txt"
    with in_the_foreground(command, log, request.config.rootpath) as (process, said):
        demo = Demo.read(said)
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0, log.read_text()
    assert log.read_text().endswith("goes on from there.\n")
    return demo


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_every_clip_has_one_prediction(first: Demo):
    assert first.projects == {
        "omni-timeline demo": 0, "omni-timeline demo, with the waveform": 0, "omni-timeline demo, to learn from": 12,
    }  # fmt: skip
    assert set(first.predictions) == CLIPS
    assert {clip: len(numbers) for clip, numbers in first.predictions.items()} == dict.fromkeys(CLIPS, 1)


def test_ctrl_c_ends_both_servers(first: Demo):
    assert is_free(port(first.label_studio))
    assert is_free(port(first.backend))


def test_run_again_it_makes_nothing_twice_and_steps_aside_where_a_port_is_in_use(
    first: Demo, command: list[str], request: pytest.FixtureRequest
):
    root = request.config.rootpath
    with socket.create_server(("127.0.0.1", port(first.backend))):
        again = subprocess.run([*command, "--detach"], cwd=root, capture_output=True, text=True, timeout=READY_SECONDS)
        try:
            assert again.returncode == 0, again.stdout + again.stderr
            assert f"Port {port(first.backend)} is in use" in again.stdout
            second = Demo.read(again.stdout)
            assert (second.project, second.projects) == (first.project, first.projects)
            assert second.predictions == first.predictions
            assert port(second.backend) != port(first.backend)
            with session_of(second.label_studio) as session:  # the project knows the new address
                [connected] = session.get(f"{second.label_studio}/api/ml?project={second.project}", timeout=60).json()
            assert connected["url"] == second.backend
            assert connected["readable_state"] == "Connected"

            third = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
            assert third.returncode == 0
            assert f"running already: {second.label_studio}" in third.stdout
        finally:
            down = subprocess.run([*command, "down"], cwd=root, capture_output=True, text=True, timeout=STOP_SECONDS)
    assert down.returncode == 0, down.stdout + down.stderr
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{second.label_studio}/health", timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{second.backend}/health", timeout=5)


def test_a_port_that_was_asked_for_and_is_in_use_is_a_clear_message(command: list[str], request: pytest.FixtureRequest):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        told = subprocess.run(
            [*command, "--label-studio-port", str(taken)],
            cwd=request.config.rootpath, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert told.returncode == 1
    assert f"port {taken} is in use" in told.stdout
    assert "LABEL_STUDIO_PORT" in told.stdout


def words_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that has just ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_server_that_dies_ends_the_demo_and_names_its_log(
    first: Demo, command: list[str], request: pytest.FixtureRequest, tmp_path: Path
):
    log = tmp_path / "said.txt"
    with in_the_foreground(command, log, request.config.rootpath) as (process, said):
        demo = Demo.read(said)
        [backend] = [child for child in psutil.Process(process.pid).children() if "omni_timeline" in words_of(child)]
        backend.kill()
        assert process.wait(STOP_SECONDS) == 1
    assert "The backend ended" in log.read_text()
    assert "backend.log" in log.read_text()
    assert is_free(port(demo.label_studio))
