"""How often a task is tried, and when a job is over. Nothing here takes a second: times are arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from omni_timeline.batch.job import LOST, Job
from omni_timeline.batch.listing import ProjectTasks
from omni_timeline.batch.outcomes import Failed, Outcome, Postponed, Predicted, Task
from omni_timeline.batch.report import Report
from omni_timeline.batch.storing import Store
from omni_timeline.errors import OmniTimelineError, RequestError

from .plans import VERSION, plan, predicted
from .shelf import PROJECT, Shelf

Act = Callable[[Task], list[Outcome]]


def predict(task: Task) -> list[Outcome]:
    assert task.id is not None
    return [predicted(task.id)]


@dataclass
class ScriptedEngine:
    """Predicts task by task, as `act` says; none, for a task that is lost.

    Attributes:
        ahead: how many tasks it takes before it says what came of the first.
        asked: the tasks it has got.
        passes: how often it was started.
    """

    act: Act = predict
    capacity: int = 4
    ahead: int = 3
    asked: list[str] = field(default_factory=list)
    passes: int = 0

    def outcomes(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        self.passes += 1
        waiting: list[Task] = []
        for task in tasks:
            self.asked.append(task.key)
            waiting.append(task)
            if len(waiting) == self.ahead:
                yield from self.act(waiting.pop(0))
        for task in waiting:
            yield from self.act(task)


def run(shelf: Shelf, engine: ScriptedEngine, **arguments: Any) -> Job:
    """A job, run to its end."""
    listed = ProjectTasks(
        shelf, PROJECT, VERSION, view=arguments.pop("view", None), numbers=arguments.pop("numbers", None)
    )
    report = Report(plan().video)
    job = Job(listed, engine, report, retry_seconds=(0.0, 0.0), poll_seconds=0.0, **arguments)
    with Store(shelf, PROJECT, listed.done, job.settle) as store:
        job.run(store)
    return job


def test_every_task_gets_one_prediction():
    shelf, engine = Shelf.of(250), ScriptedEngine()
    shelf.store(20, VERSION)
    job = run(shelf, engine)
    assert all(versions == [VERSION] for versions in shelf.versions().values())
    assert (job.report.predicted, job.report.failures, engine.passes) == (249, [], 1)


def test_run_again_nothing_is_asked_of_the_model():
    shelf = Shelf.of(10)
    run(shelf, ScriptedEngine())
    engine = ScriptedEngine()
    job = run(shelf, engine)
    assert (engine.asked, engine.passes, job.report.predicted) == ([], 0, 0)


def test_no_more_tasks_are_in_flight_than_the_engine_has_a_use_for():
    shelf = Shelf.of(50)
    most = 0
    engine = ScriptedEngine(capacity=3, ahead=3)
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    job = Job(listed, engine, Report(plan().video))

    def watch(task: Task) -> list[Outcome]:
        nonlocal most
        most = max(most, job.in_flight)
        return predict(task)

    engine.act = watch
    with Store(shelf, PROJECT, listed.done, job.settle) as store:
        job.run(store)
    assert most <= 3
    assert job.report.predicted == 50


def test_a_failure_is_not_tried_again_in_the_same_run():
    shelf = Shelf.of(5)
    engine = ScriptedEngine(lambda task: [Failed(task, "bad")] if task.id == 30 else predict(task))
    job = run(shelf, engine)
    assert [(failure.task, failure.reason) for failure in job.report.failures] == [("30", "bad")]
    assert engine.asked.count("30") == 1
    assert shelf.versions()[30] == []


def test_what_goes_wrong_now_is_tried_again_and_then_has_failed():
    shelf = Shelf.of(5)
    wrong = {"30": 2, "50": 99}

    def act(task: Task) -> list[Outcome]:
        wrong[task.key] = wrong.get(task.key, 0) - 1
        return [Postponed(task, "No connection.")] if wrong[task.key] >= 0 else predict(task)

    engine = ScriptedEngine(act)
    job = run(shelf, engine)
    assert {task: len(versions) for task, versions in shelf.versions().items()} == {10: 1, 20: 1, 30: 1, 40: 1, 50: 0}
    assert [failure.reason for failure in job.report.failures] == ["No connection. It was tried 3 times."]
    assert engine.passes == 3


def test_what_an_engine_loses_is_tried_again_and_then_has_failed():
    shelf = Shelf.of(6)
    engine = ScriptedEngine(
        lambda task: [] if task.id == 20 or (task.id == 40 and engine.passes == 1) else predict(task)
    )
    job = run(shelf, engine)
    assert [(failure.task, failure.reason) for failure in job.report.failures] == [
        ("20", f"{LOST} It was tried 3 times.")
    ]
    assert [len(versions) for versions in shelf.versions().values()] == [1, 0, 1, 1, 1, 1]


def test_an_engine_that_loses_everything_it_can_hold_does_not_block_the_job():
    """Its tasks take up all the room; only the end of the pass says that they are lost."""
    shelf = Shelf.of(12)

    class Dies(ScriptedEngine):
        def outcomes(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
            if self.passes:
                yield from super().outcomes(tasks)
                return
            self.passes += 1
            for _ in range(self.capacity):
                next(tasks)
            threading.Thread(target=next, args=(tasks, None)).start()  # and somebody still waits for the next one

    job = run(shelf, Dies())
    assert all(versions == [VERSION] for versions in shelf.versions().values())
    assert job.report.predicted == 12


def test_an_outcome_that_comes_twice_counts_once():
    shelf = Shelf.of(4)
    job = run(shelf, ScriptedEngine(lambda task: predict(task) * 2))
    assert job.report.predicted == 4
    assert all(versions == [VERSION] for versions in shelf.versions().values())


def test_a_task_that_is_deleted_between_two_tries_is_forgotten():
    shelf = Shelf.of(3)

    def act(task: Task) -> list[Outcome]:
        shelf.tasks.pop(task.id or 0, None)
        return [Postponed(task, "No connection.")]

    job = run(shelf, ScriptedEngine(act))
    assert (job.report.predicted, job.report.failures) == (0, [])


def test_a_task_that_somebody_else_predicts_between_two_tries_is_done():
    shelf = Shelf.of(3)

    def act(task: Task) -> list[Outcome]:
        shelf.store(task.id or 0, VERSION)
        return [Postponed(task, "No connection.")]

    assert run(shelf, ScriptedEngine(act)).report.failures == []


def test_a_limit_counts_tasks_and_not_tries():
    shelf = Shelf.of(9)
    tried: list[str] = []

    def act(task: Task) -> list[Outcome]:
        tried.append(task.key)
        return [Postponed(task, "No connection.")] if tried.count(task.key) == 1 else predict(task)

    job = run(shelf, ScriptedEngine(act), limit=4)
    assert job.report.predicted == 4
    assert [len(versions) for versions in shelf.versions().values()] == [1, 1, 1, 1, 0, 0, 0, 0, 0]


def test_stopped_it_finishes_what_is_worked_on_and_begins_nothing():
    shelf = Shelf.of(100)
    engine = ScriptedEngine()
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    job = Job(listed, engine, Report(plan().video), follow=True)

    def act(task: Task) -> list[Outcome]:
        if task.id == 50:
            job.stop()
        return predict(task)

    engine.act = act
    with Store(shelf, PROJECT, listed.done, job.settle) as store:
        job.run(store)
    assert job.report.predicted == len(engine.asked) <= 5 + engine.capacity
    assert sum(len(versions) for versions in shelf.versions().values()) == len(engine.asked)


def test_following_new_tasks_are_predicted_in_the_same_pass():
    shelf = Shelf.of(2)
    engine = ScriptedEngine(ahead=1)
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    looks = 0

    def tidy() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            shelf.tasks[999] = {"video": "new.mp4"}
        elif VERSION in shelf.versions()[999]:
            job.stop()

    job = Job(listed, engine, Report(plan().video), follow=True, between_passes=tidy, poll_seconds=0.01)
    with Store(shelf, PROJECT, listed.done, job.settle) as store:
        job.run(store)
    assert all(versions == [VERSION] for versions in shelf.versions().values())
    assert engine.passes == 1


def test_what_is_known_of_given_tasks_is_counted_once():
    shelf = Shelf.of(4)
    shelf.store(20, VERSION)
    wrong = ["30"]
    engine = ScriptedEngine(
        lambda task: [Postponed(task, "later")] if task.key in wrong and wrong.pop() else predict(task)
    )
    job = run(shelf, engine, numbers=[10, 20, 30, 77])
    assert engine.passes == 2
    assert (job.report.predicted, job.report.there) == (2, 1)
    assert [failure.reason for failure in job.report.failures] == ["Project 3 has no task 77."]


def test_a_list_that_cannot_be_read_ends_the_job_after_what_is_worked_on():
    shelf = Shelf.of(3)
    listed = ProjectTasks(shelf, PROJECT, VERSION)

    class Breaks:
        def __iter__(self) -> Iterator[Any]:
            yield from list(listed)
            raise RequestError("no such project")

    job = Job(Breaks(), ScriptedEngine(ahead=1), Report(plan().video))
    with (
        pytest.raises(OmniTimelineError, match="no such project"),
        Store(shelf, PROJECT, listed.done, job.settle) as store,
    ):
        job.run(store)
    assert all(versions == [VERSION] for versions in shelf.versions().values())
    assert job.report.predicted == 3


def test_a_report_says_what_became_of_all():
    shelf = Shelf.of(6)
    shelf.store(60, VERSION)

    def act(task: Task) -> list[Outcome]:
        assert task.id is not None
        if task.id <= 20:
            return [Failed(task, f"{task.id}.mp4 cannot be decoded.")]
        return [predicted(task.id, decode=1.5, generate=0.25)] if task.id != 30 else [Failed(task, "Odd.")]

    told = run(shelf, ScriptedEngine(act)).report.as_object()
    assert (told["predicted"], told["failed"], told["seconds_by_stage"]) == (2, 3, {"decode": 3.0, "generate": 0.5})
    assert told["reasons"] == [{"reason": "… cannot be decoded.", "tasks": 2}, {"reason": "Odd.", "tasks": 1}]
    assert told["failures"][0] == {"task": "10", "video": "10.mp4", "reason": "10.mp4 cannot be decoded."}


def test_predictions_of_the_same_task_under_another_key_do_not_count():
    job = Job([], ScriptedEngine(), Report(plan().video))
    job.settle(predicted(10))
    assert job.report.predicted == 0
    assert isinstance(predicted(10), Predicted)
