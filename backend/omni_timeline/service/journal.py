"""A SQLite file that outlives the process and stays usable whatever happens to it.

    the file --- full, locked, read-only, damaged, removed or replaced ---> a copy in memory
             <-- writable again: everything that changed in the meantime ---

Its users run statements and never see the file fail; `trouble` says what is at stake while it cannot be written. Knows
the tables, and how rows get from the file into memory and back. Knows nothing of what the rows mean.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from omni_timeline.service.presence import Presence

FILE_MODE = 0o600  # tasks' data are private
BUSY_SECONDS = 0.5  # s that a transaction waits for another program before the copy in memory replaces the file
AGAIN_SECONDS = 0.1  # s, the same for each attempt to return to the file

# The columns of `pending` are explained in pending.py.
SCHEMA = """
CREATE TABLE IF NOT EXISTS configs (id TEXT PRIMARY KEY, xml TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    task INTEGER NOT NULL, version TEXT NOT NULL, content TEXT NOT NULL, project TEXT NOT NULL, config TEXT NOT NULL,
    data TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'open', entry TEXT, due REAL NOT NULL DEFAULT 0,
    sent REAL, quiet REAL NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    deferrals INTEGER NOT NULL DEFAULT 0, queued INTEGER NOT NULL DEFAULT 0, server TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task, version));
CREATE INDEX IF NOT EXISTS pending_next ON pending (server, state, queued, due);
CREATE TABLE IF NOT EXISTS failures (
    at REAL NOT NULL, task TEXT NOT NULL, project TEXT NOT NULL, sentence TEXT NOT NULL);
"""
FORMER_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'owed'"  # what journals had before there was `pending`
TAKE_FORMER_TABLE = """
BEGIN IMMEDIATE;
INSERT OR IGNORE INTO pending (task, version, content, project, config, data)
    SELECT task, version, '', project, config, data FROM owed ORDER BY rowid;
