"""From the path of a video to the segments that the model sees and hears in it.

    path -> Decoder.open -> look_at: windows -> Clip of each -> model.answer -> Answer
         -> read_answer: segments of each window, with scores -> look_at: merged -> Prediction

Knows the order of the stages. Knows nothing of Label Studio, of HTTP or of printing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import OmniTimelineError, OutOfMemoryError, RequestError
from omni_timeline.media.clip import Clip
from omni_timeline.media.isolated import Decoder, Video
from omni_timeline.model.family import Model
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.looks import Round, look_at
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Failure, OnProgress, Prediction, Progress
from omni_timeline.pipeline.reading import Reading, read_answer, row_for
from omni_timeline.pipeline.windows import Window, split_windows

BATCH = 4  # windows in the model at a time

logger = logging.getLogger(__name__)


class Pipeline:
    """A model, and the processes that read videos for it.

    Args:
        model: a loaded checkpoint.
        decoder: reads the videos; one of its own by default, which ends with the Pipeline's last use.
    """

    def __init__(self, model: Model, decoder: Decoder | None = None) -> None:
        self.model = model
        self.decoder = decoder or Decoder()

    def predict(
        self, path: Path, options: PredictOptions | None = None, on_progress: OnProgress | None = None
    ) -> Prediction:
        """The segments of one video.

        Args:
            path: the file.
            options: how it is looked at, and what the model is asked.
            on_progress: called now and then with how far it is.

        Raises:
            OmniTimelineError: the video cannot be read, or the model cannot run on it.
        """
        options = options or PredictOptions()
        try:
            return self._predict(path, _Run(self.model, options, on_progress))
        except OutOfMemoryError:
            pixels = (options.max_pixels or self.model.facts.max_pixels) // 2
            logger.warning("%s does not fit into memory; trying frames of %d pixels", path.name, pixels)
            found = self._predict(path, _Run(self.model, replace(options, max_pixels=pixels), on_progress))
        remark = f"the frames were reduced to {pixels} pixels, since larger ones do not fit into memory"
        version = options.version(self.model.version)
        return replace(found, model_version=version, warnings=(*found.warnings, remark), is_degraded=True)

    def predict_all(
        self,
        paths: Iterable[Path],
        options: PredictOptions | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Prediction | Failure]:
        """One result for each path, in order, as soon as it is there. A video that fails does not cost the others."""
        for path in paths:
            try:
                yield self.predict(path, options, on_progress)
            except OmniTimelineError as error:
                yield Failure(path, error)

    def clips(self, path: Path, options: PredictOptions | None = None) -> Iterator[Clip]:
        """What the model gets to see and to hear of a video, window by window."""
        run = _Run(self.model, options or PredictOptions())
        with self.decoder.open(path) as video:
            for window in split_windows(video.info.duration, run.options.window_seconds):
                yield run.load(video, window)

    def inspect(self, path: Path, options: PredictOptions | None = None) -> dict[str, Any]:
        """What the model is given of one video, for a person or a test to look at: `omni-timeline inspect --json`."""
        options = options or PredictOptions()
        run = _Run(self.model, options)
        described = [(clip.info, run.describe(clip)) for clip in self.clips(path, options)]
        info, family = described[0][0], self.model.family
        return {
            "video": str(path),
            "duration": info.duration,
            "fps": info.fps,
            "has_audio": info.has_audio,
            "start_time": info.start_time,
            "frames_per_grid": family.frames_per_grid,
            "windows": [window for _, window in described],
            "system_prompt": family.system_prompt if options.words.system is None else options.words.system,
            "prompt": options.words.user,
        }

    def _predict(self, path: Path, run: _Run) -> Prediction:
        options = run.options
        readings: list[Reading] = []
        with self.decoder.open(path) as video:
            looking = look_at(video.info.duration, options)
            wanted = next(looking)
            while True:
                found = list(run.readings(video, wanted))
                readings += found if wanted.stage == "windows" else []
                try:
                    wanted = looking.send(found)
                except StopIteration as end:
                    segments = end.value
                    break
        return Prediction(
            path=path,
            duration=video.info.duration,
            segments=segments,
            model_version=options.version(self.model.version),
            text="\n".join(reading.text for reading in readings),
            warnings=tuple(dict.fromkeys(warning for reading in readings for warning in reading.warnings)),
            lines=dict(sum((reading.lines for reading in readings), Counter())),
            seconds=run.seconds,
        )


@dataclass
class _Run:
    """One video's way through the model: what is asked, who watches, and the seconds of each stage so far."""

    model: Model
    options: PredictOptions
    on_progress: OnProgress | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        """The time that the model is told."""
        return Clock(self.options.remap, self.model.family)

    def readings(self, video: Video, wanted: Round) -> Iterator[Reading]:
        """What the model says of each window of a round, in order; a few at a time are in memory."""
        windows = wanted.windows
        for begin in range(0, len(windows), BATCH):
            self._report(Progress(wanted.stage, begin, len(windows)))
            with self._stage("decode"):
                clips = [self.load(video, window) for window in windows[begin : begin + BATCH]]
            answers = self.ask(clips)
            with self._stage("read"):
                yield from [
                    read_answer(answer, clip, self.options, self.clock)
                    for clip, answer in zip(clips, answers, strict=True)
                ]
        self._report(Progress(wanted.stage, len(windows), len(windows)))

    def load(self, video: Video, window: Window) -> Clip:
        """What the model gets to see and to hear of a window."""
        info, options, facts = video.info, self.options, self.model.facts
        largest = facts.max_pixels if options.max_pixels is None else options.max_pixels
        clip = video.clip(
            start=window.start,
            end=window.end if window.end < info.duration else None,
            frames=self.model.family.whole_grids(options.frames),
            size=self.model.family.frame_size(info.height, info.width, min(facts.min_pixels, largest), largest),
        )
        if options.remap == "rescale" and clip.audio is not None:
            raise RequestError(
                f"{info.path.name} has sound, and remap 'rescale' cannot keep sound and picture together: "
                "use remap 'real', or a copy of the video without its sound track."
            )
        return clip

    def ask(self, clips: Sequence[Clip]) -> list[Answer]:
        """The model's answer about each clip. Clips with sound and clips without are asked about apart."""
        answers: dict[int, Answer] = {}
        for sounding in (False, True):
            chosen = [index for index, clip in enumerate(clips) if (clip.audio is not None) == sounding]
            if chosen:
                given = self._ask_batch([clips[index] for index in chosen])
                answers |= dict(zip(chosen, given, strict=True))
        return [answers[index] for index in range(len(clips))]

    def _ask_batch(self, clips: Sequence[Clip]) -> list[Answer]:
        """As `ask`, for clips that are alike; a batch that does not fit into memory is halved."""
        try:
            with self._stage("generate"):
                return self.model.answer([row_for(clip, self.options, self.clock) for clip in clips])
        except OutOfMemoryError:
            if len(clips) == 1:
                raise
            logger.warning("%d windows at a time do not fit into memory; trying half as many", len(clips))
            half = len(clips) // 2
            return self._ask_batch(clips[:half]) + self._ask_batch(clips[half:])

    def describe(self, clip: Clip) -> dict[str, Any]:
        """What the model is given of one clip.

        `grid_seconds` is not what we meant to tell the model, but what the model itself makes of the tensors, in
        seconds of the video.
        """
        report = self.model.report(row_for(clip, self.options, self.clock))
        return {
            "start": clip.start,
            "end": clip.end,
            "frame_seconds": list(clip.times.seconds),
            "second_per_grid": report.second_per_grid,
            "grid_seconds": [clip.start + second for second in report.grid_seconds],
            "audio_tokens": report.audio_tokens,
            "video_tokens": report.video_tokens,
            "prompt_tokens": report.prompt_tokens,
        }

    def _report(self, progress: Progress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
