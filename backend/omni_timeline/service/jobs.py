r"""Tasks in a queue, and who brings each prediction to Label Studio: the answer to a request, or a push afterwards.

    asked ---> queue ---> worked on ---> answered, if the request still waits
                                   \---> pushed, if it does not: look whether it is there; store it if not

Each task that is asked about is owed until Label Studio is known to have its prediction: an answer may get lost, so a
little later it is looked for like one to push. A task is delivered once:

    while a request that asked for it waits, it is not pushed;
    a request that came before it was delivered does not deliver it again, since Label Studio had looked before;
    one that came within `STORING_SECONDS` after it looks first whether Label Studio has it.

Knows turns, deadlines and what is owed. Knows nothing of HTTP, of videos or of how a prediction is made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from omni_timeline.errors import DeliveryError, OmniTimelineError, RetryableError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import TaskPrediction
from omni_timeline.pipeline.prediction import OnProgress, Progress
from omni_timeline.service.journal import Failed, Journal, Owed
from omni_timeline.service.prometheus import Metrics

WORKERS = 3  # one has the model; the others fetch meanwhile, or wait for a slow server
MAX_JOBS = 50_000
STORING_SECONDS = 5.0  # s that Label Studio gets to store an answer
LOOK_SECONDS = 10.0  # s after an answer: is it there?
UNCLEAR_SECONDS = 30.0  # s before looking again when a push may still be worked on
FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0  # s between attempts to push
LATER_SECONDS = (5.0, 15.0, 60.0, 300.0, 600.0)  # s before a video is asked for again; the last one from then on
MAX_ATTEMPTS = 3  # of a task whose work ends with the process
REMEMBERED_SECONDS = 900.0  # s; longer than any request lasts
SHOWN_PREDICTIONS, SHOWN_FAILURES = 20, 50
MAX_SENTENCE = 1000  # characters; an address in it may be longer

log = logging.getLogger(__name__)

State = Literal["waiting", "running", "later", "done", "failed"]


class Api(Protocol):
    """What is needed of Label Studio."""

    def prediction_versions(self, task: int) -> list[str]:
        """The model versions of a task's predictions."""

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction."""


@dataclass(eq=False)
class Job:
    """One task's work, and what becomes of it.

    Attributes:
        identity: under which two requests mean the same work.
        holders: requests that wait for it or are being answered.
        owed: whether Label Studio is to get it in any case.
        not_before: when it may be pushed, on time.monotonic's clock.
        unclear_until: until when Label Studio may still be working on a push that it did not answer.
    """

    asked: TaskRequest
    identity: object
    state: State = "waiting"
    entry: dict[str, Any] | None = None
    stage: str = ""
    began: float = 0.0
    holders: int = 0
    owed: bool = False
    pushing: bool = False
    not_before: float = 0.0
    unclear_until: float = 0.0
    retry_at: float = 0.0
    tries: int = 0

    @property
    def key(self) -> tuple[int, str] | None:
        """What Label Studio is to get once."""
        return None if self.asked.task is None else (self.asked.task, self.asked.version)

    @property
    def settled(self) -> bool:
        """Whether waiting longer is of no use."""
        return self.state in ("done", "failed", "later")


@dataclass(frozen=True)
class Shown:
    """One line of the status page."""

    task: str
    project: str
    words: str
    at: float = field(default_factory=time.time)


class Jobs:
    """The queue and its threads.

    Args:
        predict: makes the prediction of a task; raises RetryableError, or any other error for good.
        journal: keeps what is owed.
        api: Label Studio; None when nothing can be pushed.
        measures: counts.
        max_waiting: requests that may wait at a time; others are answered at once, and theirs is pushed.
    """

    def __init__(
        self,
        predict: Callable[[TaskRequest, OnProgress], TaskPrediction],
        journal: Journal,
        api: Api | None,
        measures: Metrics,
        *,
        max_waiting: int,
    ) -> None:
        self._predict = predict
        self._journal = journal
        self._api = api
        self._measures = measures
        self._admitted = threading.Semaphore(max_waiting)
        self._change = threading.Condition()
        self._jobs: dict[Any, Job] = {}
        self._owed: dict[tuple[int, str], Job] = {}
        self._turns: OrderedDict[int, deque[Job]] = OrderedDict()  # by request; they take turns
        self._turn = 0
        self._delivered: OrderedDict[tuple[int, str], float] = OrderedDict()
        self._paused_until = 0.0
        self._pause = FIRST_PAUSE
        self._stopping = False
        self._predictions: deque[Shown] = deque(maxlen=SHOWN_PREDICTIONS)
        self._failures: deque[Failed] = deque(reversed(journal.failures()[:SHOWN_FAILURES]), maxlen=SHOWN_FAILURES)
        self.trouble: str | None = None  # why pushing does not work now
        for number in range(WORKERS):
            threading.Thread(target=self._work, name=f"work-{number}", daemon=True).start()
        if api is not None:
            threading.Thread(target=self._push_owed, name="push", daemon=True).start()

    # --- requests ----------------------------------------------------------------------------------------------------

    def ask(
        self, asked: Sequence[TaskRequest | None], deadline: float, *, owe: bool = True
    ) -> list[dict[str, Any] | None]:
        """One entry for each task, in order: its prediction, or None where there is none yet or never.

        Args:
            asked: None for what is no task.
            deadline: when to answer at the latest, on time.monotonic's clock.
            owe: bring Label Studio what is not ready by then; False for what only this request has a use for.
        """
        arrived = time.monotonic()
        jobs = self._take(asked, owe and self._api is not None, hold=True)
        try:
            self._wait([job for job in jobs if job is not None], deadline)
            stored = self._stored(jobs, arrived, deadline) if owe and self._api is not None else {}
            with self._change:
                return [self._answer(job, arrived, owe, stored) for job in jobs]
        finally:
            with self._change:
                for job in jobs:
                    self._release(job)
                self._change.notify_all()

    def owe(self, asked: Iterable[TaskRequest]) -> None:
        """Work on these when it is their turn, and bring them to Label Studio."""
        self._take(list(asked), self._api is not None, hold=False)

    def restore(self, asked: Callable[[Owed], TaskRequest]) -> None:
        """Take up again what a process before this one owed. `asked` may raise OmniTimelineError."""
        if self._api is None:
            return
        restored = 0
        for row in self._journal.owed():
            try:
                if row.begun >= MAX_ATTEMPTS:
                    raise OmniTimelineError(
                        f"The server ended {row.begun} times while it worked on this task; it is left out now. Not "
                        "enough memory is the usual reason: lower MAX_PIXELS or FRAMES."
                    )
                now = asked(row)
            except OmniTimelineError as error:
                self.fail(str(row.task), row.project, str(error))
                self._journal.cross_out(row.task, row.version)
                continue
            [job] = self._take([now], True, hold=False)
            if now.version != row.version:  # other settings: Label Studio would ask for it under the new version
                self._journal.cross_out(row.task, row.version)
            if job is not None:
                job.not_before = time.monotonic() + STORING_SECONDS
            restored += 1
        if restored:
            log.info("%d predictions are owed to Label Studio since before the start", restored)

    def _take(self, asked: Sequence[TaskRequest | None], owe: bool, *, hold: bool) -> list[Job | None]:
        """The job of each, new or already there, in the queue."""
        with self._change:
            full = len(self._jobs) + len(asked) > MAX_JOBS
            jobs = [None if each is None else self._job(each, new=not full) for each in asked]
            if full:
                log.warning("%d tasks are waiting: no more are taken", len(self._jobs))
            fresh: list[Job] = []
            for job in jobs:
                if job is None:
                    continue
                job.holders += hold
                if owe and job.key is not None and self._owed.get(job.key) is not job:
                    if (before := self._owed.get(job.key)) is not None:  # the task's data have changed since
                        before.owed = False
                        self._forget(before)
                    job.owed = True
                    self._owed[job.key] = job
                    fresh.append(job)
        # Before anything is begun or answered.
        self._journal.add(
            Owed(job.asked.task, job.asked.version, job.asked.project, job.asked.xml, job.asked.data)
            for job in fresh
            if job.asked.task is not None
        )
        with self._change:
            self._turn += 1
            group = deque(job for job in jobs if job is not None and job.state == "waiting")
            if group:
                self._turns[self._turn] = group
            self._change.notify_all()
        return jobs

    def _job(self, asked: TaskRequest, *, new: bool) -> Job | None:
        key = object() if asked.task is None else (asked.task, asked.version, asked.content)
        job = self._jobs.get(key)
        if job is None and new:
            job = self._jobs[key] = Job(asked, key)
        elif job is not None and job.state in ("failed", "later"):
            job.state = "waiting"  # somebody asks again
        return job

    def _wait(self, jobs: Sequence[Job], deadline: float) -> None:
        if not self._admitted.acquire(blocking=False):
            log.warning("%d tasks are answered later: too many requests wait", len(jobs))
            return
        try:
            with self._change:
                self._change.wait_for(
                    lambda: self._stopping or all(job.settled for job in jobs), max(0.0, deadline - time.monotonic())
                )
        finally:
            self._admitted.release()

    def _stored(self, jobs: Sequence[Job | None], arrived: float, deadline: float) -> dict[tuple[int, str], bool]:
        """Whether Label Studio has stored those that were delivered just before this request came."""
        with self._change:
            recent = {
                job.key: self._delivered[job.key] + STORING_SECONDS
                for job in jobs
                if job is not None
                and job.key is not None
                and job.state == "done"
                and self._delivered.get(job.key, arrived) < arrived < self._delivered[job.key] + STORING_SECONDS
            }
        stored = {}
        for key, until in recent.items():
            no_time = max(until, time.monotonic()) > deadline  # to see: it is pushed later
            stored[key] = no_time or self._is_stored(key)
            if not stored[key]:
                with self._change:
                    self._change.wait_for(lambda: self._stopping, max(0.0, until - time.monotonic()))
                stored[key] = self._stopping or self._is_stored(key)
        return stored

    def _is_stored(self, key: tuple[int, str]) -> bool:
        """Whether it is in Label Studio; where that is not known it is taken for stored, and looked for later."""
        assert self._api is not None
        try:
            return key[1] in self._api.prediction_versions(key[0])
        except DeliveryError:
            return True

    def _answer(
        self, job: Job | None, arrived: float, owe: bool, stored: Mapping[tuple[int, str], bool]
    ) -> dict[str, Any] | None:
        """The prediction, if this request is the one to deliver it."""
        if job is None or job.state != "done" or job.entry is None:
            return None
        if not owe or job.key is None:
            return job.entry
        delivered = self._delivered.get(job.key, -1.0)
        if job.pushing or delivered >= arrived or time.monotonic() < job.unclear_until:
            return None
        if self._api is not None and arrived < delivered + STORING_SECONDS and stored.get(job.key, True):
            return None
        self._note_delivered(job.key)
        job.not_before = time.monotonic() + LOOK_SECONDS
        self._measures.tasks.labels("answered").inc()
        return job.entry

    def _note_delivered(self, key: tuple[int, str]) -> None:
        now = time.monotonic()
        self._delivered[key] = now
        self._delivered.move_to_end(key)
        while next(iter(self._delivered.values())) < now - REMEMBERED_SECONDS:
            self._delivered.popitem(last=False)

    def _release(self, job: Job | None) -> None:
        if job is not None:
            job.holders -= 1
            self._forget(job)

    def _forget(self, job: Job) -> None:
        """Let go of a job that nobody needs any more."""
        if not job.holders and not job.owed and job.settled:
            self._jobs.pop(job.identity, None)

    # --- work --------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)

    def _next(self) -> Job | None:
        """Whose turn it is; None when there is nothing more to do."""
        with self._change:
            while not self._stopping:
                while self._turns:
                    number, group = self._turns.popitem(last=False)
                    job = group.popleft()
                    if group:
                        self._turns[number] = group
                    if job.state == "waiting":
                        job.state, job.began, job.stage = "running", time.monotonic(), ""
                        return job
                self._change.wait()
        return None

    def _do(self, job: Job) -> None:
        asked, key = job.asked, job.key if job.owed else None
        if key is not None:
            self._journal.begin(*key)

        def note(progress: Progress) -> None:
            job.stage = str(progress)

        entry, sentence, state = None, "", "failed"
        try:
            found = self._predict(asked, note)
            self._measures.count(found)
            entry, state = found.entry, "done"
        except RetryableError as error:
            sentence, state = str(error), "later"
        except Exception as error:  # whatever happens to one task must not cost the others
            ours = isinstance(error, OmniTimelineError)
            if not self._stopping:
                # What is in a task is nobody's business who reads logs; the status page has the whole sentence.
                log.debug("Task %s: %s", asked.task, error)
                log.log(
                    logging.WARNING if ours else logging.ERROR,
                    "Task %s has no prediction (%s); the status page says why",
                    asked.task,
                    type(error).__name__,
                    exc_info=not ours,
                )
            sentence = str(error) if ours else f"Unexpected {type(error).__name__}; the server's log says more."
        if self._stopping:
            return  # the model's process has gone with us; what is owed is in the journal
        self._finish(job, state, entry, sentence)  # type: ignore[arg-type]
        if key is not None:
            self._journal.end(*key)
            if state == "failed" and key not in self._owed:
                self._journal.cross_out(*key)

    def _finish(self, job: Job, state: State, entry: dict[str, Any] | None, sentence: str) -> None:
        asked, shown = job.asked, _shown(job.asked.task)
        if state == "done":
            made = Shown(shown, asked.project, _words(entry or {}, time.monotonic() - job.began))
            with self._change:
                self._predictions.append(made)
        elif state == "failed" or job.tries == 0:
            self.fail(shown, asked.project, sentence)
        if state == "failed":
            self._measures.tasks.labels("failed").inc()
        with self._change:
            job.state, job.entry, job.stage = state, entry, ""
            if state == "later":
                if not job.tries:
                    log.warning("Task %s has no prediction yet; the status page says why", asked.task)
                job.retry_at = time.monotonic() + LATER_SECONDS[min(job.tries, len(LATER_SECONDS) - 1)]
                job.tries += 1
            if state == "failed" and job.owed:
                self._settle(job)
            self._forget(job)
            self._change.notify_all()

    def _settle(self, job: Job) -> None:
        """It is no longer owed."""
        job.owed = False
        if job.key is not None and self._owed.get(job.key) is job:
            del self._owed[job.key]

    # --- pushes ------------------------------------------------------------------------------------------------------

    def _push_owed(self) -> None:
        while not self._stopping:
            with self._change:
                now = time.monotonic()
                self._wake(now)
                ready = [
                    job
                    for job in self._owed.values()
                    if job.state == "done" and not job.holders and job.not_before <= now
                ]
                if not ready or now < self._paused_until:
                    self._change.wait(0.5)
                    continue
                job = min(ready, key=lambda job: job.not_before)
                job.pushing = True
            self._push(job)

    def _wake(self, now: float) -> None:
        """Put what was put off back into the queue when its time has come."""
        due = deque(job for job in self._owed.values() if job.state == "later" and job.retry_at <= now)
        for job in due:
            job.state = "waiting"
        if due:
            self._turn += 1
            self._turns[self._turn] = due
            self._change.notify_all()

    def _push(self, job: Job) -> None:
        assert self._api is not None
        assert job.key is not None
        task, version = job.key
        outcome, error, sent = "", None, False
        try:
            if version in self._api.prediction_versions(task):
                outcome = "there"
            else:
                sent = True
                self._api.create_prediction(task, job.entry or {})
                outcome = "pushed"
        except DeliveryError as refusal:
            error = refusal
            outcome = {"gone": "dropped", "refused": "failed"}.get(refusal.kind, "")
        except Exception as unexpected:  # this thread has to go on
            log.exception("Pushing the prediction of task %s failed", task)
            error = DeliveryError("busy", f"Unexpected {type(unexpected).__name__}; the server's log says more.")
        if outcome:
            self._journal.cross_out(task, version)
            self._measures.tasks.labels(outcome).inc()
        if error is not None:
            self._measures.push_trouble.labels(error.kind).inc()
            if error.kind in ("gone", "refused") or self.trouble != str(error):
                self.fail(str(task), job.asked.project, f"Not stored: {error}")
                log.warning("The prediction of task %s was not stored: %s", task, error)
        with self._change:
            now = time.monotonic()
            job.pushing = False
            if sent or outcome == "there":  # also when it was refused with a 500: it may have been stored before
                self._note_delivered(job.key)
            if outcome:
                self._settle(job)
                self._forget(job)
                self.trouble, self._pause = None, FIRST_PAUSE
            elif error is not None:
                self.trouble = str(error)
                wait = max(self._pause, error.retry_after)
                self._paused_until = now + wait
                job.not_before = now + wait
                if error.kind == "unclear":
                    job.not_before = job.unclear_until = now + UNCLEAR_SECONDS
                self._pause = min(2 * self._pause, MAX_PAUSE)
            self._change.notify_all()

    # --- looking at it -----------------------------------------------------------------------------------------------

    def fail(self, task: str, project: str, sentence: str) -> None:
        """Remember that something went wrong."""
        sentence = sentence.encode(errors="replace").decode()  # an address in it may hold halves of characters
        sentence = sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[:MAX_SENTENCE]} …"
        failed = Failed(time.time(), task, project, sentence)
        with self._change:
            for other in [each for each in self._failures if (each.task, each.sentence) == (task, sentence)]:
                self._failures.remove(other)
            self._failures.append(failed)
        self._journal.fail(failed)

    def counts(self) -> dict[str, int]:
        """Tasks by where they are."""
        with self._change:
            jobs = list(self._jobs.values())
            owed = list(self._owed.values())
        return {
            "waiting": sum(job.state == "waiting" for job in jobs),
            "running": sum(job.state == "running" for job in jobs),
            "put_off": sum(job.state == "later" for job in jobs),
            "owed": len(owed),
            "to_push": sum(job.state == "done" and job.not_before <= time.monotonic() for job in owed),
        }

    def running(self) -> list[Shown]:
        """What is worked on now."""
        with self._change:
            jobs = [job for job in self._jobs.values() if job.state == "running"]
            now = time.monotonic()
            return [
                Shown(_shown(job.asked.task), job.asked.project, f"{job.stage or 'begins'}, {now - job.began:.0f} s")
                for job in jobs
            ]

    def predictions(self) -> list[Shown]:
        """The last ones made, newest first."""
        with self._change:
            return list(reversed(self._predictions))

    def failures(self) -> list[Failed]:
        """The last ones, newest first."""
        with self._change:
            return list(reversed(self._failures))

    def stop(self) -> None:
        """Answer who waits, begin nothing more. What is owed stays in the journal."""
        with self._change:
            self._stopping = True
            self._change.notify_all()


def _shown(task: int | None) -> str:
    return "" if task is None else str(task)


def _words(entry: Mapping[str, Any], seconds: float) -> str:
    regions = {region["id"] for region in entry.get("result", [])}
    score = f", score {entry['score']:.2f}" if "score" in entry else ""
    return f"{len(regions)} region{'s' * (len(regions) != 1)}{score}, {seconds:.1f} s"
