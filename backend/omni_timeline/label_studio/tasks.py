"""One task in, one prediction for Label Studio out.

    data -> Fetcher -> file -> PredictionCache, or Engine -> segments -> LabelConfig -> a checked prediction

Knows the order of these steps. Knows nothing of requests, turns or of how the result gets to Label Studio.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

from omni_timeline.errors import (
    MediaError,
    ModelError,
    OmniTimelineError,
    RequestError,
    RetryableError,
    UnreachableError,
)
from omni_timeline.label_studio.files import Fetcher
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskPrediction:
    """The prediction of one task.

    Attributes:
        entry: as Label Studio stores it.
        kept: whether it was predicted before.
        seconds: how long each stage took now.
        lines: what became of the model's lines, by reason; empty for a kept one.
    """

    entry: dict[str, Any]
    kept: bool
    seconds: Mapping[str, float]
    lines: Mapping[str, int]


class Model(Protocol):
    """What the server needs of an Engine."""

    description: str | None
    loads: int

    @property
    def state(self) -> Literal["loading", "ready", "failed"]:
        """Whether a model is there."""

    @property
    def error(self) -> OmniTimelineError | None:
        """Why there is no model, when none is coming."""

    @property
    def checkpoint_version(self) -> str | None:
        """Known long before the model is loaded."""

    def wait_for_version(self, seconds: float) -> str | None:
        """The checkpoint's version, if it is known within so many seconds."""

    def predict(self, path: Path, options: PredictOptions, on_progress: OnProgress | None = None) -> Prediction:
        """The segments of one video."""

    def close(self) -> None:
        """End it."""


class Predictor:
    """Makes predictions of tasks. May be used by several threads."""

    def __init__(self, model: Model, fetcher: Fetcher, cache: PredictionCache) -> None:
        self._model = model
        self._fetcher = fetcher
        self._cache = cache

    def __call__(self, asked: TaskRequest, on_progress: OnProgress) -> TaskPrediction:
        """The prediction of a task.

        Raises:
            RetryableError: not now, but maybe later.
            OmniTimelineError: why there is none.
        """
        url = asked.data.get(asked.config.video_field)
        if not isinstance(url, str):
            raise RequestError(f"its data has no text {asked.config.video_field!r}, which the labeling config shows.")
        try:
            return self._predicted(url, asked, on_progress)
        except UnreachableError as error:
            raise RetryableError(str(error)) from error
        except ModelError as error:
            if self._model.error is None:
                raise
            raise RetryableError(str(error)) from error

    def _predicted(self, url: str, asked: TaskRequest, on_progress: OnProgress) -> TaskPrediction:
        on_progress(Progress("fetching the video"))
        began = time.monotonic()
        path = self._fetcher.local_path(url, task_id=asked.task)
        fetch_seconds = time.monotonic() - began
        try:
            digest = self._cache.digest(path)
        except FileNotFoundError:  # the folder of videos made room for others at this moment
            path = self._fetcher.local_path(url, task_id=asked.task)
            digest = self._digest(path)
        except OSError as error:
            raise MediaError(f"{path.name} cannot be read: {error.strerror}.") from error
        kept = self._cache.get(digest, asked.version, path)
        if kept is not None:
            return TaskPrediction(_entry(kept, asked), True, {"fetch": fetch_seconds}, {})
        on_progress(Progress("waiting for the model"))
        try:
            found = self._model.predict(path, asked.options, on_progress)
        except MediaError as error:  # it names the file; a person knows the video by another name
            raise MediaError(str(error).replace(path.name, _name(url))) from error
        if found.model_version != asked.version:
            raise RetryableError("The checkpoint was changed meanwhile; the task is asked for again.")
        if not found.is_degraded:
            self._cache.put(digest, found)
        return TaskPrediction(_entry(found, asked), False, {"fetch": fetch_seconds, **found.seconds}, found.lines)

    def _digest(self, path: Path) -> str:
        try:
            return self._cache.digest(path)
        except OSError as error:
            raise MediaError(f"{path.name} cannot be read: {error.strerror}.") from error


def _entry(found: Prediction, asked: TaskRequest) -> dict[str, Any]:
    """The prediction as Label Studio stores it, checked."""
    for warning in found.warnings:
        log.info("Task %s: %s", asked.task, warning)
    duration = found.duration
    entry = asked.config.prediction(
        found.segments, duration=duration, task_data=asked.data, model_version=asked.version
    )
    asked.config.check(entry, duration=duration, task_data=asked.data)
    return entry


def _name(url: str) -> str:
    """What a person calls the video: the last part of its address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return (parse_qs(parts.query).get("d", [""])[0] or parts.path).rstrip("/").rpartition("/")[2] or url
