"""The server under gunicorn as in production, with clients that nobody wants."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from demo.servers import free_port, local_environ, running
from omni_timeline.service.app import MAX_BODY_BYTES
from omni_timeline.service.gunicorn import THREADS, options
from omni_timeline.service.settings import Settings
from places import ROOT

LABEL_STUDIO_WAITS = 1.0  # s for /health
CLIENTS = 50
TIMELINE = '<TimelineLabels name="t" toName="v"><Label value="A"/></TimelineLabels>'
CONFIG = f'<View><Video name="v" value="$video"/>{TIMELINE}</View>'


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(20):
        (folder / f"{number}.mp4").write_text(f"video {number}")
    return folder


@pytest.fixture
def server(videos: Path, tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = free_port()
    environ = local_environ(
        PORT=str(port),
        CACHE_DIR=str(tmp_path / "cache"),
        LOCAL_FILES_ROOT=str(videos),
        PYTHONPATH=os.pathsep.join([str(ROOT / "backend"), str(ROOT / "tests")]),
    )
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "backend" / "gunicorn.conf.py"), "scripted_app:app()"]
    with running("The server", command, environ, tmp_path / "log", port, "/versions") as process:
        yield port, process


def health_seconds(port: int) -> float:
    began = time.perf_counter()
    assert requests.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200
    return time.perf_counter() - began


def test_one_worker_loads_its_own_model():
    chosen = options(Settings(), port=8000)
    assert (chosen["workers"], chosen["threads"], chosen["preload_app"]) == (1, THREADS, False)
    assert chosen["bind"] == "127.0.0.1:8000"
    assert options(Settings(bind="0.0.0.0"))["bind"] == "0.0.0.0:9090"
    assert options(Settings(bind="0.0.0.0"), host="::1")["bind"] == "[::1]:9090"


UNFINISHED = [
    b"",
    b"POST /pred",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Long: ",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
]


@pytest.mark.parametrize("words", UNFINISHED)
def test_clients_that_stop_in_the_middle_do_not_stop_health(words: bytes, server: tuple[int, subprocess.Popen[bytes]]):
    port, _ = server
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(words)
        assert max(health_seconds(port) for _ in range(5)) < LABEL_STUDIO_WAITS


def test_a_client_that_stops_in_the_middle_is_left(server: tuple[int, subprocess.Popen[bytes]], tmp_path: Path):
    port, _ = server
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(UNFINISHED[3])
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_body_without_a_length_is_refused_when_it_is_too_long(server: tuple[int, subprocess.Popen[bytes]]):
    port, _ = server
    mebibyte = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"POST /setup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it refuses
            for _ in range(MAX_BODY_BYTES // 2**20 + 8):
                client.sendall(mebibyte)
            client.sendall(b"0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_fifty_requests_at_a_time_do_not_stop_health(server: tuple[int, subprocess.Popen[bytes]]):
    port, _ = server
    statuses: list[int] = []

    def ask(number: int) -> None:
        tasks = [{"id": number, "data": {"video": f"/data/local-files/?d={number % 20}.mp4"}}]
        body = {"tasks": tasks, "label_config": CONFIG, "project": "1.1"}
        statuses.append(requests.post(f"http://127.0.0.1:{port}/predict", json=body, timeout=60).status_code)

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in asking:
        thread.start()
    slowest = max(health_seconds(port) for _ in range(10))
    for thread in asking:
        thread.join()
    assert slowest < LABEL_STUDIO_WAITS
    assert statuses == [200] * CLIENTS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_answers_who_waits(number: int, server: tuple[int, subprocess.Popen[bytes]]):
    port, process = server
    answers: list[requests.Response] = []
    tasks = [{"id": task, "data": {"video": f"/data/local-files/?d={task}.mp4"}} for task in range(20)]
    body = {"tasks": tasks, "label_config": CONFIG, "project": "1.1"}
    waiting = threading.Thread(
        target=lambda: answers.append(requests.post(f"http://127.0.0.1:{port}/predict", json=body, timeout=60))
    )
    waiting.start()
    status = f"http://127.0.0.1:{port}/status.json"
    while not requests.get(status, timeout=30).json()["predictions"]:
        time.sleep(0.05)
    os.kill(process.pid, number)
    process.wait(10)
    waiting.join(10)
    [answer] = answers
    results = answer.json()["results"]
    assert len(results) == 20
    assert any(results)
    assert not all(results)
