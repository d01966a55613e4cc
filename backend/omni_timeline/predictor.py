"""One task in, one prediction for Label Studio out.

    data -> Fetcher -> file -> PredictionCache, or Engine -> segments -> LabelConfig -> a checked prediction

Knows the order of these steps. Knows nothing of requests, turns or of how the result gets to Label Studio.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qs, urlsplit

from omni_timeline.cache import PredictionCache
from omni_timeline.errors import MediaError, ModelError, OmniTimelineError, RequestError, UnreachableError
from omni_timeline.fetch import Fetcher
from omni_timeline.jobs import Asked, LaterError, Report
from omni_timeline.measures import Measures
from omni_timeline.query import Prediction, Progress, Query

log = logging.getLogger(__name__)


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

    def predict(self, path: Path, query: Query, watch: Callable[[Progress], None] | None = None) -> Prediction:
        """The segments of one video."""

    def close(self) -> None:
        """End it."""


class Predictor:
    """Makes predictions of tasks. May be used by several threads."""

    def __init__(self, model: Model, fetcher: Fetcher, cache: PredictionCache, measures: Measures) -> None:
        self._model = model
        self._fetcher = fetcher
        self._cache = cache
        self._measures = measures

    def __call__(self, asked: Asked, report: Report) -> dict[str, Any]:
        """The prediction of a task, as Label Studio stores it.

        Raises:
            LaterError: not now, but maybe later.
            OmniTimelineError: why there is none.
        """
        url = asked.data.get(asked.config.video_field)
        if not isinstance(url, str):
            raise RequestError(f"its data has no text {asked.config.video_field!r}, which the labelling config shows.")
        try:
            found = self._found(url, asked, report)
        except UnreachableError as error:
            raise LaterError(str(error)) from error
        except ModelError as error:
            if self._model.error is None:
                raise
            raise LaterError(str(error)) from error
        for warning in found.warnings:
            log.info("Task %s: %s", asked.task, warning)
        segments, duration = found.segments, found.duration
        entry = asked.config.prediction(
            segments, duration=duration, task_data=asked.data, model_version=asked.version
        )  # fmt: skip
        asked.config.check(entry, duration=duration, task_data=asked.data)
        return entry

    def _found(self, url: str, asked: Asked, report: Report) -> Prediction:
        """What is in the video behind `url`, found before or now."""
        report("fetching the video")
        with_seconds = self._measures.stage_seconds.labels
        began = time.monotonic()
        path = self._fetcher.local_path(url, task_id=asked.task)
        with_seconds("fetch").observe(time.monotonic() - began)
        try:
            digest = self._cache.digest(path)
        except FileNotFoundError:  # the folder of videos made room for others at this moment
            path = self._fetcher.local_path(url, task_id=asked.task)
            digest = self._digest(path)
        except OSError as error:
            raise MediaError(f"{path.name} cannot be read: {error.strerror}.") from error
        if (kept := self._cache.get(digest, asked.version, path)) is not None:
            self._measures.tasks.labels("kept").inc()
            return kept
        report("waiting for the model")
        try:
            found = self._model.predict(path, asked.query, lambda progress: report(_words(progress)))
        except MediaError as error:  # it names the file; a person knows the video by another name
            raise MediaError(str(error).replace(path.name, _name(url))) from error
        if found.model_version != asked.version:
            raise LaterError("The checkpoint was changed meanwhile; the task is asked for again.")
        self._measures.tasks.labels("predicted").inc()
        for stage, seconds in found.seconds.items():
            with_seconds(stage).observe(seconds)
        for reason, count in found.lines.items():
            self._measures.lines.labels(reason).inc(count)
        self._cache.put(digest, found)
        return found

    def _digest(self, path: Path) -> str:
        try:
            return self._cache.digest(path)
        except OSError as error:
            raise MediaError(f"{path.name} cannot be read: {error.strerror}.") from error


def _name(url: str) -> str:
    """What a person calls the video: the last part of its address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return (parse_qs(parts.query).get("d", [""])[0] or parts.path).rstrip("/").rpartition("/")[2] or url


def _words(progress: Progress) -> str:
    return f"{progress.stage} {progress.done} of {progress.total}"
