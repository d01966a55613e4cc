"""The file, and what happens to it: whatever it is, its users do not notice, and what is pending is not lost."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from omni_timeline.service.history import History
from omni_timeline.service.journal import BUSY_SECONDS, Journal
from omni_timeline.service.outbox import Outbox
from omni_timeline.service.presence import Presence
from task_requests import in_memory, task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "journal.sqlite"


def ask(journal: Journal, *numbers: int) -> None:
    Outbox(journal).ask([task(number) for number in numbers], 0.0, 0.0)


def pending(journal: Journal) -> list[int]:
    query = "SELECT task FROM pending ORDER BY task"
    return [number for (number,) in journal.read(lambda rows: rows.execute(query).fetchall())]


def written(path: Path) -> list[int]:
    """What another program finds in the file."""
    with closing(sqlite3.connect(path)) as file:
        return [number for (number,) in file.execute("SELECT task FROM pending ORDER BY task")]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A backup, or a person who looks at it with sqlite3."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


# --- a file that is damaged ------------------------------------------------------------------------------------------
DAMAGED = [b"", b"not a database at all, but long enough to be looked at" * 100, b"\0" * 5000]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_file_that_cannot_be_read_is_set_aside(content: bytes, path: Path):
    path.parent.mkdir()
    path.write_bytes(content)
    journal = Journal(path)
    ask(journal, 1)
    assert pending(journal) == written(path) == [1]
    assert journal.trouble is None
    assert len(list(path.parent.glob("*.damaged-*"))) == bool(content)


def test_a_file_that_is_damaged_between_two_processes_is_set_aside(path: Path):
    journal = Journal(path)
    ask(journal, *range(1000))
    journal.close()
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
    journal = Journal(path)
    ask(journal, 1)
    ask(journal, 2)
    assert written(path)[-1] == 2
    assert journal.trouble is None


def test_what_can_still_be_read_of_a_file_that_is_damaged_meanwhile_is_kept(path: Path):
    journal = Journal(path)
    ask(journal, *range(1000))
    journal.read(lambda rows: rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 20_000)
    ask(journal, *range(1000, 2000))
    ask(journal, 2000)
    assert journal.trouble is None
    found = written(path)
    assert found == pending(journal)
    assert set(range(1000, 2001)) <= set(found)


def test_damage_that_only_one_statement_meets_is_mended(path: Path):
    """A page of the failures: what is pending could still be read and written."""
    journal = Journal(path)
    ask(journal, 1)
    history = History(journal)
    history.fail("1", "", "no")
    history.save()
    journal.read(lambda rows: rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'failures'"
    page = journal.read(lambda rows: rows.execute(query).fetchone()[0])
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    ask(Journal(path), 2)  # so that this one looks at the file again
    history.fail("2", "", "no")
    history.save()
    assert pending(journal) == written(path) == [1, 2]
    assert [failure.task for failure in History(Journal(path)).failures()] == ["2", "1"]


def test_the_file_is_for_its_owner_only(path: Path):
    Journal(path)
    assert path.stat().st_mode & 0o077 == 0


# --- a file that cannot be written -----------------------------------------------------------------------------------
def test_where_no_file_can_be_it_costs_nothing_but_what_a_restart_forgets():
    journal = in_memory()
    assert "make room" in (journal.trouble or "")
    ask(journal, 1)
    journal.recover()
    ask(journal, 2)
    assert pending(journal) == [1, 2]


def test_a_folder_that_is_there_later_is_used_then(tmp_path: Path):
    folder = tmp_path / "cache"
    folder.write_text("a file is in the way")
    journal = Journal(folder / "journal.sqlite")
    ask(journal, 1)
    folder.unlink()
    journal.recover()
    assert written(folder / "journal.sqlite") == [1]
    assert journal.trouble is None


def test_while_the_disk_is_full_all_goes_on_and_afterwards_it_is_written(path: Path):
    journal = Journal(path)
    ask(journal, 1)
    journal.read(lambda rows: rows.execute("PRAGMA max_page_count = 1").fetchone())
    ask(journal, *range(2, 1000))
    assert "make room" in (journal.trouble or "")
    assert pending(journal) == list(range(1, 1000))
    assert written(path) == [1]
    journal.recover()
    assert journal.trouble is None
    assert written(path) == list(range(1, 1000))


def test_a_locked_file_is_waited_for_once_and_not_long(path: Path):
    journal = Journal(path)
    ask(journal, 1)
    with locked(path):
        began = time.monotonic()
        for number in range(2, 50):
            ask(journal, number)
            assert pending(journal)[-1] == number
        journal.recover()
        assert time.monotonic() - began < BUSY_SECONDS + 1.0
        assert "locked" in (journal.trouble or "")
        assert written(path) == [1]
    journal.recover()
    assert written(path) == list(range(1, 50))
    assert journal.trouble is None
    with locked(path):
        assert pending(journal) == list(range(1, 50))  # reading does not wait
    assert journal.trouble is None


def test_a_program_that_writes_for_a_moment_is_waited_for(path: Path):
    """The other server, while this one is reloaded."""
    journal = Journal(path)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(BUSY_SECONDS / 2, lambda: other.execute("ROLLBACK"))
        timer.start()
        ask(journal, 1)
        timer.join()
    assert journal.trouble is None
    assert written(path) == [1]


def test_a_file_that_is_locked_from_the_start_is_used_when_it_is_free(path: Path):
    with closing(Journal(path)) as former:
        ask(former, 1)
    with locked(path):
        journal = Journal(path)
        ask(journal, 2)
    journal.recover()
    assert pending(journal) == written(path) == [1, 2]


def test_what_changed_meanwhile_is_in_the_file_and_what_others_wrote_stays(path: Path):
    ours, other = Journal(path), Journal(path)
    ask(ours, 1, 2)
    with locked(path):
        ours.write(lambda rows: rows.execute("UPDATE pending SET state = 'settled' WHERE task = 1").close())
    ask(other, 3)
    other.write(lambda rows: rows.execute("UPDATE pending SET state = 'sent' WHERE task = 3").close())
    ours.recover()
    with closing(sqlite3.connect(path)) as file:
        found = file.execute("SELECT task, state, server FROM pending ORDER BY task").fetchall()
    assert found == [(1, "settled", ours.server), (2, "open", ours.server), (3, "sent", other.server)]


# --- a file that is removed or replaced ------------------------------------------------------------------------------
def test_a_folder_that_is_removed_is_made_again_with_all_that_is_pending(path: Path):
    journal = Journal(path)
    ask(journal, 1, 2)
    shutil.rmtree(path.parent)
    ask(journal, 3)
    assert written(path) == [1, 2, 3]
    assert Presence(path.parent).is_alive(journal.server)
    assert journal.trouble is None


def test_it_is_noticed_also_when_nothing_is_written(path: Path):
    journal = Journal(path)
    ask(journal, 1)
    shutil.rmtree(path.parent)
    journal.recover()
    assert written(path) == [1]
    (lock,) = path.parent.glob("*.lock")
    lock.unlink()
    journal.recover()
    assert Presence(path.parent).is_alive(journal.server)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_file_that_is_replaced_is_written_again(content: bytes, path: Path):
    journal = Journal(path)
    ask(journal, 1, 2)
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)
    ask(journal, 3)
    assert written(path) == [1, 2, 3]


def test_a_write_ahead_log_that_is_removed_is_written_again(path: Path):
    """SQLite removes it by name when the last connection to a file is closed; it may belong to a new file by then."""
    journal = Journal(path)
    ask(journal, 1, 2)
    path.with_name("journal.sqlite-wal").unlink()
    ask(journal, 3)
    assert written(path) == [1, 2, 3]


def test_two_servers_survive_that_their_folder_is_removed(path: Path):
    first, second = Journal(path), Journal(path)
    ask(first, 1)
    ask(second, 2)
    shutil.rmtree(path.parent)
    for _ in range(2):
        first.recover()
        second.recover()
    ask(first, 3)
    ask(second, 4)
    assert written(path) == pending(first) == pending(second) == [1, 2, 3, 4]


# --- processes -------------------------------------------------------------------------------------------------------
def test_what_a_process_has_written_is_there_when_it_is_killed(path: Path):
    program = (
        "import os, pathlib, signal, sys\n"
        "from omni_timeline.service.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "journal.write(lambda rows: rows.execute(\"INSERT INTO failures VALUES (1, '2', '3', 'four')\").close())\n"
        "print(journal.server, flush=True)\n"
        "sys.stdin.read() if sys.argv[2] else os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen([*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alive:
        assert alive.stdout is not None
        lives = alive.stdout.readline().strip()
        killed = subprocess.run([*command, ""], capture_output=True, text=True).stdout.strip()
        journal = Journal(path)
        assert journal.read(lambda rows: rows.execute("SELECT sentence FROM failures").fetchall()) == [("four",)] * 2
        assert journal.ended([lives, killed, journal.server, "never was"]) == [killed, "never was"]
        alive.kill()
    assert journal.ended([lives]) == [lives]
    assert sorted(each.name for each in path.parent.glob("*.lock")) == [f"journal-{journal.server}.lock"]


def test_after_the_end_nothing_is_written_and_nothing_raised(path: Path):
    journal = Journal(path)
    ask(journal, 1)
    journal.close()
    ask(journal, 2)
    journal.recover()
    assert written(path) == [1]
    assert list(path.parent.iterdir()) == [path]


def test_a_mistake_in_a_statement_is_no_damage(path: Path):
    journal = Journal(path)
    with pytest.raises(sqlite3.IntegrityError):
        journal.write(lambda rows: rows.execute("INSERT INTO configs VALUES ('a', NULL)"))
    ask(journal, 1)
    assert written(path) == [1]
    assert list(path.parent.glob("*.damaged-*")) == []


def test_a_transaction_is_whole_or_not_at_all(path: Path):
    journal = Journal(path)

    def broken(rows: sqlite3.Connection) -> None:
        rows.execute("INSERT INTO configs VALUES ('a', 'b')")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        journal.write(broken)
    assert journal.read(lambda rows: rows.execute("SELECT * FROM configs").fetchall()) == []


def test_what_a_former_version_left_is_pending(path: Path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript(
            "CREATE TABLE configs (id TEXT PRIMARY KEY, xml TEXT NOT NULL);"
            "CREATE TABLE owed (task INTEGER NOT NULL, version TEXT NOT NULL, project TEXT NOT NULL, config TEXT NOT "
            "NULL, data TEXT NOT NULL, begun INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (task, version));"
            "INSERT INTO configs VALUES ('c', '<View/>');"
            "INSERT INTO owed VALUES (7, 'v1', '3', 'c', '{\"video\": \"a.mp4\"}', 2);"
        )
    outbox = Outbox(Journal(path))
    outbox.tend(1.0)
    found = outbox.take(1.0)
    assert found is not None
    assert (found.item.task, found.item.version, found.project, found.xml, found.data, found.attempts) == (
        7, "v1", "3", "<View/>", {"video": "a.mp4"}, 0,
    )  # fmt: skip
