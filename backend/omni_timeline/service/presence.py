"""Which servers are alive: each holds a lock on a file of its own, which the kernel releases when its process ends.

Knows files and locks. Knows nothing of journals.
"""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path
from typing import IO


class Presence:
    """The lock of this server, and a view of those of other servers in the same folder.

    Attributes:
        server: the name of this server, unique for all time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[str] | None = None
        self.server = uuid.uuid4().hex[:12]

    def hold(self) -> None:
        """Create and lock this server's file, if it is not there yet or was removed.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._path(self.server)
        if self._file is not None and path.exists():
            return
        self.release()
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file = file

    def release(self) -> None:
        """Remove and unlock this server's file."""
        if self._file is not None:
            self._path(self.server).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def is_alive(self, server: str) -> bool:
        """Whether the process of a server is still running. Removes the file of one that has ended."""
        if server == self.server:
            return True
        path = self._path(server)
        try:
            with path.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return False
        except OSError:  # locked, or inaccessible
            return True
        return False

    def _path(self, server: str) -> Path:
        return self._folder / f"journal-{server}.lock"
