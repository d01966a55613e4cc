"""Label Studio's machine-learning backend protocol, spoken over HTTP on Flask.

    GET  /health    what state the model is in
    POST /setup     does this labeling config have a place for segments? -> the model version
    POST /predict   tasks -> one entry each, in order: a prediction, or [] for a task without one (yet)
    POST /webhook   Label Studio tells what people do
    GET  /versions  the model versions there are
    GET  /          a page for people; /status.json, /metrics and /openapi.json for programs

Knows requests, answers and who may ask. Knows nothing of videos or of how predictions are made, and nothing of whose
turn it is: those are handed in or asked. What Label Studio 1.23.2 does with each answer was measured, see
docs/operations.md; two things shape this module. An answer without an entry for each task loses the whole batch, and so
does one bad entry, while [] costs that task only and is asked for again. And /health and /setup must answer within 1 s
and 3 s whatever the model is doing.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import queue
import re
import socket
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from werkzeug.exceptions import ClientDisconnected, HTTPException

from omni_timeline import __version__
from omni_timeline.errors import (
    LabelConfigError,
    ModelError,
    OmniTimelineError,
    RequestError,
    RetryableError,
    SlowRequestError,
)
from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.hosts import AllowedHosts
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import Model, TaskPredictor
from omni_timeline.model.prompts import Prompt
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.service.delivery import Delivery
from omni_timeline.service.history import History
from omni_timeline.service.jobs import Jobs
from omni_timeline.service.journal import Journal
from omni_timeline.service.openapi import description
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Pending
from omni_timeline.service.prometheus import CONTENT_TYPE, Metrics
from omni_timeline.service.settings import Settings

log = logging.getLogger(__name__)

THREADS = 128  # requests at a time in the one worker; threads that wait cost next to nothing
PREDICTING_THREADS = 24  # of them at most wait in /predict, so that /health and /setup always find one free
MAX_BODY_BYTES = 64 * 1024 * 1024  # thousands of tasks with their annotations
SLOW_CLIENT_SECONDS = 10.0  # s without a byte of a request that has begun
VERSION_SECONDS = 0.05  # s that /setup waits for the checkpoint's version; Label Studio asks again by itself
STOP_SECONDS = 8  # s for what is running when asked to stop: those who wait are answered at once
KEPT_CONFIGS = 32  # that are not read again; one may have two million characters
SHOWN_PROJECTS = 20
MAX_EVENTS = 1000  # of new tasks that wait to be looked at
TEND_SECONDS = 1.0  # s between two rounds of regular work
PRELABEL_PAUSES = (1.0, 5.0, 30.0)  # s before Label Studio is asked again
SECRET_HEADER = "X-Omni-Timeline-Secret"
EVENTS = (
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_CREATED",
    "TASKS_DELETED", "PROJECT_CREATED", "PROJECT_UPDATED", "PROJECT_DELETED", "START_TRAINING",
)  # fmt: skip
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

read_config = lru_cache(KEPT_CONFIGS)(LabelConfig.from_xml)


def start_engine(settings: Settings) -> Model:
    """The model that `settings` describe, loading in a process of its own."""
    from omni_timeline.media.limits import DecodeLimits
    from omni_timeline.service.engine import Engine, Load

    limits = DecodeLimits(
        file_bytes=settings.max_video_bytes,
        pixels=settings.max_video_pixels,
        frames=settings.max_video_frames,
        duration=settings.max_video_seconds,
        streams=settings.max_video_streams,
        seconds=settings.decode_seconds,
        memory_bytes=settings.decode_memory_bytes,
    )
    return Engine(Load(settings.model, settings.hub, settings.device, settings.dtype, limits))


def service_options(settings: Settings) -> PredictOptions:
    """What the operator has the model asked, before a project has its say.

    Raises:
        RequestError: the prompt file cannot be read.
    """
    return PredictOptions(
        frames=settings.frames,
        window_seconds=settings.window_seconds,
        prompt=Prompt.from_file(settings.prompt_file) if settings.prompt_file else Prompt(),
        constrained=settings.constrained,
        refine=settings.refine,
        score_threshold=settings.score_threshold,
        max_pixels=settings.max_pixels,
        max_new_tokens=settings.max_new_tokens,
    )


@dataclass(frozen=True)
class Project:
    """A project as it was last asked about: for the status page."""

    number: str
    version: str
    options: PredictOptions


class Service:
    """All parts of one server, and what its requests ask of them.

    Args:
        settings: what the operator decided.
        model: makes predictions.

    Raises:
        RequestError: a setting cannot be.
    """

    def __init__(self, settings: Settings, model: Model) -> None:
        self.settings = settings
        self.model = model
        self.options = service_options(settings)
        self.measures = Metrics()
        self.api = (
            LabelStudioApi(settings.label_studio_url, settings.label_studio_api_key)
            if settings.label_studio_url and settings.label_studio_api_key
            else None
        )
        folder = settings.cache_dir.expanduser()
        self.cache = PredictionCache(folder / "predictions", settings.prediction_cache_bytes)
        self.journal = Journal(folder / "journal.sqlite")
        files = VideoFiles(
            settings.label_studio_url,
            settings.label_studio_api_key,
            folder / "videos",
            settings.local_files_root,
            hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
            max_bytes=settings.max_video_bytes,
            cache_bytes=settings.cache_bytes,
        )
        predictor = TaskPredictor(model, files, self.cache)
        self.history = History(self.journal)
        self.outbox = Outbox(self.journal)
        self.delivery = (
            Delivery(self.outbox, self.api, self.history, self.measures, self._renewed)
            if self.api is not None
            else None
        )
        self.jobs = Jobs(
            predictor, self._renewed, self.delivery, self.history, self.measures, max_waiting=PREDICTING_THREADS
        )
        self.measures.watch(lambda: model.state, self.jobs.counts)
        self._projects: OrderedDict[str, Project] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._created: queue.Queue[Mapping[str, Any]] = queue.Queue(MAX_EVENTS)
        self.started = time.time()
        self.jobs.start()
        if self.delivery is not None:
            self.delivery.start()
        threading.Thread(target=self._tend, name="tend", daemon=True).start()
        threading.Thread(target=self._prelabel_created, name="prelabel", daemon=True).start()

    def version(self, xml: str, project: str, seconds: float) -> tuple[LabelConfig, PredictOptions, str]:
        """A project's config, what the model is asked for it, and the model version that makes.

        Raises:
            LabelConfigError: it has no place for a segment.
            ModelError: the version is not known within `seconds`, or there is no model.
        """
        config = self.config(xml, project)
        options = config.options(self.options)
        checkpoint = self.model.wait_for_version(seconds)
        if self.model.error is not None:
            raise self.model.error
        if checkpoint is None:
            # With "model_version": null Label Studio would take every task for one without a prediction.
            raise ModelError("The model is still loading; try again in a moment.")
        version = options.version(checkpoint)
        with self._lock:
            self._projects[project] = Project(project, version, options)
            self._projects.move_to_end(project)
            while len(self._projects) > SHOWN_PROJECTS:
                self._projects.popitem(last=False)
        return config, options, version

    def config(self, xml: str, project: str) -> LabelConfig:
        """What a labeling config says; one that cannot be served is told of on the status page.

        Raises:
            LabelConfigError: it has no place for a segment.
        """
        try:
            return read_config(xml)
        except LabelConfigError as error:
            self.history.fail("", project, str(error))
            raise

    def projects(self) -> list[Project]:
        """Those that asked last, the last first."""
        with self._lock:
            return list(reversed(self._projects.values()))

    def predict(self, body: Mapping[str, Any]) -> list[Any]:
        """The results of a /predict request.

        Raises:
            OmniTimelineError: the request as a whole is not right, or there is no model.
        """
        deadline = time.monotonic() + self.settings.predict_deadline_seconds
        tasks = body.get("tasks")
        if not isinstance(tasks, list):
            raise RequestError('The request needs "tasks", a list.')
        xml, project = _text(body, "label_config"), _project_number(body.get("project"))
        params = body.get("params")
        interactive = isinstance(params, dict) and bool(params.get("context"))
        self.config(xml, project)  # one that cannot be served is refused before the model is there
        try:
            found = self.version(xml, project, self.settings.predict_deadline_seconds)
        except ModelError:
            if self.model.error is not None:
                raise
            log.warning("%d tasks sent back: the model is still loading", len(tasks))
            return [[] for _ in tasks]
        asked = [self._asked(task, project, xml, *found) for task in tasks]
        entries = self.jobs.ask(asked, deadline, deliver=not interactive)
        # Of an interactive request Label Studio takes results[0] as it is; a list there breaks its page.
        return [({} if interactive else []) if entry is None else entry for entry in entries]

    def take_webhook(self, body: Mapping[str, Any]) -> None:
        """Note an event; what it leads to is done later."""
        event = body.get("action")
        self.measures.webhooks.labels(event if event in EVENTS else "other").inc()
        log.debug("Webhook: %s", event)
        if event == "TASKS_CREATED" and self.settings.prelabel_new_tasks and self.api is not None:
            try:
                self._created.put_nowait(body)
            except queue.Full:
                self.history.fail("", "", "Too many new tasks at a time: some have to be asked for in Label Studio.")

    def stop(self) -> None:
        """Answer those who wait; begin nothing more."""
        self._closing.set()
        self.jobs.stop()
        if self.delivery is not None:
            self.delivery.stop()

    def close(self) -> None:
        """End everything, the model's process too."""
        self.stop()
        self.model.close()
        self.history.save()
        self.journal.close()

    def _asked(
        self, task: Any, project: str, xml: str, config: LabelConfig, options: PredictOptions, version: str
    ) -> TaskRequest | None:
        """What is to be predicted; None, and a line on the status page, when it is no task."""
        number, data = (task.get("id"), task.get("data")) if isinstance(task, dict) else (None, None)
        number = number if type(number) is int and abs(number) < 2**63 else None
        if not isinstance(data, dict) or not isinstance(data.get(config.video_field), str):
            sentence = f"Its data has no text {config.video_field!r}, which the labeling config shows."
            self.history.fail("" if number is None else str(number), project, sentence)
            log.warning("Task %s has no prediction: %s", number, sentence)
            return None
        return TaskRequest(number, project, config.needed_data(data), xml, config, options, version)

    def _tend(self) -> None:
        """Do the regular work that must not delay a request, until the server stops."""
        while True:
            self.journal.recover()
            self.history.save()
            # Without the checkpoint's version, what was pending before cannot be predicted.
            is_known = self.model.checkpoint_version is not None and self.model.error is None
            if self.delivery is not None and is_known and (taken := self.outbox.tend(time.monotonic())):
                log.info("%d predictions are pending from a server that has ended", taken)
                self.delivery.wake()
            if self._closing.wait(TEND_SECONDS):
                return

    def _renewed(self, pending: Pending) -> TaskRequest:
        """The request for a pending task as it would be made now.

        Raises:
            RetryableError: there is no model at present.
            OmniTimelineError: the task can no longer be predicted.
        """
        try:
            found = self.version(pending.xml, pending.project, 0.0)
        except ModelError as error:
            raise RetryableError(str(error)) from error
        return TaskRequest(pending.item.task, pending.project, pending.data, pending.xml, *found)

    def _prelabel_created(self) -> None:
        """Predict the tasks of TASKS_CREATED events, one event after the other."""
        while True:
            body = self._created.get()
            for pause in (*PRELABEL_PAUSES, None):
                try:
                    self._prelabel(body)
                    break
                except OmniTimelineError as error:
                    if pause is None or self._closing.wait(pause):
                        self.history.fail("", "", f"New tasks are not predicted by themselves: {error}")
                        log.warning("New tasks are not predicted by themselves: %s", error)
                        break
                except Exception:  # this thread has to go on
                    log.exception("New tasks are not predicted by themselves")
                    break

    def _prelabel(self, body: Mapping[str, Any]) -> None:
        """Predict the tasks of one event.

        Raises:
            DeliveryError: Label Studio does not tell the project's config.
            OmniTimelineError: it cannot be served.
        """
        assert self.api is not None
        project, tasks = body.get("project"), body.get("tasks")
        number = project.get("id") if isinstance(project, dict) else project
        if type(number) is not int or not isinstance(tasks, list):
            return
        xml = self.api.label_config(number)
        found = self.version(xml, str(number), self.settings.predict_deadline_seconds)
        asked = [self._asked(task, str(number), xml, *found) for task in tasks]
        self.jobs.submit(each for each in asked if each is not None)


