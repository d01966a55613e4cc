"""One scheduler for all tests of the command line: a process that imports torch takes seconds to start."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from omni_timeline.cli import predict
from omni_timeline.cli.arguments import scheduler_for
from omni_timeline.model.isolated import models_on
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.scheduler import Scheduler


@pytest.fixture(scope="session")
def running_scheduler() -> Iterator[Scheduler]:
    with Scheduler(models_on(["cpu"], Load("demo"))) as started:
        yield started


@pytest.fixture(autouse=True)
def one_scheduler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `predict` would start for the demo checkpoint is there already; other models are started as ever."""

    def shared(arguments: argparse.Namespace) -> AbstractContextManager[Scheduler]:
        if (arguments.model, arguments.device, arguments.quantization) != (None, None, None):
            return scheduler_for(arguments)
        return nullcontext(request.getfixturevalue("running_scheduler"))

    # The same scheduler for all tests: each command would load the model again, for seconds.
    monkeypatch.setattr(predict, "scheduler_for", shared)


@pytest.fixture
def two_sounds(tmp_path: Path) -> Path:
    """A film of 2 s with a low tone on its first sound track and a high one on its second."""
    path = tmp_path / "two.mkv"
    sources = ["color=black:size=64x64:rate=10:duration=2", "sine=440:duration=2", "sine=2000:duration=2"]
    inputs = [word for source in sources for word in ("-f", "lavfi", "-i", source)]
    maps = ["-map", "0", "-map", "1", "-map", "2"]
    subprocess.run(["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "flac", path], check=True)
    return path