DROP TABLE owed;
COMMIT;
"""

log = logging.getLogger(__name__)

T = TypeVar("T")


class Journal:
    """The file at `path`; creates its folder if needed. May be used by several threads.

    Attributes:
        trouble: why the file cannot be written at present; None if it can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._presence = Presence(path.parent)
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._inodes: list[int] = []  # of the files behind the connection
        self._memory: sqlite3.Connection | None = None
        self._closed = False
        self.trouble: str | None = None
        self._return()

    @property
    def server(self) -> str:
        """The name of this server among those that share the file."""
        return self._presence.server

    def write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """What `act` returns from one transaction on the file, or on the copy in memory. `act` may be called twice."""
        with self._lock:
            self._look()
            return self._run(act, "BEGIN IMMEDIATE")

    def read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """The same for an `act` that only reads, which need not wait for other programs that write."""
        with self._lock:
            return self._run(act, "BEGIN")

    def recover(self) -> None:
        """Return to the file if that is possible again. To be called regularly."""
        with self._lock:
            if self._file is None:
                self._return()
                return
            self._look()
            with suppress(OSError):
                self._presence.hold()

    def ended(self, servers: Iterable[str]) -> list[str]:
        """Which of the servers have ended; none of them while the file cannot be used."""
        with self._lock:
            return [] if self._file is None else [each for each in servers if not self._presence.is_alive(each)]

    def close(self) -> None:
        """Close the file. Later writes are lost."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._memory = None, _connect(":memory:")
            self._presence.release()
            self._closed = True

    def _look(self) -> None:
        """Create the file again if it was removed or replaced."""
        if self._file is not None and self._inodes != self._found():
            log.warning("The journal %s was removed or replaced; it is written again", self._path)
            self._leave()
            self._return()

    def _run(self, act: Callable[[sqlite3.Connection], T], begin: str) -> T:
        if self._file is not None:
            try:
                return _transact(self._file, act, begin)
            except sqlite3.OperationalError as error:  # full, read-only, locked
                self._leave()
                self._note(error)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._leave()
                try:
                    self._set_aside()
                except OSError as second:
                    self._note(second)
                else:
                    self._return()
        connection = self._file or self._memory
        assert connection is not None
        return _transact(connection, act, begin)

    def _leave(self) -> None:
        """Continue with a copy in memory of everything that is readable."""
        assert self._file is not None
        file, self._file, self._memory = self._file, None, _connect(":memory:")
        _transact(self._memory, lambda memory: _copy(file, memory, self.server), "BEGIN")
        with suppress(sqlite3.Error):
            file.close()  # before another one is opened: closing removes the write-ahead log by its name

    def _return(self) -> None:
        """Open the file, and write to it what has changed in memory."""
        if self._closed:
            return
        try:
            try:
                connection = self._open()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                connection = self._open()
        except (OSError, sqlite3.Error) as error:
            self._memory = self._memory or _connect(":memory:")
            self._note(error)
            return
        if self.trouble is not None:
            log.warning("The journal %s can be written again", self._path)
        connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")
        self._file, self._memory, self.trouble = connection, None, None
        self._inodes = self._found()

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._presence.hold()
        self._path.touch(mode=FILE_MODE)
        connection = _connect(self._path)
        try:
            # A process that is killed loses nothing; a machine without power may lose the last moments.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(SCHEMA)
            if connection.execute(FORMER_TABLE).fetchone():
                connection.executescript(TAKE_FORMER_TABLE)
            if (memory := self._memory) is not None:
                _transact(connection, lambda file: _copy(memory, file, self.server), "BEGIN IMMEDIATE")
        except BaseException:
            connection.close()
            raise
        return connection

    def _found(self) -> list[int]:
        """The inodes of the file and of its write-ahead log as they are on the disk now; 0 for a missing one."""
        inodes = []
        for suffix in ("", "-wal"):
            try:
                inodes.append(self._path.with_name(self._path.name + suffix).stat().st_ino)
            except OSError:
                inodes.append(0)
        return inodes

    def _set_aside(self) -> None:
        """Rename a damaged file.

        Raises:
            OSError: it cannot be renamed.
        """
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time():.0f}")
        log.error("The journal %s is damaged: renamed to %s and replaced by a new one", self._path, aside.name)
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _note(self, error: Exception) -> None:
        former = self.trouble
        if "locked" in str(error):
            self.trouble = (
                "Another program has locked CACHE_DIR/journal.sqlite: stop it, or pending predictions are lost at a "
                "restart."
            )
        else:
            self.trouble = (
                f"CACHE_DIR cannot be written ({error}): make room there, or pending predictions are lost at a restart."
            )
        if self.trouble != former:
            log.warning("%s", self.trouble)


def _connect(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=AGAIN_SECONDS, check_same_thread=False, isolation_level=None)
    if path == ":memory:":
        connection.executescript(SCHEMA)
    return connection


def _transact(connection: sqlite3.Connection, act: Callable[[sqlite3.Connection], T], begin: str) -> T:
    connection.execute(begin)
    try:
        answer = act(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return answer


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether an error means that the file is damaged or no database; subclasses mean other things."""
    return type(error) is sqlite3.DatabaseError


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, server: str) -> None:
    """Copy all rows. Where the target has a pending row already, only this server's rows replace it."""
    target.execute("UPDATE pending SET queued = 0 WHERE server = ?", (server,))
    for table in ("configs", "pending", "failures"):
        names, rows = _rows(source, table)
        into = f"INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        if table == "pending" and rows:
            owner = names.index("server")
            target.executemany(f"INSERT OR REPLACE {into}", [row for row in rows if row[owner] == server])
            rows = [row for row in rows if row[owner] != server]
        if table == "failures" and rows:
            target.execute("DELETE FROM failures")
        if rows:
            target.executemany(f"INSERT OR IGNORE {into}", rows)


def _rows(source: sqlite3.Connection, table: str) -> tuple[list[str], list[Any]]:
    """The column names and the rows of a table; of a damaged one, the rows before the damage."""
    names: list[str] = []
    rows: list[Any] = []
    with suppress(sqlite3.Error), closing(source.execute(f"SELECT * FROM {table} ORDER BY rowid")) as cursor:
        names = [column[0] for column in cursor.description]
        rows.extend(cursor)
    return names, rows
