"""One video on its way through the model: which windows are looked at now, and what came of those before.

The caller decodes the run's windows, has the clips answered, and brings the answers back, in any order and beside
the windows of other videos. A run starts no process and no thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Protocol, TypedDict, Unpack

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import RequestError
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.model.family import ModelFacts, ModelFamily, Row
from omni_timeline.pipeline.adaptive import Round
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.looks import Found, look_at
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Progress
from omni_timeline.pipeline.reading import Reading, read_answer, row_for
from omni_timeline.pipeline.windows import Window
from omni_timeline.timebase import SAMPLE_RATE

BYTES_PER_SAMPLE = 4  # float32


class Wanted(TypedDict, total=False):
    """The arguments of `media.isolated.Video.clip`."""

    frames: int
    start: float
    end: float | None
    size: tuple[int, int] | None
    audio_track: AudioTrack


class OpenVideo(Protocol):
    """A video whose clips can be read, one at a time: `media.isolated.Video`, or whatever has its clips."""

    @property
    def info(self) -> VideoInfo:
        """What is known of the video so far."""

    def clip(self, **wanted: Unpack[Wanted]) -> Clip:
        """A window of the video."""


@dataclass(eq=False)
class VideoRun:
    """What is asked about one video, and what is known of it so far.

    Attributes:
        path: the video.
        options: how it is looked at.
        family: the model's family.
        facts: what the loaded model says of itself.
        on_progress: called now and then with how far it is.
        seconds: how long each stage took so far.
        found: what all looks add up to, once all has been looked at; None until then.
    """

    path: Path
    options: PredictOptions
    family: ModelFamily
    facts: ModelFacts
    on_progress: OnProgress | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    found: Found | None = None
    _info: VideoInfo | None = None
    _looking: Generator[Round, Sequence[Reading], Found] | None = None
    _round: Round | None = None
    _handed_out: int = 0
    _readings: dict[int, Reading] = field(default_factory=dict)
    _done: Counter[str] = field(default_factory=Counter)  # windows of earlier rounds, by stage

    @property
    def clock(self) -> Clock:
        """The time that the model is told."""
        return Clock(self.options.remap, self.family)

    def begin(self, info: VideoInfo) -> None:
        """Plan the first round of a video that has been opened."""
        self._info = info
        self._looking = looking = look_at(info.duration, self.options, has_audio=info.has_audio)
        self._go_on(next(looking))

    def next_window(self) -> tuple[int, Window] | None:
        """The next window to look at, and the number under which its answer comes back; None for none now."""
        if self._round is None or self._handed_out == len(self._round.windows):
            return None
        self._handed_out += 1
        return self._handed_out - 1, self._round.windows[self._handed_out - 1]

    @property
    def has_window(self) -> bool:
        """Whether `next_window` would give one."""
        return self._round is not None and self._handed_out < len(self._round.windows)

    @property
    def next_bytes(self) -> int:
        """How much memory the clip of the next window takes, at most; 0 where there is none."""
        if self._round is None or not self.has_window:
            return 0
        return self.clip_bytes(self._round.windows[self._handed_out])

    @property
    def is_short(self) -> bool:
        """Whether one window holds all of it, so that to open it again costs little."""
        longest = self.options.longest_window
        return self._info is not None and longest is not None and self._info.duration <= longest

    def clip_bytes(self, window: Window) -> int:
        """How much memory the clip of a window takes, at most."""
        height, width = self._frame_size()
        pictures = self._frames * 3 * height * width
        has_audio = self._info is not None and self._info.has_audio
        return pictures + has_audio * BYTES_PER_SAMPLE * round(SAMPLE_RATE * window.duration)

    def load(self, video: OpenVideo, window: Window) -> Clip:
        """What the model gets to see and to hear of a window.

        Raises:
            MediaError: it cannot be decoded.
            RequestError: it has sound, which the options cannot keep together with the picture.
        """
        info = video.info
        with self.stage("decode"):
            clip = video.clip(
                start=window.start,
                end=window.end if window.end < info.duration else None,
                frames=self._frames,
                size=self._frame_size(),
                audio_track=self.options.audio_track,
            )
        if self.options.remap == "rescale" and clip.audio is not None:
            raise RequestError(
                f"{info.path.name} has sound, and remap 'rescale' cannot keep sound and picture together: "
                "use remap 'real', or a copy of the video without its sound track."
            )
        return clip

    def row(self, clip: Clip) -> Row:
        """What the model is given to answer about a clip."""
        return row_for(clip, self.options, self.clock)

    def put(self, number: int, clip: Clip, answer: Answer) -> None:
        """Take the answer about a window; after the last one of a round the next round begins, or the run is done."""
        with self.stage("read"):
            self._readings[number] = read_answer(answer, clip, self.options, self.clock)
        assert self._round is not None
        self._report(self._round)
        if len(self._readings) == len(self._round.windows):
            self._end_round()

    def prediction(self, version: str) -> Prediction:
        """What was found in the video, by a checkpoint of this version."""
        assert self._info is not None
        assert self.found is not None
        readings = self.found.readings
        return Prediction(
            path=self.path,
            duration=self._info.duration,
            segments=self.found.segments,
            model_version=self.options.version(version),
            text="\n".join(reading.text for reading in readings),
            warnings=tuple(dict.fromkeys(warning for reading in readings for warning in reading.warnings)),
            lines=dict(sum((reading.lines for reading in readings), Counter())),
            windows=self.found.windows,
            in_shorter=dict(self.found.in_shorter),
            seconds=dict(self.seconds),
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        began = perf_counter()
        try:
            yield
        finally:
            self.spend(name, perf_counter() - began)

    def spend(self, stage: str, seconds: float) -> None:
        """Count time to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def _go_on(self, wanted: Round) -> None:
        self._round, self._handed_out, self._readings = wanted, 0, {}
        if not wanted.windows:
            self._end_round()

    def _end_round(self) -> None:
        assert self._round is not None
        assert self._looking is not None
        self._done[self._round.stage] += len(self._round.windows)
        readings = [self._readings[number] for number in range(len(self._round.windows))]
        try:
            self._go_on(self._looking.send(readings))
        except StopIteration as end:
            self._round, self.found = None, end.value

    @property
    def _frames(self) -> int:
        """How many frames the model sees of each window of this round."""
        most = self._round.max_frames if self._round is not None else None
        return self.family.whole_grids(min(self.options.frames, most or self.options.frames))

    def _frame_size(self) -> tuple[int, int]:
        assert self._info is not None
        largest = self.options.max_pixels or self.facts.max_pixels
        smallest = min(self.facts.min_pixels, largest)
        return self.family.frame_size(self._info.height, self._info.width, smallest, largest)

    def _report(self, current: Round) -> None:
        if self.on_progress is not None:
            before = self._done[current.stage]
            progress = Progress(current.stage, before + len(self._readings), before + len(current.windows))
            self.on_progress(progress)


def with_smaller_frames(run: VideoRun) -> VideoRun:
    """The same video from the beginning, with frames of half as many pixels."""
    pixels = (run.options.max_pixels or run.facts.max_pixels) // 2
    options = replace(run.options, max_pixels=pixels)
    return VideoRun(run.path, options, run.family, run.facts, run.on_progress)


def degraded(found: Prediction, version: str, options: PredictOptions) -> Prediction:
    """What was found under `options` with smaller frames, under the version that was asked for, with a warning."""
    remark = f"the frames were reduced to {options.max_pixels} pixels, since larger ones do not fit into memory"
    return replace(found, model_version=version, warnings=(*found.warnings, remark), is_degraded=True)
