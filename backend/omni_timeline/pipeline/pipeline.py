"""From the path of a video to the segments that the model sees and hears in it: the straight path, one video at a time.

    path -> Decoder.open -> VideoRun: windows -> Clip of each -> model.answer -> Answer -> VideoRun: segments, merged
         -> Prediction

Knows the order of the stages. `scheduler` walks the same path with many videos at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import OmniTimelineError, OutOfMemoryError
from omni_timeline.media.clip import Clip
from omni_timeline.media.isolated import Decoder
from omni_timeline.model.family import Model
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Failure, OnProgress, Prediction
from omni_timeline.pipeline.run import VideoRun, degraded, with_smaller_frames

BATCH = 4  # windows in the model at a time

logger = logging.getLogger(__name__)


class Pipeline:
    """A model in this process, and the processes that read videos for it.

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
        run = self._run(path, options, on_progress)
        try:
            return self._predict(run)
        except OutOfMemoryError:
            smaller = with_smaller_frames(run)
            logger.warning("%s does not fit into memory; trying smaller frames", path.name)
            return degraded(self._predict(smaller), run.options.version(self.model.version), smaller.options)

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
        """What the model gets to see and to hear of a video at its first look, window by window."""
        run = self._run(path, options)
        with self.decoder.open(path) as video:
            run.begin(video.info)
            while (turn := run.next_window()) is not None:
                yield run.load(video, turn[1])

    def inspect(self, path: Path, options: PredictOptions | None = None) -> dict[str, Any]:
        """What the model is given of one video, for a person or a test to look at: `omni-timeline inspect --json`."""
        run, family = self._run(path, options), self.model.family
        described = [(clip, self._describe(run, clip)) for clip in self.clips(path, options)]
        info, words = described[0][0].info, run.options.words
        return {
            "video": str(path),
            "duration": info.duration,
            "fps": info.fps,
            "has_audio": info.has_audio,
            "start_time": info.start_time,
            "warnings": list(dict.fromkeys(warning for clip, _ in described for warning in clip.warnings)),
            "frames_per_grid": family.frames_per_grid,
            "windows": [window for _, window in described],
            "system_prompt": family.system_prompt if words.system is None else words.system,
            "prompt": words.user,
        }

    def _run(self, path: Path, options: PredictOptions | None, on_progress: OnProgress | None = None) -> VideoRun:
        return VideoRun(path, options or PredictOptions(), self.model.family, self.model.facts, on_progress)

    def _predict(self, run: VideoRun) -> Prediction:
        with self.decoder.open(run.path) as video:
            run.begin(video.info)
            while run.found is None:
                turns = [turn for _ in range(BATCH) if (turn := run.next_window()) is not None]
                clips = [run.load(video, window) for _, window in turns]
                with run.stage("generate"):
                    answers = self._ask(run, clips)
                for (number, _), clip, answer in zip(turns, clips, answers, strict=True):
                    run.put(number, clip, answer)
        return run.prediction(self.model.version)

    def _ask(self, run: VideoRun, clips: Sequence[Clip]) -> list[Answer]:
        """The model's answer about each clip. Clips with sound and clips without are asked about apart."""
        answers: dict[int, Answer] = {}
        for sounding in (False, True):
            chosen = [index for index, clip in enumerate(clips) if (clip.audio is not None) == sounding]
            if chosen:
                answers |= dict(zip(chosen, self._ask_batch(run, [clips[index] for index in chosen]), strict=True))
        return [answers[index] for index in range(len(clips))]

    def _ask_batch(self, run: VideoRun, clips: Sequence[Clip]) -> list[Answer]:
        """As `_ask`, for clips that are alike; a batch that does not fit into memory is halved."""
        try:
            return self.model.answer([run.row(clip) for clip in clips])
        except OutOfMemoryError:
            if len(clips) == 1:
                raise
            logger.warning("%d windows at a time do not fit into memory; trying half as many", len(clips))
            half = len(clips) // 2
            return self._ask_batch(run, clips[:half]) + self._ask_batch(run, clips[half:])

    def _describe(self, run: VideoRun, clip: Clip) -> dict[str, Any]:
        """What the model is given of one clip.

        `frame_seconds` is when the pictures appear that stand at the `instants`; `held` is where one stands for
        longer. `grid_seconds` is not what we meant to tell the model, but what the model itself makes of the tensors.
        All are seconds of the player.
        """
        report = self.model.report(run.row(clip))
        return {
            "start": clip.start,
            "end": clip.end,
            "instants": list(clip.times.seconds),
            "frame_seconds": list(clip.shown),
            "held": [{"start": hold.start, "end": hold.end, "picture": hold.picture} for hold in clip.held],
            "second_per_grid": report.second_per_grid,
            "grid_seconds": [clip.start + second for second in report.grid_seconds],
            "audio_tokens": report.audio_tokens,
            "video_tokens": report.video_tokens,
            "prompt_tokens": report.prompt_tokens,
        }
