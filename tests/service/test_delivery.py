"""How predictions get to Label Studio, over one that is as bad as it can be; without threads, and time is a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from omni_timeline.errors import DeliveryError, DeliveryKind, LabelConfigError
from omni_timeline.service.debts import CHECK_SECONDS, UNCLEAR_SECONDS, Event
from omni_timeline.service.delivery import FIRST_PAUSE, MAX_PAUSE, Delivery
from omni_timeline.service.history import History
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Pending
from omni_timeline.service.prometheus import Metrics
from task_requests import VERSION, entry, in_memory, item, renew, task


@dataclass
class Clock:
    """Goes on by a hundredth of a second whenever somebody looks at it."""

    now: float = 1000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@dataclass
class Studio:
    """What Label Studio has, by task; and how it fails, call by call.

    Attributes:
        faults: of the next calls; "stored" says 500 after it has stored, "odd" is no error of ours, "" goes well.
        asked: for which tasks it was looked at.
    """

    stored: dict[int, list[str]] = field(default_factory=dict)
    faults: list[DeliveryKind | str] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)

    def prediction_versions(self, task: int) -> list[str]:
        self.asked.append(task)
        self._fail()
        return list(self.stored.get(task, []))

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        if self.faults[:1] == ["stored"]:
            self.store(task)
        self._fail()
        if task in self.deleted:
            raise DeliveryError("gone", "no such task")
        self.store(task, prediction["model_version"])

    def store(self, task: int, version: str = VERSION) -> None:
        self.stored.setdefault(task, []).append(version)

    def _fail(self) -> None:
        fault: Any = self.faults.pop(0) if self.faults else ""
        if fault == "odd":
            raise RecursionError
        if fault:
            raise DeliveryError("busy" if fault == "stored" else fault, f"fault: {fault}", 3.0)


class Parts:
    """A delivery and all around it."""

    def __init__(self) -> None:
        journal = in_memory()
        self.clock = Clock()
        self.studio = Studio()
        self.history = History(journal)
        self.outbox = Outbox(journal)
        self.version = VERSION
        self.metrics = Metrics()
        self.delivery = Delivery(self.outbox, self.studio, self.history, self.metrics, self.renew, self.clock)

    def renew(self, pending: Pending) -> Any:
        if not self.version:
            raise LabelConfigError("no")
        return renew(pending, self.version)

    def ready(self, *numbers: int) -> None:
        self.outbox.ask([task(number) for number in numbers], self.clock.now, self.clock.now)
        for number in numbers:
            self.outbox.record(Event.PREDICTED, item(number), self.clock.now, entry=entry())

    def run(self, seconds: float = 1000.0) -> None:
        """The thread's work for so long."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            if not self.delivery.step():
                self.clock.now += 0.5

    def answer(self, number: int, arrived: float, deadline: float = 1e9) -> bool:
        [given] = self.delivery.answer([item(number)], arrived, deadline)
        return given is not None

    @property
    def owed(self) -> int:
        return self.outbox.counts(self.clock.now)["owed"]

    def counted(self, outcome: str) -> bool:
        return f'omni_timeline_tasks_total{{outcome="{outcome}"}} 1.0'.encode() in self.metrics.text()


@pytest.fixture
def parts() -> Parts:
    return Parts()


# --- pushes ----------------------------------------------------------------------------------------------------------
def test_what_no_request_got_is_pushed_once(parts: Parts):
    parts.ready(1, 2)
    parts.run()
    assert parts.studio.stored == {1: [VERSION], 2: [VERSION]}
    assert parts.owed == 0


def test_what_is_there_already_is_not_pushed(parts: Parts):
    parts.ready(1)
    parts.studio.store(1)
    parts.run()
    assert parts.studio.stored == {1: [VERSION]}
    assert parts.owed == 0
    assert parts.counted("there")


def test_an_answer_that_label_studio_did_not_store_is_pushed(parts: Parts):
    """It hangs up after 100 s, and drops a whole batch for one odd entry."""
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock.now)
    parts.run(CHECK_SECONDS - 1.0)
    assert (parts.studio.asked, parts.owed) == ([], 1)
    parts.run(2.0)
    assert parts.studio.stored == {1: [VERSION]}
    assert parts.owed == 0


def test_an_answer_that_it_stored_is_not_pushed(parts: Parts):
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock.now)
    parts.studio.store(1)
    parts.run()
    assert parts.studio.stored == {1: [VERSION]}
    assert parts.owed == 0


@pytest.mark.parametrize("kind", ["unreachable", "unclear", "token", "busy", "stored", "odd"])
@pytest.mark.parametrize("before", [0, 1])  # at the look, or at the push
def test_whatever_label_studio_answers_it_gets_it_once(kind: str, before: int, parts: Parts):
    parts.ready(1, 2)
    parts.studio.faults = [""] * before + [kind] * 3
    parts.run(1.0)
    assert parts.delivery.trouble is not None
    assert parts.history.failures()
    parts.run()
    assert parts.studio.stored == {1: [VERSION], 2: [VERSION]}
    assert parts.owed == 0
    assert parts.delivery.trouble is None


