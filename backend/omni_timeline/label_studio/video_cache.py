"""The folder of downloaded videos: each is whole, and stays while it is in use.

A file in use is pinned by a shared lock (`flock`), which ends with the process that holds it and counts for other
servers with the same folder too. A file is removed or replaced under an exclusive lock only. Knows nothing of
addresses or of how a video is downloaded.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from omni_timeline.errors import UnreachableError

CACHE_SECONDS = 24 * 3600.0  # s: after this a video is downloaded again, since it may have been replaced
PARTIAL_PREFIX = "part-"  # of a file that is still being downloaded; keys are hexadecimal
PARTIAL_SECONDS = 900.0  # s without a new byte: a killed process left it
DISK_PARTS = 5  # one of them is for videos where no limit is set
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Download = Callable[[IO[bytes]], None]


def disk_bytes(folder: Path) -> int:
    """The size of the disk that a folder is on."""
    return shutil.disk_usage(folder).total


class VideoCache:
    """Downloaded videos in a folder. May be used by several threads, and by several processes.

    Args:
        folder: made when needed.
        max_bytes: how many bytes are kept; the files used longest ago are removed first, those in use never. None: a
            fifth of the disk that the folder is on.
        disk_bytes: the size of the disk that a folder is on.

    Attributes:
        trouble: why the folder could not be used when it was last tried; None if it could.
    """

    def __init__(self, folder: Path, max_bytes: int | None, disk_bytes: Callable[[Path], int] = disk_bytes) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._disk_bytes = disk_bytes
        self.trouble: str | None = None
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}  # downloads, by key

    @contextmanager
    def file(self, key: str, download: Download) -> Iterator[Path]:
        """The file for `key`, downloaded unless it is there; neither removed nor replaced within the context.

        One download for a key at a time: others who want it wait for it, and fail as it fails. A file older than a day
        is downloaded again, unless it is in use.

        Args:
            key: its name in the folder.
            download: writes the content into an empty file.

        Raises:
            UnreachableError: the folder cannot be written.
            Exception: what `download` raises.
        """
        path = self._folder / key
        pin = self._pinned(path, download)
        try:
            yield path
        finally:
            pin.close()

    def _pinned(self, path: Path, download: Download) -> IO[bytes]:
        while True:
            with self._lock:
                if (running := self._running.get(path.name)) is None:
                    if (pin := self._kept(path)) is not None:
                        return pin
                    mine = self._running[path.name] = Future()
                    break
            running.result()  # or its error
        failure: BaseException | None = None
        try:
            return self._downloaded(path, download)
        except BaseException as error:
            failure = error
            raise
        finally:
            with self._lock:
                del self._running[path.name]
            mine.set_exception(failure) if failure else mine.set_result(None)

    def _downloaded(self, path: Path, download: Download) -> IO[bytes]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._partial_file() as (file, partial):
                download(file)
                file.flush()
                pin = _published(partial, path)
            self._trim()
        except OSError as error:
            raise self._unusable(error) from error
        self.trouble = None
        return pin

    def _kept(self, path: Path) -> IO[bytes] | None:
        """The pin of a file that is there and young enough, or in use; None where it has to be downloaded."""
        try:
            return _young(path)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> UnreachableError:
        if error.errno in DISK_FULL:
            self.trouble = "CACHE_DIR is full, and all files in it are in use: make room there."
        else:
            self.trouble = f"CACHE_DIR cannot be used: {error.strerror}."
        return UnreachableError(self.trouble)

    @contextmanager
    def _partial_file(self) -> Iterator[tuple[IO[bytes], Path]]:
        """An empty file to download into, and its path; removed afterwards unless it has got another name."""
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=PARTIAL_PREFIX)
        partial = Path(name)
        try:
            with _PartialFile(descriptor, lambda: self._free(1) > 0) as file:
                yield file, partial
        finally:
            partial.unlink(missing_ok=True)

    def _trim(self) -> None:
        """Keep the folder within its limit, and remove what killed processes left."""
        for path, status in self._files(partial=True):
            if time.time() - status.st_mtime > PARTIAL_SECONDS:
                path.unlink(missing_ok=True)
        limit = self._disk_bytes(self._folder) // DISK_PARTS if self._max_bytes is None else self._max_bytes
        self._free(sum(status.st_size for _, status in self._files()) - limit)

    def _free(self, wanted: int) -> int:
        """Remove unused files, those used longest ago first, until `wanted` bytes are free; returns how many are."""
        freed = 0
        for path, status in sorted(self._files(), key=lambda file: file[1].st_atime_ns):
            if freed >= wanted:
                break
            with suppress(FileNotFoundError, BlockingIOError), _lock_file(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink()
                freed += status.st_size
        return freed

    def _files(self, *, partial: bool = False) -> Iterator[tuple[Path, os.stat_result]]:
        """The files in the folder: those that are whole, or those that are not."""
        for path in self._folder.iterdir():
            if path.name.startswith(PARTIAL_PREFIX) == partial:
                with suppress(FileNotFoundError):  # removed at this moment
                    yield path, path.stat()


class _PartialFile(io.FileIO):
    """A file that makes room when the disk is full, as long as that succeeds."""

    def __init__(self, descriptor: int, make_room: Callable[[], bool]) -> None:
        super().__init__(descriptor, "wb")
        self._make_room = make_room

    def write(self, data: Any, /) -> int:
        """Write all of `data`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[super().write(rest) :]
            except OSError as error:
                if error.errno not in DISK_FULL or not self._make_room():
                    raise
        return len(data)


def _young(path: Path) -> IO[bytes] | None:
    """The pin of a file that is there and young enough, or in use; else None."""
    try:
        if time.time() - path.stat().st_mtime > CACHE_SECONDS:
            with suppress(BlockingIOError), _lock_file(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                return None
        pin = _lock_file(path, fcntl.LOCK_SH)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a read-only folder can still be read
        os.utime(path, (time.time(), path.stat().st_mtime))  # used now
    return pin


def _published(partial: Path, path: Path) -> IO[bytes]:
    """The pin of the file at `path`: the new one, or the old one where that is in use."""
    pin = _lock_file(partial, fcntl.LOCK_SH)
    try:
        with suppress(FileNotFoundError), _lock_file(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            partial.replace(path)
            return pin
        partial.replace(path)
    except BlockingIOError:
        pin.close()
        return _lock_file(path, fcntl.LOCK_SH)
    except BaseException:
        pin.close()
        raise
    return pin


def _lock_file(path: Path, operation: int) -> IO[bytes]:
    """The file at `path`, open and locked until it is closed.

    Raises:
        FileNotFoundError: there is none.
        BlockingIOError: the file is locked by another holder, and `operation` does not wait.
    """
    while True:
        file = path.open("rb")
        try:
            fcntl.flock(file, operation)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # it was removed or replaced before it was locked
