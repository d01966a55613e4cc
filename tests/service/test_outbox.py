"""Which prediction is given to whom, row by row, with times that are plain numbers; and in any order at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from omni_timeline.errors import OmniTimelineError
from omni_timeline.service import debts
from omni_timeline.service.debts import (
    CHECK_SECONDS,
    DEFERRAL_SECONDS,
    REMEMBERED_SECONDS,
    RULES,
    STORING_SECONDS,
    UNCLEAR_SECONDS,
    Debt,
    Event,
)
from omni_timeline.service.journal import Journal
from omni_timeline.service.outbox import PRUNING_SECONDS, Outbox, Reply
from omni_timeline.service.pending import CHANGES
from task_requests import VERSION, XML, entry, in_memory, item, task

LATER = 1000.0  # s after what happened before: nothing is waited for any more


@pytest.fixture
def journal() -> Journal:
    return in_memory()


@pytest.fixture
def outbox(journal: Journal) -> Outbox:
    return Outbox(journal)


def ready(outbox: Outbox, number: int = 1, now: float = 0.0, until: float = 0.0) -> None:
    outbox.ask([task(number)], now, until)
    outbox.record(Event.PREDICTED, item(number), now, due=until, entry=entry())


def give(outbox: Outbox, arrived: float, now: float, number: int = 1, **absent: Any) -> Reply:
    [reply] = outbox.answer([item(number)], arrived, now, **absent)
    return reply


def push(outbox: Outbox, now: float) -> None:
    pending = outbox.next_push(now)
    assert pending is not None
    assert outbox.push(pending, now)


def state(journal: Journal, number: int = 1, version: str = VERSION) -> Debt | None:
    query = "SELECT state FROM pending WHERE task = ? AND version = ?"
    row = journal.read(lambda rows: rows.execute(query, (number, version)).fetchone())
    return None if row is None else Debt(row[0])


# --- the table -------------------------------------------------------------------------------------------------------
BRING_INTO: dict[Debt | None, Callable[[Outbox], object]] = {
    None: lambda outbox: None,
    Debt.OPEN: lambda outbox: outbox.ask([task(1)], 0.0, 0.0),
    Debt.READY: ready,
    Debt.SENT: lambda outbox: (ready(outbox), give(outbox, 0.0, 0.0)),
    Debt.UNCLEAR: lambda outbox: (ready(outbox), push(outbox, 0.0)),
    Debt.SETTLED: lambda outbox: (ready(outbox), push(outbox, 0.0), outbox.record(Event.STORED, item(1), 0.0)),
}


def happen(event: Event, outbox: Outbox) -> None:
    if event is Event.ASKED:
        outbox.ask([task(1)], LATER, LATER)
    elif event is Event.CHANGED:
        outbox.ask([task(1, fps=30)], LATER, LATER)
    elif event is Event.ANSWERED:
        give(outbox, LATER, LATER)
    elif event is Event.DEFERRED:
        outbox.defer(item(1), LATER)
    elif event is Event.RENEWED:
        outbox.renew(item(1), "v2", LATER)
    elif event is Event.PUSHING:
        if (pending := outbox.next_push(LATER)) is not None:
            outbox.push(pending, LATER)
    else:
        outbox.record(event, item(1), LATER, due=LATER, entry=entry() if event is Event.PREDICTED else None)


# Something that is not known can only be asked for; that it was asked for otherwise before cannot be.
ROWS = [row for row in product(Event, [None, *Debt]) if row != (Event.CHANGED, None)]


@pytest.mark.parametrize(("event", "before"), ROWS, ids=lambda value: str(value))
def test_the_table(event: Event, before: Debt | None, journal: Journal, outbox: Outbox):
    BRING_INTO[before](outbox)
    assert state(journal) == before
    happen(event, outbox)
    assert state(journal) == RULES[event].get(before, before)


def test_the_docstring_has_the_same_table():
    head, *lines = re.findall(r"(?m)^ +((?:(?:\(none\)|[a-z]+|\.) +){5,6}[a-z.]+)$", debts.__doc__ or "")
    columns = [None if name == "(none)" else Debt(name) for name in head.split()]
    written = {
        Event(line.split()[0]): {
            column: Debt(word) for column, word in zip(columns, line.split()[1:], strict=True) if word != "."
        }
        for line in lines
    }
    assert columns == [None, *Debt]
    assert written == RULES
    assert set(RULES) == set(Event)
    assert set(CHANGES) == set(Event) - {Event.ASKED, Event.CHANGED}


# --- requests --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arrived", "now", "expected"),
    [
        (99.0, 101.0, Reply()),  # it came before the other was answered: Label Studio had looked before that
        (100.0, 101.0, Reply()),
        (101.0, 101.0, Reply(check_until=100.0 + STORING_SECONDS)),
        (104.9, 200.0, Reply(check_until=100.0 + STORING_SECONDS)),  # however long it waited for others
        (105.0, 105.0, Reply(entry())),
        (LATER, LATER, Reply(entry())),
    ],
)
def test_what_a_request_gets_of_a_prediction_that_another_got(
    arrived: float, now: float, expected: Reply, outbox: Outbox
):
    ready(outbox)
    assert give(outbox, 0.0, 100.0).entry == entry()
    assert give(outbox, arrived, now) == expected


def test_what_label_studio_has_not_stored_is_given_again(outbox: Outbox):
    ready(outbox)
    give(outbox, 0.0, 100.0)
    assert give(outbox, 101.0, 105.0, absent={item(1)}).entry == entry()
    assert give(outbox, 102.0, 106.0, absent={item(1)}) == Reply()  # the one before has got it meanwhile


@pytest.mark.parametrize(
    ("arrived", "now", "expected"),
    [
        (99.0, 100.5, Reply()),
        (101.0, 101.0, Reply()),
        (101.0, 99.9 + UNCLEAR_SECONDS, Reply()),
        (101.0, 100.0 + UNCLEAR_SECONDS, Reply(check_until=100.0 + UNCLEAR_SECONDS + STORING_SECONDS)),
        (LATER, LATER, Reply(entry())),
    ],
)
def test_while_a_push_is_on_its_way_nobody_else_gets_it(arrived: float, now: float, expected: Reply, outbox: Outbox):
    ready(outbox)
    push(outbox, 100.0)
    assert give(outbox, arrived, now) == expected


def test_a_request_that_waited_while_it_was_pushed_gets_nothing(outbox: Outbox):
    """Label Studio had looked, and seen nothing, before it asked."""
    ready(outbox)
    push(outbox, 100.0)
    outbox.ask([task(1)], 100.5, 160.0)
    outbox.record(Event.STORED, item(1), 101.0)
    assert give(outbox, 100.5, 102.0) == Reply()


def test_what_was_settled_is_given_to_whoever_asks_much_later(outbox: Outbox):
    """Somebody has deleted the prediction in Label Studio."""
    BRING_INTO[Debt.SETTLED](outbox)
    assert outbox.ask([task(1)], LATER, LATER) == [Debt.OPEN]
    outbox.record(Event.PREDICTED, item(1), LATER, entry=entry())
    assert give(outbox, LATER, LATER).entry == entry()


def test_the_same_task_twice_in_a_request_is_given_once(outbox: Outbox):
    ready(outbox)
    assert outbox.answer([item(1), item(1)], 5.0, 6.0) == [Reply(entry()), Reply()]


def test_a_task_that_has_changed_is_given_as_it_is_now(outbox: Outbox):
    outbox.ask([task(1, fps=25)], 0.0, 60.0)
    outbox.ask([task(1, fps=30)], 1.0, 60.0)
    assert not outbox.record(Event.PREDICTED, item(1, fps=25), 2.0, entry={"fps": 25})
    assert outbox.record(Event.PREDICTED, item(1, fps=30), 3.0, entry={"fps": 30})
    assert outbox.answer([item(1, fps=25), item(1, fps=30)], 0.5, 4.0) == [Reply(), Reply({"fps": 30})]


def test_another_labeling_config_changes_the_task(outbox: Outbox):
    """A tag of another name: Label Studio would not know what to do with regions of the former one."""
    ready(outbox)
    assert outbox.ask([task(1, xml=XML.replace('name="t"', 'name="u"'))], 1.0, 1.0) == [Debt.OPEN]


# --- pushes ----------------------------------------------------------------------------------------------------------
def due(outbox: Outbox, moment: float) -> bool:
    """Whether it is pushed from this moment on, and not before."""
    return outbox.next_push(moment - 0.1) is None and outbox.next_push(moment) is not None


def test_a_prediction_is_not_pushed_while_somebody_waits_for_it(outbox: Outbox):
    ready(outbox, until=60.0)
    assert due(outbox, 60.0)


def test_a_prediction_that_is_asked_for_is_kept_for_who_asks(outbox: Outbox):
    ready(outbox)
    outbox.ask([task(1)], 5.0, 65.0)
    assert due(outbox, 65.0)


def test_an_answer_is_looked_for(outbox: Outbox):
    ready(outbox)
    give(outbox, 0.0, 100.0)
    assert due(outbox, 100.0 + CHECK_SECONDS)


def test_a_push_whose_reply_never_came_is_looked_for(outbox: Outbox):
    """Nor the process that sent it."""
    ready(outbox)
    push(outbox, 100.0)
    assert due(outbox, 100.0 + UNCLEAR_SECONDS)


@pytest.mark.parametrize(
    ("event", "until", "expected"),
    [
        (Event.LOST, 121.0, 120.0 + UNCLEAR_SECONDS),  # it may still arrive
        (Event.LOST, 500.0, 500.0),
        (Event.REFUSED, 121.0, 121.0),
    ],
)
def test_a_push_that_failed_is_made_again(event: Event, until: float, expected: float, outbox: Outbox):
    ready(outbox)
    push(outbox, 100.0)
    outbox.record(event, item(1), 120.0, due=until)
    assert due(outbox, expected)


def test_a_push_that_could_not_begin_is_made_later(outbox: Outbox):
    ready(outbox)
    outbox.record(Event.UNCHECKED, item(1), 100.0, due=160.0)
    assert due(outbox, 160.0)


def test_what_a_request_got_during_the_look_is_not_pushed(outbox: Outbox):
    ready(outbox)
    pending = outbox.next_push(100.0)
    assert pending is not None
    give(outbox, 99.0, 100.5)
    assert not outbox.push(pending, 101.0)


def test_the_one_that_is_due_for_the_longest_time_comes_first(outbox: Outbox):
    for number, moment in ((1, 30.0), (2, 10.0), (3, 20.0)):
        ready(outbox, number, until=moment)
    pending = outbox.next_push(100.0)
    assert pending is not None
    assert pending.item == item(2)
    assert (pending.entry, pending.project, pending.xml) == (entry(), "1", XML)


def test_a_refusal_of_what_a_task_was_before_is_not_one_of_what_it_is_now(journal: Journal, outbox: Outbox):
    ready(outbox)
    push(outbox, 100.0)
    outbox.ask([task(1, fps=30)], 101.0, 101.0)
    outbox.record(Event.DROPPED, item(1), 102.0)
    assert state(journal) == Debt.OPEN


# --- work ------------------------------------------------------------------------------------------------------------
def test_what_a_request_asks_for_is_in_its_own_hand(outbox: Outbox):
    outbox.ask([task(1)], 0.0, 60.0)
    assert outbox.take(LATER) is None


def test_what_is_deferred_comes_back_later_and_later(outbox: Outbox):
    outbox.ask([task(1)], 0.0, 0.0)
    now = 0.0
    for seconds in (*DEFERRAL_SECONDS, DEFERRAL_SECONDS[-1]):
        outbox.defer(item(1), now)
        assert outbox.take(now + seconds - 0.1) is None
        now += seconds
        assert outbox.take(now) is not None
        assert outbox.take(now) is None  # it is in somebody's hand
    outbox.record(Event.PREDICTED, item(1), now, entry=entry())
    outbox.ask([task(1, fps=30)], now, now)
    outbox.defer(item(1, fps=30), now)
    assert outbox.take(now + DEFERRAL_SECONDS[0]) is not None


def test_what_is_deferred_is_made_at_once_for_somebody_who_asks(outbox: Outbox):
    outbox.ask([task(1)], 0.0, 0.0)
    outbox.defer(item(1), 0.0)
    assert outbox.ask([task(1)], 1.0, 60.0) == [Debt.OPEN]
    assert outbox.take(LATER) is None  # who asks has it in hand


def test_what_a_task_needs_comes_with_it(outbox: Outbox):
    outbox.ask([task(1, fps=30)], 0.0, 0.0)
    outbox.defer(item(1, fps=30), 0.0)
    pending = outbox.take(LATER)
    assert pending is not None
    assert (pending.item, pending.project, pending.xml) == (item(1, fps=30), "1", XML)
    assert pending.data == {"video": "1.mp4", "fps": 30}


def test_another_model_version_takes_the_place_of_one(journal: Journal, outbox: Outbox):
    outbox.ask([task(1)], 0.0, 0.0)
    outbox.renew(item(1), "v2", 1.0)
    assert (state(journal), state(journal, version="v2")) == (Debt.SETTLED, Debt.OPEN)
    pending = outbox.take(1.0)
    assert pending is not None
    assert (pending.item.version, pending.data) == ("v2", {"video": "1.mp4"})


def test_a_task_that_is_asked_for_under_the_new_version_already_is_not_asked_for_twice(outbox: Outbox):
    outbox.ask([task(1), task(1, "v2")], 0.0, 60.0)
    outbox.renew(item(1), "v2", 1.0)
    assert outbox.counts(1.0)["owed"] == 1
    assert outbox.take(1.0) is None


def test_attempts_count_until_something_comes_of_one(outbox: Outbox):
    outbox.ask([task(1)], 0.0, 0.0)
    for _ in range(2):
        outbox.begin_attempt(item(1))
    outbox.undo_attempts([item(1)])
    outbox.defer(item(1), 0.0)
    pending = outbox.take(LATER)
    assert pending is not None
    assert pending.attempts == 0


# --- the next process ------------------------------------------------------------------------------------------------
@pytest.fixture
def servers(tmp_path: Path) -> Callable[[], Outbox]:
    """Outboxes of servers that share a journal; `end` of one of them is `kill -9`."""

    def another() -> Outbox:
        return Outbox(Journal(tmp_path / "journal.sqlite"))

    return another


def end(outbox: Outbox) -> None:
    outbox._journal.close()


def test_the_next_process_finds_what_was_pending(servers: Callable[[], Outbox]):
    first = servers()
    for number in range(1, 6):
        first.ask([task(number)], 0.0, 60.0)
    first.record(Event.PREDICTED, item(1), 1.0, due=60.0, entry=entry())
    first.record(Event.PREDICTED, item(2), 1.0, due=60.0, entry=entry())
    first.answer([item(2)], 0.0, 2.0)
    first.defer(item(3), 2.0)
    first.record(Event.FAILED, item(4), 2.0)
    end(first)
    second = servers()
    assert second.counts(3.0)["owed"] == 4
    assert second.take(3.0) is None
    assert second.tend(3.0) == 5
    assert second.tend(3.0) == 0
    taken = [second.take(3.0), second.take(3.0), second.take(3.0)]
    assert [each and each.item for each in taken] == [item(3), item(5), None]  # nobody else has it in hand now
    assert second.next_push(3.0).item == item(1)  # nobody waits for it any more
    assert give(second, 3.5, 4.0, number=2) == Reply(check_until=2.0 + STORING_SECONDS)


def test_of_two_servers_each_does_its_own_until_one_ends(servers: Callable[[], Outbox]):
    first, second = servers(), servers()
    first.ask([task(1)], 0.0, 0.0)
    first.defer(item(1), 0.0)
    ready(first, 2)
    assert (second.tend(LATER), second.take(LATER), second.next_push(LATER)) == (0, None, None)
    end(first)
    third = servers()
    assert (second.tend(LATER), third.tend(LATER)) == (2, 0)
    assert second.take(LATER).item == item(1)
    assert second.next_push(LATER).item == item(2)


def test_two_servers_that_are_asked_for_the_same_give_it_once(servers: Callable[[], Outbox]):
    """While a server is reloaded, two of them run."""
    first, second = servers(), servers()
    ready(first, until=60.0)
    second.ask([task(1)], 1.0, 60.0)
    assert give(first, 0.0, 2.0).entry == entry()
    assert give(second, 1.0, 3.0) == Reply()
    assert first.next_push(LATER) is None  # it belongs to the one that was asked last
    assert second.next_push(LATER) is not None


def test_a_failure_of_one_server_is_none_of_another_that_was_asked_since(servers: Callable[[], Outbox]):
    first, second = servers(), servers()
    first.ask([task(1)], 0.0, 0.0)
    second.ask([task(1)], 1.0, 0.0)
    first.record(Event.FAILED, item(1), 2.0)
    assert second.counts(2.0)["owed"] == 1


def test_a_push_that_was_on_its_way_when_the_process_was_killed_is_waited_for(servers: Callable[[], Outbox]):
    first = servers()
    ready(first)
    push(first, 100.0)
    end(first)
    second = servers()
    second.tend(101.0)
    assert due(second, 100.0 + UNCLEAR_SECONDS)


@pytest.mark.parametrize(
    ("send", "seconds"),
    [(lambda outbox: give(outbox, 0.0, 100.0), CHECK_SECONDS), (lambda outbox: push(outbox, 100.0), UNCLEAR_SECONDS)],
)
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_changed_task_waits_for_what_was_sent_before(
    send: Callable[[Outbox], object], seconds: float, is_killed: bool, servers: Callable[[], Outbox]
):
    """Else both would be stored: what was sent just now, and the push of the new one."""
    outbox = servers()
    ready(outbox)
    send(outbox)
    outbox.ask([task(1, fps=30)], 101.0, 101.0)
    outbox.record(Event.PREDICTED, item(1, fps=30), 101.0, due=101.0, entry=entry())
    if is_killed:
        end(outbox)
        outbox = servers()
        outbox.tend(101.5)
    assert due(outbox, 100.0 + seconds)


def test_times_from_before_the_machine_was_started_again_do_not_last(servers: Callable[[], Outbox]):
    """Its clock begins at 0 again."""
    first = servers()
    for number in (1, 2, 3, 4):
        ready(first, number, now=1e6, until=1e6)
    give(first, 1e6, 1e6 + 1, number=1)
    first.push(first.next_push(1e6 + 1), 1e6 + 1)  # 2
    first.record(Event.STORED, item(2), 1e6 + 2)
    first.push(first.next_push(1e6 + 1), 1e6 + 1)  # 3
    end(first)
    second = servers()
    second.tend(20.0)
    assert second.next_push(20.0).item == item(4)
    assert give(second, 21.0 + STORING_SECONDS, 27.0).entry == entry()
    later = 20.0 + UNCLEAR_SECONDS
    assert {give(second, later + STORING_SECONDS, later + 9.0, number=3).entry["model_version"]} == {VERSION}
    second.ask([task(2)], 60.0, 60.0)
    second.record(Event.PREDICTED, item(2), 60.0, entry=entry())
    assert give(second, 60.0, 61.0, number=2).entry == entry()


def test_what_cannot_be_read_is_told_and_the_others_are_there(servers: Callable[[], Outbox]):
    first = servers()
    first.ask([task(1), task(2), task(3)], 0.0, 0.0)
    first._journal.write(lambda rows: rows.execute("UPDATE pending SET data = '{\"video' WHERE task = 1").close())
    end(first)
    second = servers()
    second.tend(1.0)
    odd, *others = (second.take(1.0) for _ in range(3))
    with pytest.raises(OmniTimelineError, match="retrieve its prediction"):
        _ = odd.data
    assert [other.data for other in others] == [{"video": "2.mp4"}, {"video": "3.mp4"}]


def test_a_prediction_that_cannot_be_read_is_made_again(journal: Journal, outbox: Outbox):
    ready(outbox)
    journal.write(lambda rows: rows.execute("UPDATE pending SET entry = '[1' WHERE task = 1").close())
    assert give(outbox, 1.0, 1.0) == Reply()
    assert outbox.next_push(1.0) is None
    assert outbox.take(1.0).item == item(1)


def test_what_is_settled_is_forgotten_when_no_request_from_before_can_be_waiting(journal: Journal, outbox: Outbox):
    BRING_INTO[Debt.SETTLED](outbox)
    outbox.ask([task(2)], 0.0, 0.0)
    outbox.tend(REMEMBERED_SECONDS - 1.0)
    assert state(journal) == Debt.SETTLED
    outbox.tend(REMEMBERED_SECONDS + PRUNING_SECONDS)
    assert state(journal) is None
    assert journal.read(lambda rows: rows.execute("SELECT xml FROM configs").fetchall()) == [(XML,)]
    outbox.record(Event.FAILED, item(2), LATER)
    outbox.tend(LATER + REMEMBERED_SECONDS)
    assert journal.read(lambda rows: rows.execute("SELECT xml FROM configs").fetchall()) == []


# --- looking at it ---------------------------------------------------------------------------------------------------
def test_it_is_counted_where_each_is(outbox: Outbox):
    outbox.ask([task(number) for number in range(1, 7)], 0.0, 60.0)
    outbox.defer(item(1), 0.0)
    outbox.defer(item(2), -100.0)
    outbox.record(Event.PREDICTED, item(3), 0.0, due=60.0, entry=entry())
    outbox.record(Event.PREDICTED, item(4), 0.0, entry=entry())
    outbox.record(Event.FAILED, item(5), 0.0)
    assert outbox.size() == 5
    assert outbox.counts(1.0) == {"owed": 5, "to_push": 1, "put_off": 1, "waiting": 1}
