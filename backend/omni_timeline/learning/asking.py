"""What a model says of the corrected videos, asked in every way that may suit the project.

    None            as it is asked now: with the project's labels
    former labels   with those that its stored predictions have, where the project has renamed some
    ()              in its own words

Knows videos, options and a predictor. Knows nothing of what is learned from the answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from omni_timeline.errors import OmniTimelineError
from omni_timeline.learning.corrections import CorrectedTask, Corrections
from omni_timeline.learning.sources import Source
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.calibration import label_key
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Progress
from omni_timeline.segments import Segment

Asked = tuple[str, ...] | None


@dataclass(frozen=True)
class Model:
    """A predictor.

    Attributes:
        version: the checkpoint's version.
        predict: the segments of a video; raises OmniTimelineError.
        at_a_time: how many videos it may be asked about at a time, from threads.
    """

    version: str
    predict: Callable[[Path, PredictOptions], Prediction]
    at_a_time: int = 1

    def remembering(self, cache: PredictionCache) -> Model:
        """The same, asked only about what it was not asked before."""

        def predict(path: Path, options: PredictOptions) -> Prediction:
            digest = cache.digest(path)
            known = cache.get(digest, options.version(self.version), path)
            if known is not None:
                return known
            prediction = self.predict(path, options)
            if not prediction.is_degraded:
                cache.put(digest, prediction)
            return prediction

        return replace(self, predict=predict)


@dataclass(frozen=True)
class Answers:
    """What a model says of videos, not calibrated and with all scores.

    Attributes:
        segments: by what it was asked and by the key of the video.
        durations: seconds of each video, by key.
        failures: why a task's video has no answer, by the task's number.
    """

    segments: Mapping[Asked, Mapping[str, tuple[Segment, ...]]]
    durations: Mapping[str, float] = field(default_factory=dict)
    failures: Mapping[int, str] = field(default_factory=dict)


def ways_to_ask(options: PredictOptions, corrections: Corrections) -> dict[Asked, PredictOptions]:
    """The options for each way to ask; the first is as it is asked now, but for a calibration."""
    now = replace(options, calibration=None, score_threshold=0.0)
    ways: dict[Asked, PredictOptions] = {None: now}
    known = {label_key(label) for label in options.labels}
    former = corrections.labels_of_suggestions
    if any(label_key(label) not in known for label in former):
        ways[tuple(sorted(former))] = replace(now, labels=tuple(sorted(former)), hints=())
    if now.closed_labels:
        ways[()] = replace(now, labels=(), hints=())
    return ways


def way_to_ask(options: PredictOptions, asked: Asked) -> PredictOptions:
    """The options for one way to ask, without a calibration."""
    now = replace(options, calibration=None, score_threshold=0.0)
    return now if asked is None else replace(now, labels=asked, hints=())


def ask(
    source: Source,
    tasks: Iterable[CorrectedTask],
    ways: Mapping[Asked, PredictOptions],
    model: Model,
    on_progress: OnProgress = lambda progress: None,
    max_seconds: float = 0.0,
) -> Answers:
    """Ask about the videos of tasks in every way. A missing or unreadable video costs its task only.

    After `max_seconds` no more are asked about; 0 for as long as it takes.
    """
    first = {task.key: task for task in reversed(list(tasks))}  # tasks with one video are asked about once
    asked = sorted(first.values(), key=lambda task: task.task)
    began = time.monotonic()

    def of(task: CorrectedTask) -> dict[Asked, Prediction] | str:
        if max_seconds and time.monotonic() - began > max_seconds:
            return f"The {max_seconds / 60:g} minutes for predictions were over before its turn."
        try:
            with source.videos.local(task.video, task_id=task.task) as path:
                return {way: model.predict(path, options) for way, options in ways.items()}
        except (OmniTimelineError, OSError) as error:  # the latter: a file that may not be read
            return str(error)

    found: dict[Asked, dict[str, tuple[Segment, ...]]] = {way: {} for way in ways}
    durations: dict[str, float] = {}
    failures: dict[int, str] = {}
    on_progress(Progress("predicting", 0, len(asked)))
    with ThreadPoolExecutor(model.at_a_time) as pool:
        for number, (task, answer) in enumerate(zip(asked, pool.map(of, asked), strict=True), 1):
            on_progress(Progress("predicting", number, len(asked)))
            if isinstance(answer, str):
                failures[task.task] = answer
                continue
            for way, prediction in answer.items():
                found[way][task.key] = prediction.segments
                durations[task.key] = prediction.duration
    return Answers(found, durations, failures)
