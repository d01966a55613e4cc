"""Requests, answers, pushes, losses and restarts in any order, over a Label Studio that is as bad as debts.py assumes.

Two servers share a journal. Whatever happens, no prediction is stored twice, and in the end none is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omni_timeline.service.debts import STORING_SECONDS, UNCLEAR_SECONDS, Event
from omni_timeline.service.journal import Journal
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.pending import Item
from task_requests import item, task

TASK = 1  # the rules for one do not depend on others
SERVERS = st.sampled_from([0, 0, 0, 1])
# Label Studio looks so long before its request arrives, and stores an answer so long after it.
LOOKED = st.sampled_from([0.0, 1.0, 2.0])
STORES = st.sampled_from([None, 0.0, 1.0, STORING_SECONDS - 2.5])
ARRIVES = st.sampled_from([None, 0.0, 15.0, UNCLEAR_SECONDS])  # a push without a reply
WAITS = st.sampled_from([0.0, 10.0])
WORK = ["predicted", "predicted", "late", "taken", "deferred", "failed", "changed"]
REPLY_SECONDS = 25.0  # after which no reply is waited for


@dataclass
class Request:
    """One that waits at a server."""

    item: Item
    arrived: float
    check_until: float | None = None


@dataclass
class Server:
    """One server: what is in its memory, and gone when it is killed."""

    outbox: Outbox
    journal: Journal
    requests: list[Request] = field(default_factory=list)
    sent: tuple[Item, float] | None = None  # a push that is on its way, and since when


class Disorder(RuleBasedStateMachine):
    """What may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="omni-timeline-"))
        self.now = 1000.0
        self.stored: list[float] = []  # when
        self.coming: list[float] = []
        self.changes = 0
        self.wanted = False
        self.servers = [self.start(), self.start()]

    def start(self) -> Server:
        journal = Journal(self.folder / "journal.sqlite")
        return Server(Outbox(journal), journal)

    def item(self, changes: int | None = None) -> Item:
        return item(TASK, fps=self.changes if changes is None else changes)

    def is_stored(self, seconds_ago: float = 0.0) -> bool:
        return any(at <= self.now - seconds_ago for at in self.stored)

    def pass_to(self, moment: float) -> None:
        self.now = moment
        self.stored += [at for at in self.coming if at <= moment]
        self.coming = [at for at in self.coming if at > moment]

    @rule(seconds=st.sampled_from([0.1, 1.0, 4.0, 11.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        for server in self.servers:
            if server.sent is not None and self.now + seconds > server.sent[1] + REPLY_SECONDS:
                self.no_reply(server)
        self.pass_to(self.now + seconds)

    # --- Label Studio asks ---
    @rule(at=SERVERS, seconds_ago=LOOKED, wait=WAITS, is_made=st.booleans())
    def ask(self, at: int, seconds_ago: float, wait: float, is_made: bool) -> None:
        if self.is_stored(seconds_ago):
            return
        self.wanted = True
        self.servers[at].outbox.ask([task(TASK, fps=self.changes)], self.now, self.now + wait)
        self.servers[at].requests.append(Request(self.item(), self.now))
        if is_made:  # it was predicted before
            self.predict(at, self.item(), wait)

    @precondition(lambda self: any(server.requests for server in self.servers))
    @rule(which=st.integers(0, 3), stores=STORES)
    def answer(self, which: int, stores: float | None) -> None:
        waiting = [(server, request) for server in self.servers for request in server.requests]
        server, request = waiting[-1 - which % len(waiting)]
        absent = set()
        if request.check_until is not None:
            if self.is_stored():
                server.outbox.record(Event.FOUND, request.item, self.now)
                server.requests.remove(request)
                return
            if self.now < request.check_until:
                return
            absent.add(request.item)
        [(given, request.check_until)] = server.outbox.answer([request.item], request.arrived, self.now, absent)
        if request.check_until is None:
            server.requests.remove(request)
        if given is not None:
            assert given["of"] == request.item.content
            self.coming += [] if stores is None else [self.now + stores]
            self.pass_to(self.now)

    # --- work ---
    @precondition(lambda self: self.wanted)
    @rule(at=SERVERS, what=st.sampled_from(WORK))
    def work(self, at: int, what: str) -> None:
        outbox = self.servers[at].outbox
        if what == "predicted":
            self.predict(at, self.item())
        elif what == "late":  # the task has changed meanwhile
            self.predict(at, self.item(self.changes - 1))
        elif what == "taken":
            if (pending := outbox.take(self.now)) is not None:
                self.predict(at, pending.item)
        elif what == "deferred":
            outbox.defer(self.item(), self.now)
        elif what == "failed":
            self.wanted = not outbox.record(Event.FAILED, self.item(), self.now)
        else:
            self.changes += 1

    def predict(self, at: int, made: Item, wait: float = 0.0) -> None:
        entry = {"of": made.content}
        self.servers[at].outbox.record(Event.PREDICTED, made, self.now, due=self.now + wait, entry=entry)

    # --- pushes ---
    @precondition(lambda self: self.wanted)
    @rule(at=SERVERS, meanwhile=st.sampled_from(["", "", "answered", "changed"]), stores=STORES)
    def push(self, at: int, meanwhile: str, stores: float | None) -> None:
        server = self.servers[at]
        pending = server.outbox.next_push(self.now)
        if pending is None or server.sent is not None:
            return
        if self.is_stored():
            server.outbox.record(Event.FOUND, pending.item, self.now)
            return
        if meanwhile == "answered" and any(server.requests for server in self.servers):
            self.answer(0, stores)
        self.changes += meanwhile == "changed"
        assert pending.entry == {"of": pending.item.content}
        if server.outbox.push(pending, self.now):
            server.sent = pending.item, self.now

    @precondition(lambda self: any(server.sent for server in self.servers))
    @rule(outcome=st.sampled_from(["stored", "stored, and an error", "refused", "none"]), arrives=ARRIVES)
    def reply(self, outcome: str, arrives: float | None) -> None:
        for server in self.servers:
            if server.sent is None:
                continue
            if outcome == "none":
                self.arrive(server, arrives)
                self.no_reply(server)
                continue
            (sent, _), server.sent = server.sent, None
            self.stored += [self.now] if outcome != "refused" else []
            event = Event.STORED if outcome == "stored" else Event.REFUSED
            server.outbox.record(event, sent, self.now, due=self.now + 1.0)

    def arrive(self, server: Server, arrives: float | None) -> None:
        """So long after it was sent, what has had no reply is stored; None for never."""
        if server.sent is not None and arrives is not None:
            self.coming.append(max(self.now, server.sent[1] + arrives))
            self.pass_to(self.now)

    def no_reply(self, server: Server) -> None:
        assert server.sent is not None
        server.outbox.record(Event.LOST, server.sent[0], self.now)
        server.sent = None

    # --- the servers ---
    @rule(at=SERVERS, is_killed=st.booleans(), arrives=ARRIVES)
    def kill_or_tend(self, at: int, is_killed: bool, arrives: float | None) -> None:
        """What a server has sent may arrive; what it had in memory is gone."""
        if is_killed:
            self.arrive(self.servers[at], arrives)
            self.servers[at].journal.close()
            self.servers[at] = self.start()
        else:
            self.servers[at].outbox.tend(self.now)

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        assert len(self.stored) <= 1

    def teardown(self) -> None:
        """From now on all goes well; then everything is there."""
        for server in self.servers:
            server.journal.close()
        outbox = self.start().outbox
        for _ in range(20):
            self.pass_to(self.now + 50.0)
            outbox.tend(self.now)
            while (pending := outbox.take(self.now)) is not None:
                outbox.record(Event.PREDICTED, pending.item, self.now, entry={"of": pending.item.content})
            while (pending := outbox.next_push(self.now)) is not None:
                if self.is_stored():
                    outbox.record(Event.FOUND, pending.item, self.now)
                elif outbox.push(pending, self.now):
                    self.stored.append(self.now)
                    outbox.record(Event.STORED, pending.item, self.now)
            self.nothing_is_stored_twice()
        assert outbox.counts(self.now)["owed"] == 0
        assert len(self.stored) == 1 or not self.wanted
        shutil.rmtree(self.folder)


Disorder.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
TestDisorder = Disorder.TestCase
