"""What a person at a terminal sees while the videos are worked on, and what a program in a pipe does not."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from omni_timeline.cli.output import open_output
from omni_timeline.cli.terminal import predict_with_progress, print_error, print_lines, print_warning, show_progress
from omni_timeline.errors import ModelError
from omni_timeline.export.formats import FORMATS, WriterOptions
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Progress
from omni_timeline.pipeline.statistics import Statistics
from omni_timeline.segments import Segment
from places import ROOT

VIDEOS = [Path("short.mp4"), Path("long.mp4")]


class ScriptedScheduler:
    """Predicts at once, the second video in three windows."""

    def __init__(self) -> None:
        self.statistics = Statistics()

    def wait(self) -> None:
        pass

    def predict_all(
        self, videos: Sequence[Path], options: PredictOptions, on_progress: Callable[[Progress], None]
    ) -> Iterator[Prediction]:
        for windows, video in zip((1, 3), videos, strict=True):
            for done in range(windows):
                self.statistics.generated(0.1, 1)
                on_progress(Progress("windows", done, windows))
            self.statistics.finished()
            yield Prediction(video, 10.0, (), "demo-1-2", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> str:
    """What was written to stderr in all."""
    monkeypatch.setattr("sys.stderr", stderr)  # a terminal or none; pytest has its own in this place
    results = list(predict_with_progress(ScriptedScheduler(), PredictOptions(), VIDEOS))
    assert [result.path for result in results] == VIDEOS
    return stderr.getvalue()


def test_a_terminal_shows_how_many_videos_and_windows_are_done(monkeypatch: pytest.MonkeyPatch):
    lines = shown(monkeypatch, Terminal()).split("\r")
    assert "0/2" in lines[1]
    assert "2/2" in lines[-1]
    assert "4 windows" in lines[-1]


def test_a_pipe_gets_none_of_it(monkeypatch: pytest.MonkeyPatch):
    assert shown(monkeypatch, io.StringIO()) == ""


def test_without_a_model_nothing_is_begun():
    class Failing(ScriptedScheduler):
        def wait(self) -> None:
            raise ModelError("There is no folder nowhere.")

    with pytest.raises(ModelError, match="no folder nowhere"):
        next(predict_with_progress(Failing(), PredictOptions(), VIDEOS))


def stages(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> str:
    """What is shown of work in two stages, of which the second is not counted."""
    monkeypatch.setattr("sys.stderr", stderr)  # a terminal or none; pytest has its own in this place
    with show_progress() as on_progress:
        for done in range(3):
            on_progress(Progress("predicting", done, 2))
        on_progress(Progress("calibrating"))
    return stderr.getvalue()


def test_a_terminal_shows_the_stages_of_learning(monkeypatch: pytest.MonkeyPatch):
    told = stages(monkeypatch, Terminal())
    assert "predicting" in told
    assert "2/2" in told
    assert told.index("calibrating") > told.index("predicting")


def test_a_pipe_gets_no_stages(monkeypatch: pytest.MonkeyPatch):
    assert stages(monkeypatch, io.StringIO()) == ""


EVIL = "e\x1b]0;PWNED\x07.mp4"


def test_no_message_sends_control_characters_to_a_terminal(capsys: pytest.CaptureFixture[str]):
    print_error(f"cannot read {EVIL}\nor anything else")
    print_warning(f"{EVIL} is damaged")
    assert capsys.readouterr().err == (
        "omni-timeline: error: cannot read e\\x1b]0;PWNED\\x07.mp4\nor anything else\n"
        "omni-timeline: warning: e\\x1b]0;PWNED\\x07.mp4 is damaged\n"
    )


@pytest.mark.parametrize("to_terminal", [True, False])
def test_names_are_exact_in_a_pipe_and_harmless_on_a_terminal(to_terminal: bool, monkeypatch: pytest.MonkeyPatch):
    stdout = Terminal() if to_terminal else io.StringIO()
    monkeypatch.setattr("sys.stdout", stdout)  # a terminal or none; pytest has its own in this place
    prediction = Prediction(Path(EVIL), 10.0, (Segment(1.0, 2.0, "tone"),), "demo-1-2", "")
    with open_output("-", [prediction.path], FORMATS["csv"], WriterOptions()) as write:
        write([prediction])
    name = "e\\x1b]0;PWNED\\x07.mp4" if to_terminal else EVIL
    assert stdout.getvalue() == f"video,start,end,label,text,score,looks\n{name},1.0,2.0,tone,,,\n"


@pytest.mark.parametrize("to_terminal", [True, False])
def test_lines_on_a_terminal_are_harmless(to_terminal: bool, monkeypatch: pytest.MonkeyPatch):
    stdout = Terminal() if to_terminal else io.StringIO()
    monkeypatch.setattr("sys.stdout", stdout)  # a terminal or none
    print_lines(f"1 x cannot read {EVIL}\nand 2 others")
    name = "e\\x1b]0;PWNED\\x07.mp4" if to_terminal else EVIL
    assert stdout.getvalue() == f"1 x cannot read {name}\nand 2 others\n"


def test_no_other_module_prints_what_may_hold_a_name():
    """`print` itself is for constants."""
    printed = []
    for path in (ROOT / "backend" / "omni_timeline" / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                is_constant = isinstance(node.args[0], ast.Constant) or getattr(node.args[0], "id", "").isupper()
                printed += [] if is_constant else [path.name]
    assert set(printed) == {"terminal.py", "output.py"}
