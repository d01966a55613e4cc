"""One real Label Studio and one real backend for the whole session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from .editor import WINDOW, Editor
from .label_studio import LabelStudio, free_port, label_studio, local_environ, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LOADING_SECONDS = 600.0  # 6 s on a machine with nothing else to do


@dataclass(frozen=True)
class Backend:
    """Our server, running under gunicorn as in production."""

    url: str
    log: Path


@pytest.fixture(scope="session")
def studio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    venv = Path(os.environ.get("LABEL_STUDIO_VENV", request.config.rootpath / ".venv-label-studio"))
    if not (venv / "bin" / "label-studio").exists():
        pytest.fail(f"There is no Label Studio in {venv}: `make test` installs it, or set LABEL_STUDIO_VENV.")
    with label_studio(venv, tmp_path_factory.mktemp("label-studio")) as started:
        yield started


@pytest.fixture(scope="session")
def backend(
    studio: LabelStudio, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """With the demo checkpoint, ready to predict."""
    folder, port = tmp_path_factory.mktemp("backend"), free_port()
    environ = local_environ(
        LABEL_STUDIO_URL=studio.url,
        LABEL_STUDIO_API_KEY=studio.token,
        MODEL="demo",
        DEVICE="cpu",
        CACHE_DIR=str(folder / "cache"),
        PORT=str(port),
        LOG_LEVEL="INFO",
    )
    conf = request.config.rootpath / "backend" / "gunicorn.conf.py"
    command = [sys.executable, "-m", "gunicorn", "-c", conf, "omni_timeline.service.app:create_app()"]
    url, log = f"http://127.0.0.1:{port}", folder / "backend.log"
    with running("The backend", command, environ, log, port, "/versions"):
        _wait_until_ready(url, log)
        yield Backend(url, log)


def _wait_until_ready(url: str, log: Path) -> None:
    import time

    deadline = time.monotonic() + LOADING_SECONDS
    while (state := requests.get(f"{url}/health", timeout=30).json()["state"]) == "loading":
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert state == "ready", log.read_text()


@pytest.fixture(scope="session")
def editor(browser: Browser, studio: LabelStudio) -> Iterator[Editor]:
    """The labeling page, signed in."""
    page = browser.new_page(viewport=WINDOW)
    yield Editor(page, studio)
    page.close()
