"""Colours are those that Chromium puts on an ordinary screen, and a film that changes its size keeps its shape."""

from __future__ import annotations

import subprocess
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from omni_timeline.media.video import load_clip
from player import Player

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIDE = 8  # patches across and down
BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)  # what red and blue add to luma
GREY, COLOURS = 16, 48  # patches: a ramp, and colours at random


def patches() -> np.ndarray:
    """R'G'B' of every patch, (64, 3); the last third are saturated."""
    dice = np.random.default_rng(1)
    ramp = np.repeat(np.linspace(0, 1, GREY)[:, None], 3, axis=1)
    colours = dice.uniform(0.05, 0.75, (COLOURS, 3))
    return np.concatenate([ramp, colours])


def write(path: Path, matrix: tuple[float, float], tags: dict[str, str], *, bits: int = 8, full: bool = False,
          size: tuple[int, int] = (128, 128), codec: str = "libx264") -> Path:  # fmt: skip
    """A film of the patches; `tags` are options of ffmpeg that name what the values mean."""
    red, blue = matrix
    rgb = patches()
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = [(rgb[:, 2] - luma) / (2 - 2 * blue), (rgb[:, 0] - luma) / (2 - 2 * red)]
    scale = 2 ** (bits - 8)
    spans = (255 * scale, 255 * scale, 0) if full else (219 * scale, 224 * scale, 16 * scale)
    planes = [luma * spans[0] + spans[2], *(plane * spans[1] + 128 * scale for plane in chroma)]
    width, height = size
    data = b""
    for number, values in enumerate(planes):
        across, down = (width, height) if number == 0 else (width // 2, height // 2)
        rows, columns = np.arange(down) * SIDE // down, np.arange(across) * SIDE // across
        plane = np.rint(values)[rows[:, None] * SIDE + columns]
        data += plane.clip(0, 256 * scale - 1).astype(np.uint16 if bits > 8 else np.uint8).tobytes()
    pixel_format = "yuv420p10le" if bits > 8 else "yuv420p"
    raw = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}", "-r", "10", "-i", "-"]
    lossless = {
        "libx264": ["-qp", "0", "-preset", "ultrafast"],
        "libvpx-vp9": ["-lossless", "1", "-deadline", "realtime", "-cpu-used", "8"],
        "libvpx": ["-crf", "4", "-b:v", "5M", "-deadline", "realtime"],
    }[codec]
    if codec == "libvpx-vp9" and bits > 8:
        lossless += ["-profile:v", "2"]
    named = [word for name, value in tags.items() for word in (f"-{name}", value)]
    command = ["ffmpeg", "-v", "error", "-y", *raw, "-c:v", codec, *lossless, *named, path]
    subprocess.run(command, input=5 * data, check=True)
    return path


