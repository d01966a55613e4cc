"""The table of pending predictions, within one transaction of the journal: finding rows, and applying events to them.

    task, version, content    the prediction: of which task, by which model version, of which state of the task
    project, config, data     what it is made from
    state, entry              its state, and the prediction itself once there is one
    due                       when it is to be predicted, pushed or forgotten
    sent, quiet               when it was last sent to Label Studio; until when nothing may be sent
    attempts, deferrals       how often the process ended while the model worked on it; how often it was deferred
    queued                    whether it is in the memory of its server
    server                    the server that it belongs to

Knows SQL. Knows no threads and no clock.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from omni_timeline.errors import OmniTimelineError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.service.debts import CHECK_SECONDS, REMEMBERED_SECONDS, RULES, UNCLEAR_SECONDS, Debt, Event

# What an event changes in addition to the state. Settling a row also empties it.
CHANGES: Mapping[Event, str] = {
    Event.PREDICTED: (
        f"entry = :entry, due = max(:due, quiet, coalesce(sent + {CHECK_SECONDS}, 0)), "
        "attempts = 0, deferrals = 0, queued = 0"
    ),
    Event.DEFERRED: "due = :due, attempts = 0, deferrals = deferrals + 1, queued = 0",
    Event.FAILED: "attempts = 0",
    Event.ANSWERED: f"sent = :now, due = :now + {CHECK_SECONDS}",
    Event.UNCHECKED: "due = :due",
    Event.FOUND: "sent = :now",
    Event.PUSHING: f"sent = :now, quiet = :now + {UNCLEAR_SECONDS}, due = :now + {UNCLEAR_SECONDS}",
    Event.STORED: "sent = :now, quiet = 0",
    Event.REFUSED: "sent = :now, quiet = 0, due = iif(state = 'open', due, :due)",
    Event.LOST: (
        f"sent = :now, quiet = max(:due, :now + {UNCLEAR_SECONDS}), "
        f"due = iif(state = 'open', due, max(:due, :now + {UNCLEAR_SECONDS}))"
    ),
    Event.DROPPED: "quiet = 0",
    Event.RENEWED: "attempts = 0",
}
SETTLING = f"entry = NULL, data = '{{}}', config = '', queued = 0, due = :now + {REMEMBERED_SECONDS}"
# These events concern one state of the task and are ignored if the task has changed since; the others concern whatever
# Label Studio has.
ABOUT_CONTENT = {Event.PREDICTED, Event.DEFERRED, Event.FAILED, Event.PUSHING, Event.DROPPED, Event.RENEWED}
# These are ignored if another server has been asked for the prediction since: that server works on it too.
ABOUT_WORK = {Event.DEFERRED, Event.FAILED}

ASK = """
INSERT INTO pending (task, version, content, project, config, data, due, queued, server)
    VALUES (:task, :version, :content, :project, :config, :data, :now, 1, :server)
ON CONFLICT DO UPDATE SET content = :content, project = :project, config = :config, data = :data, state = 'open',
    entry = NULL, due = :now, attempts = 0, deferrals = 0, queued = 1, server = :server
"""
ASK_AGAIN = """
UPDATE pending SET server = :server, queued = (state = 'open'),
    due = CASE state WHEN 'open' THEN :now WHEN 'ready' THEN max(due, :until) ELSE due END
WHERE task = :task AND version = :version
"""
RENEW = """
INSERT OR IGNORE INTO pending (task, version, content, project, config, data, due, server)
    SELECT task, :renewed, content, project, config, data, :now, server FROM pending
    WHERE task = :task AND version = :version AND content = :content
"""
# After a reboot the clock starts again at 0, so times are limited to what they could be at most if they were set now.
TAKE_OVER = f"""
UPDATE pending SET server = :server, queued = 0, sent = min(sent, :now), quiet = min(quiet, :now + {UNCLEAR_SECONDS}),
    due = CASE state
        WHEN 'ready' THEN max(
            :now, min(quiet, :now + {UNCLEAR_SECONDS}), coalesce(min(sent, :now) + {CHECK_SECONDS}, 0))
        WHEN 'sent' THEN min(due, :now + {CHECK_SECONDS})
        WHEN 'unclear' THEN min(due, :now + {UNCLEAR_SECONDS})
        WHEN 'settled' THEN min(due, :now + {REMEMBERED_SECONDS})
        ELSE :now END