def create_app(settings: Settings | None = None, *, engine: Model | None = None) -> Flask:
    """The WSGI application.

    Args:
        settings: by default those in the environment.
        engine: the model; by default one is started, and loads while the first requests are answered.

    Raises:
        RequestError: a setting cannot be.
    """
    settings = settings or Settings.from_env()
    service_options(settings)  # before a process is started
    service = Service(settings, engine or start_engine(settings))
    guard = Guard(settings)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["omni_timeline"] = service

    @app.before_request
    def admit() -> Response | None:
        g.began = time.perf_counter()
        return guard.refusal()

    @app.after_request
    def count(response: Response) -> Response:
        path = str(request.url_rule) if request.url_rule else "other"
        method = request.method if request.method in ("GET", "POST", "HEAD", "OPTIONS") else "other"
        service.measures.requests.labels(path, method, str(response.status_code)).inc()
        service.measures.request_seconds.labels(path).observe(time.perf_counter() - g.began)
        return response

    @app.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        error = service.model.error
        answer = {
            "status": "DOWN" if error else "UP",
            "model_class": "OmniTimeline",
            "model_version": service.model.checkpoint_version,
            "state": service.model.state,
            "version": __version__,
        }
        if error:
            answer["error"] = str(error)
        return answer, 503 if error else 200

    @app.post("/setup")
    def setup() -> dict[str, Any]:
        body = _body()
        project = _project_number(body.get("project"))
        _, _, version = service.version(_text(body, "schema"), project, VERSION_SECONDS)
        return {"model_version": version}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        return {"results": service.predict(_body())}

    @app.post("/webhook")
    def webhook() -> dict[str, Any]:
        service.take_webhook(_body())
        return {"status": "ok"}

    @app.get("/versions")
    def versions() -> dict[str, Any]:
        known = [project.version for project in service.projects()]
        checkpoint = service.model.checkpoint_version
        return {"versions": list(dict.fromkeys(known)) or ([checkpoint] if checkpoint else [])}

    @app.get("/")
    def page() -> Response:
        response = Response(render_template("status.html", clock=_clock, **status(service)))
        response.headers.update(PAGE_HEADERS)
        return response

    @app.get("/status.json")
    def status_json() -> dict[str, Any]:
        return status(service)

    @app.get("/metrics")
    def metrics() -> Response:
        service.measures.loads.set(service.model.loads)
        return Response(service.measures.text(), content_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return description(basic_auth=settings.basic_auth_user is not None)

    @app.errorhandler(OmniTimelineError)
    def refused(error: OmniTimelineError) -> Response:
        log.warning("%s %s: %s", request.method, request.url_rule, error)
        return _error(str(error), error.status)

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> Response:
        response = _error(error.description or error.name, error.code or 500)
        if "Allow" in (headers := dict(error.get_headers())):
            response.headers["Allow"] = headers["Allow"]
        return response

    return app


class Guard:
    """Who may ask: basic auth on everything, but a secret of its own on /webhook where one is set.

    Label Studio sends no basic auth along with the events of annotations and tasks (1.23.2).
    """

    def __init__(self, settings: Settings) -> None:
        user, password = settings.basic_auth_user, settings.basic_auth_password
        self._credentials = None if user is None else f"{user}:{password}".encode()
        self._secret = settings.webhook_secret.encode() if settings.webhook_secret else None
        if self._credentials and self._secret is None and settings.prelabel_new_tasks:
            log.warning(
                "Label Studio cannot tell of new tasks: it sends no basic auth to /webhook. Set WEBHOOK_SECRET, and "
                "the header %s of the webhook in Label Studio.", SECRET_HEADER,
            )  # fmt: skip

    def refusal(self) -> Response | None:
        """The answer to a request that is not let in; None for one that is."""
        # By the function that will answer, not by how the path is written.
        if request.endpoint == "webhook" and self._secret is not None:
            given = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
            if hmac.compare_digest(given, self._secret):
                return None
            return _error(f"/webhook wants WEBHOOK_SECRET in the header {SECRET_HEADER}.", 401)
        if self._credentials is None or self._are_right():
            return None
        response = _error("This server wants BASIC_AUTH_USER and BASIC_AUTH_PASSWORD.", 401)
        response.headers["WWW-Authenticate"] = 'Basic realm="omni-timeline", charset="UTF-8"'
        return response

    def _are_right(self) -> bool:
        # Not by werkzeug's `request.authorization`, which raises on a header that is not ASCII (3.1).
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._credentials is None or scheme.lower() != "basic":
            return False
        try:
            words = base64.b64decode(given.strip().encode("latin-1", "replace"), validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(words, self._credentials)


def status(service: Service) -> dict[str, Any]:
    """What the page for people shows."""
    model, settings, jobs = service.model, service.settings, service.jobs
    notes = [service.delivery and service.delivery.trouble, service.journal.trouble, service.cache.trouble]
    if service.api is None:
        notes.append(
            "What is not ready when /predict answers is not brought to Label Studio, which has to ask again: set "
            "LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
        )
        if settings.prelabel_new_tasks:
            notes.append("PRELABEL_NEW_TASKS has no effect without them.")
    if settings.basic_auth_user is None and settings.bind not in ("127.0.0.1", "localhost", "::1"):
        notes.append("Anybody who reaches this address may ask: set BASIC_AUTH_USER and BASIC_AUTH_PASSWORD.")
    return {
        "version": __version__,
        "state": model.state,
        "error": str(model.error) if model.error else None,
        "model": settings.model,
        "checkpoint": model.checkpoint_version,
        "device": model.description,
        "label_studio_url": settings.label_studio_url,
        "up_seconds": round(time.time() - service.started),
        "notes": [note for note in notes if note],
        "counts": jobs.counts(),
        "running": [vars(each) for each in jobs.running()],
        "predictions": [vars(each) for each in service.history.predictions()],
        "failures": [vars(each) for each in service.history.failures()],
        "projects": [
            {
                "project": each.number,
                "model_version": each.version,
                "prompt": each.options.words.user,
                "frames": each.options.frames,
                "window_seconds": each.options.window_seconds,
                "score_threshold": each.options.score_threshold,
                "labels": list(each.options.labels),
            }
            for each in service.projects()
        ],
    }


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _body() -> dict[str, Any]:
    """The request's JSON object."""
    try:
        body = json.loads(request.get_data(cache=False))
    except (OSError, ClientDisconnected) as error:
        raise SlowRequestError("The rest of the request did not come.") from error
    except (ValueError, RecursionError) as error:
        raise RequestError("The request's body is not JSON.") from error
    if not isinstance(body, dict):
        raise RequestError("The request's body must be a JSON object.")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not _is_text(value):
        raise RequestError(f'The request needs "{name}", the labeling config as text.')
    return value


def _is_text(value: str) -> bool:
    """Whether it can be written down: JSON may hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _project_number(given: Any) -> str:
    """The number in Label Studio's "3.1795401548": project and when it was made; "" when it is something else."""
    found = re.match(r"\d{1,18}", str(given)) if isinstance(given, str | int) else None
    return found[0] if found else ""


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
        "preload_app": False,  # the threads of the queue would not survive the fork
        "timeout": 120,  # s without a sign of life of the worker, which a long prediction does not stop
        "graceful_timeout": STOP_SECONDS,
        "control_socket_disable": True,
        "post_worker_init": _worker_starts,
        "worker_exit": _worker_ends,
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


def _worker_starts(worker: Any) -> None:
    """Leave clients that stop in the middle of a request, and answer those who wait when the worker is to stop."""
    import signal

    for listener in worker.sockets:  # inherited by the connections
        seconds = struct.pack("ll", int(SLOW_CLIENT_SECONDS), 0)
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    service: Service = worker.wsgi.extensions["omni_timeline"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        before = signal.getsignal(number)

        def stop(number: int, frame: Any, before: Any = before) -> None:
            # In a thread of its own: this one may hold a lock at this moment.
            threading.Thread(target=service.stop, name="stop").start()
            if callable(before):
                before(number, frame)

        signal.signal(number, stop)


def _worker_ends(arbiter: Any, worker: Any) -> None:
    """End the model's process with the worker."""
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["omni_timeline"].close()


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
    """Serve until told to stop (SIGTERM, SIGINT). `host` and `port` win over the settings.

    Raises:
        RequestError: a setting cannot be.
    """
    service_options(settings)
    _Gunicorn(settings, gunicorn_options(settings, host, port)).run()
