"""A task, how it is predicted, and what came of it: plain values that cross processes and machines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from omni_timeline.errors import OmniTimelineError, RetryableError
from omni_timeline.label_studio.addresses import video_name
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.pipeline.options import PredictOptions

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A task to predict.

    Attributes:
        key: tells it apart from the others; what people call it.
        id: its number in Label Studio; None for one that Label Studio does not keep.
        data: its data.
    """

    key: str
    id: int | None
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """How the tasks of one project are predicted.

    Attributes:
        project: its number, or "".
        xml: its labeling config as text.
        config: its labeling config.
        options: what the model is asked.
        version: the model version of the predictions.
    """

    project: str
    xml: str
    config: LabelConfig
    options: PredictOptions
    version: str

    def request(self, task: Task) -> TaskRequest:
        """What is asked about a task."""
        return TaskRequest(task.id, self.project, task.data, self.xml, self.config, self.options, self.version)

    def video(self, task: Task) -> str:
        """What a person calls the video of a task, the first of several; "" where it has none."""
        try:
            [first, *_] = self.config.files_of(task.data)
            return video_name(first.video_url(task.data))
        except OmniTimelineError:
            return ""


@dataclass(frozen=True)
class Predicted:
    """A task has a prediction.

    Attributes:
        task: the task.
        entry: the prediction as Label Studio stores it.
        is_kept: whether the video was predicted before, and the model not asked now.
        seconds: how long each stage took.
    """

    task: Task
    entry: Mapping[str, Any]
    is_kept: bool
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class AlreadyThere:
    """A task had a prediction of this version already."""

    task: Task


@dataclass(frozen=True)
class Failed:
    """A task cannot be predicted; `reason` is a sentence for the person who can change that."""

    task: Task
    reason: str


@dataclass(frozen=True)
class Postponed:
    """A task cannot be predicted now, but perhaps later; `reason` is a sentence on why."""

    task: Task
    reason: str


Outcome = Predicted | AlreadyThere | Failed | Postponed


def attempt(task: Task, act: Callable[[], T]) -> T | Failed | Postponed:
    """What `act` returns for a task, or why it does not. Whatever happens to one task must not cost the others."""
    try:
        return act()
    except RetryableError as error:
        return Postponed(task, str(error))
    except OmniTimelineError as error:
        return Failed(task, str(error))
    except Exception as error:
        log.exception("Failed at task %s", task.key)
        return Failed(task, f"Unexpected {type(error).__name__}; the log says more. Please report this.")
