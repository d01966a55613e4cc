"""What each project asks of the model, and the model version that makes.

Knows labeling configs, options and the checkpoint's version. Knows no HTTP, and nothing of how a prediction is made.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from omni_timeline.errors import LabelConfigError, ModelError, RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import Model
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.pipeline.options import PredictOptions

KEPT_CONFIGS = 32  # that are not read again; one may have two million characters
RECENT_PROJECTS = 20

log = logging.getLogger(__name__)

OnFailure = Callable[[str, str, str], None]
"""Called with a task's id ("" for none), a project's id and a sentence for the status page."""


@dataclass(frozen=True)
class Project:
    """How a project is predicted now.

    Attributes:
        number: the project's id, or "".
        config: its labeling config.
        options: what the model is asked for it.
        version: the model version of its predictions.
        learned: the name of the learned version in use; "" for the model as it came.
    """

    number: str
    config: LabelConfig
    options: PredictOptions
    version: str
    learned: str = ""

    def request(self, task: int | None, data: Mapping[str, Any], xml: str) -> TaskRequest:
        """What to predict for a task with these data; `xml` is the labeling config that this was found for."""
        return TaskRequest(task, self.number, data, xml, self.config, self.options, self.version)


class Projects:
    """The projects that ask. May be used by several threads.

    Args:
        model: its checkpoint is part of every version.
        options: those of the service, before a project has its say.
        versions: what was learned, and what of it is in use.
        on_failure: called for each unusable config, and for each task that is refused.
    """

    def __init__(self, model: Model, options: PredictOptions, versions: LearnedVersions, on_failure: OnFailure) -> None:
        self._model = model
        self._options = options
        self._versions = versions
        self._on_failure = on_failure
        self._read = lru_cache(KEPT_CONFIGS)(LabelConfig.from_xml)
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, Project] = OrderedDict()

    def config(self, xml: str, number: str) -> LabelConfig:
        """A project's labeling config.

        Raises:
            LabelConfigError: it has no place for a segment; `on_failure` is told.
        """
        try:
            return self._read(xml)
        except LabelConfigError as error:
            self._on_failure("", number, str(error))
            raise

    def find(self, xml: str, number: str, seconds: float) -> Project:
        """How a project with this config is predicted now.

        Raises:
            LabelConfigError: the config has no place for a segment.
            ModelError: the checkpoint's version is not known within `seconds`, or there is no model.
        """
        config = self.config(xml, number)
        checkpoint = self._model.wait_for_version(seconds)
        if self._model.error is not None:
            raise self._model.error
        if checkpoint is None:
            # With "model_version": null Label Studio would take every task for one without a prediction.
            raise ModelError("The model is still loading; try again in a moment.")
        learned = self._learned(number, checkpoint)
        options = config.options(learned.options if learned else self._options)
        project = Project(number, config, options, options.version(checkpoint), learned.name if learned else "")
        with self._lock:
            self._recent[number] = project
            self._recent.move_to_end(number)
            while len(self._recent) > RECENT_PROJECTS:
                self._recent.popitem(last=False)
        return project

    def _learned(self, number: str, checkpoint: str) -> LearnedVersion | None:
        """The learned version of a project; None where none is in use, or it cannot be: `on_failure` is told why."""
        if not number:
            return None
        try:
            learned = self._versions.in_use(int(number))
            if learned is not None:
                learned.check_base(checkpoint)
        except RequestError as error:
            self._on_failure("", number, f"Its learned version is not used, but the model as it came. {error}")
            return None
        return learned

    def requests(self, tasks: Sequence[Any], xml: str, project: Project) -> list[TaskRequest | None]:
        """What to predict for tasks as Label Studio sends them; None for one without a video.

        `on_failure` is called once for all of these.
        """
        refused: list[tuple[int | None, RequestError]] = []
        found: list[TaskRequest | None] = []
        for task in tasks:
            number, data = (task.get("id"), task.get("data")) if isinstance(task, dict) else (None, None)
            number = number if type(number) is int and abs(number) < 2**63 else None
            try:
                if not isinstance(data, dict):
                    raise RequestError("The task has no data.")
                project.config.files_of(data)
                found.append(project.request(number, project.config.needed_data(data), xml))
            except RequestError as error:
                refused.append((number, error))
                found.append(None)
        if refused:
            number, why = refused[0]
            more = f" The request has {len(refused):,} such tasks." if len(refused) > 1 else ""
            self._on_failure("" if number is None else str(number), project.number, f"{why}{more}")
            log.warning("Task %s has no prediction: %s%s", number, why, more)
        return found

    def recent(self) -> list[Project]:
        """Those that asked last, newest first."""
        with self._lock:
            return list(reversed(self._recent.values()))
