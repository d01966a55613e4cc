"""The protocol as Label Studio 1.23.2 speaks it, over a model that says what it is told to.

The requests are recorded ones. What Label Studio makes of the answers is tested in e2e/.
"""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from omni_timeline.errors import MediaError, ModelError, OmniTimelineError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.segments import Segment
from omni_timeline.service import outbox
from omni_timeline.service.server import (
    PREDICTING_THREADS,
    SECRET_HEADER,
    THREADS,
    Service,
    create_app,
    gunicorn_options,
    service_options,
)
from omni_timeline.service.settings import Settings
from places import FIXTURES
from scripted_model import CHECKPOINT, ScriptedModel

REQUESTS = FIXTURES / "label-studio"
VIDEO = "/data/local-files/?d=videos/test_30.mp4"  # what the recorded tasks name
LABELS = '<Label value="Speech"/><Label value="Action"/>'
TEXT_AREA = '<TextArea name="text" toName="video" perRegion="true"/>'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "videos").mkdir()
    for name in ("test_30", "a", "b", "c", "d", "e"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(f"the scripted model does not read {name}".encode())
    return Settings(local_files_root=tmp_path, cache_dir=tmp_path / "cache", predict_deadline_seconds=5.0)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
def client(settings: Settings, model: ScriptedModel) -> FlaskClient:
    return create_app(settings, engine=model).test_client()


def recorded(name: str) -> dict[str, Any]:
    return json.loads((REQUESTS / f"{name}.json").read_text())[0]["body"]


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


def until(what: Callable[[], bool]) -> None:
    """Wait until it is true."""
    for _ in range(200):
        if what():
            return
        threading.Event().wait(0.05)
    pytest.fail("it does not become true")


def failures(client: FlaskClient) -> dict[str, str]:
    """The sentence on the status page, by task."""
    return {row["task"]: row["sentence"] for row in client.get("/status.json").json["failures"]}


# --- what Label Studio asks ------------------------------------------------------------------------------------------
def test_the_recorded_setup_request_gets_the_model_version(client: FlaskClient):
    answer = client.post("/setup?", json=recorded("setup_request"))
    expected = LabelConfig.from_xml(recorded("setup_request")["schema"]).options(PredictOptions()).version(CHECKPOINT)
    assert (answer.status_code, answer.json) == (200, {"model_version": expected})


@pytest.mark.parametrize("name", ["predict_request_open_task", "predict_request_batch"])
def test_the_recorded_predict_requests_get_one_prediction_for_each_task(name: str, client: FlaskClient):
    request = recorded(name)
    answer = client.post("/predict?", json=request)
    assert answer.status_code == 200
    results = answer.json["results"]
    assert len(results) == len(request["tasks"])
    for prediction in results:
        assert prediction["model_version"] == version_of(client, request["label_config"])
        assert prediction["score"] == pytest.approx(0.9)
        events, description = prediction["result"]
        assert events["value"]["ranges"] == [{"start": 31, "end": 75}]  # 1.0 to 2.5 s at the task's 30 fps
        assert events["value"]["timelinelabels"] == ["Speech"]
        assert description["value"]["text"] == ["someone speaks"]
        assert events["id"] == description["id"]


def test_the_interactive_request_gets_a_dict_in_first_place_even_without_a_prediction(
    client: FlaskClient, model: ScriptedModel
):
    """Label Studio takes results[0] as it is; a list there breaks its page."""
    request = recorded("predict_request_interactive_from_ui")
    [prediction] = client.post("/predict", json=request).json["results"]
    assert len(prediction["result"]) == 2
    request["tasks"][0]["data"]["video"] = local("missing")
    assert client.post("/predict", json=request).json == {"results": [{}]}


def test_predictions_pass_the_sdks_own_validation(client: FlaskClient):
    """With its validation flag on, Label Studio answers one prediction that does not pass by dropping the batch."""
    from label_studio_sdk.label_interface import LabelInterface

    request = recorded("predict_request_open_task")
    [prediction] = client.post("/predict", json=request).json["results"]
    assert LabelInterface(request["label_config"]).validate_prediction(prediction, return_errors=True) == []


def test_a_video_without_events_gets_an_empty_prediction_without_a_score(client: FlaskClient, model: ScriptedModel):
    model.answers["test_30.mp4"] = ()
    [prediction] = client.post("/predict", json=tasks(VIDEO)).json["results"]
    assert prediction == {"model_version": prediction["model_version"], "result": []}


def test_no_tasks_give_no_results(client: FlaskClient):
    assert client.post("/predict", json=tasks()).json == {"results": []}


def test_asking_again_does_not_bother_the_model(client: FlaskClient, model: ScriptedModel, settings: Settings):
    first = client.post("/predict", json=tasks(local("a"), local("b"))).json
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json == first
    assert len(model.asked) == 2
    again = create_app(settings, engine=model).test_client()  # after a restart
    assert again.post("/predict", json=tasks(local("a"), local("b"))).json == first
    assert len(model.asked) == 2


def test_the_same_video_elsewhere_is_the_same_video(client: FlaskClient, model: ScriptedModel, settings: Settings):
    videos = settings.local_files_root / "videos"
    client.post("/predict", json=tasks(local("a")))
    (videos / "copy.mp4").write_bytes((videos / "a.mp4").read_bytes())
    [entry] = client.post("/predict", json=tasks(local("copy"))).json["results"]
    assert entry["result"]
    assert model.asked == ["a.mp4"]
    (videos / "a.mp4").write_bytes(b"another video of the same name")
    client.post("/predict", json=tasks(local("a")))
    assert model.asked == ["a.mp4", "a.mp4"]


@pytest.mark.parametrize("name", sorted(path.stem for path in REQUESTS.glob("*webhook*.json")))
def test_every_recorded_webhook_is_taken(name: str, client: FlaskClient):
    assert client.post("/webhook?", json=recorded(name)).status_code == 200


def test_an_unknown_event_is_taken_and_counted_without_its_name(client: FlaskClient):
    assert client.post("/webhook", json={"action": "SOMETHING_NEW"}).status_code == 200
    assert client.post("/webhook", json={"action": ["odd"]}).status_code == 200
    text = client.get("/metrics").text
    assert 'omni_timeline_webhooks_total{event="other"} 2.0' in text
    assert "SOMETHING_NEW" not in text


def test_health_says_who_it_is(client: FlaskClient):
    answer = client.get("/health?")
    assert answer.status_code == 200
    assert answer.json | {"version": ""} == {
        "status": "UP",
        "model_class": "OmniTimeline",
        "model_version": CHECKPOINT,
        "state": "ready",
        "version": "",
    }


# --- the model version -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [
        config('model_frames="20"'),
        config('model_window_seconds="10"'),
        config('model_window_seconds="whole"'),
        config('model_score_threshold="0.5"'),
        config('model_prompt="What happens?"'),
        config(inside=LABELS + '<Label value="Music"/>'),
        config(rest=""),  # no place for descriptions
    ],
)
def test_the_version_changes_with_what_a_project_decides(change: str, client: FlaskClient):
    assert version_of(client, change) != version_of(client, config())
    request = tasks(local("a")) | {"label_config": change}
    [prediction] = client.post("/predict", json=request).json["results"]
    assert prediction["model_version"] == version_of(client, change)


