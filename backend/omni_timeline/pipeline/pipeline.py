"""From the path of a video to the segments that the model sees and hears in it.

    path -> Decoder.open -> windows.plan -> Clip of each -> inputs.build -> tensors -> model.generate -> text
         -> segments of each window, with scores -> windows.merge -> Prediction

Knows the order of the stages and which clock the model was told, so that what comes back is in seconds of the whole
video. Knows nothing of Label Studio, of HTTP or of printing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omni_timeline.answers.answer import Answer
from omni_timeline.answers.confidence import score_segments
from omni_timeline.answers.grammar import Grammar
from omni_timeline.answers.parser import Parsed, parse_segments
from omni_timeline.errors import OmniTimelineError, OutOfMemoryError, RequestError
from omni_timeline.media.clip import Clip
from omni_timeline.media.isolated import Decoder, Video
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Failure, Prediction, Progress
from omni_timeline.pipeline.refine import Look, refine_edges, refinement_windows
from omni_timeline.pipeline.windows import Window, WindowedSegment, merge_windows, split_windows
from omni_timeline.segments import Segment
from omni_timeline.timebase import NOMINAL_SECOND_PER_GRID, even_frame_count

BATCH = 4  # windows in the model at a time

logger = logging.getLogger(__name__)

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Reading:
    """What the model's answer about one clip says, in seconds of the whole video.

    Attributes:
        segments: with scores, sorted.
        text: the answer word for word.
        warnings: one sentence for each thing that is not as it should be.
        lines: how many lines were dropped or mended, by reason.
    """

    segments: tuple[Segment, ...]
    text: str
    warnings: tuple[str, ...]
    lines: Counter[str]


class Pipeline:
    """A model, and what it is asked.

    Args:
        model: the loaded checkpoint.
        options: how videos are looked at, and the words.
        decoder: reads the videos; one of its own by default, which ends with the Pipeline's last use.

    Raises:
        RequestError: frames of a size that cannot be.
    """

    def __init__(self, model: OmniModel, options: PredictOptions | None = None, decoder: Decoder | None = None) -> None:
        self.model = model
        self.options = options or PredictOptions()
        self.decoder = decoder or Decoder()
        self.inputs = RealTimeInputs(
            model.processor,
            model.model,
            max_pixels=self.options.max_pixels,
            second_per_grid="real" if self.options.remap == "real" else "nominal",
        )
        self.model_version = self.options.version(model.version)

    def predict(self, path: Path, watch: Watch | None = None) -> Prediction:
        """The segments of one video.

        Args:
            path: the file.
            watch: told how far it is, now and then.

        Raises:
            OmniTimelineError: the video cannot be read, or the model cannot run on it.
        """
        try:
            return self._predict(path, _Work(watch or (lambda _: None)))
        except OutOfMemoryError:
            pixels = self.inputs.max_pixels // 2
            logger.warning("%s does not fit into memory; trying frames of %d pixels", path.name, pixels)
            smaller = Pipeline(self.model, replace(self.options, max_pixels=pixels), self.decoder)
            found = smaller._predict(path, _Work(watch or (lambda _: None)))
            remark = f"the frames were reduced to {pixels} pixels, since larger ones do not fit into memory"
            return replace(found, model_version=self.model_version, warnings=(*found.warnings, remark))

    def _predict(self, path: Path, work: _Work) -> Prediction:
        with self.decoder.open(path) as video:
            duration = video.info.duration
            windows = split_windows(duration, self.options.window_seconds)
            readings = list(self._readings(video, windows, work))
            reports = [
                WindowedSegment(window, segment)
                for window, reading in zip(windows, readings, strict=True)
                for segment in reading.segments
            ]
            segments = merge_windows(reports, free_words=not self.options.closed_labels)
            if self.options.refine:
                segments = self._refined(video, segments, work)
        least = self.options.score_threshold
        kept = tuple(segment for segment in segments if segment.score is None or segment.score >= least)
        return Prediction(
            path=path,
            duration=duration,
            segments=kept,
            model_version=self.model_version,
            text="\n".join(reading.text for reading in readings),
            warnings=tuple(dict.fromkeys(warning for reading in readings for warning in reading.warnings)),
            lines=dict(sum((reading.lines for reading in readings), Counter())),
            seconds=work.seconds,
        )

    def predict_all(self, paths: Iterable[Path], watch: Watch | None = None) -> Iterator[Prediction | Failure]:
        """One result for each path, in order, as soon as it is there. A video that fails does not cost the others."""
        for path in paths:
            try:
                yield self.predict(path, watch)
            except OmniTimelineError as error:
                yield Failure(path, error)

    def clips(self, path: Path) -> Iterator[Clip]:
        """What the model gets to see and to hear of a video, window by window."""
        with self.decoder.open(path) as video:
            for window in split_windows(video.info.duration, self.options.window_seconds):
                yield self.load(video, window)

    def _readings(
        self, video: Video, windows: Sequence[Window], work: _Work, stage: str = "windows"
    ) -> Iterator[Reading]:
        """What the model says of each window, in order; a few at a time are in memory."""
        for begin in range(0, len(windows), BATCH):
            work.watch(Progress(stage, begin, len(windows)))
            with work.stage("decode"):
                clips = [self.load(video, window) for window in windows[begin : begin + BATCH]]
            answers = self.ask(clips, work)
            with work.stage("read"):
                yield from [self.read(clip, answer) for clip, answer in zip(clips, answers, strict=True)]
        work.watch(Progress(stage, len(windows), len(windows)))

    def _refined(self, video: Video, segments: tuple[Segment, ...], work: _Work) -> tuple[Segment, ...]:
        """The segments with their edges where a close look puts them."""
        planned: list[Look] = refinement_windows(segments, video.info.duration, self.options.window_seconds)
        windows = [look.window for look in planned]
        readings = self._readings(video, windows, work, "refining")
        return refine_edges(
            segments, [(look, reading.segments) for look, reading in zip(planned, readings, strict=True)]
        )

    def load(self, video: Video, window: Window) -> Clip:
        """What the model gets to see and to hear of a window."""
        info = video.info
        clip = video.clip(
            start=window.start,
            end=window.end if window.end < info.duration else None,
            frames=even_frame_count(self.options.frames),
            size=self.inputs.resize(info.height, info.width),
        )
        if self.options.remap == "rescale" and clip.audio is not None:
            raise RequestError(
                f"{info.path.name} has sound, and remap 'rescale' cannot keep sound and picture together: "
                "use remap 'real', or a copy of the video without its sound track."
            )
        return clip

    def ask(self, clips: Sequence[Clip], work: _Work | None = None) -> list[Answer]:
        """The model's answer about each clip. Clips with sound and clips without are asked about apart."""
        work = work or _Work(lambda _: None)
        answers: dict[int, Answer] = {}
        for sounding in (False, True):
            chosen = [index for index, clip in enumerate(clips) if (clip.audio is not None) == sounding]
            if chosen:
                given = self._ask_batch([clips[index] for index in chosen], work)
                answers |= dict(zip(chosen, given, strict=True))
        return [answers[index] for index in range(len(clips))]

    def _ask_batch(self, clips: Sequence[Clip], work: _Work) -> list[Answer]:
        """As `ask`, for clips that are alike; a batch that does not fit into memory is halved."""
        try:
            with work.stage("inputs"):
                inputs = self.inputs.build(clips, self.options.words)
            with work.stage("generate"):
                grammars = [self.grammar(clip).text for clip in clips] if self.options.constrained else None
                return self.model.generate(inputs, max_new_tokens=self.options.max_new_tokens, grammars=grammars)
        except OutOfMemoryError:
            if len(clips) == 1:
                raise
            logger.warning("%d windows at a time do not fit into memory; trying half as many", len(clips))
            half = len(clips) // 2
            return self._ask_batch(clips[:half], work) + self._ask_batch(clips[half:], work)

    def grammar(self, clip: Clip) -> Grammar:
        """What can be written about a clip."""
        return Grammar(
            self.options.closed_labels, clip.duration / self._stretch(clip), descriptions=self.options.descriptions
        )

    def read(self, clip: Clip, answer: Answer) -> Reading:
        """The model's answer about a clip, in seconds of the whole video."""
        stretch = self._stretch(clip)
        if self.options.constrained:
            parsed = self.grammar(clip).read(answer.text)
        else:
            parsed = parse_segments(answer.text, clip.duration / stretch, truncated=not answer.complete)
        cut = () if answer.complete else (f"the answer was cut off after {len(answer.token_ids)} tokens",)
        segments = score_segments(parsed, answer)
        return Reading(
            segments=tuple(_placed(segment, clip, stretch) for segment in segments),
            text=answer.text,
            warnings=clip.warnings + parsed.warnings + cut,
            lines=_lines(parsed),
        )

    def _stretch(self, clip: Clip) -> float:
        """Seconds of the video for each second that the model speaks of."""
        return clip.times.second_per_grid / NOMINAL_SECOND_PER_GRID if self.options.remap == "rescale" else 1.0

    def inspect(self, path: Path) -> dict[str, Any]:
        """What the model is given of one video, for a person or a test to look at: `omni-timeline inspect --json`."""
        described = [(clip.info, self.describe(clip)) for clip in self.clips(path)]
        info = described[0][0]
        return {
            "video": str(path),
            "duration": info.duration,
            "fps": info.fps,
            "has_audio": info.has_audio,
            "start_time": info.start_time,
            "windows": [window for _, window in described],
            "system_prompt": self.options.words.system,
            "prompt": self.options.words.user,
        }

    def describe(self, clip: Clip) -> dict[str, Any]:
        """`inspect` of one window.

        `grid_seconds` is not what we meant to tell the model, but what its own `get_rope_index` makes of the tensors,
        in seconds of the video.
        """
        inputs = self.inputs.build([clip], self.options.words)
        [times] = self.model.token_times(inputs)
        token_ids = inputs["input_ids"][0]
        config = self.model.model.config
        return {
            "start": clip.start,
            "end": clip.end,
            "frame_seconds": list(clip.times.seconds),
            "second_per_grid": float(inputs["video_second_per_grid"][0]),
            "grid_seconds": [clip.start + second for second in times.grid_seconds],
            "audio_tokens": int((token_ids == config.audio_token_id).sum()),
            "video_tokens": int((token_ids == config.video_token_id).sum()),
            "prompt_tokens": len(token_ids),  # all of them: the sound's and the picture's too
        }


@dataclass
class _Work:
    """One video's work while it goes on: who watches, and the seconds of each stage so far."""

    watch: Watch
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def _lines(parsed: Parsed) -> Counter[str]:
    """What became of lines, by reason."""
    return Counter({name: count for name, count in vars(parsed.counts).items() if count})


def _placed(segment: Segment, clip: Clip, stretch: float) -> Segment:
    """A segment in seconds of the whole video, from one in the seconds that the model speaks."""
    end = min(clip.start + segment.end * stretch, clip.end)
    return replace(segment, start=clip.start + segment.start * stretch, end=end)
