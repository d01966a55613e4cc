"""Decoding in a process that can be stopped: what a stranger's file does to libav, it does there.

    this process                       decoder process               worker, one for each open video
    Decoder  --- "start", a socket --> imports av once, then
             <-- process number ------ forks; never opens a file --> media.Video under the limits
    Video    <------------------- clips, over that socket -------------------------'

The worker counts the frames once and answers for as long as the video is open. The kernel ends it at its deadline and
at its memory limit; a crash ends it too. Each is that video's `MediaError`, and the next video has a new worker in
milliseconds. Answers are JSON and plain pixels, nothing that is run here. The processes get no setting and no token,
and end with this one.

Knows nothing of how a file is read; `media` does that. Neither side imports torch.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from omni_timeline import processes
from omni_timeline.errors import MediaError, OmniTimelineError
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.video import Video as LocalVideo
from omni_timeline.timebase import FrameTimes

__all__ = ["DecodeLimits", "Decoder", "Video"]

_GRACE = 5.0  # s on top of the deadline, for an answer that is on its way and a machine that is busy
_START_SECONDS = 60.0  # s for the decoder process to come up; half a second where nothing else runs
_MESSAGE_BYTES = 64 * 1024**2  # of the JSON: the times of two million frames
_OPEN_FILES = 64
_LAST_WORDS = 0.5  # s between the end of a worker's socket and its exit status


class Decoder:
    """Opens videos, each in a worker process of its own. May be used by several threads at once.

    The decoder process starts with the first video, again when it has gone, and again after a fork.

    Args:
        limits: what one video may ask for.
    """

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        self.limits = limits or DecodeLimits()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()

    @contextmanager
    def open(self, path: Path | str) -> Iterator[Video]:
        """The video in the file `path`; its worker ends with the `with` block.

        Raises:
            MediaError: the file cannot be used as a video, is above a limit, or brought the worker down.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                worker = self._start(theirs)
            try:
                yield Video(Path(path), self.limits, ours, lambda: self._end(worker, gone=True))
            finally:
                self._end(worker)

    def close(self) -> None:
        """End the decoder process and all its workers. The next `open` starts it again."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        # One that nobody closes takes its processes along.
        self._stop()

    def _start(self, theirs: socket.socket) -> int:
        """The process number of a new worker that answers on `theirs`."""
        request = {"start": asdict(self.limits)}
        with self._lock:
            try:
                return int(self._ask(request, theirs)["worker"])
            except OSError:  # killed while nobody was looking
                self._stop()
            try:
                return int(self._ask(request, theirs)["worker"])
            except OSError as error:
                self._stop()
                raise OmniTimelineError(f"The process that decodes videos does not start: {error}.") from error

    def _end(self, worker: int, *, gone: bool = False) -> int | None:
        """End a worker, which is `gone` if its socket is; its exit status as `subprocess` has it, None if not known."""
        with self._lock:
            if self._control is None or self._owner != os.getpid():
                return None
            try:
                status = self._ask({"end": worker, "gone": gone})["status"]
            except OSError:
                self._stop()  # the workers end with it
                return None
            return None if status is None else int(status)

    def _ask(self, message: Mapping[str, Any], descriptor: socket.socket | None = None) -> dict[str, Any]:
        if self._control is None or self._owner != os.getpid():
            self._launch()
        assert self._control is not None
        _send(self._control, message, [] if descriptor is None else [descriptor.fileno()])
        return _receive(self._control)

    def _launch(self) -> None:
        process, ours = processes.start(
            "omni_timeline.media.isolated", environment=processes.minimal_environment(), silent=True
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
        info: what the file says of its video; what decoding found, once that was needed.
    """

    def __init__(self, path: Path, limits: DecodeLimits, worker: socket.socket, end: Callable[[], int | None]) -> None:
        self.path = path
        self._limits = limits
        self._worker = worker
        self._end = end
        worker.settimeout(limits.seconds + _GRACE)
        self.info = _info(path, self._ask({"open": str(path)})["info"])

    def clip(
        self,
        *,
        frames: int = 50,
        start: float = 0.0,
        end: float | None = None,
        size: tuple[int, int] | None = None,
        audio: bool = True,
    ) -> Clip:
        """Frames spread evenly in time over a window of the video, and the window's sound; see `media.Video.clip`.

        Args:
            frames: how many frames at most.
            start: seconds of the video.
            end: seconds of the video; its end when None.
            size: (height, width) to scale to; as displayed when None.
            audio: whether to read the sound.

        Raises:
            MediaError: the window lies outside of the video, nothing in it decodes, or the worker was brought down.
        """
        answer = self._ask({"frames": frames, "start": start, "end": end, "size": size, "audio": audio})
        self.info = _info(self.path, answer["info"])
        count, samples = tuple(answer["shape"]), answer["samples"]
        if int(np.prod(count)) + 4 * (samples or 0) > self._limits.memory_bytes:
            raise self._broken(None)  # no worker can have held as much
        pictures = self._array(count, np.uint8)
        sound = None if samples is None else self._array((samples,), np.float32)
        return Clip(
            info=self.info,
            start=answer["start"],
            end=answer["end"],
            frames=pictures,
            times=FrameTimes(tuple(answer["times"])),
            audio=sound,
            warnings=tuple(answer["warnings"]),
        )

    def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            _send(self._worker, message)
            answer = _receive(self._worker)
        except OSError as error:
            raise self._broken(error) from error
        if "error" in answer:
            raise MediaError(answer["error"])
        return answer

    def _array(self, shape: tuple[int, ...], kind: Any) -> Any:
        array = np.empty(shape, dtype=kind)
        try:
            _receive_into(self._worker, array.reshape(-1).view(np.uint8).data)
        except OSError as error:
            raise self._broken(error) from error
        return array

    def _broken(self, error: OSError | None) -> MediaError:
        """What the end of the worker means for the person with the file."""
        status = self._end()
        name, limits = self.path.name, self._limits
        if isinstance(error, TimeoutError) or status == -signal.SIGALRM:
            why = f"it takes longer than DECODE_SECONDS ({limits.seconds:g}) allows"
        elif status == -signal.SIGKILL:
            why = "the machine was out of memory, or somebody ended the decoder"
        elif status is not None and status < 0:
            why = f"the decoder crashed on it ({signal.Signals(-status).name}); the file is probably damaged"
        else:
            why = "the decoder stopped on it; the file is probably damaged"
        return MediaError(f"{name} cannot be decoded: {why}. Convert it to MP4 (H.264) or copy it again.")