WHERE server = :ended
"""


class Item(NamedTuple):
    """The prediction of a task by one model version, which Label Studio gets once.

    `content` identifies the state of the task; see `TaskRequest.content`.
    """

    task: int
    version: str
    content: str


@dataclass(frozen=True)
class Pending:
    """A prediction that Label Studio is to get, as it is in the journal.

    Attributes:
        item: which one.
        project: the project's id, or "".
        xml: the labeling config.
        stored_data: the task's data, as JSON.
        attempts: how often the process ended while the model worked on it.
        sent: when it was last sent to Label Studio; None for never.
        quiet: until when nothing may be sent, because a push may still arrive.
        entry: the prediction; None if there is none yet or it is unreadable.
    """

    item: Item
    project: str
    xml: str
    stored_data: str
    attempts: int
    sent: float | None
    quiet: float
    entry: dict[str, Any] | None

    @property
    def data(self) -> dict[str, Any]:
        """The task's data.

        Raises:
            OmniTimelineError: it is unreadable.
        """
        data = _object(self.stored_data)
        if data is None:
            raise OmniTimelineError(
                "The journal's entry for this task is unreadable; retrieve its prediction again in Label Studio."
            )
        return data


class Rows:
    """The table within one transaction, as one server sees it."""

    def __init__(self, connection: sqlite3.Connection, server: str) -> None:
        self._connection = connection
        self._server = server

    def find(self, task: int, version: str) -> Pending | None:
        """The row of a prediction; None if there is none."""
        row = self._connection.execute(
            "SELECT content, project, coalesce(xml, ''), data, attempts, sent, quiet, entry FROM pending "
            "LEFT JOIN configs ON configs.id = pending.config WHERE task = ? AND version = ?",
            (task, version),
        ).fetchone()
        if row is None:
            return None
        content, project, xml, data, attempts, sent, quiet, entry = row
        return Pending(Item(task, version, content), project, xml, data, attempts, sent, quiet, _object(entry))

    def due(self, states: Iterable[Debt], now: float, without: Iterable[str] = frozenset()) -> tuple[int, str] | None:
        """Task and version of this server's prediction that is due first, among those in one of the states.

        Predictions in the server's memory are left out, and those of the projects `without`.
        """
        left_out = json.dumps(sorted(without))
        rows = [
            row
            for state in states
            for row in self._connection.execute(
                "SELECT due, task, version FROM pending WHERE server = ? AND state = ? AND queued = 0 AND due <= ? "
                "AND project NOT IN (SELECT value FROM json_each(?)) ORDER BY due, rowid LIMIT 1",
                (self._server, state, now, left_out),
            )
        ]
        return min(rows)[1:] if rows else None

    def take(self, task: int, version: str) -> Pending | None:
        """The same as `find`; the prediction counts as in the server's memory from now on."""
        self._connection.execute("UPDATE pending SET queued = 1 WHERE task = ? AND version = ?", (task, version))
        return self.find(task, version)

    def reopen(self, task: int, version: str) -> None:
        """Discard an entry, so that the prediction is made again."""
        self._connection.execute(
            "UPDATE pending SET state = 'open', entry = NULL, due = 0, queued = 0 WHERE task = ? AND version = ?",
            (task, version),
        )

    def keep_configs(self, configs: Iterable[str]) -> dict[str, str]:
        """Store labeling configs. The id of each."""
        names = {xml: hashlib.sha256(xml.encode()).hexdigest() for xml in set(configs)}
        rows = [(name, xml) for xml, name in names.items()]
        self._connection.executemany("INSERT OR IGNORE INTO configs VALUES (?, ?)", rows)
        return names

    def ask(self, request: TaskRequest, config: str, now: float, until: float) -> Debt:
        """Make a prediction pending, or keep it so. Its state."""
        row = self._connection.execute(
            "SELECT state, content FROM pending WHERE task = ? AND version = ?", (request.task, request.version)
        ).fetchone()
        before, content = row or (None, request.content)
        event = Event.ASKED if content == request.content else Event.CHANGED
        state = RULES[event].get(before, Debt.OPEN)
        is_new = event is Event.CHANGED or before != state
        values = {
            "task": request.task, "version": request.version, "content": request.content, "project": request.project,
            "config": config, "data": json.dumps(request.data) if is_new else "", "server": self._server, "now": now,
            "until": until,
        }  # fmt: skip
        self._connection.execute(ASK if is_new else ASK_AGAIN, values)
        return state

    def apply(
        self, event: Event, item: Item, now: float, due: float = 0.0, entry: Mapping[str, Any] | None = None
    ) -> bool:
        """Apply an event to the row of a prediction. Whether it changed the row."""
        row = self._connection.execute(
            "SELECT state, content, server FROM pending WHERE task = ? AND version = ?", item[:2]
        ).fetchone()
        if row is None or (event in ABOUT_CONTENT and row[1] != item.content):
            return False
        if event in ABOUT_WORK and row[2] != self._server:
            return False
        state = RULES[event].get(row[0])
        if state is None:
            return False
        changes = CHANGES[event] if state is not Debt.SETTLED else f"{CHANGES[event]}, {SETTLING}"
        self._connection.execute(
            f"UPDATE pending SET state = :state, {changes} WHERE task = :task AND version = :version",
            {
                "task": item.task, "version": item.version, "state": state, "now": now, "due": due,
                "entry": None if entry is None else json.dumps(entry),
            },
        )  # fmt: skip
        return True

    def deferrals(self, item: Item) -> int:
        """How often a prediction was deferred since it was last requested."""
        row = self._connection.execute(
            "SELECT deferrals FROM pending WHERE task = ? AND version = ?", item[:2]
        ).fetchone()
        return row[0] if row else 0

    def count_attempt(self, item: Item, more: int) -> None:
        """Count an attempt, or take one back with -1."""
        self._connection.execute(
            "UPDATE pending SET attempts = max(0, attempts + ?) WHERE task = ? AND version = ? AND server = ?",
            (more, *item[:2], self._server),
        )

    def renew(self, item: Item, version: str, now: float) -> None:
        """Make it pending under another model version and settle it under this one."""
        self._connection.execute(RENEW, item._asdict() | {"renewed": version, "now": now})
        self.apply(Event.RENEWED, item, now)

    def other_servers(self) -> list[str]:
        """The names of all other servers with rows in the table."""
        rows = self._connection.execute("SELECT DISTINCT server FROM pending WHERE server != ?", (self._server,))
        return [server for (server,) in rows]

    def take_over(self, ended: Iterable[str], now: float) -> int:
        """Make all rows of these servers this server's. How many there were."""
        values = {"server": self._server, "now": now}
        return sum(self._connection.execute(TAKE_OVER, values | {"ended": server}).rowcount for server in ended)

    def prune(self, now: float) -> None:
        """Remove settled predictions whose time is over, and labeling configs that no row refers to."""
        self._connection.execute("DELETE FROM pending WHERE state = 'settled' AND due <= ?", (now,))
        self._connection.execute("DELETE FROM configs WHERE id NOT IN (SELECT config FROM pending)")

    def has(self, item: Item) -> bool:
        """Whether a prediction is pending."""
        found = self._connection.execute(
            "SELECT 1 FROM pending WHERE task = ? AND version = ? AND content = ? AND state != 'settled'", item
        )
        return found.fetchone() is not None

    def size(self) -> int:
        """How many predictions are pending, of all servers."""
        count: int = self._connection.execute("SELECT count(*) FROM pending WHERE state != 'settled'").fetchone()[0]
        return count

    def waiting_by_project(self) -> dict[str, int]:
        """How many open predictions of all servers are in no server's memory, by project."""
        return dict(
            self._connection.execute(
                "SELECT project, count(*) FROM pending WHERE state = 'open' AND queued = 0 GROUP BY project"
            )
        )

    def counts(self, now: float) -> list[tuple[bool, bool, bool, int]]:
        """Numbers of pending predictions of all servers: (is open, is queued, is due, how many)."""
        return self._connection.execute(
            "SELECT state = 'open', queued, due <= ?, count(*) FROM pending WHERE state != 'settled' GROUP BY 1, 2, 3",
            (now,),
        ).fetchall()


def _object(text: str | None) -> dict[str, Any] | None:
    """The JSON object that a text holds; None if it holds none."""
    try:
        value = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
