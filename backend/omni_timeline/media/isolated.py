"""Decoding in a process that can be stopped: what a hostile file does to libav, it does there.

    this process                       decoder process               worker, one for each open video
    Decoder  --- a socket -----------> imports av once, then
             <-- process number ------ forks ----------------------> waits for the file, enters the sandbox
    Video    --- the open file, then windows ----------------------> video.Video under the limits
             <------------------- clips, over that socket -------------------------'

The worker counts the frames once and answers for as long as the video is open. The kernel ends it at its deadline and
at its memory limit; a crash ends it too. Each becomes that video's `MediaError`, and the next video has a new worker in
milliseconds. The processes get no setting and no token, and end with this one.

Knows nothing of how a file is read: `worker` is the other side, `wire` the messages. Neither side imports torch.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from omni_timeline import processes
from omni_timeline.errors import DecoderLostError, MediaError, RetryableError
from omni_timeline.media import sandbox
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.clip import Clip
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.wire import (
    ClipRead,
    EndWorker,
    Kind,
    OpenVideo,
    ReadClip,
    Refused,
    StartWorker,
    VideoOpened,
    WorkerEnded,
    WorkerStarted,
    expect,
    receive,
    receive_into,
    send,
)
from omni_timeline.timebase import FrameTimes

log = logging.getLogger(__name__)

_GRACE = 5.0  # s on top of the deadline, for an answer that is on its way and a machine that is busy
_START_SECONDS = 60.0  # s for the decoder process to come up; half a second where nothing else runs


class Decoder:
    """Opens videos, each in a worker process of its own. May be used by several threads at once.

    The decoder process starts with the first video, and again after it ended or this process forked.

    Args:
        limits: the limits on one video.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()
        self._is_noted = False

    @contextmanager
    def open(self, path: Path | str) -> Iterator[Video]:
        """The video in the file `path`; its worker ends with the `with` block.

        Raises:
            MediaError: the file cannot be used as a video, is above a limit, or brought the worker down.
            RetryableError: the file cannot be opened, or no process started, at present.
        """
        worker, ours = self._start()
        reading = threading.Lock()
        try:
            end = partial(self._end, EndWorker(worker, is_gone=True))
            video = Video(Path(path), self.limits, ours, reading, end)
            self._note(video.unconfined)
            yield video
        finally:
            self._end(EndWorker(worker, is_gone=False))
            processes.end_connection(ours, reading)

    def _note(self, unconfined: tuple[str, ...]) -> None:
        """Log once what the kernel lacks."""
        if unconfined and not self._is_noted:
            self._is_noted = True
            log.warning("%s", sandbox.describe(unconfined))

    def close(self) -> None:
        """End the decoder process and all its workers. The next `open` starts it again."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        # A decoder that is not closed ends its processes too.
        self._stop()

    def _start(self) -> tuple[int, socket.socket]:
        """The process number of a new worker, and the socket to it."""
        with self._lock:
            try:
                return self._start_once()
            except OSError:  # killed meanwhile
                self._stop()
            try:
                return self._start_once()
            except OSError as error:
                self._stop()
                raise RetryableError(f"The process that decodes videos does not start: {error}.") from error

    def _start_once(self) -> tuple[int, socket.socket]:
        """As `_start`; a socket of its own each time, since a worker of the first attempt may still have its end."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # too many open files
            raise RetryableError(f"No video can be decoded now: {error.strerror}.") from error
        try:
            with theirs:
                return self._ask(StartWorker(self.limits), WorkerStarted, theirs).process, ours
        except BaseException:
            ours.close()
            raise

    def _end(self, message: EndWorker) -> int | None:
        """End a worker; its exit status as `subprocess` has it, None if it is not known."""
        with self._lock:
            if self._control is None or self._owner != os.getpid():
                return None
            try:
                return self._ask(message, WorkerEnded).status
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
        control, process, ours = self._control, self._process, self._owner == os.getpid()
        self._control = self._process = None
        if control is not None:
            control.close()
        if process is not None and ours:
            process.kill()
            process.wait()


class Video:
    """A video that a worker holds open. Times are seconds of the video. One call at a time.

    Attributes:
        path: the file.
        info: the properties of the video, by timestamps; by decoding once that was needed.
        unconfined: the protections that the kernel lacks, in words.
    """

    def __init__(
        self,
        path: Path,
        limits: DecodeLimits,
        worker: socket.socket,
        reading: threading.Lock,
        end: Callable[[], int | None],
    ) -> None:
        self.path = path
        self._limits = limits
        self._worker = worker
        self._reading = reading
        self._end = end
        worker.settimeout(limits.seconds + _GRACE)
        with MediaFile.opened(path, limits) as file:
            opened = self._ask(OpenVideo(str(path)), VideoOpened, file.descriptor)
        self.info = replace(opened.info, path=path)
        self.unconfined = opened.unconfined

    def clip(
        self,
        *,
        frames: int = 50,
        start: float = 0.0,
        end: float | None = None,
        size: tuple[int, int] | None = None,
        audio: bool = True,
        audio_track: AudioTrack = None,
    ) -> Clip:
        """The pictures at instants spread evenly over a window of the video, and its sound; see `video.Video.clip`.

        Args:
            frames: how many frames at most.
            start: seconds of the video.
            end: seconds of the video; its end when None.
            size: (height, width) to scale to; as displayed when None.
            audio: whether to read the sound.
            audio_track: which of several sound tracks.

        Raises:
            MediaError: the window lies outside of the video, nothing in it decodes, or the worker was brought down.
        """
        with self._reading:
            return self._clip(ReadClip(frames, start, end, size, audio, audio_track))

    def _clip(self, message: ReadClip) -> Clip:
        found = self._ask(message, ClipRead)
        self.info = replace(found.info, path=self.path)
        if int(np.prod(found.shape)) + 4 * (found.samples or 0) > self._limits.memory_bytes:
            raise self._broken(None)  # no worker can have held as much
        pictures = self._array(found.shape, np.uint8)
        sound = None if found.samples is None else self._array((found.samples,), np.float32)
        return Clip(
            info=self.info,
            start=found.start,
            end=found.end,
            frames=pictures,
            times=FrameTimes(found.times),
            shown=found.shown,
            audio=sound,
            warnings=found.warnings,
        )

    def _ask(self, message: OpenVideo | ReadClip, answer: type[Kind], *descriptors: int) -> Kind:
        try:
            send(self._worker, message, descriptors)
            found = receive(self._worker)
            if not isinstance(found, Refused):
                return expect(found, answer)
        except OSError as error:
            raise self._broken(error) from error
        raise MediaError(found.sentence)

    def _array(self, shape: tuple[int, ...], kind: Any) -> Any:
        array = np.empty(shape, dtype=kind)
        try:
            receive_into(self._worker, array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise self._broken(error) from error
        return array

    def _broken(self, error: OSError | None) -> MediaError:
        """The error of a video whose worker ended."""
        status = self._end()
        name, limits = self.path.name, self._limits
        kind = MediaError
        if isinstance(error, TimeoutError) or status == -signal.SIGALRM:
            why = f"it takes longer than DECODE_SECONDS ({limits.seconds:g}) allows"
        elif status is None or status == -signal.SIGKILL:
            kind = DecoderLostError
            why = "the machine was out of memory, or the decoder was killed"
        elif status < 0:
            why = f"the decoder crashed on it ({signal.Signals(-status).name}); the file is probably damaged"
        else:
            why = "the decoder stopped on it; the file is probably damaged"
        return kind(f"{name} cannot be decoded: {why}. Convert it to MP4 (H.264) or copy it again.")
