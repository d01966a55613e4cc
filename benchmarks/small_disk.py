"""A folder on a small disk of its own, for a benchmark that fills it. Nothing outside that benchmark sees the disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def run_again(cache: Path, mib: int, *arguments: str) -> int | None:
    """This program once more, with other arguments, where `cache` is a disk of so many MiB.

    Returns:
        its exit status; None where this machine lets nobody mount a file system in a name space.
    """
    script = f"mount -t tmpfs -o size={mib}m none {cache}"
    small_disk = [shutil.which("unshare") or "unshare", "-rm", "sh", "-c"]
    with suppress(OSError):
        if subprocess.run([*small_disk, script], capture_output=True).returncode == 0:
            again = [sys.executable, sys.argv[0], *arguments]
            return subprocess.run([*small_disk, f'{script} && exec "$@"', "sh", *again]).returncode
    return None


def fill(folder: Path, seconds: float) -> None:
    """Leave the disk of a folder no room for so many seconds."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    time.sleep(seconds)
    filler.unlink()
