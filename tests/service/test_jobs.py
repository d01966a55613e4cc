"""Whose turn it is, who waits how long, and what of a task's work is noted; with real threads, and no time to wait for.

Which prediction is given to whom is tested in test_outbox.py, and how it gets there in test_delivery.py.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import DeliveryError, MediaError, RetryableError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import FETCHING, WAITING, TaskPrediction
from omni_timeline.pipeline.prediction import OnProgress, Priority, Progress
from omni_timeline.service import debts, outbox
from omni_timeline.service.delivery import Delivery
from omni_timeline.service.history import History
from omni_timeline.service.jobs import MAX_ATTEMPTS, Jobs
from omni_timeline.service.journal import Journal
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Pending
from omni_timeline.service.prometheus import Metrics
from task_requests import VERSION, entry, renew, task

PATIENCE = 20.0  # s; only a test that fails waits so long


@dataclass
class Studio:
    """What Label Studio has, by task; and how often out of ten it fails, in one way or another."""

    stored: dict[int, list[str]] = field(default_factory=dict)
    fails: int = 0
    chance: random.Random = field(default_factory=random.Random)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prediction_versions(self, task: int) -> list[str]:
        self._maybe_fail()
        with self.lock:
            return list(self.stored.get(task, []))

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        self._maybe_fail()
        self.store(task, prediction)
        self._maybe_fail()

    def store(self, task: int, prediction: Mapping[str, Any]) -> None:
        with self.lock:
            self.stored.setdefault(task, []).append(prediction["model_version"])

    def _maybe_fail(self) -> None:
        if self.chance.randrange(10) < self.fails:
            raise DeliveryError("busy", "500", 0.01)


@dataclass
class Predicting:
    """Makes predictions as soon as it is let.

    Attributes:
        stage: how far a task is when it is held up.
        errors: what is raised, by task, one after the other.
        asked: the tasks so far.
        held: the tasks that wait to be let; by default, all.
    """

    stage: str = "windows"
    errors: dict[int, list[Exception]] = field(default_factory=dict)
    asked: list[int | None] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    held: set[int] | None = None
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, request: TaskRequest, on_progress: OnProgress, priority: Priority) -> TaskPrediction:
        stages = (FETCHING, WAITING, "windows")
        for stage in stages[: stages.index(self.stage) + 1]:
            on_progress(Progress(stage))
        self.asked.append(request.task)
        self.priorities.append(priority)
        if self.held is None or request.task in self.held:
            self.gate.wait(PATIENCE)
        if request.task is not None and (errors := self.errors.get(request.task)):
            raise errors.pop(0)
        return TaskPrediction(entry(request.version), False, {}, {}, ())


@dataclass
class Server:
    """All of a server but HTTP and the model."""

    journal: Journal
    outbox: Outbox
    history: History
    delivery: Delivery
    jobs: Jobs

    def push(self) -> None:
        """Deliver what is due, now."""
        while self.delivery.step():
            pass

    @property
    def owed(self) -> int:
        return self.jobs.counts()["owed"]


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def predicting() -> Predicting:
    return Predicting()


@pytest.fixture
def start(tmp_path: Path, studio: Studio, predicting: Predicting) -> Iterator[Callable[..., Server]]:
    """Starts a server; another one is the next process, over the same journal."""
    servers: list[Server] = []

    def another(version: str = VERSION, **options: Any) -> Server:
        journal, metrics = Journal(tmp_path / "journal.sqlite"), Metrics()
        history, outbox = History(journal), Outbox(journal)

        def renewed(pending: Pending) -> TaskRequest:
            return renew(pending, version)

        delivery = Delivery(outbox, studio, history, metrics, renewed)
        jobs = Jobs(predicting, renewed, delivery, history, metrics, max_waiting=8, **options)
        outbox.tend(time.monotonic())
        jobs.start()
        servers.append(Server(journal, outbox, history, delivery, jobs))
        return servers[-1]

    yield another
    for server in servers:
        server.jobs.stop()
        server.delivery.stop()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    return start()


def stop(server: Server) -> None:
    """SIGTERM."""
    server.jobs.stop()
    server.delivery.stop()
    server.journal.close()


def kill(server: Server) -> None:
    """SIGKILL, as the journal sees it; the threads of a process that was killed do nothing any more."""
    server.journal.close()
    server.jobs.stop()


def attempts(folder: Path) -> dict[int, int]:
    """How often each task had been begun with when a server ended."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as file:
        return dict(file.execute("SELECT task, attempts FROM pending").fetchall())


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def becomes(what: Callable[[], bool]) -> bool:
    deadline = soon(PATIENCE)
    while not (now := what()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return now


# --- requests --------------------------------------------------------------------------------------------------------
def test_what_is_ready_in_time_is_the_answer(server: Server):
    entries = server.jobs.ask([task(1), None, task(2), task(1), task(None)], soon(PATIENCE))
    assert [bool(entry) for entry in entries] == [True, False, True, False, True]


def test_what_is_not_ready_is_pushed_once(server: Server, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    assert server.jobs.ask([task(1), task(2)], soon(0.05)) == [None, None]
    predicting.gate.set()
    assert becomes(lambda: server.jobs.counts()["to_push"] == 2)
    server.push()
    assert studio.stored == {1: [VERSION], 2: [VERSION]}
    assert server.owed == 0


def test_what_is_ready_is_not_pushed_while_a_request_waits_for_it(
    server: Server, studio: Studio, predicting: Predicting
):
    predicting.gate.clear()
    predicting.held = {2}
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.extend(server.jobs.ask([task(1), task(2)], soon(PATIENCE))))
    waiting.start()
    assert becomes(lambda: sorted(predicting.asked) == [1, 2] and server.jobs.counts()["running"] == 1)
    server.push()
    assert studio.stored == {}
    predicting.gate.set()
    waiting.join()
    assert answers == [entry(), entry()]


def test_without_label_studios_interface_the_answer_is_all(predicting: Predicting, tmp_path: Path):
    history = History(Journal(tmp_path / "journal.sqlite"))
    jobs = Jobs(predicting, renew, None, history, Metrics(), max_waiting=8)
    jobs.start()
    predicting.gate.clear()
    assert jobs.ask([task(1)], soon(0.05)) == [None]
    predicting.gate.set()
    assert becomes(lambda: sum(jobs.counts().values()) == 0)
    assert jobs.ask([task(1)], soon(PATIENCE)) == [entry()]
    jobs.stop()


def test_of_two_requests_at_a_time_one_delivers(server: Server, predicting: Predicting):
    predicting.gate.clear()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(server.jobs.ask([task(1)], soon(PATIENCE)))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert becomes(lambda: predicting.asked == [1] and len(server.jobs._change._waiters) >= 6)  # type: ignore[attr-defined]
    predicting.gate.set()
    for thread in threads:
        thread.join()
    assert sum(answer is not None for answer in answers) == 1
    assert predicting.asked == [1]


def test_a_task_that_has_changed_is_delivered_as_it_is_now(server: Server, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    server.jobs.ask([task(1, fps=25)], soon(0.05))
    server.jobs.ask([task(1, fps=30)], soon(0.05))
    predicting.gate.set()
    assert becomes(lambda: server.jobs.counts()["to_push"] == 1)
    server.push()
    assert studio.stored == {1: [VERSION]}
    assert becomes(lambda: sum(server.jobs.counts().values()) == 0)


def test_a_request_that_may_not_wait_is_answered_at_once(start: Callable[..., Server], predicting: Predicting):
    server = start()
    predicting.gate.clear()
    waiting = [threading.Thread(target=server.jobs.ask, args=([task(number)], soon(PATIENCE))) for number in range(8)]
    for thread in waiting:
        thread.start()
    assert becomes(lambda: server.owed == 8)
    began = time.monotonic()
    assert server.jobs.ask([task(100)], soon(PATIENCE)) == [None]
    assert time.monotonic() - began < PATIENCE / 2
    predicting.gate.set()
    assert becomes(lambda: server.jobs.counts()["to_push"] == 1)  # nobody waits for that one
    for thread in waiting:
        thread.join()


def test_requests_take_turns(start: Callable[..., Server], predicting: Predicting):
    """Somebody who opens a task does not wait for the batch of somebody else."""
    server = start(max_begun=1)
    predicting.gate.clear()
    server.jobs.ask([task(number) for number in range(100, 200)], soon(0.05))
    server.jobs.ask([task(1)], soon(0.05))
    predicting.gate.set()
    assert becomes(lambda: 1 in predicting.asked)
    assert predicting.asked.index(1) <= 2


def test_a_project_leaves_as_much_room_as_it_takes(start: Callable[..., Server], predicting: Predicting):
    """One with very long videos keeps nobody else waiting."""
    server = start(max_begun=8)
    predicting.gate.clear()
    server.jobs.submit([task(number) for number in range(10)])
    assert becomes(lambda: len(predicting.asked) == 4)
    assert server.jobs.counts() == {"waiting": 6, "running": 4, "put_off": 0, "owed": 10, "to_push": 0}
    assert server.jobs.waiting_by_project() == {"1": 6}
    server.jobs.submit([replace(task(number), project="2") for number in range(20, 30)])
    assert becomes(lambda: len(predicting.asked) == 6)
    server.jobs.submit([replace(task(30), project="3")])
    assert becomes(lambda: predicting.asked[-1] == 30)
    assert server.jobs.waiting_by_project() == {"1": 6, "2": 8}
    predicting.gate.set()
    assert becomes(lambda: server.jobs.counts()["to_push"] == 21)


def test_what_was_pending_leaves_room_as_well(start: Callable[..., Server], predicting: Predicting):
    first = start(max_begun=0)
    first.jobs.submit([task(number) for number in range(10)])
    first.jobs.submit([replace(task(number), project="2") for number in range(20, 23)])
    kill(first)
    predicting.gate.clear()
    second = start(max_begun=8)
    assert becomes(lambda: len(predicting.asked) == 6)
    assert set(predicting.asked) == {0, 1, 2, 3, 20, 21}
    assert second.jobs.waiting_by_project() == {"1": 6, "2": 1}
    predicting.gate.set()


def test_what_somebody_waits_for_goes_before_new_tasks(start: Callable[..., Server], predicting: Predicting):
    server = start()
    server.jobs.submit([task(1)])
    server.jobs.ask([task(2)], soon(PATIENCE))
    assert becomes(lambda: len(predicting.asked) == 2)
    assert dict(zip(predicting.asked, predicting.priorities, strict=True)) == {
        1: Priority.BACKGROUND,
        2: Priority.REQUEST,
    }


def test_tasks_are_worked_on_at_a_time(start: Callable[..., Server], predicting: Predicting):
    server = start()
    predicting.gate.clear()
    server.jobs.submit([task(number) for number in range(10)])
    assert becomes(lambda: len(predicting.asked) == 10)
    assert len(server.jobs.running()) == 10
    assert server.jobs.running()[0].words == "windows, 0 s"
    predicting.gate.set()


def test_more_than_fits_is_refused_and_told(start: Callable[..., Server], predicting: Predicting):
    server = start(max_jobs=10)
    predicting.gate.clear()
    server.jobs.ask([task(number) for number in range(12)], soon(0.05))
    assert server.owed == 10
    assert "2 tasks were refused" in server.history.failures()[0].sentence
    predicting.gate.set()
    assert becomes(lambda: not server.jobs.running())  # predicted, but not stored yet: they keep their places
    entries = server.jobs.ask([task(number) for number in range(12)], soon(PATIENCE))
    assert [number for number, entry in enumerate(entries) if entry is None] == [10, 11]
    server.push()


# --- what comes of it ------------------------------------------------------------------------------------------------
def test_a_task_that_fails_is_told_and_not_pending(server: Server, predicting: Predicting):
    predicting.errors = {1: [MediaError("1.mp4 is not a video.")], 2: [RuntimeError("hm")]}
    entries = server.jobs.ask([task(1), task(2), task(3)], soon(PATIENCE))
    assert [bool(entry) for entry in entries] == [False, False, True]
    told = {failed.task: failed.sentence for failed in server.history.failures()}
    assert told["1"] == "1.mp4 is not a video."
    assert "RuntimeError" in told["2"]
    assert server.owed == 1  # 3, until it is seen in Label Studio
    assert server.jobs.ask([task(1)], soon(PATIENCE)) == [entry()]  # it is tried again when somebody asks again


def test_a_video_that_cannot_be_had_now_is_had_later(
    server: Server, studio: Studio, predicting: Predicting, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(outbox, "DEFERRAL_SECONDS", (0.0, 0.01))
    predicting.errors = {1: [RetryableError("Label Studio is down.") for _ in range(3)]}
    began = time.monotonic()
    assert server.jobs.ask([task(1)], soon(PATIENCE)) == [None]  # at once, not at the deadline
    assert time.monotonic() - began < PATIENCE / 2
    assert becomes(lambda: predicting.asked == [1] * 4)
    assert [failed.sentence for failed in server.history.failures()] == ["Label Studio is down."]
    assert becomes(lambda: server.jobs.counts()["running"] == 0)
    assert server.owed == 1


class Pausing(Journal):
    """A journal in which a transaction may be held up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.arrived, self.go_on = threading.Event(), threading.Event()
        self.pause_at = ""

    def write(self, act: Any) -> Any:
        if self.pause_at == threading.current_thread().name[:4]:
            self.pause_at = ""
            self.arrived.set()
            self.go_on.wait(0.2)  # a request that may overtake it does so in this time
        return super().write(act)


def test_a_task_that_fails_while_it_is_asked_for_again_is_made_or_not_pending(tmp_path: Path, predicting: Predicting):
    """It could be waited for in memory, and be crossed out in the journal: after `kill -9` it was lost."""
    journal = Pausing(tmp_path / "journal.sqlite")
    history = History(journal)
    delivery = Delivery(Outbox(journal), Studio(), history, Metrics(), renew)
    jobs = Jobs(predicting, renew, delivery, history, Metrics(), max_waiting=8, max_begun=1)
    jobs.start()
    predicting.stage = WAITING
    predicting.errors = {1: [MediaError("no")]}
    predicting.gate.clear()
    jobs.submit([task(1)])
    assert becomes(lambda: predicting.asked == [1])
    journal.pause_at = "work"  # the worker, as it notes the failure
    predicting.gate.set()
    assert journal.arrived.wait(PATIENCE)
    jobs.submit([task(1)])
    journal.go_on.set()
    assert becomes(lambda: jobs.counts()["to_push"] == 1)
    assert predicting.asked == [1, 1]
    jobs.stop()


# --- the next process ------------------------------------------------------------------------------------------------
def test_what_was_pending_is_delivered_by_the_next_process(
    start: Callable[..., Server], studio: Studio, predicting: Predicting
):
    first = start()
    predicting.gate.clear()
    first.jobs.ask([task(number) for number in range(5)], soon(0.05))
    studio.store(3, entry())  # pushed, and killed before that was noted
    kill(first)
    second = start()
    predicting.gate.set()
    assert becomes(lambda: second.jobs.counts()["to_push"] == 5)
    second.push()
    assert studio.stored == {number: [VERSION] for number in range(5)}
    kill(second)
    assert start().owed == 0


def test_what_was_asked_under_other_settings_is_delivered_under_those_of_now(
    start: Callable[..., Server], studio: Studio, predicting: Predicting
):
    first = start("old")
    first.jobs.submit([task(2, "old")])
    assert becomes(lambda: first.jobs.counts()["to_push"] == 1)
    predicting.gate.clear()
    first.jobs.submit([task(1, "old")])
    kill(first)
    second = start()
    predicting.gate.set()
    assert becomes(lambda: second.push() or second.owed == 0)
    assert studio.stored == {1: [VERSION], 2: [VERSION]}


def test_a_checkpoint_that_changes_under_a_running_server_costs_each_task_one_more_prediction(
    start: Callable[..., Server], studio: Studio, predicting: Predicting, monkeypatch: pytest.MonkeyPatch
):
    """Each was predicted, thrown away and asked for again, until the server was started anew."""
    monkeypatch.setattr(outbox, "DEFERRAL_SECONDS", (0.0,))
    server = start("v2")
    changed = [RetryableError("The checkpoint has changed.")]
    predicting.errors = {number: list(changed) for number in (1, 2, 3)}
    assert server.jobs.ask([task(number) for number in (1, 2, 3)], soon(PATIENCE)) == [None] * 3
    assert becomes(lambda: server.jobs.counts()["to_push"] == 3)
    server.push()
    assert studio.stored == {1: ["v2"], 2: ["v2"], 3: ["v2"]}
    assert len(predicting.asked) == 6
    assert server.owed == 0


@pytest.mark.parametrize("stage", [FETCHING, WAITING, "windows"])
def test_restarts_are_no_fault_of_a_task(
    stage: str, start: Callable[..., Server], predicting: Predicting, tmp_path: Path
):
    """A long video and three deployments in a row: it was left out as one at which the server ends."""
    predicting.stage = stage
    server = start()
    predicting.gate.clear()
    server.jobs.submit([task(number) for number in range(5)])
    for number in range(1, MAX_ATTEMPTS + 2):
        assert becomes(lambda number=number: len(predicting.asked) == number * 5)
        stop(server)
        assert set(attempts(tmp_path).values()) == {0}
        server = start()
    predicting.gate.set()
    assert becomes(lambda: server.jobs.counts()["to_push"] == 5)
    assert server.history.failures() == []


def test_what_fails_because_the_server_stops_is_no_failure(start: Callable[..., Server], predicting: Predicting):
    """The model's process ends with it."""
    others = set(threading.enumerate())
    server = start()
    predicting.errors = {1: [MediaError("no")]}
    predicting.gate.clear()
    server.jobs.submit([task(1)])
    assert becomes(lambda: predicting.asked == [1])
    [worker] = [thread for thread in set(threading.enumerate()) - others if thread.name == "work"]
    server.jobs.stop()
    predicting.gate.set()
    worker.join()
    assert server.owed == 1
    assert server.history.failures() == []


def test_a_crash_is_no_fault_of_a_task_that_the_model_did_not_have(
    start: Callable[..., Server], predicting: Predicting, tmp_path: Path
):
    predicting.stage = WAITING
    predicting.gate.clear()
    server = start()
    server.jobs.submit([task(1), task(2)])
    assert becomes(lambda: len(predicting.asked) == 2)
    predicting.stage = "windows"
    server.jobs.submit([task(3)])
    assert becomes(lambda: len(predicting.asked) == 3)
    kill(server)
    assert attempts(tmp_path) == {1: 0, 2: 0, 3: 1}


def test_a_task_at_which_the_process_always_ends_is_left_out(start: Callable[..., Server], predicting: Predicting):
    """Else a video that takes all memory would end every process after it, for ever."""
    server = start()
    predicting.gate.clear()
    server.jobs.submit([task(1)])
    for number in range(1, MAX_ATTEMPTS + 1):
        assert becomes(lambda number=number: len(predicting.asked) == number)
        kill(server)
        server = start()
    assert becomes(lambda: server.owed == 0)
    assert len(predicting.asked) == MAX_ATTEMPTS
    assert "lower MAX_PIXELS" in server.history.failures()[0].sentence


def test_after_a_restart_a_newcomer_does_not_wait_for_what_was_pending(
    start: Callable[..., Server], predicting: Predicting
):
    server = start(max_begun=0)
    predicting.gate.clear()
    server.jobs.submit([task(number) for number in range(100, 200)])
    kill(server)
    server = start(max_begun=1)
    assert becomes(lambda: len(predicting.asked) == 1)
    server.jobs.submit([task(1)])
    predicting.gate.set()
    assert becomes(lambda: 1 in predicting.asked)
    assert predicting.asked.index(1) <= 2


def test_one_that_cannot_be_asked_for_again_does_not_stop_the_others(
    start: Callable[..., Server], predicting: Predicting
):
    first = start(max_begun=0)
    first.jobs.submit([task(1), task(2)])
    first.journal.write(lambda rows: rows.execute("UPDATE pending SET data = 'no JSON' WHERE task = 1").close())
    kill(first)
    second = start()
    assert becomes(lambda: second.jobs.counts()["to_push"] == second.owed == 1)
    assert "retrieve its prediction" in second.history.failures()[0].sentence


def test_of_two_servers_the_one_that_lives_takes_over(
    start: Callable[..., Server], studio: Studio, predicting: Predicting
):
    first, second = start(), start()
    predicting.gate.clear()
    first.jobs.submit([task(1), task(2)])
    second.jobs.submit([task(3)])
    assert second.outbox.tend(time.monotonic()) == 0
    kill(first)
    assert second.outbox.tend(time.monotonic()) == 2
    predicting.gate.set()
    assert becomes(lambda: second.jobs.counts()["to_push"] == 3)
    second.push()
    assert studio.stored == {1: [VERSION], 2: [VERSION], 3: [VERSION]}


# --- a journal that is locked ----------------------------------------------------------------------------------------
def test_requests_stay_quick_while_another_program_has_the_journal_locked(server: Server, tmp_path: Path):
    """Each write took 5 s, one after the other, under one lock."""
    with closing(sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        threads = [
            threading.Thread(target=server.jobs.ask, args=([task(number)], soon(PATIENCE))) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 3.0  # as long as Label Studio waits for /setup
        other.execute("ROLLBACK")
        server.journal.recover()
        assert other.execute("SELECT state, count(*) FROM pending GROUP BY 1").fetchall() == [("sent", 8)]


# --- all of it at once -----------------------------------------------------------------------------------------------
def test_in_any_disorder_each_task_gets_its_prediction_once(start: Callable[..., Server], studio: Studio):
    """Eight people retrieve the same tasks over and over; a third of all answers get lost, of all calls too."""
    chance = studio.chance = random.Random(0)
    studio.fails = 3
    server = start()
    server.delivery.start()
    tasks = range(30)

    def retrieve(person: random.Random) -> None:
        for _ in range(6):
            wanted = [number for number in person.sample(tasks, 8) if VERSION not in studio.stored.get(number, [])]
            entries = server.jobs.ask([task(number) for number in wanted], soon(person.choice((0.0, 0.02, 0.1))))
            time.sleep(person.uniform(0, 0.03))  # well below STORING_SECONDS
            if person.random() < 0.66:
                for number, given in zip(wanted, entries, strict=True):
                    if given is not None:
                        studio.store(number, given)

    people = [threading.Thread(target=retrieve, args=(random.Random(chance.random()),)) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    server.jobs.submit([task(number) for number in tasks if number not in studio.stored])
    studio.fails = 0
    deadline = soon(debts.CHECK_SECONDS + 3 * PATIENCE)
    while server.owed and time.monotonic() < deadline:
        time.sleep(0.05)
    assert studio.stored == {number: [VERSION] for number in tasks}
    assert server.owed == 0
