"""What Label Studio reports: events are counted, new tasks are predicted, corrections are learned from.

Knows events. Knows nothing of how a prediction is made, of how it gets to Label Studio or of how anything is learned.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from omni_timeline.errors import DeliveryError, ModelError, OmniTimelineError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.service.bodies import WebhookBody
from omni_timeline.service.projects import OnFailure, Projects
from omni_timeline.service.prometheus import Metrics

EVENTS = (
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "TASKS_CREATED",
    "TASKS_DELETED", "PROJECT_CREATED", "PROJECT_UPDATED", "PROJECT_DELETED", "START_TRAINING",
)  # fmt: skip
CORRECTED = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED")
MAX_EVENTS = 1000  # of new tasks that wait to be looked at
PAUSES = (1.0, 5.0, 30.0)  # s before an event is tried again

log = logging.getLogger(__name__)


class Api(Protocol):
    """What is needed of Label Studio."""

    def label_config(self, project: int) -> str:
        """A project's labeling config, which events do not always have."""


class Learner(Protocol):
    """The interface of the learner; both calls return at once."""

    def request(self, project: int, *, wants_learning: bool, annotation_count: int | None) -> str:
        """Queue the project of a Start Training; returns a sentence for the person who pressed it."""

    def corrected(self, project: int, annotations: Sequence[int], *, wants_learning: bool) -> None:
        """Note annotations that were made or changed."""


class Webhooks:
    """Takes events. `start` begins with new tasks, in a thread of its own.

    Args:
        projects: how each project is predicted.
        api: Label Studio; None when new tasks are not to be predicted.
        predict: has tasks predicted and stored in Label Studio when it is their turn.
        learner: learns from corrections.
        on_failure: called for each event that leads to nothing.
        metrics: counts events.
        version_seconds: how long a new task waits for the checkpoint's version to be known.
        pauses: before an event is tried again, in seconds.
    """

    def __init__(
        self,
        projects: Projects,
        api: Api | None,
        predict: Callable[[Sequence[TaskRequest]], None],
        learner: Learner,
        on_failure: OnFailure,
        metrics: Metrics,
        *,
        version_seconds: float,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._projects = projects
        self._api = api
        self._predict = predict
        self._learner = learner
        self._on_failure = on_failure
        self._metrics = metrics
        self._version_seconds = version_seconds
        self._pauses = pauses
        self._stopping = threading.Event()
        self._created: queue.Queue[WebhookBody] = queue.Queue(MAX_EVENTS)

    def start(self) -> None:
        """Predict the tasks of events from now on."""
        threading.Thread(target=self._run, name="new-tasks", daemon=True).start()

    def stop(self) -> None:
        """Try nothing again."""
        self._stopping.set()

    def take(self, body: WebhookBody) -> str | None:
        """Count an event; what it leads to is done later. A sentence for the person who pressed a button; else None."""
        name = body.event if body.event in EVENTS else "other"
        self._metrics.webhooks.labels(name).inc()
        log.debug("Webhook: %s", name)
        if body.event == "TASKS_CREATED" and self._api is not None:
            try:
                self._created.put_nowait(body)
            except queue.Full:
                self._on_failure("", "", "Too many new tasks at a time: retrieve the predictions of some of them.")
        if body.event == "START_TRAINING" and body.project is not None:
            return self._learner.request(
                body.project, wants_learning=body.wants_learning, annotation_count=body.annotation_count
            )
        if body.event in CORRECTED and body.project is not None:
            self._learner.corrected(body.project, body.annotations, wants_learning=body.wants_learning)
        return None

    def _run(self) -> None:
        while True:
            self.predict_created(self._created.get())

    def predict_created(self, body: WebhookBody) -> None:
        """Have the tasks of one event predicted; tried again where that can help. Raises nothing."""
        for pause in (*self._pauses, None):
            try:
                self._predict_once(body)
                return
            except OmniTimelineError as error:
                if pause is None or not _may_pass(error) or self._stopping.wait(pause):
                    project = "" if body.project is None else str(body.project)
                    self._on_failure("", project, f"New tasks are not predicted: {error}")
                    log.warning("New tasks of project %s are not predicted: %s", project, error)
                    return
            except Exception:  # the events after it must not suffer
                log.exception("New tasks are not predicted")
                return

    def _predict_once(self, body: WebhookBody) -> None:
        """Have the tasks of one event predicted.

        Raises:
            DeliveryError: Label Studio does not give the project's labeling config.
            OmniTimelineError: the project cannot be predicted, or not now.
        """
        if self._api is None or body.project is None or not body.tasks:
            return
        xml = self._api.label_config(body.project)
        project = self._projects.find(xml, str(body.project), self._version_seconds)
        requests = self._projects.requests(body.tasks, xml, project)
        self._predict([request for request in requests if request is not None])


def _may_pass(error: OmniTimelineError) -> bool:
    """Whether trying again can help."""
    if isinstance(error, DeliveryError):
        return error.kind not in ("gone", "refused")
    return isinstance(error, ModelError)
