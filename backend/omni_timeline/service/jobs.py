r"""The queue: tasks that wait to be predicted, requests that wait for them, and the threads that do the work.

    tasks of one request      ---> a group \
    tasks of another request  ---> a group  >---> groups take turns ---> begun ---> outbox
    tasks pending from before ---> a group /

Groups take turns, so that a person who opens one task waits neither for another person's batch nor for what was pending
at a restart. A project may have half of the room that the others leave, so that one with very long videos does not
keep a newcomer waiting. A task that several requests ask for is predicted once. A request is answered when all its
tasks are done, or at its deadline; Label Studio gets by a push what the answer does not contain.

Knows turns and deadlines. Knows nothing of HTTP, of videos, of how a prediction is made or how it is delivered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from omni_timeline.errors import BusyHostError, OmniTimelineError, RetryableError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import BEFORE_THE_MODEL, TaskPrediction
from omni_timeline.pipeline.prediction import OnProgress, Priority, Progress
from omni_timeline.service.debts import Debt, Event
from omni_timeline.service.delivery import Delivery
from omni_timeline.service.history import History, TaskLine
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Item, Pending
from omni_timeline.service.prometheus import Metrics
from omni_timeline.service.shares import Shares
from omni_timeline.service.turns import Turns

MAX_BEGUN = 128  # tasks whose videos are fetched, decoded or with the model; each has a thread, which mostly waits
MAX_JOBS = 50_000  # tasks that wait or are pending
MAX_ATTEMPTS = 3  # to predict a task, if the process crashes each time
IDLE_SECONDS = 0.5  # s between two checks for pending tasks when there are no requests
REFUSAL = "{:,} tasks were refused because {:,} are waiting; retrieve their predictions again when there are fewer."

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """The work on one task.

    Attributes:
        item: the prediction that Label Studio is to get; None for a task without an id.
        task: the task's id, or "".
        project: the project's id, or "".
        request: makes the request; may raise OmniTimelineError.
        state: whether it waits for its turn, is being worked on, or is over, with or without a prediction.
        entry: the prediction, if there is one.
        until: the latest deadline of the requests that wait for it.
        priority: how urgent it is.
        began: when the work on it began.
        stage: how far it is, in words.
        is_counted: whether the outbox has counted an attempt.
    """

    item: Item | None
    task: str
    project: str
    request: Callable[[], TaskRequest]
    state: Literal["waiting", "running", "over"] = "waiting"
    entry: dict[str, Any] | None = None
    until: float = 0.0
    priority: Priority = Priority.BACKGROUND
    began: float = 0.0
    stage: str = "begins"
    is_counted: bool = False


class Jobs:
    """The queue, and the work on what is in it, from `start` to `stop`.

    Args:
        predict: makes the prediction of a task; a RetryableError defers the task, any other error is final.
        renew: makes the request for a pending task as it would be made now; may raise OmniTimelineError.
        delivery: delivers predictions to Label Studio; None if there is no access to it.
        history: gets predictions and failures for the status page.
        metrics: counts the outcomes.
        has_room: whether a video could be fetched from a host that was busy.
        max_waiting: how many requests may wait at a time; others are answered at once, and their predictions pushed.
        max_begun: how many tasks are worked on at a time.
        max_jobs: how many tasks may wait or be pending; more are refused.
    """

    def __init__(
        self,
        predict: Callable[[TaskRequest, OnProgress, Priority], TaskPrediction],
        renew: Callable[[Pending], TaskRequest],
        delivery: Delivery | None,
        history: History,
        metrics: Metrics,
        *,
        max_waiting: int,
        has_room: Callable[[str], bool] = lambda host: True,
        max_begun: int = MAX_BEGUN,
        max_jobs: int = MAX_JOBS,
    ) -> None:
        self._predict = predict
        self._renew = renew
        self._delivery = delivery
        self._history = history
        self._metrics = metrics
        self._admitted = threading.Semaphore(max_waiting)
        self._has_room = has_room
        self._max_jobs = max_jobs
        # A job and the outbox change together, under this lock: if a task fails while it is asked for again, either
        # both requests share the failure, or the task is pending and predicted again.
        self._change = threading.Condition()
        self._jobs: dict[object, Job] = {}  # that are not over, by item
        self._shares = Shares(max_begun)
        self._turns = Turns[Job](
            lambda job: job.state == "waiting", lambda job: self._shares.has(job.project), self._next_pending
        )
        self._stopping = False

    def start(self) -> None:
        """Begin with what is in the queue."""
        threading.Thread(target=self._begin, name="begin", daemon=True).start()

    def stop(self) -> None:
        """Answer the requests that wait, and start no more work. What is pending stays in the journal."""
        with self._change:
            self._stopping = True
            counted = [job for job in self._jobs.values() if job.is_counted]
            if self._delivery is not None:
                self._delivery.outbox.undo_attempts(job.item for job in counted if job.item is not None)
            for job in counted:
                job.is_counted = False
            self._change.notify_all()

    def ask(self, requests: Sequence[TaskRequest | None], deadline: float) -> list[dict[str, Any] | None]:
        """One entry for each task, in order: its prediction, or None where there is none yet or never.

        Args:
            requests: None for what is no task.
            deadline: when to answer at the latest, on time.monotonic's clock.
        """
        arrived = time.monotonic()
        may_wait = self._admitted.acquire(blocking=False)
        try:
            jobs = self._take(requests, deadline if may_wait else arrived, Priority.REQUEST)
            if may_wait:
                with self._change:
                    self._change.wait_for(
                        lambda: self._stopping or all(job.state == "over" for job in jobs if job is not None),
                        max(0.0, deadline - time.monotonic()),
                    )
            else:
                log.warning("%d tasks are answered later: too many requests wait", len(requests))
        finally:
            if may_wait:
                self._admitted.release()
        if self._delivery is None:
            return [None if job is None else job.entry for job in jobs]
        items = [None if job is None else job.item for job in jobs]
        entries = self._delivery.answer(items, arrived, deadline)
        return [
            job.entry if job is not None and job.item is None else entry
            for job, entry in zip(jobs, entries, strict=True)
        ]

    def submit(self, requests: Iterable[TaskRequest]) -> None:
        """Predict these tasks when it is their turn, and push the predictions."""
        self._take(list(requests), time.monotonic(), Priority.BACKGROUND)

    def _take(self, requests: Sequence[TaskRequest | None], until: float, priority: Priority) -> list[Job | None]:
        """Queue tasks as a group. The job of each, new or already there; None for a refused task."""
        with self._change:
            fitting = self._fitting(requests)
            debts = self._debts(fitting, until)
            jobs = [
                None if request is None else self._job(request, debts.get(_item(request), Debt.OPEN), until, priority)
                for request in fitting
            ]
            self._turns.add(job for job in jobs if job is not None)
            self._change.notify_all()
        return jobs

    def _fitting(self, requests: Sequence[TaskRequest | None]) -> list[TaskRequest | None]:
        """The requests, with None in place of those for which there is no room; the status page lists these."""
        pending, count = _pending(self._delivery, requests)
        fitting = _first_that_fit(requests, pending.union(self._jobs), self._max_jobs - max(len(self._jobs), count))
        refused = [request for request, kept in zip(requests, fitting, strict=True) if request and not kept]
        if refused:
            sentence = REFUSAL.format(len(refused), self._max_jobs)
            log.warning("%s", sentence)
            self._metrics.tasks.labels("refused").inc(len(refused))
            self._history.fail("", refused[0].project, sentence)
        return fitting

    def _debts(self, requests: Sequence[TaskRequest | None], until: float) -> dict[Item | None, Debt]:
        """Make predictions pending. The state of each."""
        if self._delivery is None:
            return {}
        named = [request for request in requests if request is not None and request.task is not None]
        debts = self._delivery.outbox.ask(named, time.monotonic(), until)
        return dict(zip(map(_item, named), debts, strict=True))

    def _job(self, request: TaskRequest, debt: Debt, until: float, priority: Priority) -> Job:
        item = _item(request)
        job = self._jobs.get(item) if debt is Debt.OPEN else None
        if job is None:
            job = Job(item, "" if request.task is None else str(request.task), request.project, lambda: request)
            if debt is Debt.OPEN:
                self._jobs[item or job] = job
            else:
                job.state = "over"  # the prediction is made
        job.until = max(job.until, until)
        job.priority = min(job.priority, priority, key=lambda each: each.value)
        return job

    def _begin(self) -> None:
        """Begin with one job after the other, until the server stops."""
        with self._change:
            while not self._stopping:
                self._turns.unpark(lambda reason: self._has_room(reason[0]))
                if (job := self._turns.next()) is None:
                    self._change.wait(IDLE_SECONDS)
                    continue
                job.state, job.began = "running", time.monotonic()
                self._shares.begin(job.project)
                threading.Thread(target=self._do, args=(job,), name="work", daemon=True).start()

    def _next_pending(self) -> Job | None:
        """A job for a pending task that is not in memory: it was deferred, or pending before a restart."""
        busy = self._shares.busy()
        if self._delivery is None or busy is None:
            return None
        pending = self._delivery.outbox.take(time.monotonic(), busy)
        if pending is None or pending.item in self._jobs:
            return None
        job = Job(pending.item, str(pending.item.task), pending.project, partial(self._request_for, pending))
        self._jobs[pending.item] = job
        return job

    def _request_for(self, pending: Pending) -> TaskRequest:
        _require_few_crashes(pending)
        return self._renew(pending)

    def _do(self, job: Job) -> None:
        try:
            request = job.request()
            if job.item is not None and (version := request.version) != job.item.version:
                self._end(job, lambda outbox, item: outbox.renew(item, version, time.monotonic()))
                return
            found = self._predict(request, partial(self._on_progress, job), job.priority)
        except BusyHostError as error:
            with self._change:
                job.state = "waiting"
                self._shares.end(job.project)
                self._turns.park(job, (error.host, job.project))
                self._change.notify_all()
        except RetryableError as error:
            if not self._stopping:
                log.warning("Task %s has no prediction yet; the status page says why", job.task)
                self._history.fail(job.task, job.project, str(error))
            self._end(job, lambda outbox, item: outbox.defer(item, time.monotonic()))
        except Exception as error:  # one task's failure must not affect the others
            if not self._stopping:
                self._metrics.tasks.labels("failed").inc()
                self._history.fail(job.task, job.project, _log_failure(job.task, error))
            self._end(job, lambda outbox, item: outbox.record(Event.FAILED, item, time.monotonic()))
        else:
            entry = job.entry = found.entry
            self._metrics.count(found)
            self._history.predict(job.task, job.project, entry, time.monotonic() - job.began, found.warnings)
            now = time.monotonic()
            self._end(job, lambda outbox, item: outbox.record(Event.PREDICTED, item, now, due=job.until, entry=entry))

    def _end(self, job: Job, tell: Callable[[Outbox, Item], Any]) -> None:
        """End a job, and have the outbox record the outcome."""
        with self._change:
            self._shares.end(job.project)
            if self._stopping and job.entry is None:
                return  # the model was stopped too, so this outcome says nothing about the task
            if self._delivery is not None and job.item is not None:
                tell(self._delivery.outbox, job.item)
                self._delivery.wake()
            job.state = "over"
            self._jobs.pop(job.item or job)
            self._change.notify_all()

    def _on_progress(self, job: Job, progress: Progress) -> None:
        """Note how far a job is; count an attempt once the model has the task."""
        job.stage = str(progress)
        if job.is_counted or job.item is None or self._delivery is None or progress.stage in BEFORE_THE_MODEL:
            return
        with self._change:
            if not self._stopping:
                job.is_counted = True
                self._delivery.outbox.begin_attempt(job.item)

    def counts(self) -> dict[str, int]:
        """Numbers of tasks by state."""
        with self._change:
            states = [job.state for job in self._jobs.values()]
        pending = {} if self._delivery is None else self._delivery.outbox.counts(time.monotonic())
        return {
            "waiting": states.count("waiting") + pending.get("waiting", 0),
            "running": states.count("running"),
            "put_off": pending.get("put_off", 0),
            "owed": pending.get("owed", 0),
            "to_push": pending.get("to_push", 0),
        }

    def waiting_by_project(self) -> dict[str, int]:
        """How many tasks wait for their turn, or to be tried again, by project."""
        with self._change:
            waiting = Counter(job.project for job in self._jobs.values() if job.state == "waiting")
        if self._delivery is not None:
            waiting.update(self._delivery.outbox.waiting_by_project())
        return dict(waiting)

    def running(self) -> list[TaskLine]:
        """The tasks that are being worked on."""
        with self._change:
            jobs = [job for job in self._jobs.values() if job.state == "running"]
        now = time.monotonic()
        return [TaskLine(job.task, job.project, f"{job.stage}, {now - job.began:.0f} s", time.time()) for job in jobs]


def _require_few_crashes(pending: Pending) -> None:
    """Refuse a task at which the server crashed again and again."""
    if pending.attempts >= MAX_ATTEMPTS:
        raise OmniTimelineError(
            f"The server crashed {pending.attempts} times while the model worked on this task, so it is skipped. "
            "The usual cause is too little memory: lower MAX_PIXELS or FRAMES."
        )


def _pending(delivery: Delivery | None, requests: Sequence[TaskRequest | None]) -> tuple[set[object], int]:
    """Those of the requested predictions that are pending, and how many are in all."""
    if delivery is None:
        return set(), 0
    items = [item for request in requests if request is not None and (item := _item(request)) is not None]
    return set(delivery.outbox.pending(items)), delivery.outbox.size()


def _first_that_fit(
    requests: Sequence[TaskRequest | None], known: Container[object], room: int
) -> list[TaskRequest | None]:
    """The requests, with None in place of new ones beyond `room`; known ones need none."""
    fitting: list[TaskRequest | None] = []
    for request in requests:
        room -= request is not None and _item(request) not in known
        fitting.append(request if room >= 0 or request is None or _item(request) in known else None)
    return fitting


def _item(request: TaskRequest) -> Item | None:
    """The prediction that Label Studio is to get; None for a task without an id."""
    return None if request.task is None else Item(request.task, request.version, request.content)


def _log_failure(task: str, error: Exception) -> str:
    """Log why a task has no prediction. The sentence for the status page."""
    ours = isinstance(error, OmniTimelineError)
    # Task data must not be logged; the status page shows the whole sentence.
    log.debug("Task %s: %s", task, error)
    log.log(
        logging.WARNING if ours else logging.ERROR,
        "Task %s has no prediction (%s); the status page says why",
        task,
        type(error).__name__,
        exc_info=None if ours else error,
    )
    return str(error) if ours else f"Unexpected {type(error).__name__}; the server's log says more."
