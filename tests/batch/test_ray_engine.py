"""The engine on a Ray of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from omni_timeline.batch.cluster import connected
from omni_timeline.batch.machines import Wanted
from omni_timeline.batch.nodes import Parts
from omni_timeline.batch.outcomes import Failed, Plan, Task
from omni_timeline.batch.ray_engine import RayEngine
from omni_timeline.label_studio.exports import FolderVideos
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache

from .plans import plan

IDLE_SECONDS = 45.0  # s; an hour otherwise. A busy machine takes half of it to start the model


def test_a_pass_that_waits_for_tasks_ends_in_peace(tmp_path: Path):
    """`--follow` once ended with Ray's ExecutionTimeoutError, an hour after the last task."""

    def make_parts() -> Parts:
        return Parts(FolderVideos(tmp_path), PredictionCache(tmp_path / "cache", 10**6), DecodeLimits())

    over = threading.Event()

    def tasks() -> Iterator[Task]:
        yield Task("1", 1, {"video": "missing.mp4"})
        over.wait()

    load = Load("demo", device="cpu")
    described: Plan = plan(Checkpoint.find("demo").version)
    with connected(None, load, Wanted(workers=1, decoders=1)) as cluster:
        engine = RayEngine(cluster, make_parts, described, load, stuck_seconds=IDLE_SECONDS)
        [first] = engine.outcomes(tasks())
        over.set()
        [second] = engine.outcomes(iter([Task("2", 2, {"video": "another.mp4"})]))
    assert isinstance(first, Failed)
    assert isinstance(second, Failed)
    assert "missing.mp4" in first.reason
    assert "another.mp4" in second.reason
