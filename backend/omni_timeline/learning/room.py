"""Waiting for memory: training loads the model once more, and what serves people on the same GPU goes first.

Knows bytes and time. Knows no torch, so that it is tested without a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from omni_timeline.errors import ModelError
from omni_timeline.pipeline.prediction import OnProgress, Progress

PAUSE = 30.0  # s between two looks
WAY_OUT = "Set LEARNING_DEVICE to another device, or QUANTIZATION=nf4, or start it again when there is room."


def wait_for_room(
    device: str,
    needed: int,
    memory: Callable[[], tuple[int, int]],
    max_seconds: float,
    on_progress: OnProgress,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns once a device has room.

    Args:
        device: its name.
        needed: bytes that must be free.
        memory: how many bytes are free, and how many there are in all.
        max_seconds: for how long to wait.
        on_progress: told what is waited for at each look.
        clock: seconds that pass.
        sleep: lets them pass.

    Raises:
        ModelError: there was no room in that time, or there never can be.
    """
    until = clock() + max_seconds
    while True:
        free, total = memory()
        if free >= needed:
            return
        if total < needed:
            raise ModelError(
                f"Training needs about {_gb(needed)} of memory, and {device} has {_gb(total)} in all. {WAY_OUT}"
            )
        left = until - clock()
        if left <= 0:
            raise ModelError(
                f"Training needs about {_gb(needed)} of memory on {device}, and {_gb(free)} were free there after "
                f"{max_seconds / 60:.0f} minutes of waiting. {WAY_OUT}"
            )
        on_progress(Progress(f"waiting for memory on {device} ({_gb(needed)} needed, {_gb(free)} free)"))
        sleep(min(PAUSE, left))


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
