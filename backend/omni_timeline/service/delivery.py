r"""How predictions get to Label Studio: in the answer to a request, or by a push.

    outbox -- next prediction that is due --> does Label Studio have it? -- yes --> settled
                                                                        \-- no ---> pushed, and the outcome recorded

Knows Label Studio's interface, what its errors mean, and when to leave it alone for a while. Knows nothing of how
predictions are made; the outbox decides which one is delivered when.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from omni_timeline.errors import DeliveryError, OmniTimelineError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.service.debts import Event
from omni_timeline.service.history import History
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Item, Pending
from omni_timeline.service.prometheus import Metrics

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0  # s without a push after Label Studio did not accept one
IDLE_SECONDS = 0.5  # s between two checks of the outbox when `wake` is not called

log = logging.getLogger(__name__)


class Api(Protocol):
    """The part of Label Studio's interface that is needed here."""

    def prediction_versions(self, task: int) -> list[str]:
        """The model versions of a task's predictions."""

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction."""


class Delivery:
    """Delivers what is in the outbox; pushes from `start` to `stop`. May be used by several threads.

    Args:
        outbox: the predictions that Label Studio is to get.
        api: Label Studio.
        history: gets the failures that people should know of.
        metrics: counts the outcomes.
        renew: makes the request for a pending task as it would be made now; may raise OmniTimelineError.
        clock: the clock of the outbox.

    Attributes:
        outbox: the predictions that Label Studio is to get.
        trouble: why pushing does not work at present; None if it does.
    """

    def __init__(
        self,
        outbox: Outbox,
        api: Api,
        history: History,
        metrics: Metrics,
        renew: Callable[[Pending], TaskRequest],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.outbox = outbox
        self.trouble: DeliveryError | None = None
        self._api = api
        self._history = history
        self._metrics = metrics
        self._renew = renew
        self._clock = clock
        self._paused_until = 0.0
        self._pause = FIRST_PAUSE
        self._stopping = threading.Event()
        self._call = threading.Event()

    def start(self) -> None:
        """Start the thread that pushes."""
        threading.Thread(target=self._run, name="delivery", daemon=True).start()

    def stop(self) -> None:
        """Start no more pushes, and end the waits of `answer`."""
        self._stopping.set()
        self._call.set()

    def wake(self) -> None:
        """Check the outbox now: there is something new in it."""
        self._call.set()

    def answer(self, items: Sequence[Item | None], arrived: float, deadline: float) -> list[dict[str, Any] | None]:
        """What a request gets for each prediction it asked for, in order; None for nothing.

        Args:
            items: the predictions; None for a task that has none.
            arrived: when the request arrived.
            deadline: when it has to be answered; what is not checked by then it does not get.
        """
        wanted = list(dict.fromkeys(item for item in items if item is not None))
        replies = dict(zip(wanted, self.outbox.answer(wanted, arrived, self._clock()), strict=True))
        for item, (_, check_until) in list(replies.items()):
            if check_until is not None and self._is_absent(item, check_until, deadline):
                [replies[item]] = self.outbox.answer([item], arrived, self._clock(), absent={item})
        self._metrics.tasks.labels("answered").inc(sum(reply.entry is not None for reply in replies.values()))
        # A prediction that was asked for twice is returned once.
        return [None if each is None or each not in replies else replies.pop(each).entry for each in items]

    def step(self) -> bool:
        """Deliver the next prediction that is due to be pushed. Whether there was one."""
        now = self._clock()
        pending = self.outbox.next_push(now) if now >= self._paused_until else None
        if pending is None:
            return False
        item, sent = pending.item, False
        try:
            if item.version in self._api.prediction_versions(item.task):
                self._settle(Event.FOUND, item, "there")
            elif (version := self._current_version(pending)) != item.version:
                self.outbox.renew(item, version, self._clock())
            elif self.outbox.push(pending, self._clock()):
                sent = True
                self._api.create_prediction(item.task, pending.entry or {})
                self._settle(Event.STORED, item, "pushed")
        except DeliveryError as error:
            self._handle(error, pending, sent)
        except Exception as unexpected:  # the thread has to continue
            log.exception("Pushing the prediction of task %s failed", item.task)
            sentence = f"Unexpected {type(unexpected).__name__}; the server's log says more."
            self._handle(DeliveryError("unclear", sentence), pending, sent)
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self.step():
                self._call.wait(IDLE_SECONDS)
                self._call.clear()

    def _is_absent(self, item: Item, check_until: float, deadline: float) -> bool:
        """Whether Label Studio does not have it and will no longer store it; False if that is unknown."""
        if max(check_until, self._clock()) > deadline:
            return False
        try:
            while True:
                now = self._clock()
                if item.version in self._api.prediction_versions(item.task):
                    self.outbox.record(Event.FOUND, item, now)
                    return False
                if now >= check_until:
                    return True
                if self._stopping.wait(check_until - now):
                    return False
        except DeliveryError:
            return False

    def _current_version(self, pending: Pending) -> str:
        """The current model version for the task; settings or the checkpoint may have changed since the request."""
        try:
            return self._renew(pending).version
        except OmniTimelineError:  # no longer predictable, but the prediction is made
            return pending.item.version

    def _settle(self, event: Event, item: Item, outcome: str) -> None:
        self.outbox.record(event, item, self._clock())
        self._metrics.tasks.labels(outcome).inc()
        self.trouble, self._pause = None, FIRST_PAUSE

    def _handle(self, error: DeliveryError, pending: Pending, sent: bool) -> None:
        """Record what an error means for this prediction, and pause before the next one if it is a temporary one."""
        item, now = pending.item, self._clock()
        is_final = error.kind in ("gone", "refused")
        self._metrics.push_trouble.labels(error.kind).inc()
        if is_final or str(self.trouble) != str(error):
            self._history.fail(str(item.task), pending.project, f"Not stored: {error}")
            log.warning("The prediction of task %s was not stored: %s", item.task, error)
        if is_final:
            self._settle(Event.DROPPED, item, "dropped" if error.kind == "gone" else "failed")
            return
        self.trouble = error
        self._paused_until = now + max(self._pause, error.retry_after)
        self._pause = min(2 * self._pause, MAX_PAUSE)
        event = Event.UNCHECKED if not sent else Event.LOST if error.kind == "unclear" else Event.REFUSED
        self.outbox.record(event, item, now, due=self._paused_until)
