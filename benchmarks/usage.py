"""What a benchmark's process and all that it has started use: processor seconds and memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

PAUSE = 0.05  # s between two looks at the memory


def processor_seconds() -> float:
    """Seconds that the processors have worked for them so far, those counted that have ended."""
    seconds = 0.0
    for process in _alive():
        with suppress(psutil.Error):  # one that ended just now
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def own_bytes() -> int:
    """Memory that is theirs alone."""
    found = 0
    for process in _alive():
        with suppress(psutil.Error):  # one that ended just now
            found += process.memory_full_info().uss
    return found


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """The most of `own_bytes` while the block runs, in a list of one."""
    peak, ended = [own_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(PAUSE):
            peak[0] = max(peak[0], own_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _alive() -> list[psutil.Process]:
    process = psutil.Process()
    return [process, *process.children(recursive=True)]
