"""The HTTP surface in OpenAPI's words, served at /openapi.json and held to the server by fuzzing.

Knows paths, shapes and statuses. Nothing is generated from the code, nor the code from this.
"""

from __future__ import annotations

from typing import Any

from omni_timeline import __version__

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence on what to change."}},
}
TASK = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "data": {"type": "object", "description": "As in Label Studio; the config says which key has the video."},
    },
}
PREDICTION = {
    "type": "object",
    "required": ["model_version", "result"],
    "properties": {
        "model_version": {"type": "string"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "result": {"type": "array", "items": {"type": "object"}},
    },
}
NONE_YET = {"description": "No prediction: it failed, or is pushed later."}


def description(*, basic_auth: bool) -> dict[str, Any]:
    """The whole of it."""
    paths: dict[str, Any] = {
        "/": {"get": _operation("A page for people.", {200: _page("text/html")})},
        "/status.json": {"get": _operation("The same as JSON.", {200: _json({"type": "object"})})},
        "/health": {
            "get": _operation(
                "Whether the model is there or coming.",
                {200: _json(_health()), 503: _json({**_health(), "required": ["status", "error"]})},
            )
        },
        "/setup": {
            "post": _operation(
                "Whether a labeling config has a place for segments, and which model version answers.",
                {
                    200: _json(_object(["model_version"], model_version={"type": "string"})),
                    400: _json(ERROR), 413: _json(ERROR), 503: _json(ERROR),
                },
                _object(["schema"], schema={"type": "string", "description": "The labeling config."}),
            )
        },
        "/predict": {
            "post": _operation(
                "Predictions of tasks, in order.",
                {
                    200: _json(
                        _object(
                            ["results"],
                            results={
                                "type": "array",
                                "items": {
                                    "anyOf": [
                                        PREDICTION,
                                        {"type": "array", "maxItems": 0, **NONE_YET},
                                        {"type": "object", "maxProperties": 0, **NONE_YET},
                                    ]
                                },
                            },
                        )
                    ),
                    400: _json(ERROR), 413: _json(ERROR), 503: _json(ERROR),
                },
                _object(
                    ["tasks", "label_config"],
                    tasks={"type": "array", "items": TASK},
                    label_config={"type": "string"},
                    project={"type": "string"},
                    params={"type": ["object", "null"]},
                ),
            )
        },
        "/webhook": {
            "post": _operation(
                "Label Studio tells what people do.",
                {200: _json(_object(["status"], status={"type": "string"})), 400: _json(ERROR), 401: _json(ERROR),
                 413: _json(ERROR)},
                {"type": "object", "properties": {"action": {"type": "string"}}},
            )
        },
        "/versions": {
            "get": _operation(
                "The model versions there are.",
                {200: _json(_object(["versions"], versions={"type": "array", "items": {"type": "string"}}))},
            )
        },
        "/metrics": {"get": _operation("For Prometheus.", {200: _page("text/plain")})},
        "/openapi.json": {"get": _operation("This description.", {200: _json({"type": "object"})})},
    }  # fmt: skip
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


def _operation(summary: str, responses: dict[int, Any], body: Any = None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {str(status): response for status, response in responses.items()},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _health() -> dict[str, Any]:
    return _object(
        ["status", "state"],
        status={"enum": ["UP", "DOWN"]},
        state={"enum": ["loading", "ready", "failed"]},
        model_version={"type": ["string", "null"]},
        error={"type": "string"},
    )


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "", "content": {"application/json": {"schema": schema}}}


def _page(kind: str) -> dict[str, Any]:
    return {"description": "", "content": {kind: {"schema": {"type": "string"}}}}
