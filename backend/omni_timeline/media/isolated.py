"""Decoding in a process that can be stopped: what a hostile file does to libav, it does there.

The worker (see `workers`) counts the frames once and answers for as long as the video is open. The kernel ends it at
its deadline and at its memory limit; a crash ends it too. Each becomes that video's `MediaError`, and the next video
has a new worker in milliseconds. The processes get no setting and no token, and end with this one.

What may be no fault of a video is not held against it: whatever fails in a worker that had other videos before, or that
was killed, is tried once in a new one.

Knows nothing of how a file is read.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from omni_timeline import processes
from omni_timeline.errors import DecoderLostError, MediaError
from omni_timeline.media import sandbox
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.clip import Clip
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.wire import (
    ClipRead,
    Kind,
    OpenVideo,
    ReadClip,
    Refused,
    VideoOpened,
    expect,
    receive,
    receive_into,
    send,
)
from omni_timeline.media.workers import Workers
from omni_timeline.timebase import FrameTimes

log = logging.getLogger(__name__)

_GRACE = 5.0  # s on top of the deadline, for an answer that is on its way and a machine that is busy

Found = TypeVar("Found")


class Decoder:
    """Opens videos in worker processes. May be used by several threads at once.

    Args:
        limits: the limits on one video.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        self._workers = Workers(self.limits)
        self._is_noted = False

    @contextmanager
    def open(self, path: Path | str, group: str | None = None) -> Iterator[Video]:
        """The video in the file `path`, until the end of the `with` block.

        Args:
            path: the file.
            group: whose video it is, such as a project: its worker may be lent to others of the same group before and
                after. None for a worker of its own.

        Raises:
            MediaError: the file cannot be used as a video, is above a limit, or brought the worker down.
            RetryableError: the file cannot be opened, or no process started, at present.
        """
        video = Video(Path(path), self._workers, group)
        try:
            self._note(video.unconfined)
            yield video
        finally:
            video.close()

    def _note(self, unconfined: tuple[str, ...]) -> None:
        """Log once what the kernel lacks."""
        if unconfined and not self._is_noted:
            self._is_noted = True
            log.warning("%s", sandbox.describe(unconfined))

    def close(self) -> None:
        """End all processes, at once. The next `open` starts them again."""
        self._workers.close()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class Video:
    """A video that a worker holds open. Times are seconds of the video. One call at a time.

    Args:
        path: the file.
        workers: lend the worker.
        group: see `Decoder.open`.

    Attributes:
        path: the file.
        info: the properties of the video, by timestamps; by decoding once that was needed.
        unconfined: the protections that the kernel lacks, in words.

    Raises:
        MediaError, RetryableError: see `Decoder.open`.
    """

    def __init__(self, path: Path, workers: Workers, group: str | None) -> None:
        self.path = path
        self._workers = workers
        self._group = group
        self._reading = threading.Lock()
        self._is_closed = False
        self._is_well = True  # nothing came up so far, and the worker waits for the next message
        self._lost: MediaError | None = None  # why the worker ended
        with MediaFile.opened(path, workers.limits) as file:
            self._worker = workers.take(group)
            try:
                self._surely(partial(self._open, file))
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Give the worker back, or end it. Another thread that is in `clip` gets an error."""
        self._is_closed = True
        if self._reading.acquire(blocking=False):
            self._reading.release()  # nobody is in `clip`, and nobody gets in any more
            if self._is_well:
                self._workers.give_back(self._worker)
                return
        worker = self._worker
        self._workers.end(worker)  # who is in `clip` finds the end of it
        processes.end_connection(worker.peer, self._reading)
        if self._worker is not worker:  # and has replaced it meanwhile
            self._workers.discard(self._worker)

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
        message = ReadClip(frames, start, end, size, audio, audio_track)
        with self._reading:
            clip = self._surely(partial(self._clip, message))
            self._is_well = self._is_well and not clip.warnings
        return clip

    def _surely(self, attempt: Callable[[], Found]) -> Found:
        """What an attempt finds; in a new worker where it fails perhaps for no fault of the video."""
        self._require_open()
        if self._lost is not None:
            raise self._lost
        was_well, self._is_well = self._is_well, False
        try:
            found = attempt()
        except MediaError as error:
            is_lost = isinstance(error, DecoderLostError)
            if not is_lost and self._worker.videos == 1:
                raise
            self._require_open()
            if is_lost:
                log.warning("Decoding once more: %s", error)
            self._workers.discard(self._worker)
            self._worker, self._lost = self._workers.take_new(self._group), None
            self._require_open()
            found = attempt()
        self._is_well = was_well
        return found

    def _require_open(self) -> None:
        if self._is_closed:
            raise MediaError(f"{self.path.name} cannot be decoded: it is closed.")

    def _open(self, file: MediaFile) -> None:
        self._opened_in = self._worker
        self._worker.peer.settimeout(self._workers.limits.seconds + _GRACE)
        opened = self._ask(OpenVideo(str(self.path)), VideoOpened, file.descriptor)
        self.info = replace(opened.info, path=self.path)
        self.unconfined = opened.unconfined

    def _clip(self, message: ReadClip) -> Clip:
        if self._opened_in is not self._worker:  # which was replaced
            with MediaFile.opened(self.path, self._workers.limits) as file:
                self._open(file)
        found = self._ask(message, ClipRead)
        self.info = replace(found.info, path=self.path)
        if int(np.prod(found.shape)) + 4 * (found.samples or 0) > self._workers.limits.memory_bytes:
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
            send(self._worker.peer, message, descriptors)
            found = receive(self._worker.peer)
            if not isinstance(found, Refused):
                return expect(found, answer)
        except OSError as error:
            raise self._broken(error) from error
        raise MediaError(found.sentence)

    def _array(self, shape: tuple[int, ...], kind: Any) -> Any:
        array = np.empty(shape, dtype=kind)
        try:
            receive_into(self._worker.peer, array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise self._broken(error) from error
        return array

    def _broken(self, error: OSError | None) -> MediaError:
        """The error of a video whose worker ended."""
        status = self._workers.end(self._worker, is_gone=True)
        name, limits = self.path.name, self._workers.limits
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
        self._lost = kind(f"{name} cannot be decoded: {why}. Convert it to MP4 (H.264) or copy it again.")
        return self._lost