@pytest.mark.parametrize(
    "change", [config('strokeWidth="3"'), config(inside=LABELS.replace("/>", ' background="red"/>')), "\n" + config()]
)
def test_the_version_stays_when_the_config_changes_in_nothing_that_matters(change: str, client: FlaskClient):
    assert version_of(client, change) == version_of(client, config())


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 20}, {"window_seconds": None}, {"window_seconds": 10.0}, {"refine": True}, {"constrained": False},
        {"score_threshold": 0.5}, {"max_pixels": 100_000}, {"max_new_tokens": 100},
    ],
)  # fmt: skip
def test_the_version_changes_with_what_the_operator_decides(
    change: dict[str, Any], client: FlaskClient, settings: Settings
):
    changed = create_app(replace(settings, **change), engine=ScriptedModel()).test_client()
    assert version_of(changed, config()) != version_of(client, config())


def test_words_from_a_file_are_what_the_model_is_asked(settings: Settings, tmp_path: Path):
    (tmp_path / "prompt.txt").write_text("Name what you see.")
    assert service_options(replace(settings, prompt_file=tmp_path / "prompt.txt")).prompt.user == "Name what you see."


def test_without_settings_the_service_asks_what_the_command_line_asks():
    assert service_options(Settings()) == PredictOptions()