def _info(path: Path, answer: Mapping[str, Any]) -> VideoInfo:
    return VideoInfo(**{**answer, "path": path})


# --- messages: the length of a JSON text, then the text ---------------------------------------------------------------
def _send(peer: socket.socket, message: Mapping[str, Any], descriptors: list[int] | None = None) -> None:
    text = json.dumps(message).encode()
    data = struct.pack("!I", len(text)) + text
    sent = socket.send_fds(peer, [data], descriptors) if descriptors else 0
    peer.sendall(data[sent:])


def _receive(peer: socket.socket, begun: bytes = b"") -> dict[str, Any]:
    """The next message, of which the bytes `begun` are here already.

    Raises:
        OSError: the other side is gone, silent or sends something else.
    """
    head = bytearray(begun.ljust(4, b"\0"))
    _receive_into(peer, memoryview(head)[len(begun) :])
    [length] = struct.unpack("!I", head)
    if length > _MESSAGE_BYTES:
        raise OSError("not a message")
    text = bytearray(length)
    _receive_into(peer, memoryview(text))
    try:
        message = json.loads(text)
    except ValueError as error:
        raise OSError("not a message") from error
    if not isinstance(message, dict):
        raise OSError("not a message")
    return message


def _receive_into(peer: socket.socket, view: memoryview) -> None:
    while view:
        count = peer.recv_into(view)
        if not count:
            raise ConnectionResetError("the other side is gone")
        view = view[count:]


# --- the decoder process ----------------------------------------------------------------------------------------------
def serve(control: socket.socket) -> None:
    """Start and end workers until the other side is gone. Never touches a file."""
    workers = set[int]()
    while True:
        # One byte, since the socket comes with the first; the rest as always.
        first, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not first:
            return
        message = _receive(control, first)
        if "start" in message:
            worker = os.fork()
            if worker == 0:
                processes.end_with_parent()
                control.close()
                _work(socket.socket(fileno=descriptors[0]), DecodeLimits(**message["start"]))
                os._exit(0)
            os.close(descriptors[0])
            workers.add(worker)
            _send(control, {"worker": worker})
        else:
            _send(control, {"status": _reap(message["end"], workers, _LAST_WORDS if message["gone"] else 0.0)})


def _reap(worker: int, workers: set[int], patience: float) -> int | None:
    """End a worker that still runs after `patience` seconds; its exit status, None if it did not end by itself."""
    if worker not in workers:
        return None
    workers.remove(worker)
    until = time.monotonic() + patience
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            return None
        time.sleep(_LAST_WORDS / 100)


def _work(peer: socket.socket, limits: DecodeLimits) -> None:
    """Answer for one video until nobody asks any more."""
    _confine(limits)
    video: LocalVideo | None = None
    while True:
        try:
            message = _receive(peer)
        except OSError:
            return
        # The kernel ends the process then, wherever it hangs.
        signal.setitimer(signal.ITIMER_REAL, limits.seconds)
        clip = None
        try:
            if video is None:
                video = LocalVideo(message["open"], limits)
            else:
                clip = _clip(video, message)
        except MediaError as error:
            _send(peer, {"error": str(error)})
        else:
            _answer(peer, video, clip)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _confine(limits: DecodeLimits) -> None:
    """Limits that the kernel holds this process to."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    own_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, own_bytes + limits.memory_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),  # it reads
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _clip(video: LocalVideo, message: Mapping[str, Any]) -> Clip:
    size = message["size"]
    return video.clip(
        frames=message["frames"],
        start=message["start"],
        end=message["end"],
        resize=None if size is None else lambda _height, _width: (size[0], size[1]),
        audio=message["audio"],
    )


def _answer(peer: socket.socket, video: LocalVideo, clip: Clip | None) -> None:
    info = {name: value for name, value in asdict(video.info).items() if name != "path"}
    if clip is None:
        _send(peer, {"info": info})
        return
    _send(
        peer,
        {
            "info": info,
            "start": clip.start,
            "end": clip.end,
            "times": clip.times.seconds,
            "shape": clip.frames.shape,
            "samples": None if clip.audio is None else len(clip.audio),
            "warnings": clip.warnings,
        },
    )
    peer.sendall(np.ascontiguousarray(clip.frames).reshape(-1).data)
    if clip.audio is not None and len(clip.audio):
        peer.sendall(clip.audio.view(np.uint8).data)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
