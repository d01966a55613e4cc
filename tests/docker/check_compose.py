"""`docker compose up`, for real: images built, Label Studio and the backend up, a project with predictions.

Run by `make test-docker` and not by `make test`: it needs a Docker engine and some gigabytes of its disk, and builds
for minutes. pytest does not collect this file by itself. Label Studio is installed from PyPI here instead of its own
image, by docker-compose.test.yml. The build's settings (PIP_INDEX_URL, TORCH_INDEX_URL) are those of .env.example.

Everything is built from a copy of the files that git does not ignore, so that a change of code can be tried.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from demo.label_studio import EMAIL, PASSWORD, LabelStudio, personal_access_token
from demo.servers import free_port
from places import ROOT

FILES = ("docker-compose.yml", "tests/docker/docker-compose.test.yml")
BUILD_SECONDS, HEALTHY_SECONDS = 3600.0, 600.0

# The first test waits for the fixtures: a build, then three times for a healthy service and once for the model. The
# suite's own limit for one test is meant for tests that build nothing.
pytestmark = pytest.mark.timeout(BUILD_SECONDS + 5 * HEALTHY_SECONDS)


def compose_command() -> list[str]:
    """Compose as docker's plugin, or the program of its own that it once was."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    return ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]


@dataclass(frozen=True)
class Compose:
    """The two services of one compose project."""

    folder: Path
    environ: dict[str, str]
    command: list[str] = field(default_factory=compose_command)

    def run(self, *arguments: str, **variables: str) -> str:
        files = [part for name in FILES for part in ("-f", name)]
        done = subprocess.run(
            [*self.command, "-p", "omni-timeline-test", *files, *arguments],
            cwd=self.folder, env={**os.environ, **self.environ, **variables}, capture_output=True, text=True,
            timeout=BUILD_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}: {done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def inspect(self, service: str, template: str) -> str:
        container = (
            self.run("ps", "-q", "-a", service) if self.command[0] == "docker" else self.run("ps", "-q", service)
        )
        asked = ["docker", "inspect", "-f", template, container.strip()]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    def wait_until_healthy(self, service: str) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (health := self.inspect(service, "{{.State.Health.Status}}")) != "healthy":
            waiting = health == "starting" and time.monotonic() < deadline
            assert waiting, f"{service} is {health}: {self.run('logs', '--tail', '50', service)}"
            time.sleep(1)

    def layers(self, service: str) -> list[str]:
        image = self.inspect(service, "{{.Image}}")
        asked = ["docker", "image", "inspect", "-f", "{{json .RootFS.Layers}}", image]
        layers: list[str] = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
        return layers


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Both services up and healthy, the backend without a token as yet."""
    if subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        pytest.fail("No Docker engine answers: start one, or set DOCKER_HOST.")
    folder = tmp_path_factory.mktemp("checkout")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    environ = {
        "LABEL_STUDIO_PORT": str(free_port(18080)),
        "BACKEND_PORT": str(free_port(19090)),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_API_KEY": "",
        "MODEL": "demo",
    }
    compose = Compose(folder, environ)
    try:
        compose.run("build")
        compose.run("up", "-d")
        for service in ("label-studio", "backend"):
            compose.wait_until_healthy(service)
        yield compose
    finally:
        compose.run("down", "--volumes", "--remove-orphans")


@dataclass(frozen=True)
class Connected:
    """A project whose backend is connected, and its tasks."""

    studio: LabelStudio
    project: int
    tasks: list[int]


@pytest.fixture(scope="module")
def connected(compose: Compose, samples: list[Path]) -> Connected:
    """By the steps of docs/operations.md: a token into .env, the backend anew, a project, its model, predictions."""
    url = f"http://127.0.0.1:{compose.environ['LABEL_STUDIO_PORT']}"
    token = personal_access_token(url)
    (compose.folder / ".env").write_text(f"LABEL_STUDIO_API_KEY={token}\n")
    del compose.environ["LABEL_STUDIO_API_KEY"]  # the environment wins over .env
    compose.run("up", "-d", "backend")
    compose.wait_until_healthy("backend")
    wait_until_loaded(compose)
    studio = LabelStudio(url, token)
    project = studio.create_project("Clips", (ROOT / "label_config.xml").read_text(encoding="utf-8"))
    tasks = [studio.create_task(project, studio.upload(project, clip)) for clip in samples]
    studio.connect(project, "http://backend:9090")
    studio.retrieve_predictions(project)
    return Connected(studio, project, tasks)


def wait_until_loaded(compose: Compose) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    url = f"http://127.0.0.1:{compose.environ['BACKEND_PORT']}/health"
    while requests.get(url, timeout=30).json()["state"] != "ready":
        assert time.monotonic() < deadline, compose.run("logs", "--tail", "50", "backend")
        time.sleep(1)


def numbers(connected: Connected) -> dict[int, list[int]]:
    return {task: [found["id"] for found in connected.studio.predictions(task)] for task in connected.tasks}


def test_every_uploaded_clip_has_its_prediction(compose: Compose, connected: Connected):
    found = numbers(connected)
    assert {task: len(ids) for task, ids in found.items()} == dict.fromkeys(connected.tasks, 1), compose.run("logs")
    [backend] = connected.studio.call("GET", f"/api/ml?project={connected.project}")
    assert backend["readable_state"] == "Connected"


def test_neither_service_is_root(compose: Compose):
    assert compose.run("exec", "-T", "backend", "id", "-u").strip() == "1001"
    assert compose.run("exec", "-T", "label-studio", "id", "-u").strip() != "0"


def test_a_restart_keeps_everything(compose: Compose, connected: Connected, samples: list[Path]):
    before = numbers(connected)
    compose.run("restart")
    for service in ("label-studio", "backend"):
        compose.wait_until_healthy(service)
    wait_until_loaded(compose)
    connected.studio.retrieve_predictions(connected.project)
    assert numbers(connected) == before
    task = connected.studio.create_task(connected.project, connected.studio.upload(connected.project, samples[0]))
    connected.studio.retrieve_predictions(connected.project, [task])
    assert len(connected.studio.predictions(task)) == 1


def test_a_backend_that_dies_is_started_again(compose: Compose):
    find_and_kill = (
        "import os, pathlib\n"
        "lines = {int(path.parent.name): path.read_bytes() for path in pathlib.Path('/proc').glob('[0-9]*/cmdline')}\n"
        "os.kill(min(pid for pid, line in lines.items() if pid > 1 and b'gunicorn' in line), 9)  # 1 is docker's init\n"
    )
    compose.run("exec", "-d", "-T", "backend", "python", "-c", find_and_kill)
    deadline = time.monotonic() + HEALTHY_SECONDS
    while compose.inspect("backend", "{{.RestartCount}} {{.State.Running}}") != "1 true":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    compose.wait_until_healthy("backend")


def test_a_change_of_code_builds_its_own_layers_only(compose: Compose):
    before = compose.layers("backend")
    with (compose.folder / "backend" / "omni_timeline" / "__init__.py").open("a") as module:
        module.write("\n# changed\n")
    compose.run("build", "backend")
    compose.run("up", "-d", "backend")
    after = compose.layers("backend")
    same = sum(ours == theirs for ours, theirs in zip(before, after, strict=True))
    assert len(after) - same == 2, "COPY backend and the installation of this package are what may change"
    assert before[:same] == after[:same]


def test_asked_to_stop_it_ends_by_itself(compose: Compose):
    compose.wait_until_healthy("backend")
    compose.run("stop", "backend")
    assert compose.inspect("backend", "{{.State.ExitCode}} {{.State.OOMKilled}}") in ("0 false", "143 false")
