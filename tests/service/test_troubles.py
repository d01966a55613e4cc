"""What an operator sees: what is wrong, since when and what to do, in /health, on the page and in the metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from omni_timeline.errors import DeliveryError, ModelError, TokenError, UnreachableError
from omni_timeline.service.server import Server
from omni_timeline.service.settings import Settings
from omni_timeline.service.troubles import KINDS, MAX_HOSTS, Troubles
from scripted_app import Serve
from scripted_model import ScriptedModel


@pytest.fixture
def client(settings: Settings, serve: Serve, model: ScriptedModel) -> FlaskClient:
    """With access to a Label Studio that is not there."""
    return serve(replace(settings, label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40), model)


@pytest.fixture
def server(client: FlaskClient) -> Server:
    server: Server = client.application.extensions["omni_timeline"]
    return server


def host_fails(server: Server, error: UnreachableError, host: str = "minio:9000", video: str = "a") -> None:
    with pytest.raises(UnreachableError), server.files.slots.slot(host, video):
        raise error


def the_model_cannot_be_loaded(server: Server) -> None:
    server.model.know(error=ModelError("There is no folder /checkpoint."))  # type: ignore[attr-defined]


def a_device_is_lost(server: Server) -> None:
    server.model.lost()["cuda:1"] = ModelError("It ends.")  # type: ignore[index]


def a_model_is_silent(server: Server) -> None:
    server.model.silent_seconds()["cuda:1"] = 90.0  # type: ignore[index]


def the_token_is_refused(server: Server) -> None:
    assert server.delivery is not None
    server.delivery.trouble = DeliveryError("token", "LABEL_STUDIO_API_KEY is refused: make a new one.")


def label_studio_is_down(server: Server) -> None:
    assert server.delivery is not None
    server.delivery.trouble = DeliveryError("unreachable", "Label Studio could not be reached.")


def a_host_is_down(server: Server) -> None:
    for video in ("a", "b", "a"):
        host_fails(server, UnreachableError("http://minio:9000/a.mp4 could not be fetched."), video=video)


def the_journal_is_locked(server: Server) -> None:
    server.journal.trouble = "Another program has locked CACHE_DIR/journal.sqlite: stop it."


def the_disk_is_full(server: Server) -> None:
    server.cache.trouble = "Predictions cannot be kept in CACHE_DIR: make room there."


CASES: dict[str, tuple[Callable[[Server], None], str]] = {
    "model": (the_model_cannot_be_loaded, "There is no folder /checkpoint. Then restart the server."),
    "device": (a_device_is_lost, "no model on cuda:1; the other devices do its work"),
    "silent": (a_model_is_silent, "cuda:1 has given no sign of life for 90 s. After 600 s (MODEL_SILENCE_SECONDS)"),
    "token": (the_token_is_refused, "make a new one. Predictions are kept"),
    "label_studio": (label_studio_is_down, "Predictions are kept until Label Studio takes them."),
    "host": (a_host_is_down, "2 videos wait for minio:9000: http://minio:9000/a.mp4 could not be fetched. Check that"),
    "journal": (the_journal_is_locked, "stop it."),
    "disk": (the_disk_is_full, "make room there."),
}


def test_there_is_a_case_for_each_kind():
    assert set(CASES) == set(KINDS)


@pytest.mark.parametrize("kind", CASES)
def test_a_trouble_is_told_everywhere_with_since_when_and_what_to_do(kind: str, server: Server, client: FlaskClient):
    happens, sentence = CASES[kind]
    assert [client.get(path).json["troubles"] for path in ("/health", "/status.json")] == [[], []]
    assert set(seconds(client).values()) == {0.0}
    happens(server)
    for path in ("/health", "/status.json"):
        [trouble] = client.get(path).json["troubles"]
        assert trouble["kind"] == kind
        assert sentence in trouble["sentence"]
        assert trouble["since"] > server.started
    page = client.get("/").text
    assert "Since <time>20" in page
    assert {name for name, value in seconds(client).items() if value} == {kind}


def seconds(client: FlaskClient) -> dict[str, float]:
    found = re.findall(r'omni_timeline_trouble_seconds{kind="(\w+)"} (\S+)', client.get("/metrics").text)
    return {kind: float(value) for kind, value in found}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_since_when_is_kept_as_long_as_it_lasts(server: Server):
    clock = Clock()
    troubles = troubles_of(server, clock)
    the_disk_is_full(server)
    assert [trouble.since for trouble in troubles.now()] == [1000.0]
    clock.now += 60.0
    a_host_is_down(server)
    assert [(trouble.kind, trouble.since) for trouble in troubles.now()] == [("host", 1060.0), ("disk", 1000.0)]
    assert troubles.seconds()["disk"] == 60.0
    assert troubles.seconds()["host"] > 0.0
    server.cache.trouble = None
    assert [trouble.kind for trouble in troubles.now()] == ["host"]
    the_disk_is_full(server)
    clock.now += 1.0
    assert [trouble.since for trouble in troubles.now()] == [1060.0, 1061.0]


def test_a_token_that_is_refused_at_a_download_is_no_silent_host(server: Server):
    host_fails(server, TokenError("Label Studio refuses LABEL_STUDIO_API_KEY."), "127.0.0.1:1")
    assert [trouble.kind for trouble in troubles_of(server, Clock()).now()] == ["token"]


def test_thousands_of_hosts_do_not_make_a_large_page(server: Server):
    for number in range(1000):
        host_fails(server, UnreachableError("It does not answer."), f"host-{number}")
    troubles = troubles_of(server, Clock()).now()
    assert len(troubles) == MAX_HOSTS + 1
    assert "1000 hosts" in troubles[0].sentence


def troubles_of(server: Server, clock: Callable[[], float]) -> Troubles:
    parts: Any = (server.delivery, server.journal, server.cache, server.files, server.learner.runs)
    return Troubles(server.model, 600.0, *parts, clock=clock)
