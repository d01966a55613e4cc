"""What a person at a terminal sees while the videos are worked on, and what a program in a pipe does not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from omni_timeline.cli.terminal import predict_with_progress
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Progress

VIDEOS = [Path("short.mp4"), Path("long.mp4")]


class ScriptedPipeline:
    """Predicts at once, the second video in three windows."""

    def predict_all(
        self, videos: Sequence[Path], options: PredictOptions, on_progress: Callable[[Progress], None]
    ) -> Iterator[Prediction]:
        for windows, video in zip((1, 3), videos, strict=True):
            for done in range(windows):
                on_progress(Progress("windows", done, windows))
            yield Prediction(video, 10.0, (), "demo-1-2", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> list[str]:
    """What stands on stderr's last line, each time that it is written anew."""
    monkeypatch.setattr("sys.stderr", stderr)
    results = list(predict_with_progress(ScriptedPipeline(), PredictOptions(), VIDEOS))
    assert [result.path for result in results] == VIDEOS
    return stderr.getvalue().split("\r\x1b[K")


def test_a_terminal_shows_the_video_that_is_worked_on_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, Terminal()) == [
        "",
        "[1/2] short.mp4 ...",
        "[1/2] short.mp4 ...",
        "",
        "[2/2] long.mp4 ...",
        "[2/2] long.mp4 windows 0/3 ...",
        "[2/2] long.mp4 windows 1/3 ...",
        "[2/2] long.mp4 windows 2/3 ...",
        "",
    ]


def test_a_pipe_gets_none_of_it(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, io.StringIO()) == [""]
