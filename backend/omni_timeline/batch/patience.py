"""What to do when Label Studio does not answer as it should: wait, longer each time, and ask again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from omni_timeline.errors import DeliveryError

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0  # s
PATIENCE_SECONDS = 900.0  # s in a row without a good answer
PASSING = ("unreachable", "busy")  # kinds of errors that pass

T = TypeVar("T")

log = logging.getLogger(__name__)


class Patience:
    """Calls something again until it succeeds.

    Args:
        seconds: how long it may fail in a row.
        sleep: waits so many seconds.
        clock: seconds on any clock that does not go back.
    """

    def __init__(
        self,
        seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._sleep = sleep
        self._clock = clock

    def __call__(self, call: Callable[[], T]) -> T:
        """What the call returns, once it does.

        Raises:
            DeliveryError: the last one, of an error that does not pass or did not pass in time.
        """
        began, pause = self._clock(), FIRST_PAUSE
        while True:
            try:
                return call()
            except DeliveryError as error:
                if error.kind not in PASSING or self._clock() - began >= self._seconds:
                    raise
                log.warning("%s", error)
                self._sleep(max(pause, error.retry_after))
                pause = min(2 * pause, MAX_PAUSE)
