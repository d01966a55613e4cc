"""Video files whose pixels tell the frame's number and whose sound has a chirp at known times; written with PyAV.

A ruler frame is 16 blocks, black or white: the frame's number in binary, the lowest bit first. It survives every codec
at the worst quality, and the reader needs nothing but the average of each block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

ROWS = COLUMNS = 4  # 16 bits
CHIRP = 0.05  # s


@dataclass(frozen=True)
class Ruler:
    """A video to be written: frame k shows the number k at `times[k]`.

    Attributes:
        times: seconds of each frame after `offset`.
        offset: seconds of the first frame on the container's clock.
        chirps: seconds of the *video* (0.0 is its first frame) at which the sound has a chirp.
        sound_from: seconds of the video at which the sound track starts, negative for earlier.
        sound_until: seconds of the video at which it ends; None for no sound track.
    """

    times: Sequence[Fraction]
    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (64, 64)  # width, height
    time_base: Fraction | None = None
    offset: Fraction = Fraction(0)
    rotation: int = 0  # degrees counter-clockwise in which the picture is shown
    pixel_aspect: Fraction | None = None
    sound_codec: str = "aac"
    sound_rate: int = 48_000
    sound_from: float = 0.0
    sound_until: float | None = None
    sound_gap: tuple[float, float] | None = None  # seconds of the video without any packets
    chirps: Sequence[float] = ()

    @property
    def rate(self) -> Fraction:
        if len(self.times) < 2:
            return Fraction(25)
        return Fraction((len(self.times) - 1) / (self.times[-1] - self.times[0])).limit_denominator(1001)

    def write(self, path: Path) -> Path:
        with av.open(str(path), "w") as container:
            video = container.add_stream(self.codec, rate=self.rate, options=dict(self.options))
            video.width, video.height, video.pix_fmt = *self.size, self.pixel_format
            base = self.time_base or 1 / self.rate
            video.codec_context.time_base = base
            video.codec_context.thread_count = 1
            if self.pixel_aspect:
                video.codec_context.sample_aspect_ratio = self.pixel_aspect
            if self.rotation:
                video.set_display_rotation(self.rotation)
            sound = None
            if self.sound_until is not None:
                sound = container.add_stream(self.sound_codec, rate=self.sound_rate, layout="stereo")
            pieces = [] if sound is None else self._sound_frames(sound)
            for number, time in enumerate(self.times):
                frame = av.VideoFrame.from_ndarray(picture_of(number, self.size), "rgb24").reformat(
                    format=self.pixel_format
                )
                frame.pts, frame.time_base = round((time + self.offset) / base), base
                container.mux(video.encode(frame))
                while pieces and pieces[0].pts / self.sound_rate <= time + self.offset:
                    container.mux(sound.encode(pieces.pop(0)))
            container.mux(video.encode(None))
            for piece in pieces:
                container.mux(sound.encode(piece))
            if sound is not None:
                container.mux(sound.encode(None))
        return path

    def _sound_frames(self, stream: av.AudioStream) -> list[av.AudioFrame]:
        rate, first = self.sound_rate, self.sound_from
        count = round((self.sound_until - first) * rate)
        signal = np.zeros(count, dtype=np.float32)
        for second in self.chirps:
            at = round((second - first) * rate)
            signal[at : at + round(CHIRP * rate)] = chirp(rate)
        frames = []
        step = stream.codec_context.frame_size or 1024
        for at in range(0, count, step):
            second = first + at / rate
            if self.sound_gap and self.sound_gap[0] <= second < self.sound_gap[1]:
                continue
            piece = signal[at : at + step]
            if stream.codec_context.format.name == "s16":
                data, kind = np.repeat((piece * 32767).astype(np.int16), 2)[None], "s16"
            else:
                data, kind = np.stack([piece, piece]), "fltp"
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), kind, "stereo")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = round((Fraction(second) + self.offset) * rate)
            frames.append(frame)
        return frames


def every(fps: Fraction | int, frames: int) -> list[Fraction]:
    """The times of `frames` frames at a constant rate."""
    return [Fraction(number) / fps for number in range(frames)]


def picture_of(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB (height, width, 3)."""
    width, height = size
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    bit = rows[:, None] * COLUMNS + columns[None, :]
    return np.repeat((((number >> bit) & 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number in a picture (3, H, W), from the middle of each block."""
    grey = picture.mean(axis=0)
    height, width = grey.shape
    number = 0
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        top, bottom = (row * 4 + 1) * height // (ROWS * 4), (row * 4 + 3) * height // (ROWS * 4)
        left, right = (column * 4 + 1) * width // (COLUMNS * 4), (column * 4 + 3) * width // (COLUMNS * 4)
        number |= int(grey[top:bottom, left:right].mean() > 127) << bit
    return number


def chirp(rate: int) -> NDArray[np.float32]:
    """A short sweep from 500 Hz to 3 kHz: its correlation with itself is one sharp peak."""
    t = np.arange(round(CHIRP * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (500 * t + 2500 * t * t / (2 * CHIRP))) * np.hanning(len(t))).astype(np.float32)


def chirps_in(sound: NDArray[np.float32], rate: int, expected: Sequence[float]) -> list[float]:
    """Where a chirp is found within 0.3 s of each expected second; seconds."""
    strength = np.correlate(sound, chirp(rate), mode="valid")
    found = []
    for second in expected:
        low, high = max(0, round((second - 0.3) * rate)), round((second + 0.3) * rate)
        found.append((low + int(np.argmax(strength[low:high]))) / rate)
    return found
