"""Starts a real Label Studio, and says to it what its page would say.

Everything is kept in a folder of the test's own: SQLite, uploads, logs. Nothing here knows our package but the class
that signs requests, which is tested against the real thing that way.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from omni_timeline.label_studio import LabelStudioAuth

EMAIL, PASSWORD = "annotator@example.org", "not-a-secret-1"
START_SECONDS = 600.0  # the first start migrates an empty database: 21 s alone on a machine, 48 s on a busy one

QUIET = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(command: Sequence[str | Path], environ: Mapping[str, str], log: Path, health: str) -> Iterator[None]:
    """A server process from the moment on that `health` answers; ended, with its children, at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environ), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(health):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.2)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # its own group, made by start_new_session
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class LabelStudio:
    """A running Label Studio with one user and that user's personal access token."""

    url: str
    token: str
    log: Path

    def call(self, method: str, path: str, *, expect: int | None = None, **arguments: Any) -> Any:
        """The JSON that an API call answers; its status must be good, or `expect`."""
        auth = LabelStudioAuth(self.url, self.token)
        response = requests.request(method, self.url + path, auth=auth, timeout=120, **arguments)
        fine = response.status_code == expect if expect else response.ok
        assert fine, f"{method} {path}: {response.status_code} {response.text[:2000]}"
        return response.json() if response.content else None

    def create_project(self, title: str, label_config: str) -> int:
        """The new project's number."""
        return int(self.call("POST", "/api/projects/", json={"title": title, "label_config": label_config})["id"])

    def upload(self, project: int, video: Path) -> str:
        """Upload a video as the import dialog does; the address that tasks have for it."""
        with video.open("rb") as file:
            answer = self.call(
                "POST", f"/api/projects/{project}/import?commit_to_project=false", files={"file": (video.name, file)}
            )
        [upload_id] = answer["file_upload_ids"]
        return "/data/" + str(self.call("GET", f"/api/import/file-upload/{upload_id}")["file"])

    def create_task(self, project: int, video_url: str) -> int:
        """The new task's number."""
        return int(self.call("POST", "/api/tasks/", json={"project": project, "data": {"video": video_url}})["id"])

    def connect(self, project: int, backend_url: str, *, expect: int = 201) -> Any:
        """Add a model to the project, as under Settings > Model."""
        body = {"project": project, "url": backend_url, "title": "omni-timeline"}
        return self.call("POST", "/api/ml", expect=expect, json=body)

    def retrieve_predictions(self, project: int) -> None:
        """The action "Retrieve predictions" for all tasks, as in the data manager."""
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        self.call("POST", path, json={"selectedItems": {"all": True, "excluded": []}})

    def predictions(self, task: int) -> list[dict[str, Any]]:
        """What is stored for a task."""
        return list(self.call("GET", f"/api/predictions/?task={task}"))


@contextmanager
def label_studio(venv: Path, folder: Path) -> Iterator[LabelStudio]:
    """A fresh Label Studio from the environment `venv`, on SQLite in `folder`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {
        **os.environ,
        **QUIET,
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
        "LABEL_STUDIO_HOST": url,
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "USE_DEFAULT_BANNED_SUBNETS": "false",  # the backend is on this machine; other guards stay on
    }
    command = [venv / "bin" / "label-studio", "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(port)]
    log = folder / "label-studio.log"
    with running(command, environ, log, f"{url}/health"):
        yield LabelStudio(url, _personal_access_token(url), log)


def _personal_access_token(url: str) -> str:
    """Sign in as a browser does and make a token, as under Account & Settings."""
    with requests.Session() as session:
        page = session.get(f"{url}/user/login/", timeout=30).text
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert found, page[:500]
        form = {"csrfmiddlewaretoken": found[1], "email": EMAIL, "password": PASSWORD}
        session.post(f"{url}/user/login/", data=form, timeout=30).raise_for_status()
        headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": url}
        answer = session.post(f"{url}/api/token/", headers=headers, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["token"])
