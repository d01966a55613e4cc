"""The prediction of one task, for Label Studio.

    data -> VideoFiles -> file -> PredictionCache, or Model -> segments -> LabelConfig -> a checked prediction

A task with several files is predicted file by file, and they share one prediction.

Knows the order of these steps. Knows nothing of requests, turns or of how the result gets to Label Studio.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from omni_timeline.errors import (
    MediaError,
    ModelError,
    OmniTimelineError,
    OutOfMemoryError,
    RetryableError,
    UnreachableError,
)
from omni_timeline.label_studio.addresses import video_name
from omni_timeline.label_studio.labeling_config import LabelConfig, task_prediction
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OPENING, OnProgress, Prediction, Priority, Progress

FETCHING, WAITING = "fetching the video", "waiting for the model"
BEFORE_THE_MODEL = (FETCHING, WAITING, OPENING)  # stages in which the model does not work on the task yet

Number = TypeVar("Number", int, float)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskPrediction:
    """The prediction of one task.

    Attributes:
        entry: the prediction as Label Studio stores it.
        kept: whether the video was predicted before.
        seconds: how long each stage took now.
        lines: how many of the model's lines were used or left out, by reason; empty where it was predicted before.
        warnings: sentences for the user about the video or the answer.
    """

    entry: dict[str, Any]
    kept: bool
    seconds: Mapping[str, float]
    lines: Mapping[str, int]
    warnings: tuple[str, ...]


class Model(Protocol):
    """The interface of the model that predicts videos."""

    def start(self) -> None:
        """Begin to load the model."""

    @property
    def description(self) -> str | None:
        """The checkpoint and how it runs, in a line; None until it was loaded."""

    @property
    def loads(self) -> int:
        """How often a model was loaded."""

    @property
    def doing(self) -> str:
        """The step of loading, in words; "" when there is none."""

    def lately(self) -> Mapping[str, float]:
        """The work of the last minute, see `pipeline.statistics`."""

    def silent_seconds(self) -> Mapping[str, float]:
        """How long each device has given no sign of life while it works, in seconds."""

    def lost(self) -> Mapping[str, OmniTimelineError]:
        """Why there is no model on a device and none will be loaded, for each such device."""

    @property
    def state(self) -> Literal["loading", "ready", "failed"]:
        """Whether the model is loaded."""

    @property
    def error(self) -> OmniTimelineError | None:
        """Why there is no model and none will be loaded; None otherwise."""

    @property
    def checkpoint_version(self) -> str | None:
        """The version of the checkpoint, known long before the model is loaded; None until then."""

    def wait_for_version(self, seconds: float) -> str | None:
        """The version of the checkpoint; None when it is not known within so many seconds."""

    def predict(
        self,
        path: Path,
        options: PredictOptions | None = None,
        on_progress: OnProgress | None = None,
        *,
        priority: Priority = Priority.REQUEST,
        group: str | None = None,
    ) -> Prediction:
        """The segments of one video."""

    def close(self) -> None:
        """End the model and its process."""


class Videos(Protocol):
    """Where the videos of tasks are: `VideoFiles`, or a folder. May be used by several threads."""

    def local(self, url: str, *, task_id: int | None = None) -> AbstractContextManager[Path]:
        """A file with the video that `url` in a task's data stands for, for as long as the context lasts."""


Look = tuple[Prediction, bool, dict[str, float]]
"""What is found in a file of a task, whether that was known before, and how long fetching the file took."""