def test_a_project_wins_over_the_operator(settings: Settings):
    service = service_options(replace(settings, frames=30, score_threshold=0.2))
    options = LabelConfig.from_xml(config('model_frames="20"')).options(service)
    assert (options.frames, options.score_threshold, options.labels) == (20, 0.2, ("Speech", "Action"))


# --- tasks that fail -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [MediaError("b.mp4 is not a video"), ModelError("out of memory"), RuntimeError("nobody knows"), KeyError(1)],
)
def test_a_task_that_fails_has_an_empty_place_and_costs_the_others_nothing(
    error: Exception, client: FlaskClient, model: ScriptedModel
):
    model.answers["b.mp4"] = error
    results = client.post("/predict", json=tasks(local("a"), local("b"), local("c"))).json["results"]
    assert [bool(entry) for entry in results] == [True, False, True]
    assert results[1] == []
    said = str(error) if isinstance(error, OmniTimelineError) else type(error).__name__
    assert said in failures(client)["101"]
    page = client.get("/").text
    assert "task 101" in page
    assert said in page


@pytest.mark.parametrize(
    "url", [local("missing"), "/data/upload/1/x.mp4", "file:///etc/passwd", "/etc/passwd", "", None, 7, ["a.mp4"]]
)
def test_a_video_that_cannot_be_had_costs_only_its_own_task(url: Any, client: FlaskClient):
    results = client.post("/predict", json=tasks(local("a"), url)).json["results"]
    assert [bool(entry) for entry in results] == [True, False]


@pytest.mark.parametrize("task", [None, 7, "task", [], {}, {"id": 1}, {"id": 1, "data": None}, {"id": 1, "data": {}}])
def test_a_task_that_is_none_has_an_empty_place(task: Any, client: FlaskClient):
    request = tasks(local("a"))
    request["tasks"].append(task)
    results = client.post("/predict", json=request).json["results"]
    assert [bool(entry) for entry in results] == [True, False]


def test_a_score_that_is_no_number_costs_only_its_own_task(client: FlaskClient, model: ScriptedModel):
    """NaN would make the answer no JSON any more, and Label Studio would drop the batch."""
    model.answers["b.mp4"] = (_with_score(float("nan")),)
    answer = client.post("/predict", json=tasks(local("a"), local("b")))
    assert [bool(entry) for entry in answer.json["results"]] == [True, False]
    assert "NaN" not in answer.text


def _with_score(score: float) -> Any:
    """A segment as a broken model could make it, past Segment's own checks."""
    segment = Segment(1.0, 2.0, "Speech")
    object.__setattr__(segment, "score", score)
    return segment


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


# --- loading ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def loading(settings: Settings) -> tuple[FlaskClient, ScriptedModel]:
    model = ScriptedModel(state="loading", checkpoint_version=None)
    return create_app(replace(settings, predict_deadline_seconds=1.0), engine=model).test_client(), model


def test_while_the_model_loads_health_answers_and_setup_asks_for_patience(loading: tuple[FlaskClient, ScriptedModel]):
    client, model = loading
    health = client.get("/health")
    assert (health.status_code, health.json["status"], health.json["state"]) == (200, "UP", "loading")
    setup = client.post("/setup", json=recorded("setup_request"))
    assert setup.status_code == 503
    assert "loading" in setup.status
    assert client.get("/versions").json == {"versions": []}
    model.know()
    answer = client.post("/setup", json=recorded("setup_request"))
    assert answer.status_code == 200
    assert client.get("/versions").json == {"versions": [answer.json["model_version"]]}


def test_setup_needs_the_checkpoints_version_and_not_the_model(loading: tuple[FlaskClient, ScriptedModel]):
    client, model = loading
    model.checkpoint_version = CHECKPOINT  # known while the weights are still being loaded
    assert client.post("/setup", json=recorded("setup_request")).status_code == 200


