"""`inspect`: the report, the sheet and the sound hold exactly what the model is given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from command_line import run
from omni_timeline.media.video import load_clip


def test_inspect_json_says_what_the_model_is_given(capsys: pytest.CaptureFixture[str], sounding_video: Path):
    code, out, _ = run(capsys, "inspect", sounding_video, "--json", "--frames", "12")
    report = json.loads(out)
    [window] = report["windows"]
    assert code == 0
    assert list(report) == [
        "video", "duration", "fps", "has_audio", "start_time", "warnings", "frames_per_grid", "windows",
        "system_prompt", "prompt",
    ]  # fmt: skip
    assert list(window) == [
        "start", "end", "instants", "frame_seconds", "held", "second_per_grid", "grid_seconds", "audio_tokens",
        "video_tokens", "prompt_tokens",
    ]  # fmt: skip
    clip = load_clip(sounding_video, frames=12)
    assert window["instants"] == list(clip.times.seconds)
    assert window["frame_seconds"] == list(clip.shown)
    assert report["warnings"] == window["held"] == []
    assert len(window["grid_seconds"]) == 6


def test_inspect_prints_a_line_for_every_grid(capsys: pytest.CaptureFixture[str], silent_video: Path):
    code, out, _ = run(capsys, "inspect", silent_video, "--frames", "12")
    assert code == 0
    assert len(re.findall(r"^ +\d+  \d+\.\d{3} \d+\.\d{3}  +\d+\.\d{3}$", out, re.MULTILINE)) == 6


def test_inspect_writes_exactly_the_frames_and_the_sound(
    capsys: pytest.CaptureFixture[str], sounding_video: Path, tmp_path: Path
):
    sheet, sound = tmp_path / "sheet.png", tmp_path / "sound.wav"
    assert run(capsys, "inspect", sounding_video, "--sheet", sheet, "--audio", sound)[0] == 0
    assert Image.open(sheet).width > 1000
    heard, rate = soundfile.read(sound, dtype="float32")
    clip = load_clip(sounding_video)
    assert rate == 16_000
    assert clip.audio is not None
    assert np.array_equal(heard, clip.audio)


def test_a_silent_video_has_no_sound_to_write(capsys: pytest.CaptureFixture[str], silent_video: Path, tmp_path: Path):
    code, _, err = run(capsys, "inspect", silent_video, "--audio", tmp_path / "sound.wav")
    assert code == 1
    assert err.startswith("omni-timeline: error: ")
