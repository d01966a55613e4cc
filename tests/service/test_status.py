"""What the status page says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from label_studio_requests import config, tasks
from omni_timeline.service.settings import Settings
from omni_timeline.service.status import MAX_LABELS, MAX_PROMPT, advice


def test_a_task_of_words_like_html_is_text_on_the_status_page(client: FlaskClient):
    client.post("/predict", json=tasks("/data/<script>alert(1)</script>.mp4"))
    client.post("/setup", json={"schema": config('model_prompt="&lt;img src=x onerror=alert(1)&gt;"'), "project": "1"})
    page = client.get("/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>" not in page
    assert "<img" not in page
    assert "default-src 'none'" in client.get("/").headers["Content-Security-Policy"]


def test_a_config_that_cannot_be_served_is_on_the_status_page(client: FlaskClient):
    client.post("/setup", json={"schema": "<View/>", "project": "7.1"})
    [failure] = client.get("/status.json").json["failures"]
    assert failure["project"] == "7"
    assert "TimelineLabels" in failure["sentence"]
    assert "project 7" in client.get("/").text


def test_an_endless_address_does_not_make_an_endless_page(client: FlaskClient):
    client.post("/predict", json=tasks("/data/" + "x" * 1_000_000))
    assert len(client.get("/").data) < 20_000


def test_a_config_of_many_labels_does_not_make_a_large_page(client: FlaskClient):
    labels = "".join(f'<Label value="label number {number}"/>' for number in range(1_000))
    client.post("/setup", json={"schema": config(inside=labels), "project": "1"})
    assert len(client.get("/").data) < 20_000
    [project] = client.get("/status.json").json["projects"]
    assert len(project["labels"]) == MAX_LABELS
    assert len(project["prompt"]) < MAX_PROMPT + 10


STUDIO = Settings(label_studio_url="http://label-studio:8080", label_studio_api_key="token")
PASSWORD = {"basic_auth_user": "ls", "basic_auth_password": "word"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (STUDIO, []),
        (Settings(), ["LABEL_STUDIO_URL"]),
        (replace(STUDIO, label_studio_api_key=None), ["LABEL_STUDIO_API_KEY"]),
        (Settings(prelabel_new_tasks=True), ["LABEL_STUDIO_URL", "PRELABEL_NEW_TASKS"]),
        (replace(STUDIO, bind="0.0.0.0"), ["BASIC_AUTH_USER"]),
        (replace(STUDIO, bind="0.0.0.0", **PASSWORD), []),
    ],
)
def test_the_operator_is_told_what_to_set(settings: Settings, named: list[str]):
    sentences = advice(settings)
    assert len(sentences) == len(named)
    assert all(name in sentence for name, sentence in zip(named, sentences, strict=True))
