"""A Ray of its own on this machine."""

from __future__ import annotations

import pytest
import ray

from omni_timeline.batch.cluster import connected
from omni_timeline.batch.machines import Wanted
from omni_timeline.model.wire import Load


def test_without_an_address_another_programs_cluster_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    """Ray joins one that runs on this machine, or that RAY_ADDRESS names, unless it is told not to."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with connected(None, Load("demo"), Wanted(workers=3, decoders=2)) as cluster:
        assert int(ray.cluster_resources()["CPU"]) >= 5
        assert len(cluster.admission().admitted) == 1
