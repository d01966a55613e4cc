"""The demo's servers are its own, and end with it."""

from __future__ import annotations

import http.server
import sys
import threading
from pathlib import Path

import pytest
import requests

from demo.servers import ServerError, free_port, is_free, local_environ, running

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_server_answers_inside_of_the_block_and_is_gone_after_it(tmp_path: Path):
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running("The server", command, local_environ(), tmp_path / "log", port, "/"):
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).ok
    assert is_free(port)


def test_another_program_that_answers_in_its_place_is_not_taken_for_it(tmp_path: Path):
    # Two demos started at the same time: both found the port free, one got it.
    stranger = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=stranger.serve_forever).start()
    try:
        port = stranger.server_port
        with (
            pytest.raises(ServerError, match=f"another program has taken port {port}"),
            running("The server", SLEEPS, local_environ(), tmp_path / "log", port, "/"),
        ):
            pass
    finally:
        stranger.shutdown()
        stranger.server_close()


def test_one_that_ends_at_once_is_told_of_with_its_log(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    with (
        pytest.raises(ServerError, match="The server ended with exit code 1") as told,
        running("The server", command, local_environ(), tmp_path / "log", free_port(), "/"),
    ):
        pass
    assert "no such option" in str(told.value)
    assert str(tmp_path / "log") in str(told.value)


def test_a_port_in_use_is_passed_over():
    taken = free_port()
    with http.server.HTTPServer(("127.0.0.1", taken), http.server.SimpleHTTPRequestHandler):
        assert not is_free(taken)
        assert free_port(taken) > taken
