"""The clocks of one video, and the only code that converts between them.

    seconds      position in the video as its player counts; float, 0.0 where a browser's currentTime is 0
    grid         index of a step of the model's time: a few sampled frames that it merges into one
    sample       index into the sound track at SAMPLE_RATE
    label frame  position on Label Studio's timeline; int, 1 is the first frame, both ends of a range inclusive

Every other module speaks seconds. Containers' own clocks (PTS ticks) never leave `media`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

SAMPLE_RATE = 16_000  # Hz; what speech encoders such as Whisper's are made for: all sound here is mono at this rate


@dataclass(frozen=True)
class FrameTimes:
    """The instants of the sampled frames, in seconds of the video, never decreasing.

    Raises:
        ValueError: no times, a time that is not finite, or times that decrease.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds:
            raise ValueError("a clip needs at least one frame time")
        if not all(math.isfinite(second) for second in self.seconds):
            raise ValueError(f"frame times must be finite, got {self.seconds}")
        if any(later < earlier for earlier, later in pairwise(self.seconds)):
            raise ValueError(f"frame times must not decrease, got {self.seconds}")

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def second_per_frame(self) -> float:
        """Mean seconds from one sampled frame to the next; 0.0 for a single frame."""
        if len(self.seconds) == 1:
            return 0.0
        return (self.seconds[-1] - self.seconds[0]) / (len(self.seconds) - 1)

    def second_per_grid(self, frames_per_grid: int) -> float | None:
        """Mean seconds from one temporal grid to the next: frames_per_grid·(t_last − t_first)/(N − 1).

        None when it does not matter: up to `frames_per_grid` frames make a single grid, at time 0.
        """
        if len(self.seconds) <= frames_per_grid or self.second_per_frame == 0.0:
            return None
        return frames_per_grid * self.second_per_frame

    def grid_seconds(self, frames_per_grid: int) -> tuple[float, ...]:
        """The time of each grid, which is that of its first frame; an odd last frame fills a grid of its own."""
        return self.seconds[::frames_per_grid]


def sampling_instants(first: float, last: float, frames: int) -> list[float]:
    """`frames` instants spread evenly from `first` to `last`, both included; seconds. One frame is `first`."""
    if frames == 1:
        return [first]
    step = (last - first) / (frames - 1)
    return [first + index * step for index in range(frames - 1)] + [last]


def samples_in(seconds: float) -> int:
    """How many samples of sound fill `seconds`."""
    return round(seconds * SAMPLE_RATE)


@dataclass(frozen=True)
class LabelTimeline:
    """Label Studio's timeline of one video: `length` frames, numbered from 1, `frame_rate` to the second.

    Label Studio shows frame n at (n − 1)/frame_rate seconds and counts round(duration·frame_rate) frames, whatever
    the file's own frame rate is (measured on 1.23.2). Conversions are right as long as both sides use one rate.

    Attributes:
        frame_rate: frames per second as Label Studio reads it; > 0.
        duration: seconds of the video; > 0.
    """

    frame_rate: float
    duration: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.frame_rate) and self.frame_rate > 0):
            raise ValueError(f"frame_rate must be a positive number, got {self.frame_rate}")
        if not (math.isfinite(self.duration) and self.duration > 0):
            raise ValueError(f"duration must be a positive number of seconds, got {self.duration}")

    @property
    def length(self) -> int:
        """Frames on the timeline, at least 1."""
        return max(1, self._whole(self.duration))

    def frames(self, start: float, end: float) -> tuple[int, int]:
        """First and last label frame of the span from `start` to `end` seconds, within 1..length."""
        first = min(max(self._whole(start) + 1, 1), self.length)
        last = min(max(self._whole(end), first), self.length)
        return first, last

    def seconds(self, first: int, last: int) -> tuple[float, float]:
        """Start and end in seconds of the label frames `first` to `last`, both included."""
        return (first - 1) / self.frame_rate, last / self.frame_rate

    def _whole(self, seconds: float) -> int:
        """Whole frames in `seconds`; halves up as in JavaScript, or the video's end could miss its last frame."""
        return math.floor(seconds * self.frame_rate + 0.5)
