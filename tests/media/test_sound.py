"""Channels of any number, name and phase are heard; what libav cannot decode is said."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from media_files import Ruler, chirps_in, every
from omni_timeline.media.sound import mono
from omni_timeline.media.video import load_clip
from omni_timeline.timebase import SAMPLE_RATE
from surgery import inside

RATE = 48_000
FILM = Ruler(every(25, 75), options={"preset": "ultrafast"})
LABELS = {"left": 1, "right": 2, "centre": 3, "unused": 0xFFFFFFFE, "unknown": 0xFFFFFFFF, "mono": 42}


def tone(seconds: float = 3.0, frequency: float = 1000.0, amplitude: float = 0.4) -> np.ndarray:
    """A tone in the second second."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency * t) * ((t >= 1) & (t < 2))).astype(np.float32)


def loudness(path: Path) -> tuple[float, float]:
    """Of the second second and of the third one."""
    clip = load_clip(path, frames=2)
    assert clip.audio is not None, clip.warnings
    assert clip.warnings == ()
    parts = clip.audio[: 3 * SAMPLE_RATE].reshape(3, SAMPLE_RATE)
    return float(np.sqrt(np.mean(parts[1] ** 2))), float(np.sqrt(np.mean(parts[2] ** 2)))


def write_pcm(path: Path, channels: np.ndarray, layout: str) -> Path:
    """A film with 16-bit sound; `channels` are (channels, samples)."""
    samples = np.ascontiguousarray((channels.T * 32767).astype(np.int16).reshape(1, -1))
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 64
        sound = container.add_stream("pcm_s16le", rate=RATE, layout=layout)
        for _ in range(75):
            black = np.zeros((64, 64, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(black, "rgb24").reformat(format="yuv420p")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples, "s16", layout)
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def relabelled(data: bytes, labels: Sequence[str]) -> bytes:
    """A QuickTime file whose sound has these names for its channels."""
    rows = b"".join(struct.pack(">III", LABELS[label], 0, 0) + bytes(8) for label in labels)
    chan = struct.pack(">I", 0) + struct.pack(">III", 0, 0, len(labels)) + rows

    def changed(stsd: bytes) -> bytes:
        entry = bytearray(stsd[8:])
        at = entry.find(b"chan")
        if at >= 0:
            size = struct.unpack_from(">I", entry, at - 4)[0]
            del entry[at - 4 : at - 4 + size]
        entry += struct.pack(">I4s", len(chan) + 8, b"chan") + chan
        struct.pack_into(">I", entry, 0, len(entry))
        return stsd[:8] + bytes(entry)

    return inside(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"), changed, track=1)


# --- the rule --------------------------------------------------------------------------------------------------------
ONE, OTHER = tone(0.5 + 1.0)[RATE : RATE + 8000], tone(1.5, 700.0)[RATE : RATE + 8000]
NOISE = np.random.default_rng(4).normal(0, 0.1, (3, 8000)).astype(np.float32)


@pytest.mark.parametrize(("channels", "expected"), [
    ([ONE], ONE),
    ([ONE, ONE], ONE),
    ([ONE, OTHER], (ONE + OTHER) / 2),
    ([ONE, 0 * ONE], ONE / 2),  # one-sided: half as loud, and heard
    ([0 * ONE, 0 * ONE, 0 * ONE, ONE], ONE / 4),
    ([ONE, -ONE], ONE),  # anti-phase
    ([ONE, -0.8 * ONE], ONE),
    ([0.5 * ONE, -ONE], -ONE),  # the louder of both
    ([ONE, -0.3 * ONE], 0.35 * ONE),  # they do not cancel
    ([NOISE[0], NOISE[1]], NOISE[:2].mean(axis=0)),
    ([NOISE[0], NOISE[1], NOISE[2]], NOISE.mean(axis=0)),
    ([0 * ONE, 0 * ONE], 0 * ONE),
])  # fmt: skip
def test_channels_become_their_mean_unless_they_cancel(channels: list[np.ndarray], expected: np.ndarray):
    np.testing.assert_allclose(mono(np.stack(channels, axis=1)), expected, atol=1e-6)


# --- files -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("channels", "level"), [
    ((1.0, 1.0), 0.283), ((1.0, 0.0), 0.141), ((0.0, 1.0), 0.141), ((1.0, -1.0), 0.283), ((0.7, -0.6), 0.198),
])  # fmt: skip
def test_one_sided_and_anti_phase_stereo_is_heard(tmp_path: Path, channels: tuple[float, float], level: float):
    path = write_pcm(tmp_path / "stereo.mov", np.outer(channels, tone()), "stereo")
    assert loudness(path) == pytest.approx((level, 0.0), abs=0.004)


