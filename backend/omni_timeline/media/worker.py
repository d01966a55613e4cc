"""The processes that decode videos: one that forks, and workers, each with one video at a time.

Run as `python -m omni_timeline.media.worker DESCRIPTOR` by `workers`, which sends it the messages of `wire`. The
process imports av once. A worker gets an open file and decodes it, under limits that the kernel holds it to and in a
sandbox in which nothing else can be opened, started or reached.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import av
import numpy as np

from omni_timeline import processes
from omni_timeline.errors import MediaError
from omni_timeline.media import sandbox
from omni_timeline.media.clip import Clip
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.video import Video
from omni_timeline.media.wire import (
    ClipRead,
    CloseVideo,
    EndWorker,
    OpenVideo,
    ReadClip,
    Refused,
    StartWorker,
    VideoOpened,
    WorkerEnded,
    WorkerStarted,
    expect,
    receive,
    send,
)

NICENESS = 5  # as a model's process, which else would wait for a core while the next videos are decoded
OPEN_FILES = 64
LAZY = ("numpy.ma", "numpy.linalg", "numpy.fft", "encodings.latin_1", "encodings.utf_16")
IDLE_SECONDS = 10.0  # s that a worker waits for another video; longer than `workers` keeps it for one
LAST_WORDS = 0.5  # s between the end of a worker's socket and its exit status


def serve(control: socket.socket) -> None:
    """Start and end workers until the other side is gone. Never touches a file."""
    os.nice(NICENESS)
    import_ahead()
    workers, own = set[int](), os.getpid()
    while True:
        # One byte, since the socket comes with the first; the rest as always.
        first, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not first:
            return
        message = receive(control, first)
        if isinstance(message, EndWorker):
            send(control, WorkerEnded(_reap(message, workers)))
            continue
        limits = expect(message, StartWorker).limits
        worker = os.fork()
        if worker == 0:
            processes.end_with_parent(own)
            control.close()
            work(socket.socket(fileno=descriptors[0]), limits)
            os._exit(0)
        os.close(descriptors[0])
        workers.add(worker)
        send(control, WorkerStarted(worker))


def import_ahead() -> None:
    """Import the modules that av and numpy import when first needed: a worker could not open them any more."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)


def _reap(message: EndWorker, workers: set[int]) -> int | None:
    """End a worker that still runs; returns its exit status, None if it had to be killed."""
    worker = message.process
    if worker not in workers:
        return None
    workers.remove(worker)
    until = time.monotonic() + (LAST_WORDS if message.is_gone else 0.0)
    while True:
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            return None
        time.sleep(LAST_WORDS / 100)


def work(peer: socket.socket, limits: DecodeLimits) -> None:
    """Answer for one video after the other until the other side is gone, or sends no other for a while."""
    confine(limits)
    unconfined = tuple(sandbox.enter())
    video: Video | None = None
    while True:
        try:
            first, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
            peer.settimeout(None)
            message = receive(peer, first)
        except OSError:
            return
        # The kernel ends the process then, wherever it hangs.
        signal.setitimer(signal.ITIMER_REAL, limits.seconds)
        try:
            if isinstance(message, OpenVideo):
                file = MediaFile(Path(message.path), *descriptors)
                video = Video(file, limits)
                send(peer, VideoOpened(video.info, unconfined))
            elif isinstance(message, CloseVideo):
                video = None
                os.close(file.descriptor)
                peer.settimeout(IDLE_SECONDS)
            elif video is not None:
                _send_clip(peer, _clip(video, expect(message, ReadClip)))
        except MediaError as error:
            send(peer, Refused(str(error)))
        signal.setitimer(signal.ITIMER_REAL, 0)


def confine(limits: DecodeLimits) -> None:
    """Limits that the kernel holds this process to."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    own_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, own_bytes + limits.memory_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),  # it reads
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _clip(video: Video, message: ReadClip) -> Clip:
    size = message.size
    return video.clip(
        frames=message.frames,
        start=message.start,
        end=message.end,
        resize=None if size is None else lambda _height, _width: (size[0], size[1]),
        audio=message.audio,
        audio_track=message.audio_track,
    )


def _send_clip(peer: socket.socket, clip: Clip) -> None:
    count, channels, height, width = clip.frames.shape
    header = ClipRead(
        info=clip.info,
        start=clip.start,
        end=clip.end,
        times=clip.times.seconds,
        shown=clip.shown,
        shape=(count, channels, height, width),
        samples=None if clip.audio is None else len(clip.audio),
        warnings=clip.warnings,
    )
    send(peer, header)
    peer.sendall(np.ascontiguousarray(clip.frames).reshape(-1).data)
    if clip.audio is not None and len(clip.audio):
        peer.sendall(clip.audio.view(np.uint8).data)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
