"""What Label Studio's refusals mean, asked of a real HTTP server that answers as it is told."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from omni_timeline.errors import DeliveryError
from omni_timeline.label_studio.client import LabelStudioApi, StoredPrediction
from sites import PERSONAL_TOKEN, Site, answer

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

        do_GET = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
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
        (504, {}, b"", "unclear"),
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


@pytest.mark.parametrize(
    "content", [b"{}", b'{"results": 7}', b"[7]", b"null", b"<html>", b"[" * 100_000, b"[" + b"9" * 5000 + b"]"]
)
def test_an_odd_list_of_predictions_is_not_taken_for_an_empty_one(content: bytes, answers: Answers):
    """Else a second copy would be stored."""
    answers.queue = [(200, {}, content)]
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi(answers.url, LEGACY_TOKEN).prediction_versions(7)
    assert refusal.value.kind == "busy"


@pytest.mark.parametrize(("method", "kind"), [("prediction_versions", "unreachable"), ("create_prediction", "unclear")])
def test_an_answer_that_drips_does_not_outlast_its_time(
    method: str, kind: str, make_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
):
    """A list of predictions that came at one byte a second once held a request for 80 s."""
    monkeypatch.setattr("omni_timeline.label_studio.client.ANSWER_SECONDS", 0.2)  # a minute otherwise
    site = make_site()

    def drips(page: BaseHTTPRequestHandler) -> None:
        answer(page, b"", Content_Length=1000)
        for _ in range(200):
            page.wfile.write(b" ")
            page.wfile.flush()
            time.sleep(0.02)

    site.pages["/api/predictions/"] = drips
    began = time.monotonic()
    with pytest.raises(DeliveryError) as refusal:
        getattr(LabelStudioApi(site.url, LEGACY_TOKEN), method)(*([7] if method == "prediction_versions" else [7, {}]))
    assert refusal.value.kind == kind
    assert time.monotonic() - began < 2


def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    make_site: Callable[[], Site], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("omni_timeline.label_studio.client.MAX_ANSWER_BYTES", 1000)  # 32 MB otherwise
    site = make_site()
    bomb = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    site.pages["/api/predictions/"] = lambda page: answer(page, bomb, Content_Encoding="gzip")
    with pytest.raises(DeliveryError, match="more than 1,000 bytes") as refusal:
        LabelStudioApi(site.url, LEGACY_TOKEN).prediction_versions(7)
    assert refusal.value.kind == "busy"


def test_a_refusal_shows_a_short_line_of_what_label_studio_says(answers: Answers):
    answers.queue = [(400, {}, b"no\nway\xff " + b"x" * 1000)]
    with pytest.raises(DeliveryError, match=r"\(400\): no\\nway\ufffd x+… Please report this") as refusal:
        LabelStudioApi(answers.url, LEGACY_TOKEN).create_prediction(7, {"result": []})
    assert len(str(refusal.value)) < 300


def test_the_address_in_a_message_has_no_password():
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi("http://user:SECRET@127.0.0.1:1", LEGACY_TOKEN).prediction_versions(7)
    assert "127.0.0.1:1" in str(refusal.value)
    assert "SECRET" not in str(refusal.value)


def test_nobody_there_is_not_unclear():
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi("http://127.0.0.1:1", LEGACY_TOKEN).prediction_versions(7)
    assert refusal.value.kind == "unreachable"


def page(total: int, *numbers: int) -> tuple[int, dict[str, str], bytes]:
    tasks = [{"id": number, "annotations": [], "predictions": []} for number in numbers]
    return 200, {}, json.dumps({"total": total, "tasks": tasks}).encode()


def test_corrected_tasks_come_page_by_page_as_they_are_stored(answers: Answers):
    answers.queue = [page(5, 1, 2), page(5, 3, 4), page(5, 5)]
    found = [task["id"] for task in LabelStudioApi(answers.url, LEGACY_TOKEN).corrected_tasks(7)]
    assert found == [1, 2, 3, 4, 5]
    asked = [parse_qs(urlsplit(path).query) for _, path, _, _ in answers.asked]
    assert [query["page"] for query in asked] == [["1"], ["2"], ["3"]]
    assert {query["project"][0] for query in asked} == {"7"}
    assert {query["resolve_uri"][0] for query in asked} == {"false"}  # addresses, not signed ones
    [condition] = json.loads(asked[0]["query"][0])["filters"]["items"]
    assert (condition["filter"], condition["operator"]) == ("filter:tasks:total_annotations", "greater")


def test_tasks_that_come_and_go_while_they_are_read_are_neither_lost_nor_doubled(answers: Answers):
    answers.queue = [page(4, 1, 2), page(3, 2, 3), page(3, 3), (404, {}, b'{"detail": "Invalid page."}')]
    assert [task["id"] for task in LabelStudioApi(answers.url, LEGACY_TOKEN).corrected_tasks(7)] == [1, 2, 3]


def test_a_project_without_corrections_has_no_pages(answers: Answers):
    answers.queue = [page(0)]
    assert list(LabelStudioApi(answers.url, LEGACY_TOKEN).corrected_tasks(7)) == []
    answers.queue = [(404, {}, b'{"detail": "Not found."}')]
    with pytest.raises(DeliveryError) as refusal:
        list(LabelStudioApi(answers.url, LEGACY_TOKEN).corrected_tasks(7))
    assert refusal.value.kind == "gone"


@pytest.mark.parametrize("content", [b"[]", b'{"tasks": 7}', b'{"tasks": [7], "total": 1}', b"<html>"])
def test_an_odd_list_of_tasks_is_refused(content: bytes, answers: Answers):
    answers.queue = [(200, {}, content)]
    with pytest.raises(DeliveryError) as refusal:
        list(LabelStudioApi(answers.url, LEGACY_TOKEN).corrected_tasks(7))
    assert refusal.value.kind == "busy"


def test_many_predictions_are_stored_in_one_call(answers: Answers):
    rows = [{"task": 7, "result": [], "model_version": "a"}, {"task": 8, "result": [], "model_version": "a"}]
    answers.queue = [(201, {}, b'{"created": 1}'), (201, {}, b'{"created": "all"}')]
    api = LabelStudioApi(answers.url, LEGACY_TOKEN)
    assert api.import_predictions(3, rows) == 1
    assert answers.asked[0][:2] == ("POST", "/api/projects/3/import/predictions")
    assert answers.asked[0][3] == rows
    with pytest.raises(DeliveryError) as refusal:
        api.import_predictions(3, rows)
    assert refusal.value.kind == "unclear"


def test_a_prediction_that_is_gone_already_is_removed(answers: Answers):
    answers.queue = [(204, {}, b""), (404, {}, b"{}"), (500, {}, b"")]
    api = LabelStudioApi(answers.url, LEGACY_TOKEN)
    api.delete_prediction(5)
    api.delete_prediction(5)
    with pytest.raises(DeliveryError, match="500"):
        api.delete_prediction(5)
    assert {asked[:2] for asked in answers.asked} == {("DELETE", "/api/predictions/5/")}


def test_the_predictions_of_a_task_with_their_numbers(answers: Answers):
    answers.queue = [
        (200, {}, b'{"results": [{"id": 4, "model_version": "a"}]}'),
        (200, {}, b'[{"model_version": "a"}]'),
    ]
    api = LabelStudioApi(answers.url, LEGACY_TOKEN)
    assert api.stored_predictions(7) == [StoredPrediction(4, "a")]
    with pytest.raises(DeliveryError, match="without a number"):
        api.stored_predictions(7)


def test_a_page_of_tasks(answers: Answers):
    answers.queue = [(200, {}, b'{"tasks": [{"id": 4, "data": {"video": "a"}}], "total": 9}')] * 2
    api = LabelStudioApi(answers.url, LEGACY_TOKEN)
    page = api.task_page(3, {"filters": {}}, page=2, page_size=100)
    assert (page.tasks, page.total) == (({"id": 4, "data": {"video": "a"}},), 9)
    api.task_page(3, {}, page_size=5, view=6)
    by_query, by_view = (parse_qs(urlsplit(path).query) for _, path, _, _ in answers.asked)
    assert by_query == {
        "project": ["3"], "page": ["2"], "page_size": ["100"], "query": ['{"filters": {}}'], "resolve_uri": ["false"],
        "review": ["true"],
    }  # fmt: skip
    assert (by_view["view"], by_view["page"], "query" in by_view) == (["6"], ["1"], False)


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b'{"tasks": []}',
        b'{"tasks": [{"id": "4", "data": {}}], "total": 1}',
        b'{"tasks": [{"id": 4}], "total": 1}',
    ],
)
def test_an_odd_page_of_tasks_is_not_taken_for_the_last(content: bytes, answers: Answers):
    """Else tasks would be left out without a word."""
    answers.queue = [(200, {}, content)]
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi(answers.url, LEGACY_TOKEN).task_page(3, {}, page_size=100)
    assert refusal.value.kind == "busy"


def test_the_model_versions_of_a_project(answers: Answers):
    answers.queue = [(200, {}, b'{"a": 3, "b": 1}'), (200, {}, b"[]")]
    api = LabelStudioApi(answers.url, LEGACY_TOKEN)
    assert api.model_versions(3) == ["a", "b"]
    with pytest.raises(DeliveryError):
        api.model_versions(3)


@pytest.mark.parametrize(("status", "kind"), [(401, "token"), (503, "unreachable")])
def test_a_personal_token_that_cannot_be_exchanged_now_is_none_that_is_refused(
    status: int, kind: str, make_site: Callable[[], Site]
):
    """While Label Studio restarts the token is good."""
    site = make_site()
    site.pages["/api/token/refresh"] = lambda page: answer(page, b"{}", status=status)
    with pytest.raises(DeliveryError) as refusal:
        LabelStudioApi(site.url, PERSONAL_TOKEN).prediction_versions(7)
    assert refusal.value.kind == kind
