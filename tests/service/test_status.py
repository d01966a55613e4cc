"""What the status page says, and what is chosen on it."""

from __future__ import annotations

import base64
import logging
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from label_studio_requests import config, failures, local, recorded, tasks, version_of
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.version import LearnedVersion, MadeFrom
from omni_timeline.learning.versions import CHOICE, LearnedVersions
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.service.settings import Settings
from omni_timeline.service.status import MAX_LABELS, MAX_PROMPT, advice
from scripted_app import Serve
from scripted_model import CHECKPOINT, ScriptedModel


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


# --- learned versions ------------------------------------------------------------------------------------------------
PROJECT = 3


@pytest.fixture
def learned(settings: Settings) -> str:
    """The name of a version that was learned from project 3 on the scripted model."""
    calibration = Calibration(names=(("speech", "Action"),))
    options = LabelConfig.from_xml(config()).options(PredictOptions(calibration=calibration))
    made_from = MadeFrom("project 3", ("a",), (), 1)
    version = LearnedVersion(CHECKPOINT, options, made_from, "2026-11-26T10:00:00+00:00", True, "F1 +0.50.")
    versions = LearnedVersions.in_cache(settings.cache_dir)
    version.save(versions.project(PROJECT) / version.name, {}, "<p>its report</p>")
    return version.name


@pytest.fixture
def guarded(settings: Settings, serve: Serve) -> FlaskClient:
    """A server with basic auth, and a browser that has the password."""
    client = serve(replace(settings, **PASSWORD), ScriptedModel())
    client.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(b"ls:word").decode()
    return client


def choose(client: FlaskClient, version: str, **headers: str) -> int:
    return client.post(f"/learned/{PROJECT}", data={"version": version}, headers=headers).status_code


def labels_predicted(client: FlaskClient) -> list[str]:
    [prediction] = client.post("/predict", json=tasks(local("a"))).json["results"]
    return [
        region["value"]["timelinelabels"][0] for region in prediction["result"] if "timelinelabels" in region["value"]
    ]


def test_a_version_is_chosen_on_the_page_and_back_gives_the_old_answers(guarded: FlaskClient, learned: str):
    before = version_of(guarded, config())
    assert labels_predicted(guarded) == ["Speech"]
    assert f'<button name="version" value="{learned}">' in guarded.get("/").text
    assert choose(guarded, learned) == 303
    assert version_of(guarded, config()) != before
    assert labels_predicted(guarded) == ["Action"]
    [row] = guarded.get("/status.json").json["learning"]
    assert (row["project"], row["chosen"], row["state"]) == (PROJECT, learned, "idle")
    assert choose(guarded, "back") == 303
    assert version_of(guarded, config()) == before
    assert labels_predicted(guarded) == ["Speech"]
    assert choose(guarded, "back") == 400


def test_other_projects_keep_the_model_as_it_came(guarded: FlaskClient, learned: str):
    choose(guarded, learned)
    body = {"schema": config(), "project": "4.17"}
    other = guarded.post("/setup", json=body).json["model_version"]
    assert other != version_of(guarded, config())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    ],
)  # fmt: skip
def test_another_sites_page_chooses_nothing(headers: dict[str, str], guarded: FlaskClient, learned: str):
    """The browser would send the password along."""
    assert choose(guarded, learned, **headers) == 403
    assert choose(guarded, learned, **{"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}) == 303


def test_without_a_password_nothing_is_chosen_by_http(client: FlaskClient, learned: str):
    assert choose(client, learned) == 403
    page = client.get("/").text
    assert learned in page
    assert "<button" not in page


@pytest.mark.parametrize("name", ["", "../..", "corrections-20200101-000000"])
def test_a_version_that_is_not_there_cannot_be_chosen(name: str, guarded: FlaskClient, learned: str):
    assert choose(guarded, name) == 400


def test_a_version_of_another_checkpoint_cannot_be_chosen(settings: Settings, serve: Serve, learned: str):
    other = serve(replace(settings, **PASSWORD), ScriptedModel(checkpoint_version="scripted-2"))
    other.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(b"ls:word").decode()
    answer = other.post(f"/learned/{PROJECT}", data={"version": learned})
    assert answer.status_code == 400
    assert "learned on the checkpoint scripted-1, and the model is scripted-2" in answer.json["error"]


def test_a_version_whose_checkpoint_was_replaced_is_not_used_and_the_page_says_why(
    settings: Settings, serve: Serve, learned: str
):
    LearnedVersions.in_cache(settings.cache_dir).use(PROJECT, learned)
    client = serve(settings, ScriptedModel(checkpoint_version="scripted-2"))
    assert version_of(client, config()).startswith("scripted-2-")
    assert labels_predicted(client) == ["Speech"]
    [failure] = client.get("/status.json").json["failures"]
    assert "learned on the checkpoint scripted-1, and the model is scripted-2" in failure["sentence"]


def test_a_choice_that_is_broken_gives_the_model_as_it_came_and_a_sentence(
    settings: Settings, client: FlaskClient, learned: str
):
    before = version_of(client, config())
    versions = LearnedVersions.in_cache(settings.cache_dir)
    (versions.project(PROJECT) / CHOICE).write_text('{"format": 1, "cho')
    assert version_of(client, config()) == before
    assert "omni-timeline versions use" in failures(client)[""]
    assert client.get("/").status_code == 200
    (versions.project(PROJECT) / learned / "version.json").write_text("[]")
    assert client.get("/").status_code == 200


def test_the_report_of_a_version_is_a_page_that_runs_nothing(client: FlaskClient, learned: str):
    answer = client.get(f"/learned/{PROJECT}/{learned}/report.html")
    assert answer.text == "<p>its report</p>"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert client.get(f"/learned/{PROJECT}/choice.json/report.html").status_code == 400


# --- Start Training --------------------------------------------------------------------------------------------------
def test_a_second_click_on_start_training_is_told_so(settings: Settings, serve: Serve):
    connected = replace(settings, label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40)
    client = serve(connected, ScriptedModel(checkpoint_version=None, state="loading"))  # so that it waits
    press = recorded("train_webhook_request")
    first, second = (client.post("/webhook", json=press).json for _ in range(2))
    assert first == {"status": "ok", "learning": "Project 3 is queued for learning."}
    assert second["learning"] == "Start Training was pressed again, and project 3 is queued already."
    [row] = client.get("/status.json").json["learning"]
    assert (row["state"], row["why"], row["note"]) == ("queued", "Start Training", second["learning"])
    assert second["learning"] in client.get("/").text


def test_the_token_in_an_event_is_neither_logged_nor_kept(
    settings: Settings, serve: Serve, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    connected = replace(settings, label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40)
    client = serve(connected, ScriptedModel())
    for name in ("train_webhook_request", "webhook_annotation_created", "webhook_annotation_updated"):
        body = recorded(name)
        body["project"] |= {"token": "t0ken-of-the-project"}
        assert client.post("/webhook", json=body).status_code == 200
    assert client.get("/status.json").json["learning"]
    client.application.extensions["omni_timeline"].close()
    kept = [path.read_bytes() for path in settings.cache_dir.rglob("*") if path.is_file()]
    assert kept
    assert not any(b"t0ken-of-the-project" in content for content in kept)
    assert "t0ken-of-the-project" not in caplog.text
