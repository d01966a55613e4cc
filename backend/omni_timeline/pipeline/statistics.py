"""What a scheduler got done lately: for the status page, the metrics and the command line's progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable

WINDOW_SECONDS = 60.0  # s that count as lately


class Statistics:
    """Counts and seconds of the last minute, and since the start. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._videos: deque[float] = deque()
        self._decoded: deque[tuple[float, float]] = deque()
        self._batches: deque[tuple[float, float, int]] = deque()
        self.videos = 0
        self.windows = 0
        self.decode_seconds = 0.0
        self.generate_seconds = 0.0

    def decoded(self, seconds: float) -> None:
        """A window was decoded."""
        with self._lock:
            self._decoded.append((time.monotonic(), seconds))
            self.decode_seconds += seconds

    def generated(self, seconds: float, rows: int) -> None:
        """A batch was answered."""
        with self._lock:
            self._batches.append((time.monotonic(), seconds, rows))
            self.windows += rows
            self.generate_seconds += seconds

    def finished(self) -> None:
        """A video is done."""
        with self._lock:
            self._videos.append(time.monotonic())
            self.videos += 1

    def lately(self) -> dict[str, float]:
        """Videos a minute, windows in a batch, and the share of the time that was spent decoding and generating."""
        with self._lock:
            now = time.monotonic()
            for events in (self._decoded, self._batches):
                while events and events[0][0] < now - WINDOW_SECONDS:
                    events.popleft()
            while self._videos and self._videos[0] < now - WINDOW_SECONDS:
                self._videos.popleft()
            span = max(1e-9, min(WINDOW_SECONDS, now - self._began))
            rows = [rows for _, _, rows in self._batches]
            return {
                "videos_a_minute": 60 * len(self._videos) / span,
                "windows_in_a_batch": _mean(rows),
                "decoding": sum(seconds for _, seconds in self._decoded) / span,
                "generating": sum(seconds for _, seconds, _ in self._batches) / span,
            }


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every) if every else 0.0