class TaskPredictor:
    """Makes predictions of tasks. May be used by several threads."""

    def __init__(self, model: Model, files: Videos, cache: PredictionCache) -> None:
        self._model = model
        self._files = files
        self._cache = cache

    def __call__(
        self, request: TaskRequest, on_progress: OnProgress, priority: Priority = Priority.REQUEST
    ) -> TaskPrediction:
        """The prediction of a task.

        Raises:
            RetryableError: it cannot be predicted now; a later attempt may succeed.
            OmniTimelineError: it cannot be predicted; the sentence says why.
        """
        configs = request.config.files_of(request.data)
        return combined(request, configs, [self.look(request, on_progress, priority, config) for config in configs])

    def look(
        self, request: TaskRequest, on_progress: OnProgress, priority: Priority, config: LabelConfig | None = None
    ) -> Look:
        """The prediction of one file of a task; see `Look`.

        Args:
            request: the task.
            on_progress: called with each step.
            priority: the priority of the request.
            config: the config of the file; by default that of the first file.

        Raises:
            RetryableError: it cannot be predicted now; a later attempt may succeed.
            OmniTimelineError: it cannot be predicted; the sentence says why.
        """
        url = (config or request.config).video_url(request.data)
        on_progress(Progress(FETCHING))
        began = time.monotonic()
        try:
            with self._files.local(url, task_id=request.task) as path:
                fetch_seconds = time.monotonic() - began
                video = TaskVideo(path, video_name(url))
                found, kept = self._predicted(video, request, on_progress, priority)
                return found, kept, {"fetch": fetch_seconds}
        except UnreachableError as error:
            raise RetryableError(str(error)) from error
        except ModelError as error:
            # Memory may be short because another program has the device for a while.
            if self._model.error is None and not isinstance(error, OutOfMemoryError):
                raise
            raise RetryableError(str(error)) from error

    def _predicted(
        self, video: TaskVideo, request: TaskRequest, on_progress: OnProgress, priority: Priority
    ) -> tuple[Prediction, bool]:
        """The prediction of a video, and whether it was in the cache."""
        state = video.state()
        try:
            digest = self._cache.digest(video.path)
        except OSError as error:
            raise video.unreadable(error) from error
        kept = self._cache.get(digest, request.version, video.path)
        if kept is not None:
            return kept, True
        on_progress(Progress(WAITING))
        try:
            group = request.project or None
            found = self._model.predict(video.path, request.options, on_progress, priority=priority, group=group)
        except MediaError as error:
            video.require_unchanged(state)
            raise MediaError(video.named(str(error))) from error
        video.require_unchanged(state)
        found = replace(found, warnings=tuple(map(video.named, found.warnings)))
        if not found.is_degraded:
            self._cache.put(digest, found)
        if found.model_version != request.version:
            raise RetryableError("The checkpoint was changed meanwhile; the task is predicted with the new one.")
        return found, False


@dataclass(frozen=True)
class TaskVideo:
    """A file of a task, here.

    Attributes:
        path: the file.
        name: its name for messages.
    """

    path: Path
    name: str

    def named(self, sentence: str) -> str:
        """A sentence that names the file, with the name by which a person knows the video."""
        return sentence.replace(self.path.name, self.name)

    def state(self) -> tuple[int, ...]:
        """A value that changes when the file is replaced or written to.

        Raises:
            RetryableError: the file cannot be read.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            raise self.unreadable(error) from error
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def require_unchanged(self, since: tuple[int, ...]) -> None:
        """Refuse a prediction of the file if it has changed, since it may be of either content.

        Raises:
            RetryableError: it has changed.
        """
        if self.state() != since:
            raise RetryableError(f"{self.name} was changed while it was predicted; the task is predicted again.")

    def unreadable(self, error: OSError) -> RetryableError:
        """The error for a file that is unreadable now: a network file system may come back."""
        return RetryableError(f"{self.name} cannot be read: {error.strerror}. The task is predicted later.")


def combined(request: TaskRequest, configs: Sequence[LabelConfig], looks: Sequence[Look]) -> TaskPrediction:
    """The prediction of a task from what was found in each of its files.

    Raises:
        OmniTimelineError: it is not as Label Studio needs it, which is a fault of this package.
    """
    entry = task_prediction(
        [(config, look[0].segments, look[0].duration) for config, look in zip(configs, looks, strict=True)],
        task_data=request.data,
        model_version=request.version,
    )
    remarks = [remark for found, _, _ in looks for remark in (*found.warnings, found.looked_again) if remark]
    warnings = tuple(dict.fromkeys(remarks))
    for warning in warnings:
        log.info("Task %s: %s", request.task, warning)
    made = [found for found, kept, _ in looks if not kept]
    return TaskPrediction(
        entry,
        not made,
        _sums([*(seconds for _, _, seconds in looks), *(found.seconds for found in made)]),
        _sums(found.lines for found in made),
        warnings,
    )


def _sums(each: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """The sums of the numbers that mappings have under each key."""
    sums: dict[str, Number] = {}
    for numbers in each:
        for key, number in numbers.items():
            sums[key] = sums[key] + number if key in sums else number
    return sums
