"""What is owed to Label Studio, and what went wrong, in a file that outlives the process.

A task is noted when it is asked about and crossed out when its prediction is known to be in Label Studio, or when it is
clear that there will be none. So whatever ends the process at whatever moment, the next one knows what is left to do.
Knows SQLite and rows. Knows nothing of queues, predictions or HTTP, and never fails: a disk that is full or a file that
is damaged costs the memory of the past, not the service.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

KEPT_FAILURES = 100
FILE_MODE = 0o600  # tasks' data are nobody else's business
BUSY_SECONDS = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS configs (id TEXT PRIMARY KEY, xml TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS owed (
    task INTEGER NOT NULL, version TEXT NOT NULL, project TEXT NOT NULL, config TEXT NOT NULL, data TEXT NOT NULL,
    begun INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (task, version));
CREATE TABLE IF NOT EXISTS failures (
    at REAL NOT NULL, task TEXT NOT NULL, project TEXT NOT NULL, sentence TEXT NOT NULL);
"""

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Owed:
    """A prediction that Label Studio is to get.

    Attributes:
        task: the task's id.
        version: the model version that it was asked for.
        project: the project's id, as Label Studio writes it.
        config: the labeling config.
        data: the task's data.
        begun: how often work on it began and did not end, since the process was killed.
    """

    task: int
    version: str
    project: str
    config: str
    data: Mapping[str, Any]
    begun: int = 0


@dataclass(frozen=True)
class Failed:
    """Something that went wrong: when, at which task ("" for none), and a sentence on what to change."""

    at: float
    task: str
    project: str
    sentence: str


class Journal:
    """The file at `path`, or nothing at all when that cannot be written. May be used by several threads.

    Attributes:
        trouble: why nothing can be kept now; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._claim: IO[str] | None = None
        self.trouble: str | None = None
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.OperationalError):  # not a database, or a damaged one
                self._set_aside(error)
            else:
                self._note(error)
        except OSError as error:
            self._note(error)

    def add(self, owed: Iterable[Owed]) -> None:
        """Note what is owed; of what is noted already, the task as it is now."""
        rows = list(owed)
        if not rows:
            return
        names = {row.config: hashlib.sha256(row.config.encode()).hexdigest() for row in rows}

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR IGNORE INTO configs VALUES (?, ?)", [(n, x) for x, n in names.items()])
            connection.executemany(
                "INSERT INTO owed (task, version, project, config, data) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET project = excluded.project, config = excluded.config, data = excluded.data",
                [(row.task, row.version, row.project, names[row.config], json.dumps(row.data)) for row in rows],
            )

        self._write(insert)

    def begin(self, task: int, version: str) -> None:
        """Note that work on it begins."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE owed SET begun = begun + 1 WHERE task = ? AND version = ?", (task, version)
            )
        )

    def end(self, task: int, version: str) -> None:
        """Note that work on it ended, whatever came of it."""
        self._write(
            lambda connection: connection.execute(
                "UPDATE owed SET begun = 0 WHERE task = ? AND version = ?", (task, version)
            )
        )

    def cross_out(self, task: int, version: str) -> None:
        """It is there, or never will be."""
        self._write(
            lambda connection: connection.execute("DELETE FROM owed WHERE task = ? AND version = ?", (task, version))
        )

    def owed(self) -> list[Owed]:
        """All that is owed, oldest first; configs that nobody needs any more are removed on the way."""

        def read(connection: sqlite3.Connection) -> list[Any]:
            connection.execute("DELETE FROM configs WHERE id NOT IN (SELECT config FROM owed)")
            return connection.execute(
                "SELECT task, version, project, xml, data, begun FROM owed JOIN configs ON owed.config = configs.id "
                "ORDER BY owed.rowid"
            ).fetchall()

        rows = self._write(read) or []
        return [
            Owed(task, version, project, xml, json.loads(data), begun)
            for task, version, project, xml, data, begun in rows
        ]

    def fail(self, failed: Failed) -> None:
        """Keep a failure; the oldest go."""

        def insert(connection: sqlite3.Connection) -> None:
            row = (failed.at, failed.task, failed.project, failed.sentence)
            connection.execute("INSERT INTO failures VALUES (?, ?, ?, ?)", row)
            connection.execute(
                "DELETE FROM failures WHERE rowid NOT IN (SELECT rowid FROM failures ORDER BY rowid DESC LIMIT ?)",
                (KEPT_FAILURES,),
            )

        self._write(insert)

    def failures(self) -> list[Failed]:
        """The last ones, newest first."""
        rows = self._write(
            lambda connection: connection.execute(
                "SELECT at, task, project, sentence FROM failures ORDER BY rowid DESC"
            ).fetchall()
        )
        return [Failed(*row) for row in rows or []]

    def is_ours(self) -> bool:
        """Whether no other process works on what is owed: one that is about to stop, or another server."""
        with self._lock:
            if self._claim is None:
                try:
                    claim = self._path.with_suffix(".lock").open("w")
                except OSError:
                    return True  # nothing can be kept here
                try:
                    fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    claim.close()
                    return False
                self._claim = claim  # as long as the process lives
            return True

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            if self._claim is not None:
                self._claim.close()
                self._claim = None
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=FILE_MODE)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        # A process that is killed loses nothing; a machine without power may lose the last moments.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(SCHEMA)
        return connection

    def _write(self, act: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `act` returns, in one transaction; None, and a warning, where the file does not let it."""
        with self._lock:
            if self._connection is None:
                return None
            try:
                with self._connection:
                    answer = act(self._connection)
                self.trouble = None
                return answer
            except sqlite3.OperationalError as error:  # full, read-only, busy
                self._note(error)
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
        return None

    def _set_aside(self, error: sqlite3.Error) -> None:
        """Begin anew beside a file that cannot be read."""
        log.error("The journal %s is damaged (%s); a new one is begun", self._path, error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        try:
            self._path.replace(self._path.with_name(f"{self._path.name}.damaged-{time.time():.0f}"))
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    self._path.with_name(self._path.name + suffix).unlink()
            self._connection = self._open()
        except (OSError, sqlite3.Error) as second:
            self._note(second)

    def _note(self, error: Exception) -> None:
        self.trouble = f"CACHE_DIR cannot be written ({error}): make room there, or what is owed is lost at a restart."
        log.warning("%s", self.trouble)
