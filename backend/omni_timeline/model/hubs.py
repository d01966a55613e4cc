"""Checkpoints fetched from a hub: how far a download is, what is kept when it breaks off, and what a person is told.

The hubs' own libraries do the fetching: files that are there already are not fetched again, and a connection that
breaks is taken up where it broke. Knows no models.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omni_timeline.errors import DownloadError, ModelError, first_line

CHECKPOINT_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]
HUB_TIMEOUT = 5.0  # s without an answer before a cached copy is taken; offline, the wait must be short
ATTEMPTS = 3  # in a row that bring no more bytes
PAUSE = 2.0  # s between two attempts
WAY_OUT = "`--model demo` works without a download."

OnWords = Callable[[str], None]


def download(name: str, hub: str, on_progress: OnWords | None = None) -> Path:
    """The folder of a checkpoint on a hub, which is fetched if it is not there.

    Args:
        name: such as Qwen/Qwen2.5-Omni-3B.
        hub: huggingface or modelscope.
        on_progress: called with how far it is, whenever something came.

    Raises:
        DownloadError: it could not be fetched now; what came is kept.
        ModelError: there is no such hub, or its library is not installed.
    """
    if hub == "huggingface":
        return _from_hugging_face(name, on_progress)
    if hub == "modelscope":
        return _from_modelscope(name)
    raise ModelError(f"There is no hub {hub!r}: say huggingface or modelscope.")


class Fetched:
    """How many bytes of how many have come."""

    def __init__(self) -> None:
        self.bytes = 0
        self.total = 0

    def __str__(self) -> str:
        return f"{_size(self.bytes)} of {_size(self.total)}" if self.total else "nothing"


def _from_hugging_face(name: str, on_progress: OnWords | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError  # type: ignore[attr-defined]  # of its library

    best, fruitless = Fetched(), 0
    while True:
        fetched = Fetched()
        try:
            folder = snapshot_download(
                name,
                allow_patterns=CHECKPOINT_FILES,
                etag_timeout=HUB_TIMEOUT,
                tqdm_class=_bars(fetched, on_progress),
            )
            return Path(folder)
        except RepositoryNotFoundError as error:
            raise DownloadError(_cannot_fetch(name, "Hugging Face", error, best)) from error
        except (OSError, ValueError, HTTPError) as error:
            fruitless = 0 if fetched.bytes > best.bytes else fruitless + 1
            best = max(best, fetched, key=lambda each: each.bytes)
            if fruitless == ATTEMPTS or not best.bytes:
                raise DownloadError(_cannot_fetch(name, "Hugging Face", error, best)) from error
        time.sleep(PAUSE)


def _bars(fetched: Fetched, on_progress: OnWords | None) -> Any:
    """The class of the hub's progress bars: shown on a terminal, counted everywhere."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]  # the library has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts = options.get("unit") == "B" and "Reconstructing" in str(options.get("desc"))
            if not sys.stderr.isatty():
                options["file"] = io.StringIO()
            super().__init__(*args, **options)

        def update(self, n: float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self._counts:
                fetched.bytes, fetched.total = int(self.n), int(self.total or 0)
            if on_progress is not None:
                on_progress(f"downloading, {fetched}")
            return shown

    return Bar


def _from_modelscope(name: str) -> Path:
    try:
        from modelscope import snapshot_download as modelscope_download
        from modelscope.hub.errors import HubError
    except ImportError as error:
        raise ModelError(
            f"Fetching {name} from ModelScope needs its library: pip install modelscope. {WAY_OUT}"
        ) from error
    try:
        return Path(modelscope_download(name, allow_patterns=CHECKPOINT_FILES))
    except (OSError, ValueError, HubError) as error:
        raise DownloadError(_cannot_fetch(name, "ModelScope", error, Fetched())) from error


def _cannot_fetch(name: str, hub: str, error: Exception, fetched: Fetched) -> str:
    if fetched.bytes:
        return (
            f"{name} could not be fetched from {hub}: the download broke off after {fetched}. Files that came whole "
            f"are kept; start again to fetch the rest. ({first_line(error)})"
        )
    return (
        f"There is no folder {name}, and it could not be fetched from {hub}: {first_line(error)} "
        f"Check the name and the network. {WAY_OUT}"
    )


def _size(count: int) -> str:
    if count >= 10**9:
        return f"{count / 10**9:.1f} GB"
    return f"{count / 10**6:.1f} MB"
