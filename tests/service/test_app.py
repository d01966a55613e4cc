"""Paths, statuses and headers, and what stands in answers, metrics and the log.

Who may ask is in test_auth.py, what bodies say in test_bodies.py, and what predictions there are in test_server.py.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from label_studio_requests import VIDEO, config, local, tasks
from omni_timeline.errors import MediaError
from scripted_model import CHECKPOINT, ScriptedModel


def test_health_says_who_it_is(client: FlaskClient):
    answer = client.get("/health?")
    assert answer.status_code == 200
    assert answer.json | {"version": ""} == {
        "status": "UP",
        "model_class": "OmniTimeline",
        "model_version": CHECKPOINT,
        "state": "ready",
        "silent_seconds": 0.0,
        "version": "",
        "troubles": [],
    }


# --- requests that are wrong -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_a_400_with_the_reason(path: str, body: bytes, client: FlaskClient):
    answer = client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert "body" in answer.json["error"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/setup", {}, "schema"),
        ("/setup", {"schema": None}, "schema"),
        ("/predict", {}, "tasks"),
        ("/predict", {"tasks": {}}, "tasks"),
        ("/predict", {"tasks": []}, "label_config"),
        ("/predict", {"tasks": [], "label_config": 7}, "label_config"),
    ],
)
def test_a_request_that_lacks_something_is_a_400_that_names_it(path: str, body: Any, named: str, client: FlaskClient):
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert named in answer.json["error"]


@pytest.mark.parametrize("config", ["", "<View/>", "<View><Image name='i' value='$i'/></View>", "<View>"])
def test_a_labeling_config_without_a_timeline_is_a_400_that_label_studio_shows(config: str, client: FlaskClient):
    """Of an error, Label Studio shows its user the status line and nothing else."""
    for path, body in (("/setup", {"schema": config}), ("/predict", {"tasks": [], "label_config": config})):
        answer = client.post(path, json=body)
        assert answer.status_code == 400
        assert len(answer.json["error"]) > 20
        reason = answer.status.removeprefix("400 ")
        assert reason[:15] == answer.json["error"].replace("<", "[").replace(">", "]")[:15]
        assert not set("<>\r\n") & set(reason)


def test_a_body_of_a_hundred_megabytes_is_refused(client: FlaskClient):
    answer = client.post("/predict", data=b" " * (100 * 1024 * 1024), content_type="application/json")
    assert answer.status_code == 413
    assert answer.json["error"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/nothing", 404)])
def test_errors_of_the_web_server_are_json_too(method: str, path: str, status: int, client: FlaskClient):
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert set(answer.json) == {"error"}


# --- what gets out ---------------------------------------------------------------------------------------------------
def test_no_task_data_is_in_the_log(client: FlaskClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture):
    model.answers["b.mp4"] = MediaError("b.mp4 is not a video")
    request = tasks(local("a"), local("b"), "/data/hush-1.mp4", 7)
    for task in request["tasks"]:
        task["data"]["name"] = "hush-2"
    request["tasks"].append("hush-3")
    with caplog.at_level(logging.INFO):
        client.post("/predict", json=request)
        client.post("/webhook", json={"action": "hush-4", "tasks": request["tasks"]})
    assert "hush" not in caplog.text
    assert "b.mp4" not in caplog.text
    assert "Task 101" in caplog.text


def test_a_mistake_of_ours_is_a_500_without_its_details(client: FlaskClient):
    def broken(body: Any) -> None:
        raise RuntimeError("secret/path")

    client.application.extensions["omni_timeline"].predict = broken
    answer = client.post("/predict", json=tasks(VIDEO))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert set(answer.json) == {"error"}


def test_the_metrics_tell_what_happened(client: FlaskClient, model: ScriptedModel):
    model.answers["b.mp4"] = MediaError("no")
    client.post("/predict", json=tasks(local("a"), local("b")))
    client.post("/predict", json=tasks(local("a")))
    client.get("/some/odd/path")
    text = client.get("/metrics").text
    for line in (
        'omni_timeline_tasks_total{outcome="predicted"} 1.0',
        'omni_timeline_tasks_total{outcome="kept"} 1.0',
        'omni_timeline_tasks_total{outcome="failed"} 1.0',
        'omni_timeline_lines_total{reason="mended"} 1.0',
        'omni_timeline_model_state{state="ready"} 1.0',
        'omni_timeline_queue_tasks{place="waiting"} 0.0',
        "omni_timeline_model_loads_total 1.0",
        'omni_timeline_requests_total{method="POST",path="/predict",status="200"} 2.0',
        'omni_timeline_stage_seconds_count{stage="fetch"} 2.0',
    ):
        assert line in text, line
    assert "odd" not in text


def test_the_openapi_document_names_every_path(client: FlaskClient):
    described = {re.sub(r"{(\w+)}", r"<\1>", path) for path in client.get("/openapi.json").json["paths"]}
    assert described == {str(rule).replace("<int:", "<") for rule in client.application.url_map.iter_rules()}


def test_warnings_about_a_video_are_in_the_log_with_the_task(
    client: FlaskClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture
):
    model.warnings = ("3 s are missing at the end",)
    with caplog.at_level(logging.INFO, logger="omni_timeline"):
        client.post("/predict", json=tasks(VIDEO))
    assert "Task 100: 3 s are missing at the end" in caplog.text


def test_warnings_about_a_video_are_on_the_status_page(client: FlaskClient, model: ScriptedModel):
    model.warnings = ("test_30.mp4 has 2 audio tracks; number 1 is heard.",)
    client.post("/predict", json=tasks(VIDEO))
    [line] = client.get("/status.json").json["predictions"]
    assert line["warnings"] == list(model.warnings)
    assert model.warnings[0] in client.get("/").text


def test_a_labeling_config_cannot_forge_lines_of_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture):
    xml = config('model_frames="x&#10;2026 ERROR"')
    answer = client.post("/setup", json={"schema": xml})
    assert answer.status_code == 400
    [record] = [record for record in caplog.records if "model_frames" in record.getMessage()]
    assert "\n" not in record.getMessage()
