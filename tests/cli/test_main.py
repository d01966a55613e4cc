"""Exit codes, messages, and what `--help` loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import run
from omni_timeline import __version__


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["predict"],
        ["predict", "a.mp4", "--remap", "guess"],
        ["predict", "a.mp4", "--frames", "0"],
        ["predict", "a.mp4", "--frames", "some"],
        ["predict", "a.mp4", "--labels", " , "],
        ["predict", "a.mp4", "--prompt", "no such file.txt"],
        ["predict", "a.mp4", "--label-config", "no such file.xml"],
        ["predict", "a.mp4", "--format", "label-studio"],
        ["predict", "a.mp4", "--timeline", "timeline.jpg"],
        ["predict", "a.mp4", "--view", "page.mp4"],
        ["predict", "a.mp4", "--embed"],
        ["predict", "--output", "a.mp4", "b.mp4"],
        ["predict", "a.mp4", "b.mp4", "--format", "vtt"],
        ["predict", "a/clip.mp4", "b/clip.mp4", "--format", "srt", "--output", "captions"],
        ["predict", "a.mp4", "b.mp4", "--format", "eaf", "--output", __file__],
        ["predict", "no such video.mp4", "--truth"],
        ["inspect", "a.mp4", "b.mp4"],
    ],
    ids=" ".join,
)
def test_an_invalid_command_line_ends_with_2_and_a_reason(capsys: pytest.CaptureFixture[str], argv: list[str]):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "omni-timeline" in err
    assert "Traceback" not in err


def test_a_labeling_config_without_a_timeline_is_refused_before_the_model_loads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    file = tmp_path / "config.xml"
    file.write_text('<View><Video name="v" value="$v"/></View>')
    code, _, err = run(capsys, "predict", "a.mp4", "--label-config", file, "--model", "/no/such/checkpoint")
    assert code == 2
    assert "TimelineLabels" in err


def test_a_checkpoint_that_is_not_there_is_one_line_with_the_way_out(
    capsys: pytest.CaptureFixture[str], silent_video: Path
):
    code, out, err = run(capsys, "predict", silent_video, "--model", "/no/such/checkpoint")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "demo" in err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    assert run(capsys, "--version") == (0, f"omni-timeline {__version__}\n", "")


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["predict", "--help"],
        ["inspect", "--help"],
        ["serve", "--help"],
        ["learn", "--help"],
        ["predict", "a.mp4", "--typo"],
    ],
    ids=" ".join,
)
def test_help_and_a_mistyped_option_load_nothing_heavy(argv: list[str]):
    script = (
        "import sys; from omni_timeline.cli.main import main\n"
        f"try: main({argv})\n"
        "finally: print({'torch', 'transformers', 'av', 'flask', 'requests', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "usage: omni-timeline" in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]):
    for command in ([], ["predict"], ["inspect"], ["serve"]):
        code, out, err = run(capsys, *command, "--help")
        assert (code, err) == (0, "")
        assert "examples:\n  omni-timeline " in out


def test_a_file_that_cannot_be_written_is_one_line(
    capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path
):
    taken = tmp_path / "timeline.png"
    taken.mkdir()
    code, out, err = run(capsys, "predict", silent_video, "--format", "jsonl", "--timeline", taken)
    assert code == 1
    assert len(out.splitlines()) == 1  # what was predicted is not lost
    assert re.fullmatch(r"omni-timeline: error: .*timeline\.png.*\n", err)


def test_a_reader_that_leaves_early_causes_no_traceback(silent_video: Path):
    command = f"{sys.executable} -m omni_timeline inspect --json {silent_video} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
