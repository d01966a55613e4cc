"""HTTP requests with deadlines, and messages about them without secrets.

Headers of an answer must come within HEADER_SECONDS and its body within what the caller allows, however slowly a server
sends them: the time-outs of requests are between two bytes. Knows nothing of Label Studio, of tokens or of hosts.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as TimeoutHTTPError
from urllib3.poolmanager import PoolManager, ProxyManager

from omni_timeline.label_studio.values import shortened

HEADER_SECONDS = 60.0  # s: for the TLS handshake, and again for the request and the headers of its answer
CHUNK_BYTES = 64 * 1024


def shown(url: str) -> str:
    """An address for a message: without user, password, query and fragment, which may be secret; on one line, short.

    Takes any text: of a text that is no address it shows only parts that cannot hold a secret.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return shortened(re.split(r"[?#]", url, maxsplit=1)[0])
    host, path = re.fullmatch(r"([^/\\?#]*)([^?#]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    host = host.rpartition("@")[2]
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.%]*\]|[^:\[\]]*)(:[0-9]*)?", host):  # such as a password with a slash in it
        return shortened(f"{scheme}://…")
    return shortened(f"{scheme}://{host}{path}")


def unsigned(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """The authorization of a request that needs none; keeps ~/.netrc and a password in the address out."""
    return request


def reason(error: requests.RequestException) -> str:
    """Why a request failed, in words; never the exception's own, which hold the whole address."""
    if isinstance(error, requests.Timeout):
        return "the server does not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__


def read_body(response: requests.Response, *, max_bytes: int, seconds: float) -> bytes:
    """The body of an answer that was asked for with `stream=True`, decompressed.

    Raises:
        requests.RequestException: the connection broke, the body is not compressed as it says, or `seconds` were not
            enough.
        ValueError: it has more than `max_bytes`.
    """
    deadline = time.monotonic() + seconds
    body = bytearray()
    try:
        # As it comes, not gathered to whole chunks: a byte now and then must not outlast the deadline.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > max_bytes:
                raise ValueError(f"more than {max_bytes:,} bytes")
            if time.monotonic() > deadline:
                raise requests.ReadTimeout
    except TimeoutHTTPError as error:
        raise requests.ReadTimeout from error
    except HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError from error
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, or nested more deeply than Python reads.
    """
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def session() -> requests.Session:
    """A session whose requests have deadlines."""
    made = requests.Session()
    for scheme in ("http", "https"):
        made.mount(f"{scheme}://", EndingAdapter())
    return made


class EndingAdapter(HTTPAdapter):
    """Requests whose headers come in time, or whose connection is cut."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As requests asks for it when the adapter is made."""
        super().init_poolmanager(*args, **kwargs)
        _cut_late_answers(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        """As requests asks for it before each request through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        _cut_late_answers(manager)
        return manager


def _cut_late_answers(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class _Watch:
    """Shuts a socket down unless it is stopped before HEADER_SECONDS are over.

    Attributes:
        is_over: whether the time was over before it was stopped.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = socket.socket(fileno=os.dup(sock.fileno()))  # TLS takes the first one's place in the handshake
        self._timer = threading.Timer(HEADER_SECONDS, self._shut_down)
        self._timer.daemon = True
        self.is_over = False
        self._timer.start()

    def stop(self) -> None:
        """Stop the watch."""
        self._timer.cancel()
        self._timer.join()
        self._sock.close()

    def _shut_down(self) -> None:
        self.is_over = True
        with suppress(OSError):  # the other side was quicker
            self._sock.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """A connection whose answer comes in time."""

    _watch: _Watch | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._stop_watching()
        self._watch = _Watch(sock)
        return sock

    def connect(self) -> None:
        with self._in_time():
            super().connect()

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        self._stop_watching()
        if self.sock is not None:
            self._watch = _Watch(self.sock)
        with self._in_time():
            response = super().getresponse(*args, **kwargs)
            if self._stop_watching():  # the end of the stream looks like the end of the headers
                raise TimeoutError
        return response

    def close(self) -> None:
        self._stop_watching()
        super().close()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Turns every error of a shut socket into a TimeoutError, which urllib3 and requests know."""
        try:
            yield
        except Exception as error:
            if self._stop_watching():
                raise TimeoutError from error
            raise

    def _stop_watching(self) -> bool:
        """Whether the last watch's time was over."""
        if self._watch is None:
            return False
        self._watch.stop()
        return self._watch.is_over


class _SecureConnection(_Connection, HTTPSConnection):
    """The same with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
