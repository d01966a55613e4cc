"""Who delivers a prediction, and that each is delivered once: over a Label Studio that is as bad as it can be.

Times are a small part of the real ones, all alike, so that their order is the real one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import DeliveryError, DeliveryKind, MediaError, RetryableError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import TaskPrediction
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress
from omni_timeline.service import jobs as jobs_module
from omni_timeline.service.jobs import Jobs
from omni_timeline.service.journal import Failed, Journal, Owed
from omni_timeline.service.prometheus import Metrics

VERSION = "v1"
TIMELINE = '<TimelineLabels name="t" toName="v"><Label value="A"/></TimelineLabels>'
XML = f'<View><Video name="v" value="$video"/>{TIMELINE}</View>'
CONFIG = LabelConfig.from_xml(XML)
PATIENCE = 20.0  # s; only a test that fails waits so long


SPEED = 50


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are as many times shorter as SPEED says; their order and proportions stay."""
    speed = getattr(request, "param", SPEED)
    for name in ("STORING_SECONDS", "LOOK_SECONDS", "UNCLEAR_SECONDS", "FIRST_PAUSE", "MAX_PAUSE"):
        monkeypatch.setattr(jobs_module, name, getattr(jobs_module, name) / speed)
    monkeypatch.setattr(jobs_module, "LATER_SECONDS", tuple(each / speed for each in jobs_module.LATER_SECONDS))


@dataclass
class Studio:
    """What Label Studio has, by task; and how it fails, attempt by attempt.

    Attributes:
        faults: of the next calls; "stored" says 500 after it has stored, None goes well.
    """

    stored: dict[int, list[str]] = field(default_factory=dict)
    faults: list[DeliveryKind | str | None] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    pushing: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gate: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def prediction_versions(self, task: int) -> list[str]:
        self._maybe_fail(self._fault())
        with self.lock:
            return list(self.stored.get(task, []))

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        self.pushing.release()
        self.gate.wait(PATIENCE)
        fault = self._fault()
        if fault == "stored":
            self.store(task, prediction)
            raise DeliveryError("busy", "500")
        self._maybe_fail(fault)
        if task in self.deleted:
            raise DeliveryError("gone", "no such task")
        self.store(task, prediction)

    def store(self, task: int, prediction: Mapping[str, Any]) -> None:
        with self.lock:
            self.stored.setdefault(task, []).append(prediction["model_version"])

    def _fault(self) -> DeliveryKind | str | None:
        with self.lock:
            return self.faults.pop(0) if self.faults else None

    def _maybe_fail(self, fault: Any) -> None:
        if fault not in (None, "stored"):
            raise DeliveryError(fault, f"fault: {fault}", 0.01)


@dataclass
class Predicting:
    """Makes predictions, one for each time it is let."""

    gate: threading.Event = field(default_factory=threading.Event)
    errors: dict[int, list[Exception]] = field(default_factory=dict)
    asked: list[int | None] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, asked: TaskRequest, on_progress: OnProgress) -> TaskPrediction:
        self.asked.append(asked.task)
        self.gate.wait(PATIENCE)
        time.sleep(self.seconds)
        if asked.task is not None and (errors := self.errors.get(asked.task)):
            raise errors.pop(0)
        return TaskPrediction({"model_version": asked.version, "result": []}, False, {}, {})


def asked(task: int | None, version: str = VERSION, **data: Any) -> TaskRequest:
    return TaskRequest(task, "1", {"video": f"{task}.mp4", **data}, XML, CONFIG, PredictOptions(), version)


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def predicting() -> Predicting:
    return Predicting()


@pytest.fixture
def make(tmp_path: Path, studio: Studio, predicting: Predicting) -> Iterator[Callable[..., Jobs]]:
    """Makes the queue of one process; another call is the next process, over the same journal."""
    made: list[Jobs] = []

    def next_process(api: Studio | None = studio) -> Jobs:  # with the same Label Studio
        for each in made:
            each.stop()
        made.append(Jobs(predicting, Journal(tmp_path / "journal.sqlite"), api, Metrics(), max_waiting=8))
        return made[-1]

    yield next_process
    for each in made:
        each.stop()


@pytest.fixture
def jobs(make: Callable[..., Jobs]) -> Jobs:
    return make()


def soon(seconds: float) -> float:
    return time.monotonic() + seconds


