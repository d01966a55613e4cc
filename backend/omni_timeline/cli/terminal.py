"""Output for people: lines to stdout, and errors, warnings, log lines and progress to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omni_timeline.errors import printable

if TYPE_CHECKING:
    from omni_timeline.pipeline.options import PredictOptions
    from omni_timeline.pipeline.prediction import Failure, OnProgress, Prediction, Progress
    from omni_timeline.pipeline.scheduler import Scheduler


def shown_lines(text: str) -> str:
    """The text with its line breaks; other control characters, which a terminal would obey, are escaped."""
    return "\n".join(map(printable, text.split("\n")))


class _Formatter(logging.Formatter):
    """Log lines with their control characters escaped, since names of files are among their words."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))


def set_up_logging() -> None:
    """Sends log lines to stderr: all of ours to a terminal, else warnings only. The server has a setting of its own."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("omni_timeline").setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)


def print_lines(text: str) -> None:
    """Prints lines to stdout; control characters in them, as names may have, reach a pipe and no terminal."""
    print(shown_lines(text) if sys.stdout.isatty() else text)


def print_error(message: str) -> None:
    """Prints why a command, or one of its videos, failed."""
    print(f"omni-timeline: error: {shown_lines(message)}", file=sys.stderr, flush=True)


def print_warning(message: str) -> None:
    """Prints a warning about a command that succeeded."""
    print(f"omni-timeline: warning: {shown_lines(message)}", file=sys.stderr)


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """A callback for progress: a bar for each stage, where stderr is a terminal."""
    from tqdm import tqdm

    bar, stage = tqdm(disable=not sys.stderr.isatty(), dynamic_ncols=True), ""

    def show(progress: Progress) -> None:
        nonlocal stage
        if progress.stage != stage:
            stage = progress.stage
            bar.reset(progress.total)
            bar.set_description(stage)
        bar.n = progress.done
        bar.refresh()

    try:
        yield show
    finally:
        bar.close()


def predict_with_progress(
    scheduler: Scheduler, options: PredictOptions, videos: Sequence[Path]
) -> Iterator[Prediction | Failure]:
    """The results in the order of the videos; where stderr is a terminal, a bar shows how far the work is.

    Raises:
        OmniTimelineError: the model cannot be loaded.
    """
    from tqdm import tqdm

    scheduler.wait()
    statistics = scheduler.statistics
    with tqdm(total=len(videos), unit="video", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:

        def show(_: Progress | None = None) -> None:
            bar.n = statistics.videos
            bar.set_postfix_str(f"{statistics.windows} windows", refresh=False)
            bar.update(0)

        for result in scheduler.predict_all(videos, options, show):
            show()
            yield result
