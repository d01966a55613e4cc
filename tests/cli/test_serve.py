"""`serve` in a process of its own: its options win over the environment variables."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import requests

from command_line import run
from demo.servers import free_port, local_environ, running

READY_SECONDS = 120.0


def test_an_option_wins_over_its_variable(tmp_path: Path):
    port = free_port()
    command = [sys.executable, "-m", "omni_timeline", "serve", "--port", str(port), "--model", "demo"]
    environ = local_environ(PORT="1", MODEL=str(tmp_path / "no checkpoint"), CACHE_DIR=str(tmp_path / "cache"))
    with running("The server", command, environ, tmp_path / "log", port, "/health"):
        deadline = time.monotonic() + READY_SECONDS
        while (answer := requests.get(f"http://127.0.0.1:{port}/health", timeout=30).json())["state"] == "loading":
            assert time.monotonic() < deadline, answer
            time.sleep(0.2)
    assert answer["state"] == "ready"


def test_an_invalid_variable_ends_with_2_and_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCORE_THRESHOLD", "lots")
    code, out, err = run(capsys, "serve")
    assert (code, out) == (2, "")
    assert "SCORE_THRESHOLD" in err
