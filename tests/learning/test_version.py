"""A learned version is written whole or not at all, and belongs to one checkpoint."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.learning.version import LearnedVersion, MadeFrom, check_room
from omni_timeline.model.prompts import Prompt
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions

CALIBRATION = Calibration(asked=(), names=(("red square", "Defekt"), ("*", None)), score=(0.8, -0.1))
VERSION = LearnedVersion(
    base="demo-12345678",
    options=PredictOptions(
        frames=24, labels=("Defekt", "ü"), hints=(("ü", "umlaut"),), prompt=Prompt("Look."), calibration=CALIBRATION
    ),
    made_from=MadeFrom("export.json", ("a", "b"), ("c",), 4),
    made_at="2026-11-26T10:11:12+00:00",
    is_offered=True,
    reason="It is better.",
)


def test_what_was_written_is_read(tmp_path: Path):
    VERSION.save(tmp_path / "deep" / "first", {"numbers": [1.5]}, "<!doctype html>ü")
    assert LearnedVersion.load(tmp_path / "deep" / "first") == VERSION
    assert {path.name for path in (tmp_path / "deep" / "first").iterdir()} == {
        "version.json", "calibration.json", "report.json", "report.html",
    }  # fmt: skip
    assert json.loads((tmp_path / "deep" / "first" / "report.json").read_text()) == {"numbers": [1.5]}
    kept = json.loads((tmp_path / "deep" / "first" / "version.json").read_text())
    assert (kept["name"], kept["model_version"]) == (VERSION.name, VERSION.model_version)
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "first"]


def test_a_version_that_changes_nothing_asks_as_without_one(tmp_path: Path):
    nothing = replace(VERSION, options=replace(VERSION.options, calibration=None), is_offered=False)
    nothing.save(tmp_path / "v", {}, "")
    assert LearnedVersion.load(tmp_path / "v") == nothing
    assert nothing.calibration == Calibration()
    assert nothing.model_version == replace(VERSION.options, calibration=None).version("demo-12345678")


def test_the_name_says_when_and_from_what():
    assert VERSION.name.startswith("corrections-20261126-")
    others = [replace(VERSION, made_from=replace(VERSION.made_from, learned=("a",))), replace(VERSION, base="demo-2")]
    assert len({VERSION.name, *(other.name for other in others)}) == 3


def test_another_checkpoint_is_refused():
    VERSION.check_base("demo-12345678")
    with pytest.raises(RequestError, match=r"learned on the checkpoint demo-12345678, and the model is demo-2"):
        VERSION.check_base("demo-2")


def test_a_version_is_never_written_over(tmp_path: Path):
    VERSION.save(tmp_path / "v", {}, "first")
    with pytest.raises(RequestError, match="a folder of its own"):
        VERSION.save(tmp_path / "v", {}, "second")
    assert (tmp_path / "v" / "report.html").read_text() == "first"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RequestError, match="a folder of its own"):
        check_room(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    VERSION.save(tmp_path / "empty", {}, "")
    assert LearnedVersion.load(tmp_path / "empty") == VERSION


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full after so many bytes of one file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 150, 100_000])
def test_a_full_disk_leaves_nothing(tmp_path: Path, size: int):
    with pytest.raises(OSError, match="too large"), files_of_at_most(size):
        VERSION.save(tmp_path / "v", {}, "x" * 200_000)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_while_it_writes_leaves_no_version(tmp_path: Path):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the end of this process at the first byte too many
        with files_of_at_most(100_000):
            VERSION.save(tmp_path / "v", {}, "x" * 200_000)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ
    assert not (tmp_path / "v").exists()
    with pytest.raises(RequestError, match="no learned version"):
        LearnedVersion.load(tmp_path / "v")
    VERSION.save(tmp_path / "v", {}, "")  # what is left of it is in nobody's way
    assert LearnedVersion.load(tmp_path / "v") == VERSION


def test_nothing_that_is_not_a_number_gets_into_the_report(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        VERSION.save(tmp_path / "v", {"f1": float("nan")}, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("version.json", "{}", "not a learned version"),
        ("version.json", "7", "not a learned version"),
        ("version.json", '{"format": 99}', "format"),
        ("calibration.json", "{}", "not a calibration"),
    ],
)
def test_a_damaged_version_is_refused(tmp_path: Path, file: str, text: str, message: str):
    VERSION.save(tmp_path / "v", {}, "")
    (tmp_path / "v" / file).write_text(text)
    with pytest.raises(RequestError, match=message):
        LearnedVersion.load(tmp_path / "v")


def test_a_version_of_a_later_release_is_refused_and_the_option_named(tmp_path: Path):
    VERSION.save(tmp_path / "v", {}, "")
    kept = json.loads((tmp_path / "v" / "version.json").read_text())
    kept["options"]["clairvoyance"] = True
    (tmp_path / "v" / "version.json").write_text(json.dumps(kept))
    with pytest.raises(RequestError, match="clairvoyance"):
        LearnedVersion.load(tmp_path / "v")
