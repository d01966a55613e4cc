"""Damaged and lying files, a dozen containers and codecs: each ends in a clip or in a `MediaError`, and the next file
is decoded.

What is done to a file follows from its name and a number, so that a failure can be repeated:
FUZZ_MEDIA_ROUNDS=200 .venv/bin/pytest tests/media/test_fuzz_media.py goes further than the suite does.
"""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omni_timeline.errors import MediaError
from omni_timeline.media.isolated import Decoder
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.video import load_clip
from places import FIXTURES

ROUNDS = int(os.environ.get("FUZZ_MEDIA_ROUNDS", "6"))  # of each kind, for each file
LIMITS = DecodeLimits(seconds=10.0, memory_bytes=1024**3, pixels=4_000_000, frames=100_000, duration=3600.0)
FILMS = {
    "h264-aac.mp4": "-c:v libx264 -preset veryfast -g 12 -bf 2 -c:a aac",
    "h264-fragmented.mp4": "-c:v libx264 -preset ultrafast -g 25 -c:a aac -movflags frag_keyframe+empty_moov",
    "hevc-alac.mov": "-c:v libx265 -preset ultrafast -x265-params log-level=none -tag:v hvc1 -c:a alac",
    "vp9-opus.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus",
    "vp8-vorbis.webm": "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis",
    "av1-flac.mkv": "-c:v libsvtav1 -preset 12 -c:a flac",
    "mpeg4-mp3.avi": "-c:v mpeg4 -bf 2 -c:a libmp3lame",
    "mpeg2-mp2.ts": "-c:v mpeg2video -c:a mp2",
    "mpeg1-mp2.mpg": "-c:v mpeg1video -c:a mp2 -f mpeg",
    "flv1-mp3.flv": "-c:v flv -c:a libmp3lame -ar 44100",
    "wmv2-wmav2.wmv": "-c:v wmv2 -c:a wmav2",
    "theora-vorbis.ogv": "-c:v libtheora -c:a libvorbis",
    "mjpeg-pcm.mov": "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le",
    "ffv1-pcm.nut": "-c:v ffv1 -c:a pcm_s16le",
    "h264.h264": "-c:v libx264 -preset ultrafast -g 12 -an",
    "colours.gif": "-an",
}
BOXES_WITH_BOXES = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"moof", b"traf", b"mvex"})
DAMAGED = FIXTURES / "damaged"
LIES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("films")
    source = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=2 -f lavfi -i sine=frequency=440:duration=2"
    for name, options in FILMS.items():
        command = f"ffmpeg -v error -y -threads 1 {source} {options} -shortest {folder / name}"
        subprocess.run(command.split(), check=True)
    return {name: (folder / name).read_bytes() for name in FILMS}


class Trial:
    """Puts bytes before the decoder and counts how it ends; a worker goes from one file to the next."""

    def __init__(self, folder: Path, good: bytes) -> None:
        self.decoder = Decoder(LIMITS)
        self.ends: Counter[str] = Counter()
        self.folder = folder
        self.good = folder / "good.mp4"
        self.good.write_bytes(good)
        self.expected = load_clip(self.good, frames=8, resize=lambda *_: (28, 56))

    def of(self, name: str, data: bytes, what: str) -> None:
        path = self.folder / name
        path.write_bytes(data)
        end = self._end_of(path)
        self.ends[end] += 1
        # Anything that only Python stumbles over is a mistake of ours.
        assert end != "stopped", f"{name}, {what}: the worker ended with an exception"
        self.assert_it_goes_on()

    def _end_of(self, path: Path) -> str:
        try:
            with self.decoder.open(path, "fuzz") as video:
                clip = video.clip(frames=8, size=(28, 56))
                video.clip(frames=4, size=(28, 56), start=clip.info.duration / 2)
        except MediaError as error:
            for words, end in (
                ("the decoder crashed", "crashed"),
                ("the decoder stopped", "stopped"),
                ("out of memory", "killed"),
                ("DECODE_SECONDS", "too long"),
                ("DECODE_MEMORY_BYTES", "asks for all memory"),
            ):
                if words in str(error):
                    return end
            return "refused"
        return "clip"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = ", ".join(f"{count} {end}" for end, count in self.ends.most_common())
        terminalreporter.write_line(f"media fuzzing: {self.ends.total()} files tried: {counts}")

    def assert_it_goes_on(self) -> None:
        """A sound file is decoded as ever, in the worker of the one before where nothing was found wrong with that."""
        with self.decoder.open(self.good, "fuzz") as video:
            clip = video.clip(frames=8, size=(28, 56))
        np.testing.assert_array_equal(clip.frames, self.expected.frames)
        np.testing.assert_array_equal(clip.audio, self.expected.audio)


@pytest.fixture(scope="module")
def trial(
    films: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Trial]:
    trial = Trial(tmp_path_factory.mktemp("trial"), films["h264-aac.mp4"])
    request.config.pluginmanager.register(trial)  # for its line in the summary
    yield trial
    trial.decoder.close()


@pytest.mark.parametrize("name", FILMS)
def test_whole_files_are_decoded(name: str, films: dict[str, bytes], trial: Trial):
    """Or the rest of this module would try nothing."""
    (trial.folder / name).write_bytes(films[name])
    with trial.decoder.open(trial.folder / name) as video:
        clip = video.clip(frames=8)
    assert clip.frames.shape == (8, 3, 64, 96)
    assert clip.duration == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", FILMS)