def middles(picture: np.ndarray) -> np.ndarray:
    """The pixel in the middle of every patch, (64, 3)."""
    height, width = picture.shape[1:]
    rows, columns = ((2 * np.arange(SIDE) + 1) * side // (2 * SIDE) for side in (height, width))
    return picture[:, rows[:, None], columns].reshape(3, -1).T.astype(int)


def differences(browser: Browser, path: Path) -> np.ndarray:
    with closing(Player.open(browser, path)) as player:
        theirs = middles(player.show(0.3))
    return np.abs(theirs - middles(load_clip(path, frames=1, start=0.3).frames[0]))


def tags(space: str, transfer: str, primaries: str, full: bool = False) -> dict[str, str]:
    return {
        "colorspace": space,
        "color_trc": transfer,
        "color_primaries": primaries,
        "color_range": "pc" if full else "tv",
    }


STANDARD = {
    "bt709.mp4": dict(matrix=BT709, tags=tags("bt709", "bt709", "bt709")),
    "bt709-full.mp4": dict(matrix=BT709, tags=tags("bt709", "bt709", "bt709", True), full=True),
    "bt601.mp4": dict(matrix=BT601, tags=tags("smpte170m", "smpte170m", "smpte170m")),
    "bt601-full.mp4": dict(matrix=BT601, tags=tags("smpte170m", "smpte170m", "smpte170m", True), full=True),
    "bt601-hd.mp4": dict(matrix=BT601, tags=tags("smpte170m", "smpte170m", "smpte170m"), size=(128, 720)),
    "nothing-said.mp4": dict(matrix=BT601, tags={}),
    "nothing-said-hd.mp4": dict(matrix=BT709, tags={}, size=(128, 720)),
    "nothing-said-hd-vp8.webm": dict(matrix=BT709, tags={}, size=(128, 720), codec="libvpx"),
    "nothing-said-hd-vp9.webm": dict(matrix=BT601, tags={}, size=(128, 720), codec="libvpx-vp9"),
}


@pytest.mark.parametrize("name", STANDARD)
def test_ordinary_films_have_the_colours_of_the_screen(browser: Browser, tmp_path: Path, name: str):
    path = write(tmp_path / name, **STANDARD[name])
    off = differences(browser, path)
    assert off[:, :2].max() <= (8 if "vp8" in name else 4)
    assert off[:, 2].max() <= 8, "Chromium's own conversion is a little wrong in blue where there is no GPU"
    true = np.abs(middles(load_clip(path, frames=1, start=0.3).frames[0]) - 255 * patches())
    assert true.max() <= (8 if "vp8" in name else 3), "and those that the film was made of"


WIDE = {
    "hlg.webm": dict(codec="libvpx-vp9", tags=tags("bt2020nc", "arib-std-b67", "bt2020")),
    "hlg.mp4": dict(tags=tags("bt2020nc", "arib-std-b67", "bt2020")),
    "pq.webm": dict(codec="libvpx-vp9", tags=tags("bt2020nc", "smpte2084", "bt2020")),
    "sdr.webm": dict(codec="libvpx-vp9", tags=tags("bt2020nc", "bt2020-10", "bt2020")),
}


@pytest.mark.parametrize("name", WIDE)
def test_hdr_becomes_what_the_screen_shows(browser: Browser, tmp_path: Path, name: str):
    """Greys within 3 levels of 255. Colours within 4 in the mean and 40 at worst: without a GPU Chromium's conversion
    from YUV is wrong in blue by so much, and PQ puts that anywhere."""
    off = differences(browser, write(tmp_path / name, BT2020, bits=10, **WIDE[name]))
    assert off[:GREY].max() <= 3
    assert off[GREY:].mean() <= 4
    assert off[GREY:].max() <= 40
    assert off[GREY:, :2].mean() <= 2.5


def test_what_was_made_red_stays_red_under_hlg(tmp_path: Path):
    """Taken for ordinary film, HLG's red of a phone would be a dull brown."""
    path = write(tmp_path / "hlg.webm", BT2020, tags("bt2020nc", "arib-std-b67", "bt2020"), bits=10, codec="libvpx-vp9")
    clip = load_clip(path, frames=1)
    reds = middles(clip.frames[0])[np.argmax(patches()[:, 0] - patches()[:, 1:].max(axis=1))]
    assert reds[0] > 3 * max(reds[1], reds[2])


# --- a film that changes its size ------------------------------------------------------------------------------------
def write_changing(path: Path, codec: str, sizes: list[tuple[int, int]]) -> Path:
    """Two seconds of each size; a white quarter in a corner tells which way is up."""
    options = {"libvpx": {"deadline": "realtime", "cpu-used": "8"}, "libx264": {"x264-params": "repeat-headers=1"}}[
        codec
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuv420p"
        number = 0
        for place, (width, height) in enumerate(sizes):
            encoder = stream
            if place:
                encoder = av.CodecContext.create(codec, "w")
                encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
                encoder.time_base, encoder.framerate, encoder.options = Fraction(1, 25), Fraction(25), options
            picture = np.full((height, width, 3), (200, 30, 30), np.uint8)
            picture[: height // 2, : width // 2] = 255
            for _ in range(50):
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                number += 1
                for packet in encoder.encode(frame):
                    packet.stream = stream
                    container.mux(packet)
            for packet in encoder.encode(None):
                packet.stream = stream
                container.mux(packet)
    return path


@pytest.mark.parametrize(("name", "codec"), [("turned.webm", "libvpx"), ("turned.mkv", "libx264")])
def test_a_film_that_turns_keeps_its_shape(browser: Browser, tmp_path: Path, name: str, codec: str):
    path = write_changing(tmp_path / name, codec, [(160, 96), (96, 160)])
    with closing(Player.open(browser, path)) as player:
        assert player.size == (160, 96)
        assert player.show(3.0).shape == (3, 160, 96), "the browser's picture turns as well"
    clip = load_clip(path, frames=5)
    assert (clip.info.width, clip.info.height) == (160, 96)
    upright, turned = clip.frames[1], clip.frames[3]
    assert [upright[1, 20, 20], upright[1, 20, 120], upright[1, 80, 20]] == pytest.approx([255, 30, 30], abs=6)
    beside = (160 - round(96 * 96 / 160)) // 2  # columns of black, left and right
    assert turned[:, :, : beside - 1].max() == turned[:, :, 160 - beside + 1 :].max() == 0
    found = [turned[1, 20, beside + 10], turned[1, 20, 160 - beside - 10], turned[1, 80, beside + 10]]
    assert found == pytest.approx([255, 30, 30], abs=6)


def test_a_film_that_shrinks_fills_the_picture_as_before(tmp_path: Path):
    path = write_changing(tmp_path / "small.webm", "libvpx", [(160, 96), (80, 48), (160, 96)])
    clip = load_clip(path, frames=7, resize=lambda *_: (56, 84))
    assert clip.frames.shape == (7, 3, 56, 84)
    assert np.abs(clip.frames[3].astype(int) - clip.frames[1]).mean() < 3
