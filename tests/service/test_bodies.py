"""What the bodies of requests say."""

from __future__ import annotations

from typing import Any

import pytest

from label_studio_requests import recorded
from omni_timeline.errors import RequestError
from omni_timeline.service.bodies import PredictBody, SetupBody, WebhookBody, project_number, read_object


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
