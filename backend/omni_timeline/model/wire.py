"""What is said between a model's process and the one that asks it: pickled values, arrays as they lie in memory.

    the asking process                              the model's process
    Load          ------------------------------->
                  <-- Found(version), when the checkpoint's files are known
                  <-- Alive(words) ..., now and then, for as long as it gets on
                  <-- Loaded(facts), or Refused(error) and its end
    Ask(rows)     ------------------------------->
                  <-- Alive() ..., at most one a second
                  <-- Answered(answers), or Broken(words) and its end

Both sides are this package's own code, which is why pickle is good enough; arrays are not copied into it.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import dataclass

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import OmniTimelineError
from omni_timeline.model.family import ModelFacts, Row

QUANTIZATIONS = ("nf4", "int8", "fp8")


@dataclass(frozen=True)
class Load:
    """Which checkpoint to load, and how it runs.

    Attributes:
        name: "demo", a folder, or the name of a checkpoint on the hub.
        hub: huggingface or modelscope.
        device: cpu, cuda, cuda:1, ...; None takes the GPU where there is one.
        dtype: bfloat16, float16 or float32; None takes what suits the device.
        quantization: nf4, int8 or fp8; None for the weights as they are.
    """

    name: str = "demo"
    hub: str = "huggingface"
    device: str | None = None
    dtype: str | None = None
    quantization: str | None = None


@dataclass(frozen=True)
class Hello:
    """The first message to a model's process: what it loads, and from which level on it logs."""

    load: Load
    log_level: int


@dataclass(frozen=True)
class Found:
    """The checkpoint's version and the name of its family; long before it is loaded."""

    version: str
    family: str


@dataclass(frozen=True)
class Alive:
    """A sign of life: something was got done since the last one. `words` say what, while loading."""

    words: str = ""


@dataclass(frozen=True)
class Loaded:
    """The model is there."""

    facts: ModelFacts


@dataclass(frozen=True)
class Refused:
    """Why there will be no model."""

    error: OmniTimelineError


@dataclass(frozen=True)
class Ask:
    """A batch: all rows with sound, or all without; all with the same adapter.

    Attributes:
        rows: what is asked.
        most_threads: to compute with on a CPU, where as many cores are idle; never fewer than at the start.
    """

    rows: tuple[Row, ...]
    most_threads: int = 0


@dataclass(frozen=True)
class Answered:
    """For each row its answer, or why there is none; and how many seconds the batch took."""

    answers: tuple[Answer | OmniTimelineError, ...]
    seconds: float


@dataclass(frozen=True)
class Broken:
    """The process ends, since after such an error it may be of no more use."""

    words: str


Message = Hello | Found | Alive | Loaded | Refused | Ask | Answered | Broken


def send(peer: socket.socket, message: Message) -> None:
    """Send a message.

    Raises:
        OSError: the other side is gone, or does not read.
    """
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(text), *(buffer.raw() for buffer in buffers)]
    peer.sendall(struct.pack(f"!I{len(parts)}Q", len(parts), *(part.nbytes for part in parts)))
    for part in parts:
        peer.sendall(part)


def receive(peer: socket.socket) -> Message:
    """The next message.

    Raises:
        OSError: the other side is gone, or silent for longer than the socket's timeout.
    """
    [count] = struct.unpack("!I", _bytes(peer, 4))
    sizes = struct.unpack(f"!{count}Q", _bytes(peer, 8 * count))
    text, *buffers = [_bytes(peer, size) for size in sizes]
    message: Message = pickle.loads(text, buffers=buffers)
    return message


def _bytes(peer: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = peer.recv_into(view)
        if not count:
            raise ConnectionResetError("the other side is gone")
        view = view[count:]
    return received
