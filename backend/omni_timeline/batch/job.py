r"""One job: tasks are listed, predicted by an engine, and stored; how often a task is tried, and when the job is over.

    listing --> handed out: at most as many as the engine can use --> engine --> Predicted --> sink --> settled
                                                                             \-- Failed -------------> settled
                                                                             \-- Postponed, or lost --> next pass

A pass ends when the list does. What was postponed, and what an engine has lost with a machine, is still without a
prediction, so the next pass lists it again, until it was tried once more after each of RETRY_SECONDS. Of a task that is
done no more than its key is kept in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from omni_timeline.batch.outcomes import AlreadyThere, Failed, Outcome, Postponed, Predicted, Task
from omni_timeline.batch.report import Report

RETRY_SECONDS = (10.0, 30.0, 90.0, 270.0)  # s until a task is tried again; after the last one it has failed
POLL_SECONDS = 10.0  # s between two looks for new tasks
LOST = "The machine or the process that predicted it was lost."

log = logging.getLogger(__name__)


class Engine(Protocol):
    """Predicts tasks.

    Attributes:
        capacity: how many tasks it has a use for at a time.
    """

    capacity: int

    def outcomes(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """What comes of the tasks, in any order. A task may be lost, and may come twice.

        Takes the next task when there is room for it, in whichever thread; that may wait for a long time.
        """


class Sink(Protocol):
    """Takes predictions, and settles them some time."""

    def put(self, predicted: Predicted) -> None:
        """Take a prediction; may wait."""

    def flush(self) -> None:
        """Return when all are settled."""


class Job:
    """Predicts the tasks of a list.

    Args:
        tasks: lists what is to be predicted now, each time it is iterated over; also says what is known of tasks that
            are not to be predicted.
        engine: predicts.
        report: counts.
        limit: how many tasks are predicted; None for all.
        follow: whether to look for new tasks until it is stopped.
        between_passes: called after each pass, and in `follow` after each look at the list.
        poll_seconds: between two looks at the list in `follow`.
        retry_seconds: until a task is tried again, for each time.

    Attributes:
        report: what became of the tasks so far.
    """

    def __init__(
        self,
        tasks: Iterable[Task | AlreadyThere | Failed],
        engine: Engine,
        report: Report,
        *,
        limit: int | None = None,
        follow: bool = False,
        between_passes: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self.report = report
        self._tasks = tasks
        self._engine = engine
        self._limit = limit
        self._follow = follow
        self._between_passes = between_passes
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._change = threading.Condition()
        self._stopping = False
        self._passes = 0
        self._is_open = False
        self._handed_out = 0
        self._in_flight: dict[str, Task] = {}
        self._over: set[str] = set()  # tasks that nothing is left to do for
        self._retries: dict[str, _Retry] = {}

    def stop(self) -> None:
        """Begin nothing more; what is worked on is finished."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping

    @property
    def in_flight(self) -> int:
        """How many tasks are worked on."""
        return len(self._in_flight)

    def run(self, sink: Sink) -> None:
        """Predict until nothing is left to do, or it is stopped.

        Raises:
            OmniTimelineError: the tasks cannot be listed, predicted or stored, whatever they are.
        """
        while True:
            self._run_pass(sink)
            self._between_passes()
            self._put_off_what_is_lost()
            with self._change:
                # A task that was not listed again has been deleted, or predicted by another program.
                self._retries = {key: retry for key, retry in self._retries.items() if retry.listed == self._passes}
                due = min((retry.due for retry in self._retries.values()), default=None)
                if self._stopping or (due is None and not self._follow):
                    return
            self._wait_until(time.monotonic() + self._poll_seconds if due is None else due)

    def settle(self, outcome: Outcome) -> None:
        """Take what came of a task in the end."""
        key = outcome.task.key
        with self._change:
            if self._in_flight.pop(key, None) is None:
                return  # it was settled before
            outcome = self._put_off(outcome) if isinstance(outcome, Postponed) else outcome
            if not isinstance(outcome, Postponed):
                self._retries.pop(key, None)
                self._over.add(key)
            self._change.notify_all()
        self.report.add(outcome)

    def _run_pass(self, sink: Sink) -> None:
        """Predict what is listed now."""
        self._passes += 1
        self._is_open = True
        tasks = self._hand_out(self._passes)
        if (first := next(tasks, None)) is not None:  # nothing is started where there is nothing to do
            for outcome in self._engine.outcomes(chain([first], tasks)):
                self._take_outcome(outcome, sink)
        with self._change:
            self._is_open = False  # an engine that broke off may still wait in `_hand_out`
            self._change.notify_all()
        sink.flush()

    def _take_outcome(self, outcome: Outcome, sink: Sink) -> None:
        with self._change:
            is_awaited = outcome.task.key in self._in_flight
        if is_awaited and isinstance(outcome, Predicted):
            sink.put(outcome)
        else:
            self.settle(outcome)

    def _hand_out(self, number: int) -> Iterator[Task]:
        """The tasks of a pass, each when there is room for it."""
        while True:
            for task in self._tasks:
                if isinstance(task, AlreadyThere | Failed):
                    self._note(task)
                    continue
                if (retry := self._retries.get(task.key)) is not None:
                    retry.listed = number
                elif self._limit is not None and self._handed_out >= self._limit:
                    if not self._retries:
                        return
                    continue
                if self._take(task, number):
                    yield task
                if self._is_over(number):
                    return
            if not self._follow:
                return
            self._between_passes()
            self._wait_until(time.monotonic() + self._poll_seconds)
            if self._is_over(number):
                return

    def _take(self, task: Task, number: int) -> bool:
        """Whether a task is to be predicted now; waits for room."""
        with self._change:
            self._change.wait_for(lambda: self._is_over(number) or len(self._in_flight) < self._engine.capacity)
            if self._is_over(number) or task.key in self._in_flight or task.key in self._over:
                return False
            retry = self._retries.get(task.key)
            if retry is not None and time.monotonic() < retry.due:
                return False
            self._in_flight[task.key] = task
            self._handed_out += retry is None
            return True

    def _note(self, outcome: AlreadyThere | Failed) -> None:
        """Count a task of the list that is not to be predicted, once."""
        with self._change:
            if outcome.task.key in self._over:
                return
            self._over.add(outcome.task.key)
        self.report.add(outcome)

    def _is_over(self, number: int) -> bool:
        return self._stopping or not self._is_open or number != self._passes

    def _put_off(self, outcome: Postponed) -> Outcome:
        """What becomes of a task that came to nothing this time."""
        task = outcome.task
        tried = self._retries[task.key].tried if task.key in self._retries else 0
        if tried == len(self._retry_seconds):
            return Failed(task, f"{outcome.reason} It was tried {tried + 1} times.")
        log.info("Task %s is tried again: %s", task.key, outcome.reason)
        self._retries[task.key] = _Retry(tried + 1, time.monotonic() + self._retry_seconds[tried], self._passes)
        return outcome

    def _put_off_what_is_lost(self) -> None:
        """Put off what a pass has left unsettled."""
        with self._change:
            lost = list(self._in_flight.values())
        for task in lost:
            self.settle(Postponed(task, LOST))

    def _wait_until(self, deadline: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopping, max(0.0, deadline - time.monotonic()))


@dataclass
class _Retry:
    """A task that is tried again.

    Attributes:
        tried: how often it came to nothing.
        due: when it is tried again, on time.monotonic's clock.
        listed: the last pass in which it was found without a prediction.
    """

    tried: int
    due: float
    listed: int
