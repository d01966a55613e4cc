"""What the bodies of requests say."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from label_studio_requests import recorded
from omni_timeline.errors import RequestError
from omni_timeline.service.bodies import MAX_TASKS, PredictBody, SetupBody, WebhookBody, project_number, read_object


def test_the_recorded_requests_say_what_they_want():
    setup = recorded("setup_request")
    assert SetupBody.read(setup) == SetupBody(setup["schema"], setup["project"].split(".")[0])
    predict = recorded("predict_request_open_task")
    body = PredictBody.read(predict)
    assert body == PredictBody(predict["tasks"], predict["label_config"], predict["project"].split(".")[0], False)
    assert PredictBody.read(recorded("predict_request_interactive_from_ui")).interactive


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_bytes_that_are_no_json_object_are_refused(data: bytes):
    with pytest.raises(RequestError, match="body"):
        read_object(data)


def test_of_a_body_only_what_is_used_is_there():
    body = read_object(
        b'{"tasks": [{"id": 1, "data": {"v": "a"}, "annotations": [{"result": []}]}, 7, {"id": "x"}], "label_config": '
        b'"<View/>", "more": [[[]]]}'
    )
    assert list(body["tasks"]) == [{"id": 1, "data": {"v": "a"}}, None, {"id": "x"}]
    assert {name: value for name, value in body.items() if name != "tasks"} == {"label_config": "<View/>"}


@pytest.mark.parametrize(
    "value", [b"NaN", rb'"\ud800"', rb'"\ud83d\ude00"', b"1e999", b"123456789012345678901234567890"]
)
def test_what_strict_json_does_not_have_costs_no_other_task(value: bytes):
    body = read_object(b'{"tasks": [{"id": 1, "data": {"v": "a"}}, {"id": 2, "data": {"odd": %b}}]}' % value)
    assert body["tasks"][0] == {"id": 1, "data": {"v": "a"}}
    assert body["tasks"][1]["id"] == 2


@pytest.mark.parametrize("tasks", [b"{}", b"7", b'"text"', b"null"])
def test_tasks_that_are_no_list_are_refused(tasks: bytes):
    with pytest.raises(RequestError, match='"tasks", a list'):
        PredictBody.read(read_object(b'{"label_config": "<View/>", "tasks": %b}' % tasks))


def test_millions_of_values_are_not_built():
    """57 MB of empty lists took 18 s, in which no other request was answered."""
    tracemalloc.start()
    junk = b"[" + b"[]," * 3_000_000 + b"[]]"
    for body in (b'{"tasks": %b}', b'{"other": %b}', b'{"params": %b}', b'{"tasks": [{"id": 1, "data": %b}]}'):
        tasks = read_object(body % junk).get("tasks", ())
        assert len(tasks) <= MAX_TASKS
        assert all(task is None or task["data"] is None for task in tasks)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("given", "number"),
    [("3.1795401548", "3"), ("3", "3"), (3, "3"), ("x", ""), ("", ""), (None, ""), ([3], ""), (-3, ""), (True, "")],
)
def test_a_project_is_known_by_its_number(given: Any, number: str):
    assert project_number(given) == number


@pytest.mark.parametrize("schema", [None, 7, [], "half of a character: \ud800"])
def test_a_labeling_config_must_be_text(schema: Any):
    with pytest.raises(RequestError, match="schema"):
        SetupBody.read({"schema": schema})


@pytest.mark.parametrize("params", [None, "text", [], {}, {"context": None}, {"context": {}}])
def test_a_request_without_a_context_is_not_interactive(params: Any):
    assert not PredictBody.read({"tasks": [], "label_config": "<View/>", "params": params}).interactive


@pytest.mark.parametrize("body", [{}, {"action": ["odd"], "project": "3", "tasks": {}}, {"project": {"id": None}}])
def test_an_event_may_say_nothing(body: dict[str, Any]):
    assert WebhookBody.read(body) == WebhookBody(None, None, [])
