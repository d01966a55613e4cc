"""What Label Studio's refusals mean, asked of a real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from omni_timeline.errors import DeliveryError
from omni_timeline.label_studio.client import LabelStudioApi

LEGACY_TOKEN = "0" * 40


@dataclass
class Answers:
    """The next answers, and what was asked for."""

    queue: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def answers() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            token = self.headers.get("authorization", "")
            answers.asked.append((self.command, self.path, token, json.loads(body) if body else None))
            status, headers, content = answers.queue.pop(0)
            if status == 0:
                return  # hang up
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield answers
    server.shutdown()


def test_the_versions_of_a_task(answers: Answers):
    answers.queue = [(200, {}, b'[{"id": 1, "model_version": "a"}, {"id": 2, "model_version": null}]')]
    assert LabelStudioApi(answers.url, LEGACY_TOKEN).prediction_versions(7) == ["a", "None"]
    assert answers.asked == [("GET", "/api/predictions/?task=7", f"Token {LEGACY_TOKEN}", None)]


def test_a_prediction_is_stored_with_its_task(answers: Answers):
    answers.queue = [(201, {}, b'{"id": 1}')]
    LabelStudioApi(answers.url, LEGACY_TOKEN).create_prediction(7, {"model_version": "a", "result": [], "score": 0.5})
    [(method, path, _, body)] = answers.asked
    assert (method, path) == ("POST", "/api/predictions/")
    assert body == {"task": 7, "model_version": "a", "result": [], "score": 0.5}


@pytest.mark.parametrize(
    ("status", "headers", "content", "kind"),
    [
        (500, {}, b"<h1>Server Error</h1>", "busy"),
        (502, {}, b"", "busy"),
        (503, {"retry-after": "7"}, b"", "busy"),
        (429, {"retry-after": "7"}, b"{}", "busy"),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}", "busy"),
        (401, {}, b"{}", "token"),
        (403, {}, b"{}", "token"),
        (200, {"content-type": "text/html"}, b"<html>please sign in</html>", "busy"),
        (302, {"location": "http://127.0.0.1:1/user/login/"}, b"", "busy"),
        (404, {}, b'{"detail": "Not found."}', "gone"),
        (400, {}, b'{"validation_errors": {"task": ["Invalid pk"]}}', "gone"),
        (400, {}, b'{"validation_errors": {"score": ["not a number"]}}', "refused"),
        (0, {}, b"", "unclear"),
    ],
)
def test_what_a_refusal_means(status: int, headers: dict[str, str], content: bytes, kind: str, answers: Answers):
    answers.queue = [(status, headers, content)]
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi(answers.url, LEGACY_TOKEN).create_prediction(7, {"result": []})
    assert refusal.value.kind == kind
    assert refusal.value.retry_after == (7.0 if headers.get("retry-after") == "7" else 0.0)
    assert LEGACY_TOKEN not in str(refusal.value)
    assert len(answers.asked) == 1


@pytest.mark.parametrize("content", [b"{}", b'{"results": 7}', b"[7]", b"null", b"<html>"])
def test_an_odd_list_of_predictions_is_not_taken_for_an_empty_one(content: bytes, answers: Answers):
    """Else a second copy would be stored."""
    answers.queue = [(200, {}, content)]
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi(answers.url, LEGACY_TOKEN).prediction_versions(7)
    assert refusal.value.kind == "busy"


def test_nobody_there_is_not_unclear():
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi("http://127.0.0.1:1", LEGACY_TOKEN).prediction_versions(7)
    assert refusal.value.kind == "unreachable"
