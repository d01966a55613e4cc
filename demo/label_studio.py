"""A real Label Studio on this machine, and what its page would say to it.

The demo and the tests start theirs here. Everything Label Studio keeps is in one folder: SQLite, uploads, its log.
Nothing here knows our package but the class that signs requests, which is tested against the real thing that way.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from demo.servers import free_port, local_environ, running
from omni_timeline.errors import OmniTimelineError
from omni_timeline.label_studio.auth import LabelStudioAuth

EMAIL, PASSWORD = "annotator@example.org", "not-a-secret-1"  # of a server that only this machine can reach
REQUEST_SECONDS = 120.0  # Label Studio itself waits 100 s for a backend

QUIET = {
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


class LabelStudioError(RuntimeError):
    """Label Studio answers otherwise than it should."""


@dataclass(frozen=True)
class LabelStudio:
    """A Label Studio that runs somewhere, with one user and that user's personal access token."""

    url: str
    token: str

    def call(self, method: str, path: str, *, expect: int | None = None, **arguments: Any) -> Any:
        """The JSON that an API call answers; its status must be good, or `expect`."""
        auth = LabelStudioAuth(self.url, self.token)
        response = requests.request(method, self.url + path, auth=auth, timeout=REQUEST_SECONDS, **arguments)
        if not (response.status_code == expect if expect else response.ok):
            raise LabelStudioError(f"{method} {path}: {response.status_code} {response.text[:2000]}")
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

    def create_task(self, project: int, video_url: str, **data: str) -> int:
        """The new task's number; `data` are further columns of it."""
        body = {"project": project, "data": {"video": video_url, **data}}
        return int(self.call("POST", "/api/tasks/", json=body)["id"])

    def connect(self, project: int, backend_url: str, *, expect: int = 201) -> Any:
        """Add a model to the project, as under Settings > Model, with interactive preannotations switched on."""
        body = {"project": project, "url": backend_url, "title": "omni-timeline", "is_interactive": True}
        return self.call("POST", "/api/ml", expect=expect, json=body)

    def retrieve_predictions(self, project: int, tasks: Sequence[int] | None = None) -> None:
        """The action "Retrieve predictions" for these tasks, by default all, as in the data manager."""
        path = f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}"
        chosen = {"all": True, "excluded": []} if tasks is None else {"all": False, "included": list(tasks)}
        self.call("POST", path, json={"selectedItems": chosen})

    def predictions(self, task: int) -> list[dict[str, Any]]:
        """What is stored for a task."""
        return list(self.call("GET", f"/api/predictions/?task={task}"))


@dataclass(frozen=True)
class LocalLabelStudio(LabelStudio):
    """One that this process has started."""

    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def label_studio(
    venv: Path, folder: Path, port: int | None = None, *, waiting: Callable[[], None] = lambda: None
) -> Iterator[LocalLabelStudio]:
    """Label Studio from the environment `venv`, with all that was kept in `folder` when it ran there before.

    It listens on `port`, by default any that is free.

    Raises:
        ServerError: it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    environ = local_environ(
        **QUIET,
        LABEL_STUDIO_BASE_DATA_DIR=str(folder / "data"),
        LABEL_STUDIO_HOST=url,
        LABEL_STUDIO_USERNAME=EMAIL,
        LABEL_STUDIO_PASSWORD=PASSWORD,
        USE_DEFAULT_BANNED_SUBNETS="false",  # the backend is on this machine; its other guards stay on
    )
    program = str(venv / "bin" / "label-studio")
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "-p", str(port)]
    log = folder / "label-studio.log"
    with running("Label Studio", command, environ, log, port, "/health", waiting=waiting) as process:
        yield LocalLabelStudio(url, _kept_token(url, folder / "token"), log, process)


def _kept_token(url: str, file: Path) -> str:
    """The token kept in `file` as long as it is good; else a new one, which is kept there."""
    if file.exists():
        token = file.read_text()
        try:
            if requests.get(f"{url}/api/current-user/whoami", auth=LabelStudioAuth(url, token), timeout=30).ok:
                return token
        except OmniTimelineError:
            pass  # revoked by somebody, or of a database that is gone
    token = personal_access_token(url)
    file.touch(mode=0o600)
    file.write_text(token)
    return token


def personal_access_token(url: str) -> str:
    """A new one, made as under Account & Settings; an earlier one is revoked, since a user has one at a time."""
    with session_of(url) as session:
        headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": url}
        for earlier in session.get(f"{url}/api/token/", timeout=30).json():
            revoked = {"refresh": earlier["token"]}
            session.post(f"{url}/api/token/blacklist", json=revoked, headers=headers, timeout=30).raise_for_status()
        answer = session.post(f"{url}/api/token/", headers=headers, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["token"])


def session_of(url: str) -> requests.Session:
    """Signed in as a browser does it."""
    session = requests.Session()
    page = session.get(f"{url}/user/login/", timeout=30).text
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    if not found:
        raise LabelStudioError(f"No login form at {url}/user/login/: {page[:500]}")
    form = {"csrfmiddlewaretoken": found[1], "email": EMAIL, "password": PASSWORD}
    session.post(f"{url}/user/login/", data=form, timeout=30).raise_for_status()
    return session