def test_a_config_that_cannot_be_served_is_refused_before_the_model_is_there(loading: tuple[FlaskClient, Any]):
    client, _ = loading
    assert client.post("/setup", json={"schema": "<View/>"}).status_code == 400
    assert client.post("/predict", json={"tasks": [], "label_config": "<View/>"}).status_code == 400


def test_predict_waits_for_the_model(settings: Settings):
    model = ScriptedModel(state="loading", checkpoint_version=None)
    client = create_app(settings, engine=model).test_client()
    threading.Timer(0.1, model.know).start()
    [prediction] = client.post("/predict", json=tasks(VIDEO)).json["results"]
    assert prediction["result"]


def test_predict_sends_the_tasks_back_when_the_model_is_not_there_by_the_deadline(
    loading: tuple[FlaskClient, ScriptedModel],
):
    client, _ = loading
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json == {"results": [[], []]}


def test_a_model_that_cannot_be_loaded_is_said_everywhere(loading: tuple[FlaskClient, ScriptedModel]):
    client, model = loading
    model.know(None, ModelError("There is no checkpoint at x: use --model demo."))
    answers = [
        client.get("/health"),
        client.post("/setup", json=recorded("setup_request")),
        client.post("/predict", json=tasks(VIDEO)),
    ]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(answer.json["error"].startswith("There is no checkpoint") for answer in answers)
    assert "There is no checkpoint" in client.get("/").text


# --- time ------------------------------------------------------------------------------------------------------------
def test_what_is_not_ready_by_the_deadline_is_finished_for_the_next_request(settings: Settings, model: ScriptedModel):
    client = create_app(replace(settings, predict_deadline_seconds=0.3), engine=model).test_client()
    model.gate.clear()
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json == {"results": [[], []]}
    model.gate.set()
    until(lambda: client.get("/status.json").json["counts"]["running"] == 0)
    results = client.post("/predict", json=tasks(local("a"), local("b"))).json["results"]
    assert all(entry["result"] for entry in results)
    assert sorted(model.asked) == ["a.mp4", "b.mp4"]


def test_health_and_setup_find_a_thread_whatever_predict_does(settings: Settings, model: ScriptedModel):
    """More /predict requests than may wait: the others are answered at once."""
    app = create_app(replace(settings, predict_deadline_seconds=30.0), engine=model)
    model.gate.clear()
    answers: list[Any] = []
    entered = threading.Semaphore(0)

    def ask(number: int) -> None:
        request = tasks(VIDEO)
        request["tasks"][0]["id"] = number
        entered.release()
        answers.append(app.test_client().post("/predict", json=request).json["results"])

    waiting = [threading.Thread(target=ask, args=(number,)) for number in range(PREDICTING_THREADS + 4)]
    for thread in waiting:
        thread.start()
    for _ in range(200):
        if len(answers) == 4:
            break
        threading.Event().wait(0.05)
    assert answers == [[[]]] * 4
    model.gate.set()
    for thread in waiting:
        thread.join(30)
    assert sum(bool(entry) for [entry] in answers) == PREDICTING_THREADS
    assert PREDICTING_THREADS < THREADS / 2


def test_gunicorn_runs_one_worker_that_loads_its_own_model(settings: Settings):
    options = gunicorn_options(settings, port=8000)
    assert (options["workers"], options["threads"], options["preload_app"]) == (1, THREADS, False)
    assert options["bind"] == "127.0.0.1:8000"


