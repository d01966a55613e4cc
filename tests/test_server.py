"""The protocol as Label Studio 1.23.2 speaks it, over a pipeline that says what it is told to.

The requests are recorded ones. What Label Studio makes of the answers is tested in e2e/.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from omni_timeline.config import Settings
from omni_timeline.errors import MediaError, ModelError, OmniTimelineError
from omni_timeline.regions import LabelConfig
from omni_timeline.segments import Segment
from omni_timeline.server import (
    PREDICTING_THREADS,
    THREADS,
    PipelineSlot,
    Predictor,
    check_prediction,
    create_app,
    gunicorn_options,
)

FIXTURES = Path(__file__).parent / "fixtures" / "label-studio"
VIDEO = "/data/local-files/?d=videos/test_30.mp4"  # what the recorded tasks name
SPEECH = Segment(1.0, 2.5, "Speech", "someone speaks", 0.9)


@dataclass(frozen=True)
class Found:
    segments: tuple[Segment, ...] = (SPEECH,)
    duration: float = 30.0
    warnings: tuple[str, ...] = ()


@dataclass
class Scripted:
    """A pipeline that answers by the name of the file."""

    answers: dict[str, Found | Exception] = field(default_factory=dict)
    model_version: str = "scripted-1"
    seconds: float = 0.0
    asked: list[str] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    def predict(self, path: Path) -> Any:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self.asked.append(path.name)
        time.sleep(self.seconds)
        self.busy -= 1
        answer = self.answers.get(path.name, Found())
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "videos").mkdir()
    for name in ("test_30", "a", "b", "c"):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"the scripted pipeline does not read it")
    return Settings(local_files_root=tmp_path, cache_dir=tmp_path / "cache", predict_deadline_seconds=5.0)


@pytest.fixture
def pipeline() -> Scripted:
    return Scripted()


@pytest.fixture
def client(settings: Settings, pipeline: Scripted) -> FlaskClient:
    return create_app(settings, pipeline).test_client()


@pytest.fixture
def loading(settings: Settings, pipeline: Scripted) -> Iterator[tuple[FlaskClient, Callable[[], None]]]:
    """A server whose model loads until the second of the two is called."""
    gate = threading.Event()

    def load(_: Settings) -> Scripted:
        gate.wait(30)
        return pipeline

    yield create_app(replace(settings, predict_deadline_seconds=2.0), load=load).test_client(), gate.set
    gate.set()


def recorded(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())[0]["body"]


def tasks(*urls: Any) -> dict[str, Any]:
    """A request like the recorded one, for these videos."""
    request = recorded("predict_request_open_task")
    [task] = request["tasks"]
    request["tasks"] = [{**task, "id": 100 + n, "data": {"video": url, "fps": 30}} for n, url in enumerate(urls)]
    return request


def local(name: str) -> str:
    return f"/data/local-files/?d=videos/{name}.mp4"


def state_becomes(client: FlaskClient, state: str) -> bool:
    deadline = time.monotonic() + 10
    while client.get("/health").json["state"] != state and time.monotonic() < deadline:
        time.sleep(0.01)
    return client.get("/health").json["state"] == state


# --- what Label Studio asks ------------------------------------------------------------------------------------------
def test_the_recorded_setup_request_gets_the_model_version(client: FlaskClient):
    answer = client.post("/setup?", json=recorded("setup_request"))
    assert (answer.status_code, answer.json) == (200, {"model_version": "scripted-1"})


@pytest.mark.parametrize("name", ["predict_request_open_task", "predict_request_batch"])
def test_the_recorded_predict_requests_get_one_prediction_for_each_task(name: str, client: FlaskClient):
    request = recorded(name)
    answer = client.post("/predict?", json=request)
    assert answer.status_code == 200
    results = answer.json["results"]
    assert len(results) == len(request["tasks"])
    for prediction in results:
        assert prediction["model_version"] == "scripted-1"
        assert prediction["score"] == pytest.approx(0.9)
        events, description = prediction["result"]
        assert events["value"]["ranges"] == [{"start": 31, "end": 75}]  # 1.0 to 2.5 s at the task's 30 fps
        assert events["value"]["timelinelabels"] == ["Speech"]
        assert description["value"]["text"] == ["someone speaks"]
        assert events["id"] == description["id"]


def test_the_version_of_predictions_is_the_one_that_setup_said(client: FlaskClient):
    """If they differ, Label Studio asks for every task again each time, and stores one more copy."""
    said = client.post("/setup", json=recorded("setup_request")).json["model_version"]
    [prediction] = client.post("/predict", json=recorded("predict_request_open_task")).json["results"]
    assert prediction["model_version"] == said
    assert client.get("/versions").json == {"versions": [said]}


def test_the_interactive_request_gets_a_dict_in_first_place(client: FlaskClient):
    """Label Studio takes results[0] as it is; a list there breaks its page."""
    [prediction] = client.post("/predict", json=recorded("predict_request_interactive_from_ui")).json["results"]
    assert len(prediction["result"]) == 2


def test_predictions_pass_the_sdks_own_validation(client: FlaskClient):
    """With its validation flag on, Label Studio answers one prediction that does not pass by dropping the batch."""
    from label_studio_sdk.label_interface import LabelInterface

    request = recorded("predict_request_open_task")
    [prediction] = client.post("/predict", json=request).json["results"]
    assert LabelInterface(request["label_config"]).validate_prediction(prediction, return_errors=True) == []


def test_a_video_without_events_gets_an_empty_prediction_without_a_score(client: FlaskClient, pipeline: Scripted):
    pipeline.answers["test_30.mp4"] = Found(segments=())
    assert client.post("/predict", json=tasks(VIDEO)).json == {
        "results": [{"model_version": "scripted-1", "result": []}]
    }


def test_no_tasks_give_no_results(client: FlaskClient):
    assert client.post("/predict", json=tasks()).json == {"results": []}


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*webhook*.json")))
def test_every_recorded_webhook_is_taken(name: str, client: FlaskClient):
    assert client.post("/webhook?", json=recorded(name)).status_code == 200


def test_health_says_who_it_is(client: FlaskClient):
    answer = client.get("/health?")
    assert answer.status_code == 200
    assert answer.json | {"version": ""} == {
        "status": "UP",
        "model_class": "OmniTimeline",
        "model_version": "scripted-1",
        "state": "ready",
        "version": "",
    }


# --- tasks that fail -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [MediaError("b.mp4 is not a video"), ModelError("out of memory"), RuntimeError("nobody knows"), KeyError(1)],
)
def test_a_task_that_fails_has_an_empty_place_and_costs_the_others_nothing(
    error: Exception, client: FlaskClient, pipeline: Scripted, caplog: pytest.LogCaptureFixture
):
    pipeline.answers["b.mp4"] = error
    results = client.post("/predict", json=tasks(local("a"), local("b"), local("c"))).json["results"]
    assert [bool(entry) for entry in results] == [True, False, True]
    assert results[1] == {}
    [record] = caplog.records
    assert "Task 101" in record.message
    assert str(error) in record.message
    assert bool(record.exc_info) == (not isinstance(error, OmniTimelineError))


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


def test_a_score_that_is_no_number_costs_only_its_own_task(client: FlaskClient, pipeline: Scripted):
    """NaN would make the answer no JSON any more, and Label Studio would drop the batch."""
    pipeline.answers["b.mp4"] = Found(segments=(_with_score(float("nan")),))
    answer = client.post("/predict", json=tasks(local("a"), local("b")))
    assert [bool(entry) for entry in answer.json["results"]] == [True, False]
    assert "NaN" not in answer.text


def _with_score(score: float) -> Any:
    """A segment as a broken model could make it, past Segment's own checks."""
    segment = Segment(1.0, 2.0, "Speech")
    object.__setattr__(segment, "score", score)
    return segment


