"""`inspect`: the report, the sheet and the sound hold exactly what the model is given."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from command_line import run
from media_files import Ruler, every
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


def test_what_begins_late_and_stays_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A recorder's file: the camera comes after 3 s, and one picture of it stays until the sound ends."""
    ruler = Ruler(
        every(10, 20), codec="libvpx", offset=Fraction(3), sound_codec="libopus", sound_from=-3.0, sound_until=5.0
    )
    video = ruler.write(tmp_path / "late.webm")
    report = json.loads(run(capsys, "inspect", video, "--json", "--frames", "16")[1])
    [window] = report["windows"]
    assert report["start_time"] == pytest.approx(3.0, abs=0.01)
    assert report["duration"] == pytest.approx(8.0, abs=0.02)
    assert window["instants"] == pytest.approx([n * 8 / 15 for n in range(16)], abs=0.02)
    first, last = window["held"]
    assert list(first.values()) == pytest.approx([0.0, 2.67, 3.0], abs=0.02)
    assert list(last.values()) == pytest.approx([5.33, 8.0, 4.9], abs=0.02)
    assert list(first) == ["start", "end", "picture"]
    assert "held: the picture of 3.00 from 0.00 to 2.67" in run(capsys, "inspect", video, "--frames", "16")[1]


@pytest.mark.parametrize(("track", "frequency"), [("1", 440), ("2", 2000)])
def test_the_sound_track_can_be_chosen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, two_sounds: Path, track: str, frequency: int
):
    sound = tmp_path / "sound.wav"
    code, _, err = run(capsys, "inspect", two_sounds, "--audio", sound, "--audio-track", track)
    heard, rate = soundfile.read(sound)
    assert (code, err) == (0, "")
    assert np.argmax(np.abs(np.fft.rfft(heard[:rate]))) == frequency
    assert "2 audio tracks" in run(capsys, "inspect", two_sounds)[2]


@pytest.mark.parametrize("track", ["0", "-1", "second", "1.5"])
def test_a_sound_track_is_a_number_from_1_or_all(capsys: pytest.CaptureFixture[str], silent_video: Path, track: str):
    code, _, err = run(capsys, "inspect", silent_video, f"--audio-track={track}")
    assert code == 2
    assert "must be a number from 1 to 10,000, or all" in err
