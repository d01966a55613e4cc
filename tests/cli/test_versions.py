"""`versions`: what the server has learned, and which of it is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from command_line import run
from omni_timeline.learning.version import LearnedVersion, MadeFrom
from omni_timeline.learning.versions import BASE, LearnedVersions
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions

PROJECT = 7


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LearnedVersions:
    """Those in the CACHE_DIR of the environment."""
    monkeypatch.setenv("CACHE_DIR", str(tmp_path))
    return LearnedVersions.in_cache(tmp_path)


@pytest.fixture
def name(versions: LearnedVersions) -> str:
    """Of a version of the demo checkpoint."""
    options = PredictOptions(labels=("crate",), calibration=Calibration(names=(("red square", "crate"),)))
    made_from = MadeFrom("project 7", ("a", "b"), ("c",), 3)
    base = Checkpoint.find("demo").version
    version = LearnedVersion(base, options, made_from, "2026-11-26T10:00:00+00:00", True, "F1 +0.50 (3 tasks).")
    for each in (version, replace(version, made_at="2026-11-27T10:00:00+00:00", base="other", reason="F1 +0.10.")):
        each.save(versions.project(PROJECT) / each.name, {}, "<p>report</p>")
    return version.name


def test_all_versions_are_listed_and_the_one_in_use_is_marked(
    capsys: pytest.CaptureFixture[str], versions: LearnedVersions, name: str
):
    code, out, _ = run(capsys, "versions", "--project", PROJECT)
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 3)
    assert f"  {name}  F1 +0.50 (3 tasks)." in lines
    assert lines[-1].startswith("* base")
    versions.use(PROJECT, name)
    _, out, _ = run(capsys, "versions", "list", "--project", PROJECT)
    assert f"* {name}  F1 +0.50 (3 tasks)." in out.splitlines()


def test_use_and_back_choose(capsys: pytest.CaptureFixture[str], versions: LearnedVersions, name: str):
    assert run(capsys, "versions", "use", name, "--project", PROJECT)[0] == 0
    assert versions.chosen(PROJECT) == name
    code, out, _ = run(capsys, "versions", "back", "--project", PROJECT)
    assert (code, out) == (0, "Project 7 is predicted with base again.\n")
    assert versions.chosen(PROJECT) == BASE
    code, _, err = run(capsys, "versions", "back", "--project", PROJECT)
    assert code == 2
    assert "no earlier version" in err


def test_show_tells_what_a_version_is(capsys: pytest.CaptureFixture[str], versions: LearnedVersions, name: str):
    assert "the model as it came" in run(capsys, "versions", "show", "--project", PROJECT)[1]
    code, out, _ = run(capsys, "versions", "show", name, "--project", PROJECT)
    assert code == 0
    assert "project 7: 3 annotations, 2 videos learned from, 1 held out" in out
    assert Path(out.split()[-1]).read_text() == "<p>report</p>"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["use"], "needs the name"),
        (["back", "base"], "takes no name"),
        (["list", "base"], "takes no name"),
        (["use", "corrections-20200101-000000"], "there are: base"),
        (["show", "corrections-20200101-000000"], "there are: base"),
    ],
)
def test_a_mistake_is_a_usage_error(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str], versions: LearnedVersions
):
    code, out, err = run(capsys, "versions", *arguments, "--project", PROJECT)
    assert (code, out) == (2, "")
    assert why in err


def test_a_version_of_another_checkpoint_is_refused(
    capsys: pytest.CaptureFixture[str], versions: LearnedVersions, name: str
):
    [other] = [each for each in versions.names(PROJECT) if each != name]
    code, _, err = run(capsys, "versions", "use", other, "--project", PROJECT)
    assert code == 2
    assert "learned on the checkpoint other, and the model is demo-" in err
    assert versions.chosen(PROJECT) == BASE