def test_a_push_without_a_reply_is_not_followed_by_another_while_it_may_be_stored(parts: Parts):
    parts.ready(1)
    parts.studio.faults = ["", "unclear"]
    parts.run(UNCLEAR_SECONDS - 1.0)
    assert len(parts.studio.asked) == 1
    parts.studio.store(1)
    parts.run()
    assert parts.studio.stored == {1: [VERSION]}


def test_it_is_left_alone_longer_and_longer(parts: Parts):
    parts.ready(1)
    parts.studio.faults = ["token"] * 1000
    began, moments = parts.clock.now, []
    while parts.clock.now < began + 1000.0:
        parts.clock.now += 0.1
        if parts.delivery.step():
            moments.append(parts.clock.now)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses[0] == pytest.approx(3.0, abs=0.3)  # as it asked for; longer than FIRST_PAUSE
    assert FIRST_PAUSE < 3.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(MAX_PAUSE, abs=0.5)
    assert (parts.delivery.trouble.kind, str(parts.delivery.trouble)) == ("token", "fault: token")
    assert [failure.sentence for failure in parts.history.failures()] == ["Not stored: fault: token"]


def test_a_task_that_was_deleted_is_dropped(parts: Parts):
    parts.studio.deleted = {1}
    parts.ready(1, 2)
    parts.run()
    assert parts.studio.stored == {2: [VERSION]}
    assert parts.owed == 0
    assert parts.counted("dropped")


def test_a_prediction_that_is_refused_is_told_and_does_not_stop_the_others(parts: Parts):
    parts.studio.faults = ["", "refused"]
    parts.ready(1, 2)
    parts.run()
    assert parts.studio.stored == {2: [VERSION]}
    assert "refused" in parts.history.failures()[0].sentence
    assert parts.counted("failed")


def test_what_was_made_by_another_model_version_is_made_again(parts: Parts):
    """The server was started with other settings, or the checkpoint was changed on disk."""
    parts.ready(1, 2)
    parts.studio.store(2)  # it had got that one before
    parts.version = "v2"
    parts.run()
    assert parts.studio.stored == {2: [VERSION]}
    assert parts.owed == 1
    pending = parts.outbox.take(parts.clock.now)
    assert pending is not None
    assert pending.item.version == "v2"


def test_what_is_made_is_pushed_also_when_its_project_cannot_be_predicted_any_more(parts: Parts):
    parts.ready(1)
    parts.version = ""
    parts.run()
    assert parts.studio.stored == {1: [VERSION]}


# --- answers ---------------------------------------------------------------------------------------------------------
def test_a_request_gets_what_is_there_and_nothing_for_the_others(parts: Parts):
    parts.ready(1, 2)
    arrived = parts.clock.now
    items = [item(1), None, item(3), item(2), item(2)]
    assert parts.delivery.answer(items, arrived, 1e9) == [entry(), None, None, entry(), None]


def test_a_request_gets_what_could_not_be_pushed(parts: Parts):
    """Label Studio reaches the backend, and the backend cannot reach Label Studio."""
    parts.ready(1)
    arrived = parts.clock()
    parts.studio.faults = ["unreachable"]
    assert parts.delivery.step()
    assert parts.answer(1, arrived)


def test_what_was_just_delivered_and_is_stored_is_not_delivered_again(parts: Parts):
    parts.ready(1)
    parts.run(1.0)
    parts.outbox.ask([task(1)], parts.clock.now, 1e9)
    parts.outbox.record(Event.PREDICTED, item(1), parts.clock.now, due=1e9, entry=entry())
    assert not parts.answer(1, arrived=parts.clock())
    assert parts.owed == 0  # seen to be there


def test_whoever_asks_again_and_has_not_stored_it_gets_it(parts: Parts):
    """Somebody who tries the backend by hand, or "Send test request" in Label Studio's page."""
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock())
    parts.clock.now += 4.9  # nearly all the time in which Label Studio stores an answer
    assert parts.answer(1, arrived=parts.clock())
    assert len(parts.studio.asked) > 1  # also at the end of that time


@pytest.mark.parametrize("kind", ["unreachable", "token"])
def test_where_nobody_can_look_nothing_is_delivered_again(kind: str, parts: Parts):
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock())
    parts.studio.faults = [kind]
    assert not parts.answer(1, arrived=parts.clock())


def test_a_request_does_not_wait_beyond_its_deadline_to_look(parts: Parts):
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock())
    assert not parts.answer(1, arrived=parts.clock(), deadline=parts.clock.now + 1.0)
    assert parts.studio.asked == []


def test_nobody_waits_for_a_look_when_the_server_stops(parts: Parts):
    parts.ready(1)
    assert parts.answer(1, arrived=parts.clock())
    parts.delivery.stop()
    assert not parts.answer(1, arrived=parts.clock())
