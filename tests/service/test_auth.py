"""Who may ask, whatever the path, the method and the headers."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from label_studio_requests import VIDEO, recorded, tasks
from omni_timeline.service.auth import SECRET_HEADER, Guard
from omni_timeline.service.settings import Settings
from scripted_app import Serve
from scripted_model import ScriptedModel


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def guarded(settings: Settings, model: ScriptedModel, serve: Serve) -> FlaskClient:
    guarded = replace(settings, basic_auth_user="ls", basic_auth_password="wörd:with colon", webhook_secret="s3cret")
    return serve(guarded, model)


PATHS = ["/", "/health", "/setup", "/predict", "/versions", "/metrics", "/status.json", "/openapi.json"]
METHODS = ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "LOCK"]


@pytest.mark.parametrize("path", PATHS)
def test_without_the_password_nothing_is_told_whatever_the_method(path: str, guarded: FlaskClient):
    for method in METHODS:
        answer = guarded.open(path, method=method, json={} if method == "POST" else None)
        assert answer.status_code == 401, method
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert guarded.get("/health", headers=basic("ls", "wörd:with colon")).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["//predict", "/predict/", "/%70redict", "/./predict", "/webhook/../predict", "/webhook/%2e%2e/predict", "/PREDICT",
     "/predict;x=/webhook", "/predict?/webhook", "/predict%00", "/health%2f..%2fwebhook", "/webhook/", "//webhook"],
)  # fmt: skip
@pytest.mark.parametrize("headers", [{}, {SECRET_HEADER: "s3cret"}, {"X-HTTP-Method-Override": "OPTIONS"}])
def test_no_way_of_writing_a_path_leads_around_the_password(
    path: str, headers: dict[str, str], guarded: FlaskClient, model: ScriptedModel
):
    for method in ("GET", "POST", "OPTIONS"):
        answer = guarded.open(path, method=method, headers=headers, json=tasks(VIDEO) if method == "POST" else None)
        assert answer.status_code in (401, 308, 404), (method, answer.status_code)
        assert "results" not in (answer.json or {})
    assert model.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        basic("ls", "wrong"), basic("other", "wörd:with colon"), basic("ls", ""), basic("", ""), basic("ls", "wörd"),
        {"Authorization": "Basic"}, {"Authorization": "Basic !!!"}, {"Authorization": "Bearer ls"},
        {"Authorization": "Basic " + base64.b64encode(b"ls").decode()}, {SECRET_HEADER: "s3cret"},
        {"Authorization": "basic \xe9"}, {"X-Forwarded-User": "ls"}, {"Authorization": ""},
    ],
)  # fmt: skip
def test_what_is_not_the_password_is_not_taken_for_it(headers: dict[str, str], guarded: FlaskClient):
    assert guarded.get("/health", headers=headers).status_code == 401


def test_the_webhook_has_a_secret_of_its_own(guarded: FlaskClient):
    event = recorded("webhook_tasks_created")
    assert guarded.post("/webhook", json=event).status_code == 401
    assert guarded.post("/webhook", json=event, headers={SECRET_HEADER: "S3cret"}).status_code == 401
    assert guarded.post("/webhook", json=event, headers=basic("ls", "wrong")).status_code == 401
    assert guarded.post("/webhook", json=event, headers={SECRET_HEADER: "s3cret"}).status_code == 200


def test_start_training_comes_with_the_password_and_not_with_the_secret(guarded: FlaskClient):
    press = recorded("train_webhook_request")
    assert guarded.post("/webhook", json=press, headers=basic("ls", "wörd:with colon")).status_code == 200
    assert guarded.post("/webhook", json=press).status_code == 401


def test_without_a_secret_the_webhook_wants_the_password_too(settings: Settings, model: ScriptedModel, serve: Serve):
    guarded = replace(settings, basic_auth_user="ls", basic_auth_password="word")
    client = serve(guarded, model)
    assert client.post("/webhook", json={"action": "x"}).status_code == 401
    assert client.post("/webhook", json={"action": "x"}, headers=basic("ls", "word")).status_code == 200


# --- without HTTP ----------------------------------------------------------------------------------------------------
def test_without_settings_everybody_may_ask():
    guard = Guard(Settings())
    for to_webhook in (False, True):
        assert guard.refusal(to_webhook=to_webhook, authorization="", secret="") is None


def test_a_secret_alone_guards_the_webhook_alone():
    guard = Guard(Settings(webhook_secret="s3cret"))
    assert guard.refusal(to_webhook=False, authorization="", secret="") is None
    refusal = guard.refusal(to_webhook=True, authorization="", secret="")
    assert refusal is not None
    assert not refusal.wants_basic_auth
    assert SECRET_HEADER in refusal.sentence


def test_the_operator_is_told_when_label_studios_events_will_be_refused(caplog: pytest.LogCaptureFixture):
    password = {"basic_auth_user": "ls", "basic_auth_password": "word"}
    Guard(Settings(**password, webhook_secret="s3cret", prelabel_new_tasks=True))
    Guard(Settings(**password))
    assert caplog.text == ""
    Guard(Settings(**password, prelabel_new_tasks=True))
    assert "WEBHOOK_SECRET" in caplog.text
