"""What several test files need: the demo checkpoint, the sample clips; and which tests this machine can run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import omni_timeline

if TYPE_CHECKING:  # torch takes seconds to import, and most tests need none of it
    from playwright.sync_api import Browser

    from omni_timeline.model.qwen2_5_omni.model import OmniModel

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
settings.register_profile("untimed", deadline=None)  # how long an example takes depends on what else is running
settings.load_profile("untimed")

SAMPLES = Path(omni_timeline.__file__).parent / "demo" / "samples"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what this machine lacks the means for; each such test has a marker that names them."""
    for marker, is_there in (("gpu", _has_gpu), ("label_studio_ml", _has_label_studio_ml)):
        needing = [item for item in items if item.get_closest_marker(marker)]
        if needing and not is_there():
            config.hook.pytest_deselected(items=needing)
            items[:] = [item for item in items if item not in needing]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_label_studio_ml() -> bool:
    """Whether it is the maintained 2.x: PyPI's 1.x cannot be imported."""
    try:
        return version("label-studio-ml").startswith("2.")
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="session")
def demo_model() -> OmniModel:
    """The bundled checkpoint, on the CPU: the same everywhere. Shared, so do not change it."""
    from omni_timeline.model.qwen2_5_omni.model import OmniModel

    return OmniModel.load("demo", device="cpu")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium that nobody sees. One for all tests: Playwright runs once in a process."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("There is no chromium on this machine. On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def samples() -> list[Path]:
    """The bundled clips; beside each lies a .json with its true events."""
    return sorted(SAMPLES.glob("*.mp4"))


@pytest.fixture(scope="session")
def silent_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of the demo world without a sound track."""
    return _drawn(tmp_path_factory.mktemp("videos") / "silent.mp4", sound=False)


@pytest.fixture(scope="session")
def sounding_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 s of the demo world with a sound track."""
    return _drawn(tmp_path_factory.mktemp("videos") / "sounding.mp4", sound=True)


def _drawn(path: Path, *, sound: bool) -> Path:
    import numpy as np

    from omni_timeline.synthetic import draw_scene, write_video

    return write_video(draw_scene(np.random.default_rng(5), 8.0, sound=sound), path, fps=10)
