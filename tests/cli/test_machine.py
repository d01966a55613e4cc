"""What the settings of a machine say about predicting there."""

from __future__ import annotations

from pathlib import Path

import pytest

from omni_timeline.cli.machine import ThisMachine


def test_a_machine_predicts_by_its_own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Two of these were heeded by the server alone, so that a GPU that hangs held a whole job up for ten minutes."""
    settings = {"MODEL_SILENCE_SECONDS": "33", "CLIP_MEMORY_BYTES": str(100 * 1024**2), "DECODE_SECONDS": "7"}
    for name, value in {**settings, "CACHE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    parts = ThisMachine(None, None)()
    assert (parts.silence_seconds, parts.clip_bytes, parts.limits.seconds) == (33.0, 100 * 1024**2, 7.0)
