"""Web sites of tests: real HTTP servers of which each path answers as a test says."""

from __future__ import annotations

import base64
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.hosts import AllowedHosts

KIB = 1024
VIDEO = random.Random(1).randbytes(640 * KIB)  # so that a part in the wrong place shows
UPLOAD = "/data/upload/1/8abf8b6a-clip.mp4"
HERE = AllowedHosts(["127.0.0.1"])  # where the tests' sites are
LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"


def jwt(**claims: object) -> str:
    return ".".join(["e30", base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("="), "signature"])


PERSONAL_TOKEN = jwt(token_type="refresh", exp=7984870553)


@dataclass
class Site:
    """A web site of which each path is answered by a function; keeps what it was asked."""

    pages: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, Authorization, Range
    url: str = ""

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@contextmanager
def serving(site: Site) -> Iterator[None]:
    """Let the site answer at an address of its own."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers["Authorization"], self.headers["Range"]))
            page = site.pages.get(self.path) or site.pages.get(self.path.split("?")[0])
            page(self) if page else answer(self, b"", status=404)

        def do_POST(self) -> None:
            """The body is read first: a connection closed with some of it unread is reset, answer and all."""
            whole = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with self.rfile:
                self.rfile = BytesIO(whole)
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    yield
    server.shutdown()
    server.server_close()


def answer(page: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, **headers: object) -> None:
    page.send_response(status)
    for name, value in ({"Content_Length": len(body)} | headers).items():
        page.send_header(name.replace("_", "-"), str(value))
    page.end_headers()
    page.wfile.write(body)


def video(page: BaseHTTPRequestHandler) -> None:
    answer(page, VIDEO, Content_Type="video/mp4")


def redirect_to(url: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda page: answer(page, b"", status=302, Location=url)


def gives_access_tokens(site: Site, lifetime: float = 300.0) -> list[str]:
    """Let `site` exchange the personal token, as Label Studio does; the list of what it gave."""
    given: list[str] = []

    def exchange(page: BaseHTTPRequestHandler) -> None:
        body = json.loads(page.rfile.read(int(page.headers["Content-Length"])))
        if body != {"refresh": PERSONAL_TOKEN}:
            answer(page, b"{}", status=401)
            return
        given.append(jwt(token_type="access", iat=1000, exp=1000 + lifetime, jti=len(given)))
        answer(page, json.dumps({"access": given[-1]}).encode(), Content_Type="application/json")

    site.pages["/api/token/refresh"] = exchange
    return given


def fetch(files: VideoFiles, url: str, *, task_id: int | None = None) -> Path:
    """The path of a task's video, which nobody uses any more."""
    with files.local(url, task_id=task_id) as path:
        return path


def cached(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []
