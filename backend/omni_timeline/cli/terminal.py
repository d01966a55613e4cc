"""What people see on stderr: errors, warnings, log lines, and how far the work is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni_timeline.pipeline.options import PredictOptions
    from omni_timeline.pipeline.pipeline import Pipeline
    from omni_timeline.pipeline.prediction import Failure, Prediction, Progress


def set_up_logging() -> None:
    """Sends log lines to stderr: all of ours to a terminal, else warnings only. The server has a setting of its own."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    logging.getLogger("omni_timeline").setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)


def print_error(message: str) -> None:
    """Prints why a command, or one of its videos, failed."""
    print(f"omni-timeline: error: {message}", file=sys.stderr, flush=True)


def print_warning(message: str) -> None:
    """Prints what a person should know of a command that succeeded."""
    print(f"omni-timeline: warning: {message}", file=sys.stderr)


def predict_with_progress(
    pipeline: Pipeline, options: PredictOptions, videos: Sequence[Path]
) -> Iterator[Prediction | Failure]:
    """The results one by one; where stderr is a terminal, it shows which video is worked on and how far that is."""
    watched = sys.stderr.isatty()
    number, video = 0, Path()

    def show(progress: Progress | None = None) -> None:
        if watched:
            windows = f"{progress.stage} {progress.done}/{progress.total} " if progress and progress.total > 1 else ""
            print(f"\r\x1b[K[{number}/{len(videos)}] {video} {windows}...", end="", file=sys.stderr, flush=True)

    results = pipeline.predict_all(videos, options, show)
    for number, video in enumerate(videos, start=1):  # noqa: B007  # `show` names them
        show()
        result = next(results)
        if watched:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        yield result
