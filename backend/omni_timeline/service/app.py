"""Label Studio's machine-learning backend protocol over HTTP, on Flask: routes and nothing else.

    GET  /health    the state of the model
    POST /setup     the model version for a labeling config, or why it cannot be served
    POST /predict   one entry for each task, in order: a prediction, or [] for a task without one (yet)
    POST /webhook   events of Label Studio
    GET  /versions  the model versions of the projects that have asked
    GET  /          a page for people; /status.json, /metrics and /openapi.json for programs
    POST /learned   which learned version a project is predicted with; GET for a version's report

Knows paths, headers and statuses. What a request gets is decided in `server`, who may ask in `auth`.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from omni_timeline import __version__
from omni_timeline.errors import OmniTimelineError, SlowRequestError
from omni_timeline.label_studio.tasks import Model
from omni_timeline.service.auth import CHALLENGE, SECRET_HEADER, Guard, is_from_elsewhere
from omni_timeline.service.bodies import PredictBody, SetupBody, WebhookBody, read_object
from omni_timeline.service.openapi import description
from omni_timeline.service.prometheus import CONTENT_TYPE
from omni_timeline.service.server import Server, scheduler_of
from omni_timeline.service.settings import Settings
from omni_timeline.service.status import clock, duration, status

MAX_BODY_BYTES = 64 * 1024 * 1024  # thousands of tasks with their annotations
MAX_REASON = 200  # characters of an error in the status line
MAX_LOGGED = 1000  # characters of an error in the log; a name from a labeling config may be longer
METHODS = ("GET", "POST", "HEAD", "OPTIONS")  # that are counted under their own name
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, *, model: Model | None = None) -> Flask:
    """The WSGI application of a server that has been started.

    Args:
        settings: by default those in the environment.
        model: makes predictions; by default the one in the settings, which loads while the first requests are answered.

    Raises:
        RequestError: a setting is invalid.
    """
    settings = settings or Settings.from_env()
    server = Server(settings, model or scheduler_of(settings))
    server.start()
    return routes(server)


def routes(server: Server) -> Flask:
    """The WSGI application of a server."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["omni_timeline"] = server
    _admit_and_count(app, server)
    _route_protocol(app, server)
    _route_views(app, server)
    _route_versions(app, server)
    app.register_error_handler(OmniTimelineError, _refused)
    app.register_error_handler(HTTPException, _failed)
    return app


def _admit_and_count(app: Flask, server: Server) -> None:
    guard = Guard(server.settings)

    @app.before_request
    def admit() -> Response | None:
        g.began = time.perf_counter()
        refusal = guard.refusal(
            to_webhook=request.endpoint == "webhook",  # the function that will answer, however the path is written
            authorization=request.headers.get("Authorization", ""),
            secret=request.headers.get(SECRET_HEADER, ""),
        )
        if refusal is None:
            return None
        response = _error(refusal.sentence, 401)
        if refusal.wants_basic_auth:
            response.headers["WWW-Authenticate"] = CHALLENGE
        return response

    @app.after_request
    def count(response: Response) -> Response:
        path = str(request.url_rule) if request.url_rule else "other"
        method = request.method if request.method in METHODS else "other"
        server.metrics.requests.labels(path, method, str(response.status_code)).inc()
        server.metrics.request_seconds.labels(path).observe(time.perf_counter() - g.began)
        return response


def _route_protocol(app: Flask, server: Server) -> None:
    """What Label Studio asks."""

    @app.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        error = server.model.error
        answer = {
            "status": "DOWN" if error else "UP",
            "model_class": "OmniTimeline",
            "model_version": server.model.checkpoint_version,
            "state": server.model.state,
            "silent_seconds": round(max(server.model.silent_seconds().values(), default=0.0), 1),
            "version": __version__,
            "troubles": [vars(trouble) for trouble in server.troubles.now()],
        }
        if error:
            answer["error"] = str(error)
        return answer, 503 if error else 200

    @app.post("/setup")
    def setup() -> dict[str, Any]:
        return {"model_version": server.setup(SetupBody.read(_body()))}

    @app.post("/predict")
    def predict() -> dict[str, Any]:
        return {"results": server.predict(PredictBody.read(_body()))}

    @app.post("/webhook")
    def webhook() -> dict[str, Any]:
        said = server.webhooks.take(WebhookBody.read(_body()))
        return {"status": "ok"} if said is None else {"status": "ok", "learning": said}

    @app.get("/versions")
    def versions() -> dict[str, Any]:
        known = [project.version for project in server.projects.recent()]
        checkpoint = server.model.checkpoint_version
        return {"versions": list(dict.fromkeys(known)) or ([checkpoint] if checkpoint else [])}


def _route_views(app: Flask, server: Server) -> None:
    """What people and other programs look at."""

    @app.get("/")
    def page() -> Response:
        response = Response(render_template("status.html", clock=clock, duration=duration, **status(server)))
        response.headers.update(PAGE_HEADERS)
        return response

    @app.get("/status.json")
    def status_json() -> dict[str, Any]:
        return status(server)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(server.metrics.text(), content_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return description(basic_auth=server.settings.basic_auth_user is not None)


def _route_versions(app: Flask, server: Server) -> None:
    """What was learned: looking at it, and choosing."""

    @app.post("/learned/<int:project>")
    def choose(project: int) -> Response:
        headers = request.headers
        if is_from_elsewhere(headers.get("Host", ""), headers.get("Origin", ""), headers.get("Sec-Fetch-Site", "")):
            return _error("A version is chosen on this server's own page.", 403)
        if server.settings.basic_auth_user is None:
            return _error(
                "Choosing a version here needs a password: set BASIC_AUTH_USER and BASIC_AUTH_PASSWORD, or use "
                "`omni-timeline versions`.", 403,
            )  # fmt: skip
        server.choose_version(project, request.form.get("version", ""))
        return Response(status=303, headers={"Location": ".."})

    @app.get("/learned/<int:project>/<name>/report.html")
    def report(project: int, name: str) -> Response:
        return Response(server.versions.page(project, name), headers=PAGE_HEADERS)


def _body() -> dict[str, Any]:
    """The request's JSON object."""
    try:
        data = request.get_data(cache=False)
    except (OSError, ClientDisconnected) as error:
        raise SlowRequestError("The rest of the request did not come.") from error
    if request.content_length is None and len(data) >= MAX_BODY_BYTES:
        raise RequestEntityTooLarge  # a body without a length is read up to the limit, and silently no further
    return read_object(data)


def _refused(error: OmniTimelineError) -> Response:
    # On one line, whatever a labeling config has made part of the message.
    log.warning("%s %s: %s", request.method, request.url_rule, " ".join(str(error).split())[:MAX_LOGGED])
    return _error(str(error), error.status)


def _failed(error: HTTPException) -> Response:
    response = _error(error.description or error.name, error.code or 500)
    if "Allow" in (headers := dict(error.get_headers())):
        response.headers["Allow"] = headers["Allow"]
    return response


def _error(sentence: str, status: int) -> Response:
    """An error as JSON, and in the status line, which is all that Label Studio shows of it."""
    response = jsonify(error=sentence)
    # Label Studio's page may take it for HTML; a line break would end the header.
    plain = sentence.replace("<", "[").replace(">", "]").replace("…", "...")
    reason = re.sub(r"[^\x20-\x7e]", "?", plain)
    response.status = f"{status} {reason[:MAX_REASON]}"
    return response
