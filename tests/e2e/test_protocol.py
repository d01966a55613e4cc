"""The protocol with the real Label Studio: who is let in, batches with bad tasks in them, and what takes too long."""

from __future__ import annotations

import base64
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from omni_timeline.service.auth import SECRET_HEADER

from .backends import Server, different, serving, stored, until
from .label_studio import LabelStudio, free_port

pytestmark = pytest.mark.e2e

USER, PASSWORD, SECRET = "label-studio", "pass-word", "hush-hush"


@dataclass(frozen=True)
class Batch:
    """Twelve tasks of a project: ten that can be predicted, one of them without sound, and two that cannot."""

    project: int
    good: tuple[int, ...]
    corrupt: int
    missing: int


@pytest.fixture(scope="module")
def label_config(request: pytest.FixtureRequest) -> str:
    return (request.config.rootpath / "label_config.xml").read_text()


@pytest.fixture(scope="module")
def videos(samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten different ones: nine with sound."""
    folder = tmp_path_factory.mktemp("videos")
    by_name = {sample.stem: sample for sample in samples}
    sounding = [different(by_name["sound-20s"], number, folder) for number in range(9)]
    return [*sounding, different(by_name["silent-12s"], 0, folder)]


def make_batch(studio: LabelStudio, title: str, label_config: str, videos: list[Path], folder: Path) -> Batch:
    project = studio.create_project(title, label_config)
    broken = folder / "corrupt.mp4"
    broken.write_bytes(videos[0].read_bytes()[:2000])
    good = [studio.create_task(project, studio.upload(project, video)) for video in videos]
    address = studio.upload(project, broken)
    corrupt = studio.create_task(project, address)
    missing = studio.create_task(project, address.replace("corrupt", "gone"))
    return Batch(project, tuple(good), corrupt, missing)


@pytest.fixture(scope="module")
def guarded(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        studio, tmp_path_factory.mktemp("guarded"), BASIC_AUTH_USER=USER, BASIC_AUTH_PASSWORD=PASSWORD,
        WEBHOOK_SECRET=SECRET, PRELABEL_NEW_TASKS="1",
    ) as server:  # fmt: skip
        yield server


@pytest.fixture(scope="module")
def batch(
    studio: LabelStudio, guarded: Server, label_config: str, videos: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Batch:  # fmt: skip
    """After its predictions were retrieved, from a backend that wants a password."""
    batch = make_batch(studio, "Twelve", label_config, videos, tmp_path_factory.mktemp("broken"))
    body = {
        "project": batch.project, "url": guarded.url, "title": "guarded", "auth_method": "BASIC_AUTH",
        "basic_auth_user": USER, "basic_auth_pass": PASSWORD,
    }  # fmt: skip
    connected = studio.call("POST", "/api/ml", expect=201, json=body)
    assert connected["readable_state"] == "Connected"
    studio.retrieve_predictions(batch.project)
    return batch


def accepts(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("start", range(1, 4))
def test_label_studio_connects_a_backend_that_has_just_been_started(
    studio: LabelStudio, label_config: str, tmp_path: Path, start: int
):
    """Its port accepts connections; nothing else is waited for, least of all the model."""
    project, port = studio.create_project(f"Start {start}", label_config), free_port()

    def connect() -> tuple[str, float]:
        assert until(lambda: accepts(port))
        began = time.monotonic()
        return studio.connect(project, f"http://127.0.0.1:{port}")["readable_state"], time.monotonic() - began

    with ThreadPoolExecutor(1) as pool:
        connecting = pool.submit(connect)
        with serving(studio, tmp_path / "backend", port=port, ready=False):
            state, seconds = connecting.result()
    print(f"\nconnected {seconds:.1f} s after the port was open")
    assert state == "Connected"


def test_without_the_password_label_studio_is_told_that_it_is_wrong(studio: LabelStudio, guarded: Server):
    project = studio.create_project("No password", "<View/>")
    answer = studio.connect(project, guarded.url, expect=400)
    assert "auth" in str(answer).lower()


def test_of_twelve_tasks_ten_have_one_prediction_and_two_are_left_to_try_again(
    studio: LabelStudio, guarded: Server, batch: Batch
):
    """And one of these is predicted when its video is there."""
    assert stored(studio, batch.good) == [1] * 10
    assert stored(studio, [batch.corrupt, batch.missing]) == [0, 0]
    failures = guarded.failures()
    assert "corrupt" in failures[str(batch.corrupt)]
    assert "gone" in failures[str(batch.missing)]
    assert set(failures) == {str(batch.corrupt), str(batch.missing)}
    page = requests.get(guarded.url, auth=guarded.auth, timeout=30).text
    assert f"task {batch.corrupt}" in page
    assert f"task {batch.missing}" in page

    good = studio.call("GET", f"/api/tasks/{batch.good[0]}")["data"]
    studio.call("PATCH", f"/api/tasks/{batch.missing}/", json={"data": good})
    studio.retrieve_predictions(batch.project)
    assert stored(studio, [batch.missing, batch.corrupt]) == [1, 0]
    assert stored(studio, batch.good) == [1] * 10
    assert until(lambda: guarded.counts()["owed"] == 0)  # nothing is pushed on top of what was answered
    assert stored(studio, [*batch.good, batch.missing]) == [1] * 11


def test_new_tasks_are_predicted_when_label_studio_tells_of_them_and_knows_the_secret(
    studio: LabelStudio, guarded: Server, batch: Batch
):
    [webhook] = [
        each for each in studio.call("GET", f"/api/webhooks/?project={batch.project}") if guarded.url in each["url"]
    ]
    data = studio.call("GET", f"/api/tasks/{batch.good[1]}")["data"]
    forged = {"action": "TASKS_CREATED", "project": {"id": batch.project}, "tasks": [{"id": 1, "data": data}]}
    assert requests.post(f"{guarded.url}/webhook", json=forged, timeout=30).status_code == 401
    wanted = {"headers": {SECRET_HEADER: SECRET}, "send_payload": True, "send_for_all_actions": True}
    studio.call("PATCH", f"/api/webhooks/{webhook['id']}/", json={**wanted, "url": webhook["url"]})
    task = studio.create_task(batch.project, data["video"])
    assert until(lambda: stored(studio, [task]) == [1], 60)


@pytest.fixture(scope="module")
def hurried(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(studio, tmp_path_factory.mktemp("hurried"), PREDICT_DEADLINE_SECONDS="0.01") as server:
        yield server


def test_what_is_not_ready_by_the_deadline_comes_later_and_once(
    studio: LabelStudio, hurried: Server, label_config: str, videos: list[Path], tmp_path: Path
):
    batch = make_batch(studio, "Twelve in a hurry", label_config, videos, tmp_path)
    studio.connect(batch.project, hurried.url)
    asking = [threading.Thread(target=studio.retrieve_predictions, args=(batch.project,)) for _ in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    in_time = sum(stored(studio, batch.good))
    assert in_time < 10
    studio.retrieve_predictions(batch.project)  # somebody is impatient
    assert until(lambda: hurried.counts()["owed"] == 0)
    counts = stored(studio, [*batch.good, batch.corrupt, batch.missing])
    print(f"\n{in_time} of 10 in time; lost {counts[:10].count(0)}, twice {sum(count > 1 for count in counts)}")
    assert counts == [1] * 10 + [0, 0]
    [connected] = studio.call("GET", f"/api/ml?project={batch.project}")
    versions = {studio.predictions(task)[0]["model_version"] for task in batch.good}
    assert versions == {connected["model_version"]}


def test_a_task_that_is_deleted_meanwhile_is_dropped(
    studio: LabelStudio, hurried: Server, label_config: str, samples: list[Path], tmp_path: Path
):
    project = studio.create_project("Deleted", label_config)
    address = studio.upload(project, different(samples[0], 77, tmp_path))
    task = studio.create_task(project, address)
    studio.call("DELETE", f"/api/tasks/{task}/")
    body = {
        "tasks": [{"id": task, "data": {"video": address}}],
        "label_config": label_config,
        "project": f"{project}.1",
    }
    assert requests.post(f"{hurried.url}/predict", json=body, timeout=30).status_code == 200
    assert until(lambda: hurried.counts()["owed"] == 0, 60)
    assert "no longer" in hurried.failures()[str(task)]


@pytest.fixture
def stopped(studio: LabelStudio, tmp_path: Path) -> Iterator[Server]:
    """One that is about to be stopped."""
    with serving(studio, tmp_path / "stopped", PREDICT_DEADLINE_SECONDS="20") as server:
        yield server


def test_it_stops_quickly_and_leaves_nothing_behind(
    studio: LabelStudio, stopped: Server, label_config: str, samples: list[Path], tmp_path: Path
):
    """Whoever waits is answered, and the model's process ends."""
    project = studio.create_project("Stopped", label_config)
    addresses = [studio.upload(project, different(samples[0], number, tmp_path)) for number in range(12)]
    tasks = [{"id": 999_900 + number, "data": {"video": address}} for number, address in enumerate(addresses)]
    body = {"tasks": tasks, "label_config": label_config, "project": f"{project}.1"}
    answers: list[int] = []
    waiting = threading.Thread(
        target=lambda: answers.append(requests.post(f"{stopped.url}/predict", json=body, timeout=30).status_code)
    )
    waiting.start()
    assert until(lambda: stopped.counts()["running"] > 0)
    processes = stopped.processes()
    assert len(processes) >= 3  # gunicorn's two and the model's
    os.kill(stopped.process.pid, signal.SIGTERM)
    stopped.process.wait(10)
    waiting.join(10)
    assert answers == [200]
    assert until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), 5)
    assert "Traceback" not in stopped.log.read_text()


def test_basic_auth_is_what_label_studio_sends(guarded: Server):
    words = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    answer = requests.get(f"{guarded.url}/health", headers={"Authorization": f"Basic {words}"}, timeout=30)
    assert answer.status_code == 200
