"""Each prediction gets into Label Studio exactly once, whatever Label Studio answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from omni_timeline.batch.listing import ProjectTasks
from omni_timeline.batch.outcomes import AlreadyThere, Failed, Outcome, Predicted
from omni_timeline.batch.patience import Patience
from omni_timeline.batch.storing import MAX_ROUNDS, UNCLEAR_SECONDS, Store, remove_versions
from omni_timeline.errors import DeliveryError, OmniTimelineError

from .plans import VERSION, predicted
from .shelf import BUSY, GONE, PROJECT, REFUSED, TOKEN, UNCLEAR, UNREACHABLE, Shelf


def raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def stored(shelf: Shelf, numbers: list[int], tasks: int = 0) -> tuple[list[Outcome], list[float]]:
    """What came of the predictions of these tasks, in their order, and for how long it was waited."""
    outcomes: list[Outcome] = []
    pauses: list[float] = []
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    patience = Patience(sleep=pauses.append)
    store = Store(shelf, PROJECT, listed.done, outcomes.append, tasks=tasks, patience=patience, pause=pauses.append)
    for number in numbers:
        store.put(predicted(number))  # before it runs, so that they are one batch
    with store:
        store.flush()
    return sorted(outcomes, key=lambda outcome: outcome.task.id or 0), pauses


def kinds(outcomes: list[Outcome]) -> list[type[Outcome]]:
    return [type(outcome) for outcome in outcomes]


def test_one_is_stored_alone():
    shelf = Shelf.of(3)
    outcomes, pauses = stored(shelf, [20])
    assert kinds(outcomes) == [Predicted]
    assert [kind for kind, _ in shelf.asked if kind != "page"] == ["one"]
    assert shelf.versions() == {10: [], 20: [VERSION], 30: []}
    assert pauses == []


def test_many_are_stored_together_where_that_is_quicker():
    """Each such call has Label Studio count the whole project anew: 11 s of 100,000 tasks."""
    shelf = Shelf.of(40)
    numbers = sorted(shelf.tasks)
    assert set(kinds(stored(shelf, numbers, tasks=40)[0])) == {Predicted}
    assert [kind for kind, _ in shelf.asked if kind != "page"] == ["many"]
    large = Shelf.of(40)
    stored(large, numbers, tasks=100_000)
    assert [kind for kind, _ in large.asked if kind != "page"] == ["one"] * 40
    assert all(versions == [VERSION] for versions in {**shelf.versions(), **large.versions()}.values())


def test_what_is_there_is_not_stored_again():
    shelf = Shelf.of(30)
    shelf.store(10, VERSION)
    outcomes, _ = stored(shelf, sorted(shelf.tasks))
    assert kinds(outcomes) == [AlreadyThere] + [Predicted] * 29
    assert all(versions == [VERSION] for versions in shelf.versions().values())


@pytest.mark.parametrize("tasks", [1, 40])
@pytest.mark.parametrize(
    ("fault", "waited"),
    [
        (UNREACHABLE, 2.0),
        (BUSY, 2.0),
        (DeliveryError("busy", "429", 7.0), 7.0),
        (UNCLEAR, UNCLEAR_SECONDS),  # it may come still: none is sent before that time is over
        (raising(UNCLEAR), UNCLEAR_SECONDS),  # it has come
        (raising(BUSY), 2.0),
    ],
)
def test_after_a_call_that_failed_each_is_there_once(fault: Exception, waited: float, tasks: int):
    shelf = Shelf.of(tasks)
    shelf.faults = [fault]
    outcomes, pauses = stored(shelf, sorted(shelf.tasks))
    assert kinds(outcomes) == [Predicted] * tasks
    assert all(versions == [VERSION] for versions in shelf.versions().values())
    assert pauses == [waited]


def test_predictions_that_label_studio_skips_in_silence_are_sent_one_by_one():
    shelf = Shelf.of(40)
    shelf.skipped = {70, 90}
    outcomes, _ = stored(shelf, sorted(shelf.tasks))
    assert kinds(outcomes) == [Predicted] * 40
    assert [number for kind, number in shelf.asked if kind == "one"] == [70, 90]
    assert all(versions == [VERSION] for versions in shelf.versions().values())


def test_a_task_that_was_deleted_costs_only_itself():
    shelf = Shelf.of(40)
    numbers = sorted(shelf.tasks)
    del shelf.tasks[70]
    outcomes, _ = stored(shelf, numbers)
    assert [outcome for outcome in outcomes if isinstance(outcome, Failed)] == [Failed(predicted(70).task, str(GONE))]
    assert all(versions == [VERSION] for versions in shelf.versions().values())


def test_a_prediction_that_is_refused_has_failed():
    shelf = Shelf.of(2)
    shelf.faults = [REFUSED]
    outcomes, _ = stored(shelf, [10])
    assert outcomes == [Failed(predicted(10).task, str(REFUSED))]


@pytest.mark.parametrize("errors", [[BUSY], [UNCLEAR], [BUSY] * (MAX_ROUNDS - 1) + [UNCLEAR]])
def test_what_label_studio_never_takes_fails_in_the_end(errors: list[Exception]):
    shelf = Shelf.of(2)
    shelf.faults = errors * 100
    outcomes, pauses = stored(shelf, [10])
    assert outcomes == [Failed(predicted(10).task, str(errors[-1]))]
    assert len(pauses) == MAX_ROUNDS


def test_a_last_answer_that_got_lost_is_looked_for():
    shelf = Shelf.of(2)
    shelf.faults = [BUSY] * (MAX_ROUNDS - 1) + [raising(UNCLEAR)]
    outcomes, _ = stored(shelf, [10])
    assert kinds(outcomes) == [Predicted]


def test_a_bad_token_ends_the_job():
    shelf = Shelf.of(2)
    shelf.faults = [TOKEN]
    with pytest.raises(OmniTimelineError, match="a bad token"):
        stored(shelf, [10])


def test_a_mistake_of_ours_ends_the_job_and_hangs_nobody():
    shelf = Shelf.of(2)
    shelf.faults = [ZeroDivisionError()]
    with pytest.raises(OmniTimelineError, match="Unexpected ZeroDivisionError"):
        stored(shelf, [10])


def test_while_label_studio_restarts_it_is_waited():
    shelf = Shelf.of(2)
    down = [UNREACHABLE] * 4
    listed = ProjectTasks(shelf, PROJECT, VERSION)
    pauses: list[float] = []

    def done(numbers: object) -> set[int]:
        if down:
            raise down.pop()
        return listed.done([10])

    outcomes: list[Outcome] = []
    with Store(shelf, PROJECT, done, outcomes.append, patience=Patience(sleep=pauses.append)) as store:
        store.put(predicted(10))
        store.flush()
    assert kinds(outcomes) == [Predicted]
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_old_versions_are_removed_only_where_the_new_one_is():
    shelf = Shelf.of(4)
    for number, versions in {10: ["old", VERSION, "kept"], 20: ["old"], 30: [VERSION], 40: ["older", VERSION]}.items():
        for version in versions:
            shelf.store(number, version)
    removed = remove_versions(shelf, sorted(shelf.tasks), VERSION, ["old", "older", VERSION], lambda call: call())
    assert removed == 2
    assert shelf.versions() == {10: [VERSION, "kept"], 20: ["old"], 30: [VERSION], 40: [VERSION]}