REGION = {
    "id": "s1",
    "from_name": "events",
    "to_name": "video",
    "type": "timelinelabels",
    "value": {"ranges": [{"start": 1, "end": 90}], "timelinelabels": ["Speech"]},
}


def test_a_sound_prediction_passes_the_check():
    check_prediction({"result": [REGION], "score": 0.5, "model_version": "m"})


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"value": {}},
        {"id": ""},
        {"id": 7},
        {"from_name": None},
        {"value": {"ranges": [{"start": 1.5, "end": 90}], "timelinelabels": ["Speech"]}},
        {"value": {"ranges": [{"start": 0, "end": 90}], "timelinelabels": ["Speech"]}},
        {"value": {"ranges": [{"start": 91, "end": 90}], "timelinelabels": ["Speech"]}},
        {"value": {"ranges": [{"start": True, "end": 90}], "timelinelabels": ["Speech"]}},
        {"score": float("nan")},
    ],
)
def test_what_would_break_label_studios_page_is_not_sent(change: dict[str, Any]):
    with pytest.raises((OmniTimelineError, ValueError)):
        check_prediction({"result": [REGION | change], "model_version": "m"})


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
def test_a_labelling_config_without_a_timeline_is_a_400_that_label_studio_shows(config: str, client: FlaskClient):
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
def test_while_the_model_loads_health_answers_and_setup_asks_for_patience(loading: tuple[FlaskClient, Callable]):
    client, finish = loading
    health = client.get("/health")
    assert (health.status_code, health.json["status"], health.json["state"]) == (200, "UP", "loading")
    setup = client.post("/setup", json=recorded("setup_request"))
    assert setup.status_code == 503
    assert "loading" in setup.status
    assert client.get("/versions").json == {"versions": []}
    finish()
    assert state_becomes(client, "ready")
    assert client.post("/setup", json=recorded("setup_request")).json == {"model_version": "scripted-1"}


def test_a_config_that_cannot_be_served_is_refused_before_the_model_is_there(loading: tuple[FlaskClient, Callable]):
    client, _ = loading
    assert client.post("/setup", json={"schema": "<View/>"}).status_code == 400


