"""What Label Studio's requests get, over a model that says what it is told to.

The requests are recorded ones. What Label Studio makes of the answers is tested in e2e/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from label_studio_requests import VIDEO, failures, local, recorded, tasks, version_of
from omni_timeline.errors import MediaError, ModelError, OmniTimelineError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Priority
from omni_timeline.segments import Segment
from omni_timeline.service import outbox
from omni_timeline.service.gunicorn import THREADS
from omni_timeline.service.server import PREDICTING_THREADS, Server, limits_of, scheduler_of
from omni_timeline.service.settings import Settings
from scripted_app import Serve
from scripted_model import CHECKPOINT, ScriptedModel


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


# --- questions in the labeling page ----------------------------------------------------------------------------------
def ask_about(client: FlaskClient, words: str, video: str = VIDEO) -> Any:
    """The answer to a text that somebody entered for the recorded region: frames 6 to 16, "Speech"."""
    request = recorded("predict_request_interactive_from_ui")
    request["params"]["context"]["result"][1]["value"]["text"] = [words]
    request["tasks"][0]["data"]["video"] = video
    return client.post("/predict", json=request)


def test_a_request_without_a_question_is_answered_with_nothing(client: FlaskClient, model: ScriptedModel):
    """Label Studio takes results[0] as it is, at once; and a list there breaks its page."""
    assert ask_about(client, "typed by human").json == {"results": [{}]}
    assert model.asked == []


def test_a_question_mark_moves_the_region_to_where_the_event_is(client: FlaskClient, model: ScriptedModel):
    model.answers["test_30.mp4"] = (
        Segment(0.3, 1.2, "Speech", "a man greets", 0.9),
        Segment(0.1, 5.0, "Action", "he waves", 0.8),
        Segment(3.0, 5.0, "Speech", "he goes on", 0.8),
    )
    [answer] = ask_about(client, "?").json["results"]
    events, description = answer["result"]
    assert events["id"] == description["id"] == "n7fSzR1iB-"
    assert events["value"] == {"ranges": [{"start": 10, "end": 36}], "timelinelabels": ["Speech"]}
    assert description["value"]["text"] == ["a man greets"]
    [options] = model.options_seen
    assert options.stretch == (0.0, pytest.approx(16 / 30 + 3.0, abs=0.04))
    assert model.priorities == [Priority.INTERACTIVE]
    assert client.get("/status.json").json["counts"]["owed"] == 0


def test_a_question_in_words_is_answered_in_the_text_and_the_region_stays(client: FlaskClient, model: ScriptedModel):
    model.text = " A man\n greets. "
    [answer] = ask_about(client, "? who speaks?").json["results"]
    events, description = answer["result"]
    assert events["value"] == {"ranges": [{"start": 6, "end": 16}], "timelinelabels": ["Speech"]}
    assert description["value"]["text"] == ["A man greets."]
    [options] = model.options_seen
    assert options.question == "who speaks"
    assert "who speaks" in options.words.user


def test_a_question_without_an_answer_says_why(client: FlaskClient):
    answer = ask_about(client, "?", local("missing"))
    assert answer.status_code == 502
    assert "set LABEL_STUDIO_URL" in answer.json["error"] == failures(client)["20"]


def test_a_question_about_nothing_leaves_the_region_where_it_is(client: FlaskClient, model: ScriptedModel):
    model.answers["test_30.mp4"] = ()
    [answer] = ask_about(client, "?").json["results"]
    events, description = answer["result"]
    assert events["value"] == {"ranges": [{"start": 6, "end": 16}], "timelinelabels": ["Speech"]}
    assert description["value"]["text"] == ["Nothing was found here."]


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


def test_asking_again_does_not_bother_the_model(
    client: FlaskClient, model: ScriptedModel, settings: Settings, serve: Serve
):
    first = client.post("/predict", json=tasks(local("a"), local("b"))).json
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json == first
    assert len(model.asked) == 2
    again = serve(settings, model)  # after a restart
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


# --- loading ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def loading(settings: Settings, serve: Serve) -> tuple[FlaskClient, ScriptedModel]:
    model = ScriptedModel(state="loading", checkpoint_version=None)
    return serve(replace(settings, predict_deadline_seconds=1.0), model), model


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


def test_predict_waits_for_the_model(settings: Settings, serve: Serve):
    model = ScriptedModel(state="loading", checkpoint_version=None)
    client = serve(settings, model)
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
def test_what_is_not_ready_by_the_deadline_is_finished_for_the_next_request(
    settings: Settings, model: ScriptedModel, serve: Serve
):
    client = serve(replace(settings, predict_deadline_seconds=0.3), model)
    model.gate.clear()
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json == {"results": [[], []]}
    model.gate.set()
    until(lambda: client.get("/status.json").json["counts"]["running"] == 0)
    results = client.post("/predict", json=tasks(local("a"), local("b"))).json["results"]
    assert all(entry["result"] for entry in results)
    assert sorted(model.asked) == ["a.mp4", "b.mp4"]


def test_health_and_setup_find_a_thread_whatever_predict_does(settings: Settings, model: ScriptedModel, serve: Serve):
    """More /predict requests than may wait: the others are answered at once."""
    app = serve(replace(settings, predict_deadline_seconds=30.0), model).application
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


def test_nothing_is_imported_that_takes_seconds_before_the_server_answers():
    """torch alone takes longer to import than Label Studio waits for /health."""
    program = "import sys, omni_timeline.service.app; print(sorted({'torch', 'transformers', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


# --- what is pending -------------------------------------------------------------------------------------------------
@pytest.fixture
def delivering(settings: Settings) -> Settings:
    """With a Label Studio that is down, and a deadline that is over at once."""
    return replace(
        settings, label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40, predict_deadline_seconds=0.1
    )


def until(what: Callable[[], bool]) -> None:
    """Wait until it is true."""
    for _ in range(200):
        if what():
            return
        threading.Event().wait(0.05)
    pytest.fail("it does not become true")


def pending(client: FlaskClient) -> list[tuple[int, str, str, Any]]:
    """Task, version, state and data of each."""
    query = "SELECT task, version, state, data FROM pending WHERE state != 'settled' ORDER BY task"
    server = client.application.extensions["omni_timeline"]
    rows = server.journal.read(lambda journal: journal.execute(query).fetchall())
    return [(task, version, state, json.loads(data)) for task, version, state, data in rows]


def test_of_a_task_that_is_pending_no_more_is_kept_than_is_needed(
    delivering: Settings, model: ScriptedModel, serve: Serve
):
    client = serve(delivering, model)
    model.gate.clear()
    request = tasks(local("a"))
    request["tasks"][0]["data"]["transcript"] = "word " * 100_000
    client.post("/predict", json=request)
    [(number, _, _, data)] = pending(client)
    assert number == 100
    assert data == {"video": local("a"), "fps": 30}
    model.gate.set()


def test_a_checkpoint_that_changes_under_a_running_server_is_asked_for_what_is_pending(
    delivering: Settings, model: ScriptedModel, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    """Each prediction was made, discarded and made again, until the server was restarted."""
    monkeypatch.setattr(outbox, "DEFERRAL_SECONDS", (0.0,))
    client = serve(delivering, model)
    model.gate.clear()
    assert client.post("/predict", json=tasks(local("a"), local("b"))).json["results"] == [[], []]
    before = version_of(client, tasks()["label_config"])
    model.know("scripted-2")
    model.gate.set()
    now = version_of(client, tasks()["label_config"])
    assert now != before
    until(lambda: [row[:3] for row in pending(client)] == [(100, now, "ready"), (101, now, "ready")])
    assert sorted(model.asked) == ["a.mp4", "b.mp4"]  # once each: what was made is the new version's prediction


def test_failures_are_on_the_page_of_the_next_process(settings: Settings, model: ScriptedModel, serve: Serve):
    first = serve(settings, model)
    first.post("/predict", json=tasks(local("missing")))
    first.application.extensions["omni_timeline"].close()
    assert "100" in failures(serve(settings, model))


# --- the settings ----------------------------------------------------------------------------------------------------
def test_each_limit_reaches_the_decoders():
    limits = limits_of(
        Settings(
            max_video_bytes=1,
            max_video_pixels=2,
            max_video_frames=3,
            max_video_seconds=4.0,
            max_video_streams=5,
            decode_seconds=6.0,
            decode_memory_bytes=7 * 1024**3,
            videos_per_decoder=8,
        )
    )
    assert limits == DecodeLimits(
        file_bytes=1, pixels=2, frames=3, duration=4.0, streams=5, seconds=6.0, memory_bytes=7 * 1024**3, videos=8
    )
    untouched = [limit.name for limit in fields(DecodeLimits) if getattr(limits, limit.name) == limit.default]
    assert untouched == [], "a limit that no setting reaches"


def test_each_device_gets_the_model():
    settings = Settings(
        model="/models/one", hub="modelscope", device=("cuda:0", "cuda:1"), dtype="float16", quantization="nf4",
        decoders=3,
    )  # fmt: skip
    scheduler = scheduler_of(settings)
    assert [model.load for model in scheduler.models] == [
        Load("/models/one", "modelscope", device, "float16", "nf4") for device in ("cuda:0", "cuda:1")
    ]
    assert scheduler.decoders == 3


def test_nothing_is_started_before_start(settings: Settings, model: ScriptedModel):
    before = set(threading.enumerate())
    server = Server(settings, model)
    assert set(threading.enumerate()) == before
    server.close()
    assert model.closed