def becomes(what: Callable[[], bool]) -> bool:
    deadline = soon(PATIENCE)
    while not what() and time.monotonic() < deadline:
        time.sleep(0.005)
    return what()


def nothing_owed(jobs: Jobs) -> bool:
    return becomes(lambda: jobs.counts()["owed"] == 0)


# --- answers ---------------------------------------------------------------------------------------------------------
def test_what_is_ready_in_time_is_the_answer(jobs: Jobs, studio: Studio):
    entries = jobs.ask([asked(1), None, asked(2)], soon(PATIENCE))
    assert [bool(entry) for entry in entries] == [True, False, True]
    for task in (1, 2):
        studio.store(task, {"model_version": VERSION})  # as Label Studio does with an answer
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION], 2: [VERSION]}


def test_what_is_not_ready_is_pushed_once(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    assert jobs.ask([asked(1), asked(2)], soon(0.05)) == [None, None]
    predicting.gate.set()
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION], 2: [VERSION]}


def test_an_answer_that_label_studio_did_not_store_is_pushed(jobs: Jobs, studio: Studio):
    """It hangs up after 100 s, and drops a whole batch for one odd entry."""
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION]}


def test_without_label_studios_interface_the_answer_is_all(make: Callable[..., Jobs], predicting: Predicting):
    jobs = make(None)
    predicting.gate.clear()
    assert jobs.ask([asked(1)], soon(0.05)) == [None]
    predicting.gate.set()
    assert becomes(lambda: sum(jobs.counts().values()) == 0)
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]


def test_of_two_requests_at_a_time_one_delivers(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.extend(jobs.ask([asked(1)], soon(PATIENCE)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert becomes(lambda: predicting.asked == [1])
    time.sleep(0.1)  # so that all six wait
    predicting.gate.set()
    for thread in threads:
        thread.join()
    assert sum(answer is not None for answer in answers) == 1
    assert predicting.asked == [1]


def test_the_same_task_twice_in_a_request_is_answered_once(jobs: Jobs):
    entries = jobs.ask([asked(1), asked(1)], soon(PATIENCE))
    assert [bool(entry) for entry in entries] == [True, False]


def test_a_request_that_comes_while_the_push_runs_does_not_deliver(jobs: Jobs, studio: Studio, predicting: Predicting):
    """Label Studio had looked, and seen nothing, before it asked."""
    predicting.gate.clear()
    jobs.ask([asked(1)], soon(0.05))
    studio.gate.clear()
    predicting.gate.set()
    assert studio.pushing.acquire(timeout=PATIENCE)
    assert jobs.ask([asked(1)], soon(0.1)) == [None]
    studio.gate.set()
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION]}


def test_what_was_just_delivered_and_is_stored_is_not_delivered_again(jobs: Jobs, studio: Studio):
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]
    studio.store(1, {"model_version": VERSION})
    assert jobs.ask([asked(1)], soon(PATIENCE)) == [None]


def test_whoever_asks_again_and_has_not_stored_it_gets_it(jobs: Jobs):
    """Somebody who tries the backend by hand, or "Send test request" in Label Studio's page."""
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]


def test_an_interactive_request_is_answered_and_nothing_is_owed(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    assert jobs.ask([asked(1)], soon(0.05), owe=False) == [None]
    predicting.gate.set()
    assert becomes(lambda: sum(jobs.counts().values()) == 0)
    assert jobs.ask([asked(1)], soon(PATIENCE), owe=False)[0]
    assert jobs.ask([asked(1)], soon(PATIENCE), owe=False)[0]
    assert studio.stored == {}


def test_a_task_that_has_changed_is_delivered_as_it_is_now(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.gate.clear()
    jobs.ask([asked(1, fps=25)], soon(0.05))
    jobs.ask([asked(1, fps=30)], soon(0.05))
    predicting.gate.set()
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION]}
    assert becomes(lambda: sum(jobs.counts().values()) == 0)


def test_requests_take_turns(jobs: Jobs, predicting: Predicting):
    """Somebody who opens a task does not wait for the batch of somebody else."""
    predicting.gate.clear()
    jobs.ask([asked(number) for number in range(100, 200)], soon(0.05))
    jobs.ask([asked(1)], soon(0.05))
    predicting.gate.set()
    assert becomes(lambda: 1 in predicting.asked)
    assert predicting.asked.index(1) <= 2 * jobs_module.WORKERS


