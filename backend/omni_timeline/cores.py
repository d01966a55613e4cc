"""How many processor cores this program may use, and how many of them nothing else uses at present."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOAD = Path("/proc/loadavg")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, such as "200000 100000" for two cores; "max 100000" for none
READINGS = 3  # of who wants a core now, a millisecond apart: what wants one all the time is in each
PAUSE = 0.001  # s


def usable() -> int:
    """How many cores this process may use: those it is bound to, or fewer where its container has a quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(bound, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, no quota, or not Linux
        return bound


def idle() -> int | None:
    """How many of the machine's cores only this thread, or nothing, wants at present; None where that is not told."""
    all_of_them = os.cpu_count() or 1
    found = 0
    for _ in range(READINGS):
        try:
            wanting, _ = LOAD.read_text().split()[3].split("/")  # of all threads, those that run or could
        except OSError:
            return None
        found = max(found, all_of_them - (int(wanting) - 1))
        if found >= all_of_them:
            return all_of_them
        time.sleep(PAUSE)
    return found
