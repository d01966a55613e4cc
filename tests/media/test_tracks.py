"""Of several tracks the one that browsers play, and what a person is told of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from omni_timeline.media.video import load_clip, probe
from player import Player
from surgery import with_flags

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COLORS = {"red": (254, 0, 0), "blue": (0, 0, 254), "green": (0, 128, 0)}


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films of one colour, of 4 s or of one frame; tones of 440 and of 2000 Hz; a cover."""
    folder = tmp_path_factory.mktemp("parts")
    for name, color, seconds, size in (
        ("red", "red", "4", "160x120"), ("blue", "blue", "4", "320x240"), ("still", "green", "0.04", "640x480"),
    ):  # fmt: skip
        source = ("-f", "lavfi", "-i", f"color={color}:size={size}:rate=25:duration={seconds}", "-pix_fmt", "yuv420p")
        ffmpeg(*source, "-c:v", "libx264", folder / f"{name}.mp4")
        ffmpeg(*source, "-c:v", "libvpx", folder / f"{name}.webm")
    for name, frequency, seconds in (("low", 440, 4), ("high", 2000, 6)):
        ffmpeg("-f", "lavfi", "-i", f"sine={frequency}:duration={seconds}", "-c:a", "aac", folder / f"{name}.m4a")
    ffmpeg("-f", "lavfi", "-i", "color=yellow:size=800x800", "-frames:v", "1", folder / "cover.jpg")
    return folder


def joined(parts: Path, target: Path, names: Sequence[str], *options: str) -> Path:
    inputs = [argument for name in names for argument in ("-i", parts / name)]
    maps = [argument for number in range(len(names)) for argument in ("-map", str(number))]
    ffmpeg(*inputs, *maps, "-c", "copy", *options, target)
    return target


def color_of(path: Path) -> str:
    """What the middle of the second second shows."""
    clip = load_clip(path, frames=1, start=1.5)
    height, width = clip.frames.shape[2:]
    pixel = clip.frames[0, :, height // 2, width // 2].astype(int)
    return min(COLORS, key=lambda name: np.abs(pixel - COLORS[name]).sum())


# --- the picture -----------------------------------------------------------------------------------------------------
CHOICES = {
    # name: parts, flags of tracks, options of ffmpeg, what is watched, how many films there are
    "two.mp4": (["red.mp4", "blue.mp4"], {}, (), "red", 2),
    "second-is-larger-and-default.webm": (
        ["red.webm", "blue.webm"], {}, ("-disposition:v:0", "0", "-disposition:v:1", "default"), "red", 2,
    ),
    "first-is-off.mp4": (["red.mp4", "blue.mp4"], {0: 2}, (), "blue", 2),
    "second-is-off.mp4": (["red.mp4", "blue.mp4"], {1: 2}, (), "red", 2),
    "both-are-off.mp4": (["red.mp4", "blue.mp4"], {0: 2, 1: 2}, (), "red", 2),
    "still-behind.mp4": (["red.mp4", "still.mp4"], {}, (), "red", 1),
    "cover.mp4": (["cover.jpg", "red.mp4"], {}, ("-disposition:v:0", "attached_pic"), "red", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_the_picture_is_the_one_that_chromium_shows(browser: Browser, parts: Path, tmp_path: Path, name: str):
    names, flags, options, watched, count = CHOICES[name]
    path = joined(parts, tmp_path / name, names, *options)
    if flags:
        path.write_bytes(with_flags(path.read_bytes(), flags))
    with closing(Player.open(browser, path)) as player:
        middle = player.show(1.5)[:, player.size[1] // 2, player.size[0] // 2].astype(int)
        assert np.abs(middle - COLORS[watched]).max() < 4
        assert (probe(path).width, probe(path).height) == player.size
    assert color_of(path) == watched
    warnings = load_clip(path, frames=2).warnings
    if count == 1:
        assert warnings == ()
    else:
        [warning] = warnings
        number = 2 if watched == "blue" else 1
        assert warning == f"{name} has 2 video tracks; number {number} is watched, as browsers do."


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_still_is_not_watched_though_it_comes_first(parts: Path, tmp_path: Path, suffix: str):
    kind = "webm" if suffix == "webm" else "mp4"
    path = joined(parts, tmp_path / f"still.{suffix}", [f"still.{kind}", f"red.{kind}"])
    assert color_of(path) == "red"
    assert load_clip(path, frames=2).warnings == ()
    assert probe(path).duration == pytest.approx(4.0, abs=0.05)


def test_a_still_is_watched_for_want_of_a_film(parts: Path, tmp_path: Path):
    path = joined(parts, tmp_path / "still.mp4", ["still.mp4", "high.m4a"])
    assert color_of(path) == "green"
    assert probe(path).duration == pytest.approx(6.0, abs=0.05)


@pytest.mark.parametrize(("names", "seconds"), [
    (["red.mp4", "high.m4a"], 6.0),
    (["red.mp4", "low.m4a", "high.m4a"], 6.0),  # also one that is not heard
])  # fmt: skip
def test_a_film_lasts_as_long_as_chromium_says(
    browser: Browser, parts: Path, tmp_path: Path, names: list[str], seconds: float
):
    path = joined(parts, tmp_path / "film.mp4", names)
    with closing(Player.open(browser, path)) as player:
        assert probe(path).duration == pytest.approx(player.duration, abs=0.03) == pytest.approx(seconds, abs=0.03)


# --- the sound -------------------------------------------------------------------------------------------------------
def heard(path: Path, audio_track=None) -> tuple[set[int], tuple[str, ...]]:
    """Which tones the sound has between 1 and 2 s, and the warnings."""
    clip = load_clip(path, frames=2, audio_track=audio_track)
    spectrum = np.abs(np.fft.rfft(clip.audio[16_000:32_000]))
    return {tone for tone in (440, 2000) if spectrum[tone] > 100}, clip.warnings


@pytest.fixture
def two_sounds(parts: Path, tmp_path: Path) -> Path:
    return joined(parts, tmp_path / "two.mp4", ["red.mp4", "low.m4a", "high.m4a"])


@pytest.mark.parametrize(("audio_track", "tones", "warning"), [
    (None, {440}, "two.mp4 has 2 audio tracks; number 1 is heard, as browsers do "
                  "(--audio-track and AUDIO_TRACK choose another, or all)."),
    (1, {440}, None),
    (2, {2000}, None),
    ("all", {440, 2000}, None),
    (3, {440}, "two.mp4 has no audio track 3; number 1 of 2 is heard."),
])  # fmt: skip
def test_of_two_sound_tracks_one_can_be_chosen(two_sounds: Path, audio_track, tones: set[int], warning: str | None):
    found, warnings = heard(two_sounds, audio_track)
    assert found == tones
    assert warnings == (() if warning is None else (warning,))


def test_a_sound_track_that_is_off_is_not_heard(two_sounds: Path):
    two_sounds.write_bytes(with_flags(two_sounds.read_bytes(), {1: 2}))
    found, [warning] = heard(two_sounds)
    assert found == {2000}
    assert "number 2 is heard" in warning


def test_a_sound_track_that_cannot_be_decoded_is_passed_over(parts: Path, tmp_path: Path):
    ffmpeg("-i", parts / "low.m4a", tmp_path / "low.wav")
    path = joined(parts, tmp_path / "two.mov", ["red.mp4", str(tmp_path / "low.wav"), "high.m4a"])
    path.write_bytes(path.read_bytes().replace(b"sowt", b"zzzz"))
    with av.open(str(path)) as container:
        assert [stream.codec_context is None for stream in container.streams.audio] == [True, False]
    assert heard(path) == ({2000}, ())
