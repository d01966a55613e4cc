"""How many videos are fetched from one host at a time, and which hosts are not asked for a while.

A slow or silent host holds a few fetches at most; the tasks that wait for it hold none. A host that could not be
reached is not asked again for a moment: the tasks that want it fail at once, and are retried later.

Knows names of hosts and nothing of addresses. May be used by several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from omni_timeline.errors import BusyHostError, UnreachableError

SLOTS = 4  # fetches from one host at a time
REST_SECONDS = 30.0  # s for which a host that could not be reached is not asked again
FORGET_SECONDS = 900.0  # s after which a host that could not be reached is forgotten
MAX_WANTED = 50_000  # videos of a host that are counted


@dataclass
class _Host:
    in_use: int = 0
    failed_at: float | None = None  # when it could not be reached last
    error: UnreachableError | None = None
    wanted: set[str] = field(default_factory=set)  # what could not be fetched since

    def want(self, video: str) -> None:
        if len(self.wanted) < MAX_WANTED:
            self.wanted.add(video)


@dataclass(frozen=True)
class SilentHost:
    """A host that could not be reached.

    Attributes:
        name: the host.
        error: what went wrong last.
        videos: how many of its videos were wanted since.
    """

    name: str
    error: UnreachableError
    videos: int


class HostSlots:
    """The slots of all hosts.

    Args:
        slots: fetches from one host at a time.
        now: a clock that does not go back, in seconds.
    """

    def __init__(self, slots: int = SLOTS, now: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._now = now
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def slot(self, name: str, video: str) -> Iterator[None]:
        """Holds one of this host's fetches, for a video that is known by this name.

        Raises:
            BusyHostError: all its slots are in use.
            UnreachableError: it could not be reached a moment ago.
        """
        with self._lock:
            host = self._hosts.setdefault(name, _Host())
            if host.failed_at is not None and self._now() < host.failed_at + REST_SECONDS:
                host.want(video)
                raise UnreachableError(f"{host.error} Other videos at {name} wait as well.")
            if host.in_use >= self._slots:
                raise BusyHostError(name)
            host.in_use += 1
        try:
            yield
        except UnreachableError as error:
            with self._lock:
                host.failed_at = self._now()
                host.error = error
                host.want(video)
            raise
        else:
            with self._lock:
                host.failed_at = host.error = None
                host.wanted.clear()
        finally:
            with self._lock:
                host.in_use -= 1
                if not host.in_use and host.failed_at is None:
                    self._hosts.pop(name, None)

    def has_room(self, name: str) -> bool:
        """Whether a fetch from this host could begin, or would fail at once."""
        with self._lock:
            return name not in self._hosts or self._hosts[name].in_use < self._slots

    def silent(self) -> list[SilentHost]:
        """The hosts that could not be reached when they were last asked."""
        with self._lock:
            now = self._now()
            for name, host in list(self._hosts.items()):
                if host.failed_at is not None and not host.in_use and now > host.failed_at + FORGET_SECONDS:
                    del self._hosts[name]
            return [
                SilentHost(name, host.error, len(host.wanted))
                for name, host in self._hosts.items()
                if host.error is not None
            ]