def test_channels_may_cancel_in_one_stretch_and_not_in_another(tmp_path: Path):
    left = np.concatenate([0 * tone(1.0), tone(4.0)[RATE : 2 * RATE], tone(4.0)[RATE : 2 * RATE]])
    right = left * np.repeat([1, 1, -1], RATE)
    path = write_pcm(tmp_path / "turned.mov", np.stack([left, right]), "stereo")
    assert loudness(path) == pytest.approx((0.283, 0.283), abs=0.02)


@pytest.mark.parametrize("labels", [
    ("unused",) * 2, ("unused",) * 4, ("unknown",) * 3, ("left", "left"), ("left", "centre"), ("mono", "mono"),
    ("centre", "left", "unused"), ("left",) * 8, ("unused",) * 16,
])  # fmt: skip
def test_channels_of_any_name_are_heard(tmp_path: Path, labels: tuple[str, ...]):
    """libav takes most of these for a layout of its own kind, which PyAV 18.1 frees twice."""
    layout = {2: "stereo", 3: "3.0", 4: "quad", 8: "7.1", 16: "hexadecagonal"}[len(labels)]
    path = write_pcm(tmp_path / "named.mov", np.tile(tone(), (len(labels), 1)), layout)
    path.write_bytes(relabelled(path.read_bytes(), labels))
    for _ in range(3):
        assert loudness(path) == pytest.approx((0.283, 0.0), abs=0.004)


@pytest.mark.parametrize("kind", [
    "aac 5.1 mp4", "aac 7.1 mp4", "ac3 5.1 mkv", "libopus 5.1 mkv", "flac 7.1 mkv", "libvorbis 7.1 mkv",
    "pcm_s16le 7.1 mov", "pcm_f64le stereo mkv", "pcm_u8 mono mkv", "pcm_s24le 5.1 mov", "pcm_s32le stereo mov",
])  # fmt: skip
def test_sound_of_any_kind_is_the_mean_of_its_channels(tmp_path: Path, kind: str):
    codec, layout, suffix = kind.split()
    source = write_pcm(tmp_path / "source.mov", np.tile(tone(), (2, 1)), "stereo")
    path = tmp_path / f"kind.{suffix}"
    coding = ["-c:v", "copy", "-c:a", codec, "-af", f"aformat=channel_layouts={layout}"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, *coding, path], check=True)
    loud, quiet = loudness(path)
    assert loud > 0.05  # two of up to eight channels carry the tone
    assert quiet < 0.01


def test_what_is_resampled_at_once_is_what_comes_of_a_frame_at_a_time(tmp_path: Path):
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * RATE).astype(np.float32)
    path = write_pcm(tmp_path / "noise.mov", noise[None], "mono")
    resampler = av.AudioResampler("flt", None, SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    pieces = [piece.to_ndarray()[0] for frame in [*frames, None] for piece in resampler.resample(frame)]
    expected = np.concatenate(pieces)
    assert len(frames) > 100
    sound = load_clip(path, frames=2).audio
    assert sound is not None
    assert np.array_equal(sound[: len(expected)], expected[: len(sound)])


def test_more_channels_than_libav_has_names_for(tmp_path: Path):
    path = write_pcm(tmp_path / "many.mov", np.tile(tone(), (24, 1)), "22.2")
    assert loudness(path) == pytest.approx((0.283, 0.0), abs=0.004)


def test_sound_that_is_damaged_in_the_middle_is_silent_there_and_a_warning_says_so(tmp_path: Path):
    ruler = Ruler(every(25, 150), options={"preset": "ultrafast"}, sound_until=6.0, chirps=(1.0, 5.0))
    path = ruler.write(tmp_path / "damaged.mkv")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    damaged = packets[120:140]
    for packet in damaged:
        where = data.find(bytes(packet))
        assert where > 0
        data[where : where + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    clip = load_clip(path, frames=2)
    assert chirps_in(clip.audio, SAMPLE_RATE, (1.0, 5.0)) == pytest.approx([1.0, 5.0], abs=0.002)
    [warning] = clip.warnings
    assert "of the sound of damaged.mkv cannot be decoded; there is silence in their place" in warning
    assert load_clip(path, frames=2, start=4.0).warnings == (), "elsewhere nothing is lost"


def test_sound_of_which_nothing_decodes_costs_the_sound_and_not_the_picture(tmp_path: Path):
    path = Ruler(every(25, 50), options={"preset": "ultrafast"}, sound_until=2.0).write(tmp_path / "dead.mkv")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    data = path.read_bytes()
    for packet in packets:
        data = data.replace(packet, b"\xff" * len(packet))
    path.write_bytes(data)
    clip = load_clip(path, frames=4)
    assert clip.audio is None
    assert len(clip.frames) == 4
    [warning] = clip.warnings
    assert warning.startswith("The sound of dead.mkv (aac) cannot be decoded")
