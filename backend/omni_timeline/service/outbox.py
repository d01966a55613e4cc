"""The predictions that Label Studio is to get: a transactional outbox.

    requests ---> ask ... answer          what Label Studio is to get; what a request gets of it
    workers ----> take ... record         which task to predict; what came of it
    delivery ---> next_push ... record    which prediction to push; what came of it

The journal is the only place where pending predictions are kept. It is written before anything is started, answered or
sent, so the next process continues where this one ended, with nothing to restore. Several servers can share a journal:
a prediction belongs to the server that was asked for it last and, once that server has ended, to the first one that
notices. The rules are those of debts.py.

Knows no threads, no network and no clock. `now` and all other times are seconds on one clock that all servers of a
machine share, such as time.monotonic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.service.debts import DEFERRAL_SECONDS, RULES, STORING_SECONDS, Debt, Event
from omni_timeline.service.journal import Journal
from omni_timeline.service.pending import Item, Pending, Rows

PRUNING_SECONDS = 60.0  # s between two removals of settled predictions

T = TypeVar("T")


class Reply(NamedTuple):
    """What a request gets for a task: an entry or nothing; with `check_until`, Label Studio has to be checked first."""

    entry: dict[str, Any] | None = None
    check_until: float | None = None


class Outbox:
    """The predictions that Label Studio is to get. May be used by several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pruned: float | None = None

    def ask(self, requests: Sequence[TaskRequest], now: float, until: float) -> list[Debt]:
        """Make these predictions pending. The state of each; the open ones have to be predicted.

        Args:
            requests: tasks that have an id.
            now: when they are asked for.
            until: the deadline of the request that waits for them; there is no push before it.
        """

        def act(rows: Rows) -> list[Debt]:
            names = rows.keep_configs(request.xml for request in requests)
            return [rows.ask(request, names[request.xml], now, until) for request in requests]

        return self._write(act) if requests else []

    def answer(
        self, items: Sequence[Item], arrived: float, now: float, absent: Container[Item] = frozenset()
    ) -> list[Reply]:
        """What a request gets for each of these.

        Args:
            items: the predictions that the request asked for.
            arrived: when the request arrived.
            now: when it is answered.
            absent: those that Label Studio did not have when it was checked at `Reply.check_until`.
        """

        def reply(rows: Rows, item: Item) -> Reply:
            pending = rows.find(item.task, item.version)
            if pending is None or pending.item != item or pending.entry is None or now < pending.quiet:
                return Reply()
            if pending.sent is not None:
                stored_by = max(pending.sent, pending.quiet) + STORING_SECONDS
                if arrived <= pending.sent:
                    return Reply()
                if arrived < stored_by and item not in absent:
                    return Reply(check_until=stored_by)
            rows.apply(Event.ANSWERED, item, now)
            return Reply(pending.entry)

        return self._write(lambda rows: [reply(rows, item) for item in items]) if items else []

    def take(self, now: float, without: Collection[str] = frozenset()) -> Pending | None:
        """The open prediction that is due first and not in the memory of this server, where it is from now on.

        Args:
            now: the time.
            without: projects whose turn it is not.
        """

        def act(rows: Rows) -> Pending | None:
            due = rows.due([Debt.OPEN], now, without)
            return None if due is None else rows.take(*due)

        # Usually there is none, and nothing has to be written.
        return None if self._read(lambda rows: rows.due([Debt.OPEN], now, without)) is None else self._write(act)

    def begin_attempt(self, item: Item) -> None:
        """Count an attempt: the model starts to work on the task, and a crash from now on may be due to it."""
        self._write(lambda rows: rows.count_attempt(item, 1))

    def undo_attempts(self, items: Iterable[Item]) -> None:
        """Take back the last attempt of each: the process stops because it was told to."""
        for item in items:
            self._write(lambda rows, item=item: rows.count_attempt(item, -1))  # type: ignore[misc]

    def record(
        self, event: Event, item: Item, now: float, *, due: float = 0.0, entry: Mapping[str, Any] | None = None
    ) -> bool:
        """Apply an event to a prediction. Whether it changed anything.

        Args:
            event: what happened.
            item: the prediction.
            now: when it happened.
            due: the earliest time of the next push, for events that lead to one.
            entry: the prediction as Label Studio stores it, for `Event.PREDICTED`.
        """
        return self._write(lambda rows: rows.apply(event, item, now, due, entry))

    def defer(self, item: Item, now: float) -> None:
        """Try the task again later, after a longer wait each time."""

        def act(rows: Rows) -> None:
            seconds = DEFERRAL_SECONDS[min(rows.deferrals(item), len(DEFERRAL_SECONDS) - 1)]
            rows.apply(Event.DEFERRED, item, now, now + seconds)

        self._write(act)

    def renew(self, item: Item, version: str, now: float) -> None:
        """Make the task pending under another model version instead of this one."""
        self._write(lambda rows: rows.renew(item, version, now))

    def next_push(self, now: float) -> Pending | None:
        """The prediction that is due first to be pushed; Label Studio has to be checked before `push`."""

        def act(rows: Rows) -> Pending | None:
            due = rows.due(RULES[Event.PUSHING], now)  # type: ignore[arg-type]
            return None if due is None else rows.find(*due)

        found = self._read(act)
        if found is not None and found.entry is None:  # unreadable
            self._write(lambda rows: rows.reopen(found.item.task, found.item.version))
            return None
        return found

    def push(self, pending: Pending, now: float) -> bool:
        """Begin the push of what `next_push` returned, so that nothing else is sent meanwhile. Whether it may begin."""

        def act(rows: Rows) -> bool:
            current = rows.find(pending.item.task, pending.item.version)
            if current is None or current.sent != pending.sent:
                return False  # a request got it meanwhile
            return rows.apply(Event.PUSHING, pending.item, now)

        return self._write(act)

    def tend(self, now: float) -> int:
        """Take over the predictions of servers that have ended, and remove old settled ones. How many were taken over.

        To be called regularly.
        """
        if self._pruned is None or now >= self._pruned + PRUNING_SECONDS:
            self._pruned = now
            self._write(lambda rows: rows.prune(now))
        ended = self._journal.ended(self._read(lambda rows: rows.other_servers()))
        return self._write(lambda rows: rows.take_over(ended, now)) if ended else 0

    def pending(self, items: Iterable[Item]) -> set[Item]:
        """Those of these predictions that are pending."""
        return self._read(lambda rows: {item for item in items if rows.has(item)})

    def size(self) -> int:
        """How many predictions are pending."""
        return self._read(lambda rows: rows.size())

    def waiting_by_project(self) -> dict[str, int]:
        """How many predictions are to be made that are in no server's memory, by project."""
        return self._read(lambda rows: rows.waiting_by_project())

    def counts(self, now: float) -> dict[str, int]:
        """How many predictions of all servers are pending ("owed") and due to be pushed ("to_push").

        Of the open ones outside any server's memory, how many are deferred ("put_off") and not deferred ("waiting").
        """
        rows = self._read(lambda rows: rows.counts(now))
        by_kind = {(is_open, is_queued, is_due): count for is_open, is_queued, is_due, count in rows}
        return {
            "owed": sum(by_kind.values()),
            "to_push": by_kind.get((False, False, True), 0),
            "put_off": by_kind.get((True, False, False), 0),
            "waiting": by_kind.get((True, False, True), 0),
        }

    def _write(self, act: Callable[[Rows], T]) -> T:
        return self._journal.write(lambda connection: act(Rows(connection, self._journal.server)))

    def _read(self, act: Callable[[Rows], T]) -> T:
        return self._journal.read(lambda connection: act(Rows(connection, self._journal.server)))
