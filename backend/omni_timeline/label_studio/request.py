"""A request of Label Studio: one task, and the options of its project.

Knows nothing of queues, of videos or of how a prediction is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.pipeline.options import PredictOptions


@dataclass(frozen=True)
class TaskRequest:
    """One task to predict.

    Attributes:
        task: its id; None for one that Label Studio does not keep.
        project: the project's id, or "".
        data: the task's data.
        xml: the labeling config as text.
        config: the labeling config.
        options: the options of the prediction.
        version: the model version of the prediction.
    """

    task: int | None
    project: str
    data: Mapping[str, Any]
    xml: str
    config: LabelConfig
    options: PredictOptions
    version: str

    @cached_property
    def content(self) -> str:
        """A text that changes with the task's data and with the labeling config."""
        return hashlib.sha256(f"{_digest(self.xml)} {json.dumps(self.data, sort_keys=True)}".encode()).hexdigest()


@lru_cache(maxsize=32)
def _digest(xml: str) -> str:
    return hashlib.sha256(xml.encode()).hexdigest()