def test_flipped_bits(name: str, films: dict[str, bytes], trial: Trial):
    """Half of them where the headers are: in the first kilobytes, and in the last."""
    for number in range(2 * ROUNDS):
        dice = random.Random(f"{name} {number}")
        data = bytearray(films[name])
        for _ in range(dice.choice((1, 4, 16, 64))):
            reach = dice.choice((len(data), len(data), 512, 4096))
            at = dice.randrange(min(reach, len(data)))
            data[-1 - at if dice.random() < 0.25 else at] ^= 1 << dice.randrange(8)
        trial.of(name, bytes(data), f"flips {number}")


@pytest.mark.parametrize("name", FILMS)
def test_cut_and_torn_files(name: str, films: dict[str, bytes], trial: Trial):
    """Cut off, a hole of zeros, a piece twice, a piece of another film."""
    for number in range(ROUNDS):
        dice = random.Random(f"{name} {number}")
        data = films[name]
        first, last = sorted(dice.randrange(1, len(data)) for _ in range(2))
        other = films[dice.choice(list(FILMS))]
        kinds = (
            data[:first],
            data[:first] + bytes(last - first) + data[last:],
            data[:last] + data[first:],
            data[:first] + data[last:],
            data[:first] + other[first:],
        )
        trial.of(name, kinds[number % len(kinds)], f"tear {number}")


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, bytes]]:
    """(first byte, byte after the last, kind) of every box of an MP4 file, those within boxes too."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        size = size if 8 <= size <= end - start else end - start
        yield start, start + size, kind
        if kind in BOXES_WITH_BOXES:
            yield from boxes(data, start + 8, start + size)
        start += size


@pytest.mark.parametrize("name", ["h264-aac.mp4", "h264-fragmented.mp4", "hevc-alac.mov"])
def test_mp4_cut_at_every_box(name: str, films: dict[str, bytes], trial: Trial):
    """Before each box, within its header, and right after its header."""
    data = films[name]
    cuts = {start + offset for start, _, _ in boxes(data) for offset in (0, 4, 8)} - {0}
    assert len(cuts) > 60
    for cut in sorted(cuts):
        trial.of(name, data[:cut], f"cut at {cut}")


@pytest.mark.parametrize("name", ["h264-aac.mp4", "h264-fragmented.mp4", "hevc-alac.mov"])
def test_mp4_headers_that_lie(name: str, films: dict[str, bytes], trial: Trial):
    """Sizes of boxes; then a word of each box's content: counts, durations, time scales, widths, offsets."""
    data = films[name]
    for number, (start, end, kind) in enumerate(boxes(data)):
        dice = random.Random(f"{name} {number}")
        inside = range(start + 8, min(end - 3, start + 120), 4) if kind != b"mdat" else range(0)
        for at in {start, *dice.sample(inside, min(len(inside), max(1, ROUNDS // 4)))}:
            lie = bytearray(data)
            struct.pack_into(">I", lie, at, dice.choice(LIES))
            trial.of(name, bytes(lie), f"lie at {at} in {kind!r}")


# --- what this has found ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", [0xBF, None])
def test_a_track_that_appears_on_the_way(codec: int | None, films: dict[str, bytes], trial: Trial):
    """A damaged tag of an FLV file is a new track, which PyAV 18.1 has no place for: IndexError at the end."""
    data = bytearray(films["flv1-mp3.flv"])
    tags, at = [], 13
    while at + 11 < len(data):
        tags.append(at)
        at += 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
    late = [tag for tag in tags if data[tag] == 8][-5]
    if codec is None:
        data[late] = 0x12
    else:
        data[late + 11] = codec
    trial.of("late.flv", bytes(data), "late track")
    with trial.decoder.open(trial.folder / "late.flv") as video:
        assert video.clip().frames.shape[0] == 50


def test_a_list_of_keyframes_that_lies(films: dict[str, bytes], trial: Trial):
    """Where libav refuses to seek, everything is decoded."""
    data = bytearray(films["h264-aac.mp4"])
    [start] = [start for start, _, kind in boxes(bytes(data)) if kind == b"stss"]
    struct.pack_into(">I", data, start + 16, 0xFFFFFFFF)
    trial.of("keyframes.mp4", bytes(data), "stss")
    with trial.decoder.open(trial.folder / "keyframes.mp4") as video:
        assert video.clip(start=1.0, frames=25).frames.shape[0] == 25


def test_a_list_of_times_that_asks_for_all_memory(films: dict[str, bytes], trial: Trial):
    data = bytearray(films["h264-aac.mp4"])
    for start, _, kind in boxes(bytes(data)):
        if kind == b"stts":
            struct.pack_into(">I", data, start + 12, 0x7FFFFFFF)
    path = trial.folder / "times.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"times\.mp4"), trial.decoder.open(path) as video:
        video.clip()
    trial.assert_it_goes_on()


@pytest.mark.parametrize("tag", [b"00:00:02\x0e003000000", b"00:00:infinity.0000", b"00:00:nan.000000000"])
def test_a_duration_that_is_no_number(tag: bytes, films: dict[str, bytes], trial: Trial):
    data, found = re.subn(rb"00:00:0\d\.\d{9}", tag[:18], films["vp8-vorbis.webm"])
    assert found
    trial.of("duration.webm", data, "DURATION")
    with trial.decoder.open(trial.folder / "duration.webm") as video:
        assert video.clip(frames=8).warnings == ()


def test_sound_of_a_kind_there_is_none(trial: Trial):
    """Bits flipped in AAC make frames that libav's own resampler refuses."""
    with trial.decoder.open(DAMAGED / "sound-of-no-kind.mp4") as video:
        assert video.clip(frames=8).frames.shape[0] == 8
