"""The HTTP interface as an OpenAPI document, served at /openapi.json; fuzzing compares the server with it.

Knows paths, shapes and statuses. It is written by hand: nothing is generated from the code, nor the code from this.
"""

from __future__ import annotations

from typing import Any

from omni_timeline import __version__

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {**TEXT, "description": "One sentence on what to change."}},
}
TASK: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "data": {"type": "object", "description": "As in Label Studio; the config says which key has the video."},
    },
}
PREDICTION: Schema = {
    "type": "object",
    "required": ["model_version", "result"],
    "properties": {
        "model_version": TEXT,
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "result": {"type": "array", "items": {"type": "object"}},
    },
}
NONE_YET: Schema = {"description": "No prediction: it failed, or is stored in Label Studio later."}
ENTRY: Schema = {
    "anyOf": [
        PREDICTION,
        {"type": "array", "maxItems": 0, **NONE_YET},
        {"type": "object", "maxProperties": 0, **NONE_YET},
    ]
}


def description(*, basic_auth: bool) -> Schema:
    """The whole document, for a server with or without basic auth."""
    paths = {**_pages(), **_protocol()}
    for path, operations in paths.items():
        for operation in operations.values():
            if basic_auth and path != "/webhook":
                operation["security"] = [{"basic": []}]
                operation["responses"]["401"] = _json(ERROR)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "omni-timeline",
            "version": __version__,
            "description": "A machine-learning backend for Label Studio.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}} if basic_auth else {},
    }


def _pages() -> dict[str, Schema]:
    """What people and other programs look at."""
    return {
        "/": {"get": _operation("A page for people.", {200: _plain("text/html")})},
        "/status.json": {"get": _operation("The same for programs.", {200: _json({"type": "object"})})},
        "/metrics": {"get": _operation("Metrics for Prometheus.", {200: _plain("text/plain")})},
        "/learned/{project}": {"post": _choice()},
        "/learned/{project}/{name}/report.html": {
            "get": {
                **_operation("The report of a learned version.", {200: _plain("text/html"), **_errors(400)}),
                "parameters": [_PROJECT, {**_PROJECT, "name": "name", "schema": TEXT}],
            }
        },
        "/openapi.json": {"get": _operation("This document.", {200: _json({"type": "object"})})},
    }


_PROJECT: Schema = {"name": "project", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}


def _choice() -> Schema:
    """Choosing a learned version."""
    form = _object(["version"], version={**TEXT, "description": 'Its name, or "base", or "back" for the one before.'})
    operation = _operation(
        "Have a project predicted with a learned version; only where basic auth is on.",
        {303: {"description": "It is; the page shows it."}, **_errors(400, 403, 413, 503)},
    )
    body = {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": form}}}
    return {**operation, "parameters": [_PROJECT], "requestBody": body}


def _protocol() -> dict[str, Schema]:
    """What Label Studio asks."""
    trouble = _object(
        ["kind", "sentence", "since"],
        kind=TEXT,
        sentence={**TEXT, "description": "What is wrong, and what to do."},
        since={"type": "number", "description": "Seconds since 1970."},
    )
    health = _object(
        ["status", "state"],
        status={"enum": ["UP", "DOWN"]},
        state={"enum": ["loading", "ready", "failed"]},
        model_version={"type": ["string", "null"]},
        silent_seconds={"type": "number", "description": "Since the last sign of life of a model that works."},
        troubles={"type": "array", "items": trouble},
        error=TEXT,
    )
    setup = _object(["schema"], schema={**TEXT, "description": "The labeling config."})
    predict = _object(
        ["tasks", "label_config"],
        tasks={"type": "array", "items": TASK},
        label_config=TEXT,
        project=TEXT,
        params={"type": ["object", "null"]},
    )
    version = _json(_object(["model_version"], model_version=TEXT))
    results = _json(_object(["results"], results={"type": "array", "items": ENTRY}))
    pressed = {**TEXT, "description": "A sentence for the person who pressed Start Training."}
    taken = _json(_object(["status"], status=TEXT, learning=pressed))
    versions = _json(_object(["versions"], versions={"type": "array", "items": TEXT}))
    return {
        "/health": {
            "get": _operation(
                "Whether the model is loaded or loading.",
                {200: _json(health), 503: _json({**health, "required": ["status", "error"]})},
            )
        },
        "/setup": {
            "post": _operation(
                "The model version for a labeling config, or why the config cannot be served.",
                {200: version, **_errors(400, 413, 503)},
                setup,
            )
        },
        "/predict": {
            "post": _operation("Predictions of tasks, in order.", {200: results, **_errors(400, 413, 503)}, predict)
        },
        "/webhook": {
            "post": _operation(
                "Events of Label Studio.",
                {200: taken, **_errors(400, 401, 413)},
                {"type": "object", "properties": {"action": TEXT}},
            )
        },
        "/versions": {"get": _operation("The model versions there are.", {200: versions})},
    }


def _operation(summary: str, responses: dict[int, Schema], body: Schema | None = None) -> Schema:
    operation: Schema = {
        "summary": summary,
        "responses": {str(status): response for status, response in responses.items()},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _errors(*statuses: int) -> dict[int, Schema]:
    return {status: _json(ERROR) for status in statuses}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _json(schema: Schema) -> Schema:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def _plain(kind: str) -> Schema:
    return {"description": "", "content": {kind: {"schema": TEXT}}}
