"""What the README tells people to type works."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from omni_timeline.cli.main import main
from omni_timeline.media.video import probe
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_examples_run(
    demo_model: OmniModel, samples: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    silent = [sample for sample in samples if not probe(sample).has_audio]
    for name, sample in zip(("short.mp4", "long.mp4"), silent[:2], strict=True):
        (tmp_path / name).symlink_to(sample)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, {"processor": demo_model.processor, "model": demo_model.model})


def test_the_commands_run(
    samples: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for sample in samples:
        (tmp_path / sample.name).symlink_to(sample)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ omni-timeline ([^|\n]*)", README, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command)) == 0, command
        said = capsys.readouterr().out
        assert said
        if "predict" in command and "--json" in command:
            assert _rounded(json.loads(said)) == _rounded(json.loads(README.split(command)[1].splitlines()[1]))


def _rounded(prediction: dict[str, Any]) -> dict[str, Any]:
    """With scores of one digit: the others differ between processors."""
    segments = [{**segment, "score": round(segment["score"], 1)} for segment in prediction["segments"]]
    return {**prediction, "segments": segments}