def test_nothing_is_imported_that_takes_seconds_before_the_server_answers():
    """torch alone takes longer to import than Label Studio waits for /health."""
    program = (
        "import sys, omni_timeline.service.server; print(sorted({'torch', 'transformers', 'av'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


# --- what is pending -------------------------------------------------------------------------------------------------
@pytest.fixture
def delivering(settings: Settings) -> Settings:
    """With a Label Studio that is down, and a deadline that is over at once."""
    return replace(
        settings, label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40, predict_deadline_seconds=0.1
    )


def pending(service: Service) -> list[tuple[int, str, str, Any]]:
    """Task, version, state and data of each."""
    query = "SELECT task, version, state, data FROM pending WHERE state != 'settled' ORDER BY task"
    rows = service.journal.read(lambda journal: journal.execute(query).fetchall())
    return [(task, version, state, json.loads(data)) for task, version, state, data in rows]


def test_of_a_task_that_is_pending_no_more_is_kept_than_is_needed(delivering: Settings, model: ScriptedModel):
    app = create_app(delivering, engine=model)
    model.gate.clear()
    request = tasks(local("a"))
    request["tasks"][0]["data"]["transcript"] = "word " * 100_000
    app.test_client().post("/predict", json=request)
    [(number, _, _, data)] = pending(app.extensions["omni_timeline"])
    assert number == 100
    assert data == {"video": local("a"), "fps": 30}
    model.gate.set()


def test_a_checkpoint_that_changes_under_a_running_server_is_asked_for_what_is_pending(
    delivering: Settings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
):
    """Each prediction was made, thrown away and made again, until the server was started anew."""
    monkeypatch.setattr(outbox, "DEFERRAL_SECONDS", (0.0,))
    app = create_app(delivering, engine=model)
    service = app.extensions["omni_timeline"]
    model.gate.clear()
    assert app.test_client().post("/predict", json=tasks(local("a"), local("b"))).json["results"] == [[], []]
    before = version_of(app.test_client(), tasks()["label_config"])
    model.know("scripted-2")
    model.gate.set()
    now = version_of(app.test_client(), tasks()["label_config"])
    assert now != before
    until(lambda: [row[:3] for row in pending(service)] == [(100, now, "ready"), (101, now, "ready")])
    assert sorted(model.asked) == ["a.mp4", "b.mp4"]  # once each: what was made is the new version's prediction


def test_failures_are_on_the_page_of_the_next_process(settings: Settings, model: ScriptedModel):
    app = create_app(settings, engine=model)
    app.test_client().post("/predict", json=tasks(local("missing")))
    app.extensions["omni_timeline"].close()
    assert "100" in failures(create_app(settings, engine=model).test_client())


# --- who may ask -----------------------------------------------------------------------------------------------------
def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def guarded(settings: Settings, model: ScriptedModel) -> FlaskClient:
    guarded = replace(settings, basic_auth_user="ls", basic_auth_password="wörd:with colon", webhook_secret="s3cret")
    return create_app(guarded, engine=model).test_client()


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
    assert guarded.post("/webhook", json=event, headers=basic("ls", "wörd:with colon")).status_code == 401
    assert guarded.post("/webhook", json=event, headers={SECRET_HEADER: "s3cret"}).status_code == 200


def test_without_a_secret_the_webhook_wants_the_password_too(settings: Settings, model: ScriptedModel):
    guarded = replace(settings, basic_auth_user="ls", basic_auth_password="word")
    client = create_app(guarded, engine=model).test_client()
    assert client.post("/webhook", json={"action": "x"}).status_code == 401
    assert client.post("/webhook", json={"action": "x"}, headers=basic("ls", "word")).status_code == 200


# --- what gets out ---------------------------------------------------------------------------------------------------
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


def test_a_mistake_of_ours_is_a_500_without_its_details(settings: Settings, model: ScriptedModel):
    app = create_app(settings, engine=model)

    def broken(body: Any) -> None:
        raise RuntimeError("secret/path")

    app.extensions["omni_timeline"].predict = broken
    answer = app.test_client().post("/predict", json=tasks(VIDEO))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert set(answer.json) == {"error"}


def test_the_measures_tell_what_happened(client: FlaskClient, model: ScriptedModel):
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
        'omni_timeline_requests_total{method="POST",path="/predict",status="200"} 2.0',
        'omni_timeline_stage_seconds_count{stage="fetch"} 2.0',
    ):
        assert line in text, line
    assert "odd" not in text


def test_the_description_of_itself_names_every_path(client: FlaskClient):
    described = set(client.get("/openapi.json").json["paths"])
    assert described == {str(rule) for rule in client.application.url_map.iter_rules()}


def test_warnings_about_a_video_are_in_the_log_with_the_task(
    client: FlaskClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture
):
    model.warnings = ("3 s are missing at the end",)
    with caplog.at_level(logging.INFO, logger="omni_timeline"):
        client.post("/predict", json=tasks(VIDEO))
    assert "Task 100: 3 s are missing at the end" in caplog.text
