"""Requests as Label Studio 1.23.2 sends them, recorded; and others like them."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient

from places import FIXTURES

REQUESTS = FIXTURES / "label-studio"
WEBHOOKS = sorted(path.stem for path in REQUESTS.glob("*webhook*.json"))
VIDEO = "/data/local-files/?d=videos/test_30.mp4"  # what the recorded tasks name
LABELS = '<Label value="Speech"/><Label value="Action"/>'
TEXT_AREA = '<TextArea name="text" toName="video" perRegion="true"/>'


def recorded(name: str) -> dict[str, Any]:
    """The body of the first request in a recording."""
    body: dict[str, Any] = json.loads((REQUESTS / f"{name}.json").read_text())[0]["body"]
    return body


def tasks(*urls: Any) -> dict[str, Any]:
    """A request like the recorded one, for these videos."""
    request = recorded("predict_request_open_task")
    [task] = request["tasks"]
    request["tasks"] = [{**task, "id": 100 + n, "data": {"video": url, "fps": 30}} for n, url in enumerate(urls)]
    return request


def local(name: str) -> str:
    return f"/data/local-files/?d=videos/{name}.mp4"


def config(attributes: str = "", inside: str = LABELS, rest: str = TEXT_AREA) -> str:
    return (
        f'<View><Video name="video" value="$video" frameRate="30"/>'
        f'<TimelineLabels name="events" toName="video" {attributes}>{inside}</TimelineLabels>{rest}</View>'
    )


def version_of(client: FlaskClient, schema: str) -> str:
    return client.post("/setup", json={"schema": schema, "project": "3.17"}).json["model_version"]


def failures(client: FlaskClient) -> dict[str, str]:
    """The sentence on the status page, by task."""
    return {row["task"]: row["sentence"] for row in client.get("/status.json").json["failures"]}
