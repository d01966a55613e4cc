"""The decoder process, but for the code that decodes: what is run in its place tries to get out.

`python -m hostile_worker DESCRIPTOR`; HOSTILE_FOLDER has a file "secret" that belongs to somebody else.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from omni_timeline.errors import MediaError
from omni_timeline.media import worker
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits

FOLDER = Path(os.environ["HOSTILE_FOLDER"])


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def taken_over(file: MediaFile, limits: DecodeLimits) -> NoReturn:
    attempts = {
        "read": lambda: (FOLDER / "secret").read_text(),
        "write": lambda: (FOLDER / "secret").write_text("ours"),
        "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
        "run": lambda: os.execv("/bin/true", ["true"]),
        "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    }
    said = [f"{name}: {outcome(attempt)}" for name, attempt in attempts.items()]
    raise MediaError(", ".join([*said, f"own video: {'read' if file.head(8) else 'nothing'}"]))


if __name__ == "__main__":
    worker.Video = taken_over  # type: ignore[assignment, misc]
    worker.serve(socket.socket(fileno=int(sys.argv[1])))