def test_a_task_that_fails_is_told_of_and_not_owed(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.errors = {1: [MediaError("1.mp4 is not a video.")], 2: [RuntimeError("hm")]}
    assert jobs.ask([asked(1), asked(2), asked(3)], soon(PATIENCE))[:2] == [None, None]
    told = {failed.task: failed.sentence for failed in jobs.failures()}
    assert told["1"] == "1.mp4 is not a video."
    assert "RuntimeError" in told["2"]
    assert nothing_owed(jobs)
    assert jobs.ask([asked(1)], soon(PATIENCE))[0]  # it is tried again when somebody asks again


def test_a_video_that_cannot_be_had_now_is_had_later(jobs: Jobs, studio: Studio, predicting: Predicting):
    predicting.errors = {1: [RetryableError("Label Studio is down."), RetryableError("Label Studio is down.")]}
    assert jobs.ask([asked(1)], soon(PATIENCE)) == [None]  # at once, not at the deadline
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION]}
    assert [failed.sentence for failed in jobs.failures()] == ["Label Studio is down."]


# --- a Label Studio that does not take it ----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["unreachable", "unclear", "token", "busy", "stored"])
@pytest.mark.parametrize("before", [0, 1])  # at the look, or at the push
def test_whatever_label_studio_answers_it_gets_it_once(
    kind: str, before: int, jobs: Jobs, studio: Studio, predicting: Predicting
):
    predicting.gate.clear()
    jobs.ask([asked(1), asked(2)], soon(0.05))
    studio.faults = [None] * before + [kind] * 3
    predicting.gate.set()
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION], 2: [VERSION]}
    assert jobs.trouble is None


def test_while_it_does_not_take_it_the_status_says_why(jobs: Jobs, studio: Studio, predicting: Predicting):
    studio.faults = ["token"] * 1000
    jobs.owe([asked(1)])
    assert becomes(lambda: jobs.trouble == "fault: token")
    assert jobs.failures()[0].task == "1"
    assert jobs.counts()["owed"] == 1
    studio.faults.clear()
    assert nothing_owed(jobs)


def test_a_task_that_was_deleted_is_dropped(jobs: Jobs, studio: Studio):
    studio.deleted = {1}
    jobs.owe([asked(1), asked(2)])
    assert nothing_owed(jobs)
    assert studio.stored == {2: [VERSION]}


def test_a_prediction_that_is_refused_is_told_of_and_does_not_stop_the_others(jobs: Jobs, studio: Studio):
    studio.faults = [None, "refused"]
    jobs.owe([asked(1)])
    assert nothing_owed(jobs)
    jobs.owe([asked(2)])
    assert nothing_owed(jobs)
    assert studio.stored == {2: [VERSION]}
    assert "refused" in jobs.failures()[0].sentence


# --- the next process ------------------------------------------------------------------------------------------------
def restored(row: Owed) -> TaskRequest:
    return TaskRequest(row.task, row.project, row.data, row.config, CONFIG, PredictOptions(), VERSION)


def test_what_was_owed_is_delivered_by_the_next_process(
    make: Callable[..., Jobs], studio: Studio, predicting: Predicting
):
    first = make()
    predicting.gate.clear()
    first.ask([asked(number) for number in range(5)], soon(0.05))
    studio.store(3, {"model_version": VERSION})  # pushed, and killed before it was crossed out
    second = make()
    predicting.gate.set()
    second.restore(restored)
    assert nothing_owed(second)
    assert studio.stored == {number: [VERSION] for number in range(5)}
    third = make()
    third.restore(restored)
    assert third.counts()["owed"] == 0


def test_what_was_owed_under_other_settings_is_delivered_under_those_of_now(
    make: Callable[..., Jobs], studio: Studio, predicting: Predicting
):
    predicting.gate.clear()
    make().ask([asked(1, version="old")], soon(0.05))
    second = make()
    predicting.gate.set()
    second.restore(restored)
    assert nothing_owed(second)
    assert studio.stored == {1: [VERSION]}
    assert make()._journal.owed() == []


