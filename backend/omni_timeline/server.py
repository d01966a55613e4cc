"""Label Studio's machine-learning backend protocol, spoken over HTTP on Flask.

    GET  /health    what state the model is in
    POST /setup     does this labelling config have a place for segments? -> the model version
    POST /predict   tasks -> one entry each, in order: a prediction, or {} for a task without one
    POST /webhook   Label Studio tells what people do
    GET  /versions  the model versions there are

Knows requests, answers and whose turn it is. Knows nothing of videos, models or regions: those are handed in or asked.
What Label Studio 1.23.2 does with each answer was measured, see docs/operations.md; two things shape this module. An
answer without an entry for each task loses the whole batch, and so does one bad entry, while {} costs that task only
and is asked for again. And /health and /setup must answer within 1 s and 3 s whatever the model is doing.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flask import Flask, Response, jsonify, request
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from werkzeug.exceptions import HTTPException

from omni_timeline import __version__
from omni_timeline.addresses import AllowedHosts
from omni_timeline.config import Settings
from omni_timeline.errors import ModelError, OmniTimelineError, RequestError
from omni_timeline.fetch import Fetcher
from omni_timeline.regions import LabelConfig

if TYPE_CHECKING:
    from omni_timeline.pipeline import Prediction

log = logging.getLogger(__name__)

THREADS = 32  # requests at a time in the one worker; threads that wait cost next to nothing
PREDICTING_THREADS = 24  # of them at most in /predict, so that /health and /setup always find one free
MAX_BODY_BYTES = 64 * 1024 * 1024  # thousands of tasks with their annotations


class Predicts(Protocol):
    """What the server needs of a pipeline."""

    model_version: str

    def predict(self, path: Path) -> Prediction:
        """The segments of one video; raises OmniTimelineError."""


def load_pipeline(settings: Settings) -> Predicts:
    """The pipeline that `settings` describe, its checkpoint loaded."""
    # Importing torch takes seconds: here, so that the server answers before it is there.
    from omni_timeline.model import OmniModel
    from omni_timeline.pipeline import Pipeline

    model = OmniModel.load(settings.model, hub=settings.hub, device=settings.device, dtype=settings.dtype)
    return Pipeline(
        model, frames=settings.frames, max_pixels=settings.max_pixels, max_new_tokens=settings.max_new_tokens
    )


class PipelineSlot:
    """Where the pipeline will be: loading, ready or failed. Loading starts at once, in a thread of its own."""

    def __init__(self, load: Callable[[], Predicts]) -> None:
        self._load = load
        self._pipeline: Predicts | None = None
        self._error: OmniTimelineError = ModelError("The model could not be loaded; the server's log says why.")
        self._finished = threading.Event()
        threading.Thread(target=self._fill, name="load-model", daemon=True).start()

    def _fill(self) -> None:
        started = time.monotonic()
        try:
            self._pipeline = self._load()
            log.info("Model version %s ready after %.1f s", self._pipeline.model_version, time.monotonic() - started)
        except OmniTimelineError as error:
            self._error = error
            log.error("The model could not be loaded: %s", error)
        finally:  # any other error ends this thread with its traceback in the log, and the state is "failed"
            self._finished.set()

    @property
    def state(self) -> Literal["loading", "ready", "failed"]:
        """What can be expected of it."""
        if not self._finished.is_set():
            return "loading"
        return "failed" if self._pipeline is None else "ready"

    @property
    def model_version(self) -> str | None:
        """The version that predictions have; None until it is known."""
        return self._pipeline.model_version if self._pipeline else None

    @property
    def error(self) -> OmniTimelineError | None:
        """Why it failed."""
        return self._error if self.state == "failed" else None

    def wait(self, seconds: float | None = None) -> Predicts | None:
        """The pipeline, if it is there within `seconds` (None: however long it takes); else None.

        Raises:
            OmniTimelineError: it could not be loaded.
        """
        self._finished.wait(seconds)
        if error := self.error:
            raise error
        return self._pipeline


class Predictor:
    """Tasks in, predictions out; one video in the model at a time, and within the deadline as far as can be foreseen.

    Args:
        slot: where the pipeline is or will be.
        fetcher: brings the videos.
        deadline_seconds: when the answer should be on its way.
    """

    def __init__(self, slot: PipelineSlot, fetcher: Fetcher, deadline_seconds: float) -> None:
        self._slot = slot
        self._fetcher = fetcher
        self._deadline_seconds = deadline_seconds
        self._turn = threading.Lock()
        self._admitted = threading.Semaphore(PREDICTING_THREADS)

    def predict(self, tasks: Sequence[Any], config: LabelConfig) -> list[dict[str, Any]]:
        """One entry for each task, in order: its prediction, or {} when there is none (yet).

        Raises:
            OmniTimelineError: the model could not be loaded.
        """
        if not self._admitted.acquire(blocking=False):
            log.warning("%d tasks sent back: %d /predict calls are running", len(tasks), PREDICTING_THREADS)
            return [{} for _ in tasks]
        try:
            deadline = time.monotonic() + self._deadline_seconds
            pipeline = self._slot.wait(self._deadline_seconds)
            if pipeline is None:
                log.warning("%d tasks sent back: the model is still loading", len(tasks))
                return [{} for _ in tasks]
            entries: list[dict[str, Any]] = []
            longest = 0.0  # s: a task is begun only if, taking as long, it ends before the deadline
            for task in tasks:
                began = time.monotonic()
                entries.append(self._entry(task, config, pipeline, deadline - longest))
                longest = max(longest, time.monotonic() - began)
            return entries
        finally:
            self._admitted.release()

    def _entry(self, task: Any, config: LabelConfig, pipeline: Predicts, latest: float) -> dict[str, Any]:
        """The prediction for one task, begun by `latest` or not at all; {} when there is none, and the log says why."""
        task_id, data = (task.get("id"), task.get("data")) if isinstance(task, dict) else (None, None)
        try:
            return self._prediction(task_id, data, config, pipeline, latest)
        except Exception as error:  # whatever happens to one task must not cost the others
            ours = isinstance(error, OmniTimelineError)
            log.warning("Task %s has no prediction: %s", task_id, error if ours else repr(error), exc_info=not ours)
            return {}

    def _prediction(
        self, task_id: Any, data: Any, config: LabelConfig, pipeline: Predicts, latest: float
    ) -> dict[str, Any]:
        url = data.get(config.video_field) if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(url, str):
            raise RequestError(f"its data has no text {config.video_field!r}, which the labelling config shows.")
        if time.monotonic() >= latest:
            raise _OutOfTimeError("its turn would come too late for the deadline; Label Studio asks again.")
        path = self._fetcher.local_path(url, task_id=task_id if isinstance(task_id, int) else None)
        if not self._turn.acquire(timeout=max(0.0, latest - time.monotonic())):
            raise _OutOfTimeError("its turn would come too late for the deadline; Label Studio asks again.")
        try:
            found = pipeline.predict(path)
        finally:
            self._turn.release()
        for warning in found.warnings:
            log.info("Task %s: %s", task_id, warning)
        # The version that /setup said, or Label Studio would pile up copies.
        prediction = config.prediction(
            found.segments, duration=found.duration, task_data=data, model_version=pipeline.model_version
        )
        check_prediction(prediction)
        return prediction


class _OutOfTimeError(OmniTimelineError):
    """A task's turn did not come in time."""


