"""The properties of a video, and one window of it as a model sees and hears it: plain values.

Knows shapes, units and what belongs together. Opens no file and needs no libav.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni_timeline.timebase import FrameTimes, samples_in, sampling_instants

HELD_SECONDS = 0.5  # s that a picture may stay: below, it is one at a low frame rate; above, one left standing


@dataclass(frozen=True)
class VideoInfo:
    """The properties of a video. Times are seconds of the player: 0 is where its currentTime is 0.

    Attributes:
        path: the file.
        duration: seconds from the player's 0 to the end of the longest track; > 0.
        fps: average frames per second while there is a picture.
        frame_count: frames that are shown.
        width: pixels across as displayed: turned, and with square pixels.
        height: pixels down as displayed.
        start_time: when the first frame is shown.
        has_audio: whether there is a sound track, decodable or not.
    """

    path: Path
    duration: float
    fps: float
    frame_count: int
    width: int
    height: int
    start_time: float
    has_audio: bool

    def __post_init__(self) -> None:
        if not self.duration > 0:
            raise ValueError(f"duration must be > 0, got {self.duration}")


@dataclass(frozen=True)
class Hold:
    """A stretch of a clip in which the picture does not change.

    Attributes:
        start: the first instant that shows the picture.
        end: the last one.
        picture: when the picture appears by its own timestamp, before `start` or even after it.
    """

    start: float
    end: float
    picture: float


@dataclass(frozen=True)
class Clip:
    """One window of a video, as the model sees and hears it. Times are seconds of the player.

    Attributes:
        info: the whole video.
        start: when the window begins.
        end: when it ends.
        frames: uint8 (N, 3, H, W), RGB: the picture at each instant.
        times: the instants that the model gets, spread evenly from `start` to `end`, both included.
        shown: when each of the N pictures appears, by its own timestamp; never decreasing.
        audio: float32 (S,), 16 kHz mono, exactly from `start` to `end`; None for a video without sound.
        warnings: sentences for the user about this clip.
    """

    info: VideoInfo
    start: float
    end: float
    frames: NDArray[np.uint8]
    times: FrameTimes
    shown: tuple[float, ...]
    audio: NDArray[np.float32] | None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[1] != 3:
            raise ValueError(f"frames must be uint8 (N, 3, H, W), got {self.frames.dtype} {self.frames.shape}")
        if not len(self.times) == len(self.shown) == len(self.frames):
            raise ValueError(
                f"{len(self.frames)} frames need as many times, got {len(self.times)} and {len(self.shown)}"
            )
        if not self.start < self.end:
            raise ValueError(f"a clip must end after it starts, got {self.start} to {self.end}")
        if self.times.seconds != tuple(sampling_instants(self.start, self.end, len(self.times))):
            raise ValueError(f"instants must be even from {self.start} to {self.end}, got {self.times.seconds}")
        if self.audio is not None and self.audio.shape != (samples_in(self.duration),):
            raise ValueError(f"{self.duration} s need {samples_in(self.duration)} samples, got {self.audio.shape}")

    @property
    def duration(self) -> float:
        """Seconds from `start` to `end`."""
        return self.end - self.start

    @property
    def held(self) -> tuple[Hold, ...]:
        """Where one picture stands at three instants and more, and for more than HELD_SECONDS."""
        runs = [list(run) for _, run in groupby(zip(self.shown, self.times.seconds, strict=True), key=itemgetter(0))]
        holds = [Hold(run[0][1], run[-1][1], run[0][0]) for run in runs if len(run) > 2]
        return tuple(hold for hold in holds if hold.end - hold.start > HELD_SECONDS)