def test_a_task_at_which_the_process_always_ends_is_left_out(
    make: Callable[..., Jobs], studio: Studio, predicting: Predicting
):
    """Else a video that takes all memory would end every process after it, for ever."""
    predicting.gate.clear()
    make().owe([asked(1)])
    for number in range(1, jobs_module.MAX_ATTEMPTS):
        assert becomes(lambda number=number: len(predicting.asked) == number)
        make().restore(restored)
    assert becomes(lambda: len(predicting.asked) == jobs_module.MAX_ATTEMPTS)
    last = make()
    predicting.gate.set()
    last.restore(restored)
    assert last.counts()["owed"] == 0
    assert "lower MAX_PIXELS" in last.failures()[0].sentence


def test_failures_are_still_told_of_after_a_restart(make: Callable[..., Jobs], predicting: Predicting):
    predicting.errors = {1: [MediaError("1.mp4 is not a video.")]}
    make().ask([asked(1)], soon(PATIENCE))
    assert [failed.sentence for failed in make().failures()] == ["1.mp4 is not a video."]


# --- the journal -----------------------------------------------------------------------------------------------------
def owed(task: int) -> Owed:
    return Owed(task, VERSION, "1", XML, {"video": "a.mp4"})


@pytest.mark.parametrize(
    "content", [b"", b"not a database at all, but long enough to be looked at" * 100, b"\0" * 5000]
)
def test_a_journal_that_cannot_be_read_is_set_aside(content: bytes, tmp_path: Path):
    (tmp_path / "journal.sqlite").write_bytes(content)
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add([owed(1)])
    assert [row.task for row in journal.owed()] == [1]


def test_a_journal_that_is_damaged_later_is_set_aside(tmp_path: Path):
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.add([owed(number) for number in range(1000)])
    journal.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
    journal = Journal(path)
    for _ in range(2):
        journal.add([owed(1)])
        journal.fail(Failed(0.0, "1", "1", "sentence"))
    assert [row.task for row in journal.owed()] == [1]


def test_a_journal_where_nothing_can_be_written_costs_nothing_but_itself(tmp_path: Path, studio: Studio):
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file" / "journal.sqlite")
    assert "make room" in (journal.trouble or "")
    jobs = Jobs(Predicting(), journal, studio, Metrics(), max_waiting=8)
    jobs.owe([asked(1)])
    assert nothing_owed(jobs)
    assert studio.stored == {1: [VERSION]}
    jobs.stop()


def test_one_process_at_a_time_works_on_what_is_owed(tmp_path: Path):
    """While a server is reloaded two of them run; both would push the same."""
    first, second = Journal(tmp_path / "journal.sqlite"), Journal(tmp_path / "journal.sqlite")
    assert first.is_ours()
    assert not second.is_ours()
    first.close()
    assert second.is_ours()


def test_the_journal_is_for_its_owner_only(tmp_path: Path):
    Journal(tmp_path / "journal.sqlite")
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o077 == 0


# --- all of it at once -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("quick", [10], indirect=True)  # slower, since others may use this machine too
@pytest.mark.parametrize("seed", range(3))
def test_in_any_disorder_each_task_gets_its_prediction_once(
    seed: int, make: Callable[..., Jobs], studio: Studio, predicting: Predicting
):
    """Eight people retrieve the same tasks over and over; a third of all answers get lost, of all calls too."""
    chance = random.Random(seed)
    predicting.seconds = 0.01
    jobs = make()
    tasks = range(30)

    def retrieve(person: random.Random) -> None:
        for _ in range(6):
            wanted = [task for task in person.sample(tasks, 8) if VERSION not in studio.stored.get(task, [])]
            entries = jobs.ask([asked(task) for task in wanted], soon(person.choice((0.0, 0.02, 0.1))))
            time.sleep(person.uniform(0, 0.03))  # well below STORING_SECONDS
            if person.random() < 0.66:
                for task, entry in zip(wanted, entries, strict=True):
                    if entry is not None:
                        studio.store(task, entry)
            with studio.lock:
                studio.faults = person.choices((None, "busy", "stored", "token"), (6, 1, 1, 1), k=10)

    people = [threading.Thread(target=retrieve, args=(random.Random(chance.random()),)) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    jobs.owe([asked(task) for task in tasks if task not in studio.stored])
    studio.faults.clear()
    assert nothing_owed(jobs)
    assert studio.stored == {task: [VERSION] for task in tasks}
