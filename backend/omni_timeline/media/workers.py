"""The processes that decode videos: a worker is started, lent to one video at a time, and ended.

    this process                       decoder process               worker, lent to one open video
    Workers  --- a socket -----------> imports av once, then
             <-- process number ------ forks ----------------------> enters the sandbox, waits for a file
    Video    --- the open file, then windows ----------------------> video.Video under the limits
             <------------------- clips, over that socket -------------------------'

To fork a worker, to touch its memory for the first time and to end it costs about half as much as to decode a short
clip. So a worker may be lent to another video of the same *group* afterwards, such as a project's: to
`DecodeLimits.videos` of them in turn, as long as nothing was wrong with any; it waits some seconds for the next.

`worker` is the other side, `wire` the messages. Neither side imports torch, and this one does not import av.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass

from omni_timeline import processes
from omni_timeline.errors import RetryableError
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.wire import (
    CloseVideo,
    EndWorker,
    Kind,
    StartWorker,
    WorkerEnded,
    WorkerStarted,
    expect,
    receive,
    send,
)

MAX_IDLE = 8  # workers that wait for their next video
IDLE_SECONDS = 5.0  # s that one waits; some seconds later it ends without being asked
_START_SECONDS = 60.0  # s for the decoder process to come up; half a second where nothing else runs


@dataclass(eq=False)
class Worker:
    """A worker process.

    Attributes:
        process: its number.
        peer: the socket to it.
        group: whose videos it is lent to; None for one video only.
        videos: how many it was lent to.
        idle_since: when it was given back; seconds of `time.monotonic`.
    """

    process: int
    peer: socket.socket
    group: str | None
    videos: int = 0
    idle_since: float = 0.0


class Workers:
    """Starts, lends and ends workers. May be used by several threads at once.

    The decoder process starts with the first worker, and again after it ended or this process forked.

    Args:
        limits: the limits on one video.
    """

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()
        self._idle: list[Worker] = []  # the one that was given back last is the last

    def take(self, group: str | None) -> Worker:
        """A worker for a video: one that had others of its group, or a new one.

        Raises:
            RetryableError: no process started at present.
        """
        with self._lock:
            self._end_old()
            found = next((each for each in reversed(self._idle) if each.group == group), None)
            if found is None:
                return self._new(group)
            self._idle.remove(found)
            found.videos += 1
            return found

    def take_new(self, group: str | None) -> Worker:
        """A worker that had no video before; raises as `take`."""
        with self._lock:
            return self._new(group)

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next video; nothing was wrong with this one, and nobody uses it any more."""
        is_kept = worker.group is not None and worker.videos < self.limits.videos
        with self._lock:
            if is_kept and _sent(worker.peer, CloseVideo()):
                worker.idle_since = time.monotonic()
                self._idle.append(worker)
                self._end_old()
            else:
                self._discard(worker)

    def discard(self, worker: Worker) -> None:
        """End a worker that nobody uses any more."""
        with self._lock:
            self._discard(worker)

    def end(self, worker: Worker, *, is_gone: bool = False) -> int | None:
        """End a worker; its socket stays open.

        Args:
            worker: the worker.
            is_gone: its socket has ended, so it gets a moment to exit.

        Returns:
            Its exit status as `subprocess` has it, None if it is not known.
        """
        with self._lock:
            return self._end(worker, is_gone=is_gone)

    def close(self) -> None:
        """End the decoder process and all workers. The next one starts it again."""
        with self._lock:
            self._stop()

    def __del__(self) -> None:
        self._stop()

    def _end_old(self) -> None:
        """End those that have been idle for long, and the oldest of more than MAX_IDLE."""
        if self._owner != os.getpid():
            self._idle.clear()  # the other process's
        until = time.monotonic() - IDLE_SECONDS
        while self._idle and (len(self._idle) > MAX_IDLE or self._idle[0].idle_since < until):
            self._discard(self._idle.pop(0))

    def _discard(self, worker: Worker) -> None:
        self._end(worker, is_gone=False)
        worker.peer.close()

    def _new(self, group: str | None) -> Worker:
        try:
            return self._start(group)
        except OSError:  # killed meanwhile
            self._stop()
        try:
            return self._start(group)
        except OSError as error:
            self._stop()
            raise RetryableError(f"The process that decodes videos does not start: {error}.") from error

    def _start(self, group: str | None) -> Worker:
        """As `_new`; a socket of its own each time, since a worker of the first attempt may still have its end."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            raise RetryableError(f"No video can be decoded now: {error.strerror}.") from error
        try:
            with theirs:
                return Worker(self._ask(StartWorker(self.limits), WorkerStarted, theirs).process, ours, group, videos=1)
        except BaseException:
            ours.close()
            raise

    def _end(self, worker: Worker, *, is_gone: bool) -> int | None:
        if self._control is None or self._owner != os.getpid():
            return None
        try:
            return self._ask(EndWorker(worker.process, is_gone=is_gone), WorkerEnded).status
        except OSError:
            self._stop()  # the workers end with it
            return None

    def _ask(
        self, message: StartWorker | EndWorker, answer: type[Kind], descriptor: socket.socket | None = None
    ) -> Kind:
        if self._control is None or self._owner != os.getpid():
            self._launch()
        assert self._control is not None
        send(self._control, message, [] if descriptor is None else [descriptor.fileno()])
        return expect(receive(self._control), answer)

    def _launch(self) -> None:
        process, ours = processes.start(
            "omni_timeline.media.worker", environment=processes.minimal_environment(), silent=True
        )
        ours.settimeout(_START_SECONDS)
        self._process, self._control, self._owner = process, ours, os.getpid()

    def _stop(self) -> None:
        """End the decoder process; its workers end with it."""
        control, process, ours = self._control, self._process, self._owner == os.getpid()
        self._control = self._process = None
        for worker in self._idle:
            worker.peer.close()
        self._idle.clear()
        if control is not None:
            control.close()
        if process is not None and ours:
            process.kill()
            process.wait()


def _sent(peer: socket.socket, message: CloseVideo) -> bool:
    """Whether the other side is still there to get it."""
    try:
        send(peer, message)
    except OSError:
        return False
    return True
