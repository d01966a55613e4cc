"""The messages between the processes that decode videos, as values; JSON on the wire, nothing that is executed.

    this process                          decoder process                    worker
    StartWorker(limits), a socket  --->   forks
                          <---  WorkerStarted(process)
    EndWorker(process, is_gone)    --->   reaps
                          <---  WorkerEnded(status)
    OpenVideo(path), the file  ---------------------------------------->
                          <--------------------------------------------  VideoOpened(info, ...) or Refused(sentence)
    ReadClip(...)    -------------------------------------------------->
                          <--------------  ClipRead(...), then the pixels and the samples, or Refused(sentence)
    CloseVideo()     -------------------------------------------------->  waits for the next OpenVideo

A message is the length of a JSON text, four bytes, and the text. Knows no libav and nothing of processes.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.clip import VideoInfo
from omni_timeline.media.limits import DecodeLimits

MAX_MESSAGE_BYTES = 64 * 1024**2  # of the JSON: the times of two million frames


@dataclass(frozen=True)
class StartWorker:
    """Fork a worker that answers on the socket sent along with this."""

    limits: DecodeLimits


@dataclass(frozen=True)
class WorkerStarted:
    """The number of a new worker's process."""

    process: int


@dataclass(frozen=True)
class EndWorker:
    """End a worker; if `is_gone`, its socket has ended, and it gets a moment to exit."""

    process: int
    is_gone: bool


@dataclass(frozen=True)
class WorkerEnded:
    """A worker's exit status as `subprocess` has it; None when it had to be killed."""

    status: int | None


@dataclass(frozen=True)
class OpenVideo:
    """Read the open file sent along with this; the first message about a video. `path` is for messages."""

    path: str


@dataclass(frozen=True)
class CloseVideo:
    """Let go of the video. It is not answered; another may follow."""


@dataclass(frozen=True)
class VideoOpened:
    """The properties of the video. `unconfined`: the protections that the kernel lacks."""

    info: VideoInfo
    unconfined: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadClip:
    """Decode a window; see `video.Video.clip`. `size` is (height, width) to scale to, or None."""

    frames: int
    start: float
    end: float | None
    size: tuple[int, int] | None
    audio: bool
    audio_track: AudioTrack


@dataclass(frozen=True)
class ClipRead:
    """A `Clip` but for its arrays, which follow: `shape` bytes of frames, then `samples` float32 of sound."""

    info: VideoInfo
    start: float
    end: float
    times: tuple[float, ...]
    shown: tuple[float, ...]
    shape: tuple[int, int, int, int]
    samples: int | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """Why a video cannot be opened or a clip not decoded, in a sentence for the user."""

    sentence: str


Message = (
    StartWorker
    | WorkerStarted
    | EndWorker
    | WorkerEnded
    | OpenVideo
    | VideoOpened
    | ReadClip
    | ClipRead
    | Refused
    | CloseVideo
)
Kind = TypeVar("Kind")

_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in get_args(Message)}


def send(peer: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Send a message, and file descriptors along with it.

    Raises:
        OSError: the other side is gone, or does not read.
    """
    text = json.dumps({"kind": type(message).__name__, **asdict(message)}, default=str).encode()  # str: a path
    data = struct.pack("!I", len(text)) + text
    sent = socket.send_fds(peer, [data], list(descriptors)) if descriptors else 0
    peer.sendall(data[sent:])


def receive(peer: socket.socket, begun: bytes = b"") -> Message:
    """The next message, of which the bytes `begun` are here already.

    Raises:
        OSError: the other side is gone, silent, or sends something else.
    """
    head = bytearray(begun.ljust(4, b"\0"))
    receive_into(peer, memoryview(head)[len(begun) :])
    [length] = struct.unpack("!I", head)
    if length > MAX_MESSAGE_BYTES:
        raise OSError("not a message")
    text = bytearray(length)
    receive_into(peer, memoryview(text))
    try:
        return _message(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise OSError("not a message") from error


def expect(message: Message, kind: type[Kind]) -> Kind:
    """The message, which has to be of this kind.

    Raises:
        OSError: it is another.
    """
    if not isinstance(message, kind):
        raise OSError(f"a {type(message).__name__} came in place of a {kind.__name__}")
    return message


def receive_into(peer: socket.socket, view: memoryview) -> None:
    """Fill `view` with the next bytes.

    Raises:
        OSError: the other side is gone or silent.
    """
    while view:
        count = peer.recv_into(view)
        if not count:
            raise ConnectionResetError("the other side is gone")
        view = view[count:]


def _message(values: Mapping[str, Any]) -> Message:
    fields = {name: _value(name, value) for name, value in values.items() if name != "kind"}
    return _KINDS[values["kind"]](**fields)


def _value(name: str, value: Any) -> Any:
    if name == "limits":
        return DecodeLimits(**value)
    if name == "info":
        return VideoInfo(**{**value, "path": Path(value["path"])})
    return tuple(value) if isinstance(value, list) else value
