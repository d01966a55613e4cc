"""Stands between the backend and the real Label Studio, and answers wrongly when it is told to."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

WRONG: dict[str, tuple[int, bytes]] = {
    "500": (500, b"<h1>Server Error (500)</h1>"),
    "429": (429, b'{"detail": "Request was throttled."}'),
    "401": (401, b'{"detail": "Invalid token."}'),
    "html": (200, b"<!doctype html><title>Down for maintenance</title>"),
    "late 500": (500, b"<h1>Server Error (500)</h1>"),
}


@dataclass
class Proxy:
    """Passes on what it gets. Calls go wrong, one after the other.

    Attributes:
        faults: "500", "429", "401", "html", "late 500" (after it has passed the request on) and "late end" (and then
            hangs up); "" goes well, and so does what comes when there are none left.
        paths: how the paths of calls begin that may go wrong.
        injected: what went wrong so far.
        last: what went wrong last.
        hold_after: so many pushes pass; those after them wait for `gate`.
    """

    url: str = ""
    faults: list[str] = field(default_factory=list)
    paths: tuple[str, ...] = ("/api/predictions", "/api/token")
    injected: Counter[str] = field(default_factory=Counter)
    last: str = ""
    pushes: int = 0
    hold_after: float = math.inf
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str) -> str:
        with self.lock:
            meant = path.startswith(self.paths) and bool(self.faults)
            if meant and self.faults[0].startswith("late"):
                meant = method == "POST" and "/predictions" in path  # where it could make a second copy
            wrong = self.faults.pop(0) if meant else ""
            if wrong:
                self.injected[wrong] += 1
                self.last = wrong
            return wrong


@contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy in front of the Label Studio at `url`."""
    proxy = Proxy()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.command == "POST" and self.path.startswith("/api/predictions"):
                proxy.pushes += 1
                if proxy.pushes > proxy.hold_after:
                    proxy.gate.wait(60)
            wrong = proxy.fault(self.command, self.path)
            if not wrong or wrong.startswith("late"):
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                try:
                    answer = requests.request(
                        self.command, url + self.path, data=body, headers=headers, timeout=60, allow_redirects=False
                    )
                except requests.ConnectionError:  # it is stopped
                    return
                status, content = answer.status_code, answer.content
            if wrong == "late end":
                return
            if wrong:
                status, content = WRONG[wrong]
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked was killed meanwhile
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield proxy
    server.shutdown()
    server.server_close()