def check_prediction(prediction: Mapping[str, Any]) -> None:
    """Refuse what Label Studio would store and then choke on.

    It stores nearly everything, and a region without a value makes the task's page unusable; frames that are no whole
    numbers vanish; a score that is not a number loses the whole batch (1.23.2).

    Raises:
        OmniTimelineError: something is wrong with it, which is a mistake in this package.
    """
    score = prediction.get("score", 0.0)
    if not (math.isfinite(score) and 0.0 <= score <= 1.0):
        raise OmniTimelineError(f"a prediction's score must be from 0 to 1, got {score}: please report this.")
    for region in prediction["result"]:
        ranges = (region.get("value") or {}).get("ranges", [])
        whole = all(type(span[edge]) is int for span in ranges for edge in ("start", "end"))
        named = all(isinstance(region.get(key), str) and region[key] for key in ("id", "from_name", "to_name", "type"))
        if not (region.get("value") and named and whole and all(1 <= span["start"] <= span["end"] for span in ranges)):
            raise OmniTimelineError(f"a region is not as Label Studio needs it: {region}: please report this.")
    json.dumps(prediction, allow_nan=False)


def create_app(
    settings: Settings | None = None,
    pipeline: Predicts | None = None,
    *,
    load: Callable[[Settings], Predicts] = load_pipeline,
) -> Flask:
    """The WSGI application.

    Args:
        settings: by default those in the environment.
        pipeline: the one to use; by default it is loaded in the background while the first requests are answered.
        load: makes the pipeline when none is handed in.

    Raises:
        RequestError: a setting cannot be.
    """
    settings = settings or Settings.from_env()
    slot = PipelineSlot(lambda: pipeline if pipeline is not None else load(settings))
    if pipeline is not None:
        slot.wait()
    fetcher = Fetcher(
        settings.label_studio_url,
        settings.label_studio_api_key,
        settings.cache_dir,
        settings.local_files_root,
        hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
        max_bytes=settings.max_video_bytes,
        cache_bytes=settings.cache_bytes,
    )
    predictor = Predictor(slot, fetcher, settings.predict_deadline_seconds)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        answer = {
            "status": "DOWN" if slot.error else "UP",
            "model_class": "OmniTimeline",
            "model_version": slot.model_version,
            "state": slot.state,
            "version": __version__,
        }
        if slot.error:
            answer["error"] = str(slot.error)
        return answer, 503 if slot.error else 200

    @app.post("/setup")
    def setup() -> dict[str, Any]:
        LabelConfig.from_xml(_text(_body(), "schema"))
        if slot.error:
            raise slot.error
        if slot.model_version is None:
            # With "model_version": null Label Studio would take every task for one without a prediction.
            raise ModelError("The model is still loading; try again in a moment.")
        return {"model_version": slot.model_version}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        body = _body()
        tasks = body.get("tasks")
        if not isinstance(tasks, list):
            raise RequestError('The request needs "tasks", a list.')
        return {"results": predictor.predict(tasks, LabelConfig.from_xml(_text(body, "label_config")))}

    @app.post("/webhook")
    def webhook() -> dict[str, Any]:
        log.debug("Webhook: %s", _body().get("action"))
        return {"status": "ok"}

    @app.get("/versions")
    def versions() -> dict[str, Any]:
        return {"versions": [slot.model_version] if slot.model_version else []}

    @app.get("/")
    def status() -> dict[str, Any]:
        return {
            "name": "omni-timeline",
            "version": __version__,
            "model": settings.model,
            "model_version": slot.model_version,
            "state": slot.state,
            "label_studio_url": settings.label_studio_url,
        }

    @app.errorhandler(OmniTimelineError)
    def refused(error: OmniTimelineError) -> Response:
        log.warning("%s %s: %s", request.method, request.path, error)
        return _error(str(error), error.status)

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> Response:
        return _error(error.description or error.name, error.code or 500)

    return app


