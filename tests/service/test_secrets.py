"""After a session of odd inputs no secret is in a log, on a page, in a metric or in a failure that is kept."""

from __future__ import annotations

import base64
import logging
import sqlite3
from dataclasses import replace

import pytest

from label_studio_requests import config, tasks
from omni_timeline.service.settings import Settings
from scripted_app import Serve
from scripted_model import ScriptedModel
from sites import Site, answer, serving

TOKEN, PASSWORD, SECRET = "t0ken" * 8, "passw0rd-of-the-server", "s3cret-of-the-webhook"
SIGNATURE, THEIR_PASSWORD = "s1gnature-of-an-address", "passw0rd-in-an-address"
SECRETS = (TOKEN, PASSWORD, SECRET, SIGNATURE, THEIR_PASSWORD)


def addresses(site: str) -> list[str]:
    """Of videos that are not there, are none, or that nobody may ask for."""
    query, user = f"?X-Amz-Signature={SIGNATURE}", f"u:{THEIR_PASSWORD}@"
    return [
        f"{site}/junk.mp4{query}", f"{site}/missing.mp4{query}", f"{site}/odd.mp4{query}",
        f"http://{user}127.0.0.1:1/gone.mp4{query}", f"http://{user}other.example/x.mp4{query}",
        f"http://[::1/x{query}", f"http://\t{user}x{query}", f"s3://bucket/key.mp4{query}", f"ftp://{user}x/y{query}",
        f"/data/upload/1/x.mp4{query}", f"/data/local-files/?d=x.mp4&sig={SIGNATURE}", f"http://{user}\ud800/{query}",
    ]  # fmt: skip


def test_no_secret_leaves(settings: Settings, serve: Serve, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    site = Site()
    site.pages["/junk.mp4"] = lambda page: answer(page, b"<html>")
    site.pages["/odd.mp4"] = lambda page: page.wfile.write(b"HTTP/1.1 200 OK\r\nno colon\r\nX: y\r\n\r\nabc")
    with serving(site):
        settings = replace(
            settings, label_studio_url=site.url, label_studio_api_key=TOKEN, basic_auth_user="ls",
            basic_auth_password=PASSWORD, webhook_secret=SECRET, allowed_video_hosts=("127.0.0.1",),
        )  # fmt: skip
        client = serve(settings, ScriptedModel())
        client.environ_base["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(f"ls:{PASSWORD}".encode()).decode()
        given = addresses(site.url)
        client.post("/predict", json=tasks(*given))
        client.post("/setup", json={"schema": f"<View {SIGNATURE}", "project": "1"}, headers={"X-Odd": SECRET})
        client.post("/setup", json={"schema": config('model_frames="x"'), "project": "1"})
        client.post("/webhook", json={"action": "TASKS_CREATED", "project": {"id": 1, "token": TOKEN}})
        client.post("/webhook", json={"action": SECRET}, headers={"X-Omni-Timeline-Secret": SECRET})
        client.post("/predict", json={"tasks": [{"id": 1, "data": {"video": given}}], "label_config": config()})
        client.get(f"/{SIGNATURE}?x={TOKEN}")
        said = [client.get(path).text for path in ("/", "/status.json", "/health", "/metrics", "/versions")]
    server = client.application.extensions["omni_timeline"]
    server.history.save()
    assert len(server.history.failures()) >= len(given) / 2
    # What is pending has its address, in `pending`.
    with sqlite3.connect(settings.cache_dir / "journal.sqlite") as journal:
        said.append(str(journal.execute("SELECT * FROM failures").fetchall()))
    for text in (*said, caplog.text, repr(settings)):
        assert not [secret for secret in SECRETS if secret in text]
