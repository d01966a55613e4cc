"""What `prelabel` refuses before it starts anything. What it does is tested with a real Label Studio, in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import run
from places import ROOT

CONFIG = ROOT / "label_config.xml"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--project N says which project is predicted"),
        (["--project", "0"], "must be a whole number of at least 1"),
        (["--project", "1", "--task-ids", "1,x"], "must be a whole number of at least 1"),
        (["--project", "1", "--task-ids", "1", "--view", "2"], "not allowed with argument"),
        (["--project", "1", "--num-gpus", "1", "--num-workers", "1"], "not allowed with argument"),
        (["--project", "1", "--videos", "clips"], "--videos is for --export"),
        (["--export", "out.jsonl"], "--export needs --label-config"),
        (["--export", "out.txt", "--label-config", CONFIG], ".jsonl"),
        (["--export", "out.jsonl", "--label-config", CONFIG, "--follow"], "--follow needs Label Studio"),
        (["--export", "out.jsonl", "--label-config", CONFIG, "--project", "1"], "--project needs Label Studio"),
        (
            ["--export", "out.jsonl", "--label-config", CONFIG, "--report", "out.json"],
            "out.json gets the list of predictions",
        ),
        (["--project", "1"], "LABEL_STUDIO_URL (or --url) and LABEL_STUDIO_API_KEY"),
        (
            ["--export", "out.jsonl", "--label-config", CONFIG, "--engine", "local", "--address", "auto"],
            "--address names a Ray cluster",
        ),
        (["--export", "out.jsonl", "--label-config", CONFIG, "--engine", "local"], "--export needs --tasks"),
    ],
)
def test_arguments_that_contradict_each_other(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[object],
    sentence: str,
):
    monkeypatch.chdir(tmp_path)
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    code, out, err = run(capsys, "prelabel", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert not list(tmp_path.glob("out*"))


def test_a_dry_run_says_what_would_be_predicted_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    Path("clips").mkdir()
    for name in ("a.mp4", "b.mov"):
        Path("clips", name).touch()
    arguments = ("--export", "out.jsonl", "--videos", "clips", "--label-config", CONFIG, "--engine", "local")
    code, out, err = run(capsys, "prelabel", *arguments, "--dry-run")
    assert code == 0, err
    assert out.startswith("demo-")
    assert "2 tasks would be predicted; 0 have a prediction already" in out
    assert "a.mp4" in out
    assert not Path("out.jsonl").exists()
    code, out, err = run(capsys, "prelabel", *arguments, "--dry-run", "--limit", "1")
    assert code == 0, err
    assert "1 tasks would be predicted" in out
    assert "b.mov" not in out


def test_without_ray_it_runs_here_and_says_how_to_get_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("omni_timeline.cli.prelabel.find_spec", lambda _: None)  # as where Ray is not installed
    Path("clips").mkdir()
    arguments = ("--export", "out.jsonl", "--videos", "clips", "--label-config", CONFIG, "--dry-run")
    code, _, err = run(capsys, "prelabel", *arguments)
    assert code == 0
    assert "pip install 'omni-timeline[ray]'" in err
    code, _, err = run(capsys, "prelabel", *arguments, "--address", "auto")
    assert code == 2
    assert "Ray is not installed: pip install 'omni-timeline[ray]'" in err
