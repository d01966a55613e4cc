"""The process that holds a model: it loads a checkpoint, then answers one batch after the other.

Run as `python -m omni_timeline.model.worker DESCRIPTOR` by `isolated`, which talks to it in the words of `wire`. An
unforeseen error ends it: a GPU's process may be of no more use after one (an illegal access, ECC, NCCL), and
the asking side has the batch answered by the next process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from omni_timeline import cores, processes
from omni_timeline.answers.answer import Answer
from omni_timeline.errors import OmniTimelineError, OutOfMemoryError, first_line
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.family import Model, Row
from omni_timeline.model.wire import Alive, Answered, Ask, Broken, Found, Hello, Load, Loaded, Refused, receive, send

NICENESS = 5  # the asking process serves people too: it goes before the model's work where they share cores
SIGN_SECONDS = 1.0  # s between two signs of life

log = logging.getLogger(__name__)


class SignsOfLife:
    """Tells the asking side, at most once in SIGN_SECONDS, that something was got done."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._last = 0.0

    def __call__(self, words: str = "") -> None:
        """Something was got done."""
        if time.monotonic() - self._last >= SIGN_SECONDS:
            self._last = time.monotonic()
            send(self._peer, Alive(words))


def serve(peer: socket.socket) -> None:
    """Load what the first message names, then answer for as long as anybody asks."""
    try:
        hello = receive(peer)
        assert isinstance(hello, Hello)
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("omni_timeline").setLevel(hello.log_level)
        alive = SignsOfLife(peer)
        try:
            model = load(hello.load, peer, alive)
        except OmniTimelineError as error:
            send(peer, Refused(error))
            return
        usual = threads_now()
        while True:
            asked = receive(peer)
            assert isinstance(asked, Ask)
            compute_with(asked.most_threads, usual)
            began = time.perf_counter()
            answers = answer(model, asked.rows, alive)
            send(peer, Answered(tuple(answers), time.perf_counter() - began))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the asking process has gone
    except Exception as error:
        log.exception("The model's process ends")
        send(peer, Broken(f"{type(error).__name__}: {first_line(error)}"))
        logging.shutdown()
        os._exit(1)  # at once: what a broken GPU's clean-up would wait for may never come


def load(wanted: Load, peer: socket.socket, alive: Callable[[str], None]) -> Model:
    """The model; its version is told as soon as it is known.

    Raises:
        ModelError: there is none.
    """
    checkpoint = Checkpoint.find(wanted.name, wanted.hub, alive)
    send(peer, Found(checkpoint.quantized_version(wanted.quantization), checkpoint.family.name))
    alive("loading the weights")
    model = checkpoint.family.load(
        checkpoint, device=wanted.device, dtype=wanted.dtype, quantization=wanted.quantization
    )
    send(peer, Loaded(model.facts))
    return model


def threads_now() -> int:
    """How many threads of a CPU a model computes with."""
    import torch  # is there since the model was loaded; before, it would have kept the version waiting

    return torch.get_num_threads()


def compute_with(most: int, usual: int) -> None:
    """Compute with the usual number of threads, or up to `most` where as many cores are idle.

    A thread more than there are cores for is far slower than one less: at each of hundreds of thousands of places all
    wait for the one that has none.
    """
    import torch

    torch.set_num_threads(usual if most <= usual else max(usual, min(most, cores.idle() or usual)))


def answer(model: Model, rows: Sequence[Row], alive: Callable[[], None]) -> list[Answer | OmniTimelineError]:
    """For each row its answer, or why there is none: an error that is one row's does not cost the others theirs."""
    try:
        return list(model.answer(rows, alive))
    except OutOfMemoryError as error:
        return [error] * len(rows)
    except OmniTimelineError as error:
        if len(rows) == 1:
            return [error]
    return [each for row in rows for each in answer(model, [row], alive)]


def main(descriptor: int) -> None:
    """Serve on the socket of this descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.end_with_parent()
    os.nice(NICENESS)
    serve(socket.socket(fileno=descriptor))


if __name__ == "__main__":
    main(int(sys.argv[1]))