def test_predict_waits_for_the_model(loading: tuple[FlaskClient, Callable]):
    client, finish = loading
    threading.Timer(0.1, finish).start()
    [prediction] = client.post("/predict", json=tasks(VIDEO)).json["results"]
    assert prediction["model_version"] == "scripted-1"


def test_predict_sends_the_tasks_back_when_the_model_is_not_there_by_the_deadline(
    loading: tuple[FlaskClient, Callable],
):
    client, _ = loading
    assert client.post("/predict", json=tasks(VIDEO, VIDEO)).json == {"results": [{}, {}]}


@pytest.mark.parametrize("error", [ModelError("There is no checkpoint at x: use --model demo."), OSError("disk")])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that is where OSError is reported
def test_a_model_that_cannot_be_loaded_is_said_everywhere(error: Exception, settings: Settings):
    def load(_: Settings) -> Scripted:
        raise error

    client = create_app(settings, load=load).test_client()
    assert state_becomes(client, "failed")
    for thread in threading.enumerate():
        if thread.name == "load-model":
            thread.join()  # so that its traceback is reported to this test
    answers = [
        client.get("/health"),
        client.post("/setup", json=recorded("setup_request")),
        client.post("/predict", json=tasks(VIDEO)),
    ]
    assert [answer.status_code for answer in answers] == [503] * 3
    for answer in answers:
        assert answer.json["error"].startswith(
            "The model could not be loaded" if isinstance(error, OSError) else "There is no"
        )


# --- whose turn ------------------------------------------------------------------------------------------------------
def at_once(count: int, call: Callable[[], Any]) -> list[Any]:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(call())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_one_video_is_in_the_model_at_a_time(settings: Settings):
    pipeline = Scripted(seconds=0.05)
    app = create_app(settings, pipeline)
    answers = at_once(4, lambda: app.test_client().post("/predict", json=tasks(VIDEO)).json["results"])
    assert all(entry["result"] for [entry] in answers)
    assert (pipeline.most_busy, len(pipeline.asked)) == (1, 4)


def test_what_cannot_be_done_by_the_deadline_is_sent_back_and_the_answer_is_in_time(
    settings: Settings, caplog: pytest.LogCaptureFixture
):
    """Label Studio hangs up after 100 s and throws away everything; what is sent back it asks for again."""
    app = create_app(replace(settings, predict_deadline_seconds=2.0), Scripted(seconds=0.8))
    started = time.monotonic()
    results = app.test_client().post("/predict", json=tasks(*[VIDEO] * 5)).json["results"]
    assert time.monotonic() - started < 2.0
    done = [bool(entry) for entry in results]
    assert done[0]
    assert not any(done[2:])  # a third would end at 2.4 s at the earliest
    assert "deadline" in caplog.records[-1].message


class Gate:
    """Brings no video before it is opened."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.opened = threading.Event()

    def local_path(self, url: str, *, task_id: int | None = None) -> Path:
        self.arrived.release()
        self.opened.wait(30)
        return Path("test_30.mp4")


def test_health_and_setup_find_a_thread_whatever_predict_does():
    gate, request = Gate(), tasks(VIDEO)
    predictor = Predictor(PipelineSlot(Scripted), gate, deadline_seconds=60.0)
    config = LabelConfig.from_xml(request["label_config"])
    answers: list[Any] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(predictor.predict(request["tasks"], config)))
        for _ in range(PREDICTING_THREADS)
    ]
    for thread in waiting:
        thread.start()
    assert all(gate.arrived.acquire(timeout=30) for _ in waiting)
    assert predictor.predict(request["tasks"], config) == [{}]  # at once: one more would hold one more thread
    gate.opened.set()
    for thread in waiting:
        thread.join(30)
    assert len(answers) == PREDICTING_THREADS
    assert all(entry["result"] for [entry] in answers)
    assert PREDICTING_THREADS < THREADS


def test_gunicorn_runs_one_worker_that_loads_its_own_model(settings: Settings):
    options = gunicorn_options(settings, port=8000)
    assert (options["workers"], options["threads"], options["preload_app"]) == (1, THREADS, False)
    assert options["bind"] == "127.0.0.1:8000"


def test_nothing_is_imported_that_takes_seconds_before_the_server_answers():
    """torch alone takes longer to import than Label Studio waits for /health."""
    import subprocess
    import sys

    program = "import sys, omni_timeline.server; print(sorted({'torch', 'transformers', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_warnings_about_a_video_are_in_the_log_with_the_task(
    client: FlaskClient, pipeline: Scripted, caplog: pytest.LogCaptureFixture
):
    pipeline.answers["test_30.mp4"] = Found(warnings=("3 s are missing at the end",))
    with caplog.at_level(logging.INFO, logger="omni_timeline"):
        client.post("/predict", json=tasks(VIDEO))
    assert "Task 100: 3 s are missing at the end" in caplog.text
