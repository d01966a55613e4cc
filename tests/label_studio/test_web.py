from __future__ import annotations

import gzip
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_timeline.label_studio.web import parse_json, read_body, session, shown
from sites import Site, answer


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://host:8080/a/b.mp4", "https://host:8080/a/b.mp4"),
        ("https://host/a.mp4?X-Amz-Signature=SECRET#SECRET", "https://host/a.mp4"),
        ("https://host/a.mp4#SECRET", "https://host/a.mp4"),
        ("http://user:SECRET@host/a.mp4", "http://host/a.mp4"),
        ("http://user:SE@CRET@host/a.mp4", "http://host/a.mp4"),
        ("http://user:SEC/RET@host/a.mp4", "http://…"),  # not an address; a password may be in it
        ("http://user:SEC?RET@host/a.mp4", "http://…"),
        ("http://[::1]:80/a.mp4?SECRET", "http://[::1]:80/a.mp4"),
        ("http://[::1/a.mp4?SECRET", "http://…"),
        ("http://?SECRET", "http://"),
        ("s3://bucket/me@home.mp4", "s3://bucket/me@home.mp4"),
        ("/data/upload/1/a.mp4?SECRET", "/data/upload/1/a.mp4"),
        ("http://host/a\tb\ud800\n.mp4", "http://host/a\\tb\\ud800\\n.mp4"),
        ("http://host/" + "x" * 300, "http://host/" + "x" * 188 + "…"),
        ("", ""),
    ],
)
def test_an_address_in_a_message_holds_no_secret(url: str, message: str):
    assert shown(url) == message


@settings(max_examples=200)
@given(st.text(alphabet="ab:/@?#[]\\.%\n\ud800é", max_size=30))
def test_any_text_can_be_shown(text: str):
    assert shown(text).isprintable()
    assert "SECRET" not in shown(f"http://{text}?SECRET")
    assert "SECRET" not in shown(f"http://user:SECRET@{text}".partition("/@")[0])


# --- bodies ----------------------------------------------------------------------------------------------------------


def body_of(site: Site, path: str = "/", **limits: float) -> bytes:
    limits = {"max_bytes": 1000, "seconds": 10.0} | limits
    with session() as asking, asking.get(f"{site.url}{path}", stream=True, timeout=5) as response:
        return read_body(response, max_bytes=int(limits["max_bytes"]), seconds=limits["seconds"])


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_body_is_read_whole(size: int, make_site: Callable[[], Site]):
    site = make_site()
    site.pages["/"] = lambda page: answer(page, b"x" * size)
    assert body_of(site) == b"x" * size


def test_a_body_that_is_too_large_is_refused_though_it_is_small_while_compressed(make_site: Callable[[], Site]):
    """400 MB of blanks are 389 kB with gzip."""
    site = make_site()
    bomb = gzip.compress(b" " * 50_000_000)
    site.pages["/"] = lambda page: answer(page, bomb, Content_Encoding="gzip")
    site.pages["/small"] = lambda page: answer(page, gzip.compress(b"small"), Content_Encoding="gzip")
    with pytest.raises(ValueError, match="more than 100,000 bytes"):
        body_of(site, max_bytes=100_000)
    assert body_of(site, "/small") == b"small"


def test_a_body_that_drips_does_not_outlast_its_time(make_site: Callable[[], Site]):
    """A byte now and then keeps every time-out between two bytes from coming."""
    site = make_site()

    def drips(page: BaseHTTPRequestHandler) -> None:
        answer(page, b"", Content_Length=1000)
        for _ in range(200):
            page.wfile.write(b"x")
            page.wfile.flush()
            time.sleep(0.02)

    site.pages["/"] = drips
    began = time.monotonic()
    with pytest.raises(requests.ReadTimeout):
        body_of(site, seconds=0.2)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("headers", [{"Content_Length": 10}, {"Content_Encoding": "gzip"}])
def test_a_body_that_breaks_off_or_is_not_compressed_as_it_says_is_a_broken_connection(
    headers: dict[str, object], make_site: Callable[[], Site]
):
    site = make_site()

    def breaks(page: BaseHTTPRequestHandler) -> None:
        answer(page, b"short", **headers)
        page.close_connection = True

    site.pages["/"] = breaks
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        body_of(site)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_a_value_error(body: bytes):
    assert parse_json(b'{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(body)


# --- headers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def dripping() -> Iterator[Callable[[ssl.SSLContext | None], int]]:
    """The port of a server that sends the headers of its answer byte by byte, for ever; with TLS or without."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(tls: ssl.SSLContext | None) -> None:
            connection, _ = server.accept()
            with connection if tls is None else tls.wrap_socket(connection, server_side=True) as talking:
                try:
                    talking.recv(10_000)
                    talking.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
                    while True:
                        talking.sendall(b"x")
                        time.sleep(0.02)
                except OSError:
                    pass  # the client is gone

        def start(tls: ssl.SSLContext | None) -> int:
            threading.Thread(target=serve, args=(tls,), daemon=True).start()
            return int(server.getsockname()[1])

        yield start


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_headers_that_drip_do_not_outlast_their_time(
    scheme: str, dripping: Callable[[ssl.SSLContext | None], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("omni_timeline.label_studio.web.HEADER_SECONDS", 0.3)
    port = dripping(certificate(tmp_path) if scheme == "https" else None)
    began = time.monotonic()
    with session() as asking, pytest.raises(requests.Timeout):
        asking.get(f"{scheme}://127.0.0.1:{port}/", timeout=5, verify=False, stream=True)
    assert time.monotonic() - began < 3


@pytest.mark.filterwarnings("ignore:Unverified HTTPS")
def test_a_tls_handshake_that_never_ends_is_cut(
    dripping: Callable[[ssl.SSLContext | None], int], monkeypatch: pytest.MonkeyPatch
):
    """The server speaks no TLS: the first bytes it drips are taken for a long record."""
    monkeypatch.setattr("omni_timeline.label_studio.web.HEADER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB follows
                    while True:
                        connection.sendall(b"\x02")
                        time.sleep(0.02)
                except OSError:
                    pass

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with session() as asking, pytest.raises(requests.Timeout):
            asking.get(f"https://127.0.0.1:{server.getsockname()[1]}/", timeout=5, verify=False)
        assert time.monotonic() - began < 3


def test_no_watch_outlives_its_request(make_site: Callable[[], Site]):
    site = make_site()
    content = random.Random(2).randbytes(100_000)
    site.pages["/"] = lambda page: answer(page, content)
    before = {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
    with session() as asking:
        for _ in range(3):
            with asking.get(site.url, stream=True, timeout=5) as response:
                assert not {t for t in threading.enumerate() if isinstance(t, threading.Timer)} - before
                assert read_body(response, max_bytes=10**6, seconds=5) == content


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate of its own making."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=127.0.0.1"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
