"""The engine process: loads one model and answers for it; `engine` is the server's side and says what is sent.

Knows the checkpoint and the pipeline. Knows nothing of queues, HTTP or Label Studio.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from omni_timeline import processes
from omni_timeline.errors import OmniTimelineError
from omni_timeline.service.engine import Load

NICENESS = 5  # the server's answers come before the model's work; they share the cores

log = logging.getLogger(__name__)


def _main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.end_with_parent()
    os.nice(NICENESS)
    connection = Connection(descriptor)
    try:
        load, level = connection.recv()
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("omni_timeline").setLevel(level)
        model = _loaded(connection, load)
        if model is not None:
            _answer(connection, model, load)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the server has gone


def _loaded(connection: Connection, load: Load) -> Any:
    """The model; None after saying why there is none."""
    from omni_timeline.model.checkpoint import Checkpoint

    try:
        checkpoint = Checkpoint.find(load.name, load.hub)
        connection.send(("version", checkpoint.version))
        model = checkpoint.family.load(checkpoint, device=load.device, dtype=load.dtype)
    except OmniTimelineError as error:
        connection.send(("failed", error))
        return None
    connection.send(("ready", model.facts.description))
    return model


def _answer(connection: Connection, model: Any, load: Load) -> None:
    from omni_timeline.media.isolated import Decoder
    from omni_timeline.pipeline.pipeline import Pipeline

    with Decoder(load.limits) as decoder:
        pipeline = Pipeline(model, decoder)
        while True:
            path, options = connection.recv()
            try:
                connection.send(pipeline.predict(path, options, connection.send))
            except OmniTimelineError as error:
                connection.send(error)
            except Exception as error:  # a mistake of ours at one video must not cost the others theirs
                log.exception("Failed at %s", path.name)
                connection.send(OmniTimelineError(f"Unexpected {type(error).__name__}; the server's log says more."))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
