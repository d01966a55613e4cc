"""A checkpoint from a hub over a real connection, which breaks: it goes on where it broke, and says how far it came."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omni_timeline.errors import DownloadError
from omni_timeline.model import hubs
from omni_timeline.model.checkpoint import DEMO_FOLDER, Checkpoint

REPOSITORY = "someone/Tiny-Omni"
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """A hub with one checkpoint, speaking as much of Hugging Face's protocol as its library asks for.

    Attributes:
        breaks: how many connections break in the middle of the weights; the rest are whole.
        sent: bytes of the weights that went out, by request, and where each began.
    """

    folder: Path
    breaks: int = 0
    sent: list[tuple[int, int]] = field(default_factory=list)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir()) if path.is_file()}


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        files = self.hub.files()
        if self.path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            rows = [{"type": "file", "path": n, "size": len(c), "oid": _etag(c)} for n, c in files.items()]
            self._send(json.dumps(rows).encode(), body=body)
        elif self.path.startswith(f"/api/models/{REPOSITORY}"):
            siblings = [{"rfilename": name} for name in files]
            answer = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(answer).encode(), body=body)
        elif found := re.fullmatch(rf"/{REPOSITORY}/resolve/{COMMIT}/(.+)", self.path):
            self._send(files[found[1]], body=body, name=found[1])
        else:
            self.send_error(404)

    def _send(self, content: bytes, *, body: bool, name: str = "") -> None:
        begin = int((re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["", "0"])[1])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        if name.endswith(".safetensors"):
            breaks = self.hub.breaks > 0
            self.hub.breaks -= breaks
            end = begin + (len(content) - begin) // 2 if breaks else len(content)
            self.hub.sent.append((begin, end))
            self.wfile.write(content[begin:end])
            if breaks:
                self.close_connection = True
                self.connection.close()
            return
        self.wfile.write(content[begin:])

    def log_message(self, *_: object) -> None:
        pass


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(DEMO_FOLDER)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 64 * 1024)  # the weights are small
    monkeypatch.setattr(hubs, "PAUSE", 0.0)
    yield hub
    server.shutdown()
    server.server_close()


def test_a_checkpoint_is_fetched_whole_and_only_once(hub: Hub):
    said: list[str] = []
    found = Checkpoint.find(REPOSITORY, on_progress=said.append)
    assert found.version.startswith("Tiny-Omni-")
    assert found.version.removeprefix("Tiny-Omni") == Checkpoint.find("demo").version.removeprefix("demo")
    assert any(re.search(r"downloading, [\d.]+ MB of [\d.]+ MB", words) for words in said), said
    sent = len(hub.sent)
    assert Checkpoint.find(REPOSITORY) == found
    assert len(hub.sent) == sent


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub: Hub):
    hub.breaks = 1
    assert Checkpoint.find(REPOSITORY).folder.is_dir()
    (_, broke), (resumed, _) = hub.sent
    assert 0 < resumed <= broke


def test_a_download_that_breaks_off_for_good_says_how_far_it_came(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "ATTEMPTS", 1)
    hub.breaks = 1000
    with pytest.raises(DownloadError, match=r"broke off after [\d.]+ MB of [\d.]+ MB.*start again to fetch the rest"):
        Checkpoint.find(REPOSITORY)
    hub.breaks = 0
    assert Checkpoint.find(REPOSITORY).folder.is_dir()


def test_a_name_that_the_hub_does_not_know(hub: Hub):
    with pytest.raises(DownloadError, match=r"could not be fetched from Hugging Face.*Check the name"):
        Checkpoint.find("someone/else")
