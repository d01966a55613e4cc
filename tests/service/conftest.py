"""One server over a model that says what it is told to, without a Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from omni_timeline.service.app import create_app
from omni_timeline.service.settings import Settings
from scripted_app import Serve
from scripted_model import ScriptedModel


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "videos").mkdir()
    for name in ("test_30", "a", "b", "c", "d", "e"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(f"the scripted model does not read {name}".encode())
    return Settings(local_files_root=tmp_path, cache_dir=tmp_path / "cache", predict_deadline_seconds=5.0)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, each with a model of its own; all end with the test."""
    with ExitStack() as stack:

        def start(settings: Settings, model: ScriptedModel) -> FlaskClient:
            app = create_app(settings, model=model)
            stack.callback(app.extensions["omni_timeline"].close)
            return app.test_client()

        yield start


@pytest.fixture
def client(settings: Settings, model: ScriptedModel, serve: Serve) -> FlaskClient:
    return serve(settings, model)