def _body() -> dict[str, Any]:
    """The request's JSON object."""
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The request's body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError("The request's body must be a JSON object.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RequestError(f'The request needs "{name}", the labelling config as text.')
    return value


def _error(sentence: str, status: int) -> Response:
    """An error as JSON, and as the reason in the status line: of an answer that is no 2xx, Label Studio shows that."""
    response = jsonify(error=sentence)
    # Label Studio's page may take it for HTML; a line break would end the header.
    plain = sentence.replace("<", "[").replace(">", "]").replace("…", "...")
    reason = re.sub(r"[^\x20-\x7e]", "?", plain)
    response.status = f"{status} {reason[:200]}"
    return response


def gunicorn_options(settings: Settings, host: str | None = None, port: int | None = None) -> dict[str, Any]:
    """Settings of gunicorn for this service; `backend/gunicorn.conf.py` has the same ones."""
    return {
        "bind": f"{host or settings.bind}:{port or settings.port}",
        "workers": 1,  # one model; a second worker would be a second copy of it
        "worker_class": "gthread",
        "threads": THREADS,
        "preload_app": False,  # a model loaded before the fork would not survive it on a GPU
        "timeout": 120,  # s without a sign of life of the worker, which a long prediction does not stop
        "graceful_timeout": 100,  # s for what is running when asked to stop: as long as Label Studio would wait
        "control_socket_disable": True,
        "logconfig_dict": {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "omni_timeline": {"level": settings.log_level},
                "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
                "gunicorn.access": {"level": "WARNING", "handlers": [], "propagate": True},
            },
        },
    }


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn, told by us what it is told by files and options otherwise."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(self._settings)


def serve(settings: Settings, host: str | None = None, port: int | None = None) -> None:
    """Serve until told to stop (SIGTERM, SIGINT). `host` and `port` win over the settings."""
    _Gunicorn(settings, gunicorn_options(settings, host, port)).run()
