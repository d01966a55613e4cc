"""Plans and tasks that the tests of several files have."""

from __future__ import annotations

from typing import Any

from labeling_configs import CONFIG, XML
from omni_timeline.batch.outcomes import Plan, Predicted, Task
from omni_timeline.pipeline.options import PredictOptions

VERSION = "demo-1a2b3c4d-aabbcc"


def plan(version: str = VERSION) -> Plan:
    return Plan("3", XML, CONFIG, CONFIG.options(PredictOptions()), version)


def task(number: int) -> Task:
    return Task(str(number), number, {"video": f"/data/upload/{number}.mp4"})


def predicted(number: int, version: str = VERSION, **seconds: float) -> Predicted:
    entry: dict[str, Any] = {"model_version": version, "result": []}
    return Predicted(task(number), entry, False, seconds)
