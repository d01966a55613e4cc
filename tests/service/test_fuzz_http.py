"""Requests that nobody would think of, made by schemathesis from what the server says of itself.

Whatever comes, the answer is one of those described, as JSON where it says so, and never a 500.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from omni_timeline.service.app import routes
from omni_timeline.service.server import Server
from omni_timeline.service.settings import Settings
from scripted_model import ScriptedModel

EXAMPLES = 150  # for each operation that has a body; the others have one request
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

folder = Path(tempfile.mkdtemp(prefix="omni-timeline-fuzz-"))
# With a Label Studio that is down, so that what is owed is written down and pushed in vain.
unreachable = Settings(
    label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40, cache_dir=folder,
    predict_deadline_seconds=0.5, prelabel_new_tasks=True,
)  # fmt: skip
server = Server(unreachable, ScriptedModel())
app = routes(server)
schema = schemathesis.openapi.from_wsgi("/openapi.json", app)


@pytest.fixture(scope="module", autouse=True)
def started() -> Iterator[None]:
    server.start()
    yield
    server.close()


@schema.parametrize()
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_one_of_those_described(case: Any):
    response = case.call(app=app)
    # Of a method or a body that is not in the description, 405 and 415 are the web server's own answers.
    if response.status_code not in (404, 405):
        case.validate_response(response, checks=CHECKS)
    assert "Traceback" not in response.text


TIMELINE = '<TimelineLabels name="t" toName="v"><Label value="A"/></TimelineLabels>'
CONFIG = f'<View><Video name="v" value="$video"/>{TIMELINE}</View>'
LOCAL = "/data/local-files/?d=\ud800"
ODD: list[Any] = [
    LOCAL,
    None, True, 0, -1, 1.5, 10**30, "", "\0", "\ud800", "../..", "é" * 1000, [], [[]], {}, {"video": None}, {"": ""},
]  # fmt: skip


@pytest.mark.parametrize("name", ["tasks", "label_config", "project", "params"])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_a_value_of_any_kind_anywhere_is_answered(name: str, value: Any):
    client = app.test_client()
    body = {"tasks": [{"id": 1, "data": {"video": "x"}}], "label_config": CONFIG, "project": "1.1", "params": {}}
    answer = client.post("/predict", json={**body, name: value})
    assert answer.status_code in (200, 400)
    for task in ({"id": value, "data": {"video": "x"}}, {"id": 1, "data": value}, {"id": 1, "data": {"video": value}}):
        answer = client.post("/predict", json={**body, "tasks": [task]})
        assert (answer.status_code, len(answer.json["results"])) == (200, 1)
    for odd in (CONFIG.replace("video", str(value)), CONFIG.replace("A", str(value))):
        assert client.post("/predict", json={**body, "label_config": odd}).status_code in (200, 400)
        assert client.post("/setup", json={"schema": odd, "project": value}).status_code in (200, 400)
    for key in ("action", "tasks", "project"):
        assert client.post("/webhook", json={"action": "TASKS_CREATED", key: value}).status_code == 200
    for path in ("/", "/status.json", "/metrics"):
        assert client.get(path).status_code == 200
