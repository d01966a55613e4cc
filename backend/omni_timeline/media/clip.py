"""What is known of a video, and one window of it as a model will see and hear it: plain values.

Knows shapes, units and what belongs together. Opens no file and needs no libav.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omni_timeline.timebase import FrameTimes, samples_in


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of its video.

    Attributes:
        path: the file.
        duration: seconds from the first frame to the end of the last; > 0.
        fps: average frames per second.
        frame_count: frames that are shown.
        width: pixels across as displayed: turned, and with square pixels.
        height: pixels down as displayed.
        start_time: container seconds of the first frame.
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
class Clip:
    """One window of a video, as the model will see and hear it. Times are seconds of the whole video.

    Attributes:
        info: the whole video.
        start: when the window begins: the time of the first frame.
        end: when it ends.
        frames: uint8 (N, 3, H, W), RGB.
        times: when each of the N frames is shown.
        audio: float32 (S,), 16 kHz mono, exactly from `start` to `end`; None for a video without sound.
        warnings: what a person should know, a sentence each.
    """

    info: VideoInfo
    start: float
    end: float
    frames: NDArray[np.uint8]
    times: FrameTimes
    audio: NDArray[np.float32] | None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.dtype != np.uint8 or self.frames.ndim != 4 or self.frames.shape[1] != 3:
            raise ValueError(f"frames must be uint8 (N, 3, H, W), got {self.frames.dtype} {self.frames.shape}")
        if len(self.times) != len(self.frames):
            raise ValueError(f"{len(self.frames)} frames need as many times, got {len(self.times)}")
        if self.start != self.times.seconds[0] or not self.start < self.end:
            raise ValueError(f"a clip runs from its first frame to a later end, got {self.start} to {self.end}")
        if self.audio is not None and self.audio.shape != (samples_in(self.duration),):
            raise ValueError(f"{self.duration} s need {samples_in(self.duration)} samples, got {self.audio.shape}")

    @property
    def duration(self) -> float:
        """Seconds from `start` to `end`."""
        return self.end - self.start
