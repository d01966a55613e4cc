"""The model in a process of its own, so that whatever it does, the server answers.

    this process                              engine process
    Engine  --- what to load ---------------> imports torch, finds the checkpoint, loads it
            <-- checkpoint's version, then "ready" with a description, or why not
            --- a path and PredictOptions ----> Pipeline.predict(path, options)
            <-- Progress ..., then a Prediction or why there is none

Importing torch holds Python's lock for seconds, generation takes all cores, and memory may run out: none of that is
felt on this side. A process that ends is started again, and the video that it had goes to the next one once more.

This is the server's side; `engine_worker` is the other one. Knows when the model is there and whose turn it is. Knows
no HTTP and no Label Studio, and imports no torch.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from omni_timeline import processes
from omni_timeline.errors import ModelError, OmniTimelineError
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction, Progress

ATTEMPTS = 2  # for each video: a process that dies twice at one is told of by an error
LOADING_ATTEMPTS = 3  # in a row without a model
PAUSE = 1.0  # s before a process is started again; doubles

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


@dataclass(frozen=True)
class Load:
    """What the engine process loads; as in `OmniModel.load`."""

    name: str = "demo"
    hub: str = "huggingface"
    device: str | None = None
    dtype: str | None = None
    limits: DecodeLimits = field(default_factory=DecodeLimits)


class Engine:
    """A model in another process. Loading starts at once. May be used by several threads; one video at a time.

    Args:
        load: which checkpoint, and where it runs.

    Attributes:
        description: the checkpoint and how it runs, in a line; None until it is loaded.
        loads: how often a model was loaded so far.
    """

    def __init__(self, load: Load | None = None) -> None:
        self._load = load or Load()
        self._turn = threading.Lock()
        self._change = threading.Condition()
        self._state: State = "loading"
        self._error: OmniTimelineError | None = None
        self._checkpoint_version: str | None = None
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self.description: str | None = None
        self.loads = 0
        threading.Thread(target=self._keep_running, name="engine", daemon=True).start()

    @property
    def state(self) -> State:
        """Whether a model is there."""
        return self._state

    @property
    def error(self) -> OmniTimelineError | None:
        """Why there is no model, when none is coming."""
        return self._error

    @property
    def checkpoint_version(self) -> str | None:
        """Known long before the model is loaded; None until then."""
        return self._checkpoint_version

    @property
    def process_id(self) -> int | None:
        """Of the engine process, while there is one."""
        return self._process.pid if self._process else None

    def wait_for_version(self, seconds: float) -> str | None:
        """The checkpoint's version, if it is known within so many seconds."""
        with self._change:
            self._change.wait_for(lambda: self._checkpoint_version is not None or self._error is not None, seconds)
        return self._checkpoint_version

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the model is there within so many seconds (None: however long it takes).

        Raises:
            OmniTimelineError: there will be none.
        """
        with self._change:
            self._change.wait_for(lambda: self._state != "loading", seconds)
            if self._error is not None:
                raise self._error
            return self._state == "ready"

    def predict(self, path: Path, options: PredictOptions, on_progress: OnProgress | None = None) -> Prediction:
        """The segments of one video; waits for the model, and for its turn.

        Raises:
            OmniTimelineError: the video cannot be predicted, or there is no model.
        """
        with self._turn:
            for _ in range(ATTEMPTS):
                self.wait()
                with self._change:
                    connection = self._connection
                if connection is None:
                    continue
                try:
                    connection.send((path, options))
                    while isinstance(answer := connection.recv(), Progress):
                        if on_progress:
                            on_progress(answer)
                except (EOFError, OSError):
                    log.error("The model's process ended while it had %s", path.name)
                    self._lost(connection)
                    continue
                if isinstance(answer, OmniTimelineError):
                    raise answer
                assert isinstance(answer, Prediction)
                return answer
        raise ModelError(
            f"The model's process ended {ATTEMPTS} times at this video; the server's log says more. Not enough memory "
            "is the usual reason: lower MAX_PIXELS or FRAMES."
        )

    def close(self) -> None:
        """End the process."""
        with self._change:
            self._closed = True
            process = self._process
            self._change.notify_all()
        if process is not None:
            process.kill()
            process.wait()

    def _lost(self, connection: Connection) -> None:
        """Note that a process has gone, if nobody has yet."""
        with self._change:
            if self._connection is connection:
                self._connection = None
                self._state = "loading"
                self._change.notify_all()

    def _keep_running(self) -> None:
        failures = 0
        while not self._closed:
            try:
                connection = self._start()
            except (EOFError, OSError) as error:
                failures += 1
                log.error("The model's process ended before the model was loaded (%s)", error or "without a message")
                if failures == LOADING_ATTEMPTS:
                    self._set(
                        "failed", ModelError("The model's process ends while it loads; the server's log says more.")
                    )
                    return
                time.sleep(PAUSE * 2**failures)
                continue
            except OmniTimelineError as error:
                log.error("The model could not be loaded: %s", error)
                self._set("failed", error)
                return
            failures = 0
            assert self._process is not None
            self._process.wait()
            self._lost(connection)
            if not self._closed:
                log.error("The model's process ended (%s); starting it again", _how(self._process.returncode))

    def _start(self) -> Connection:
        process, ours = processes.start(
            "omni_timeline.service.engine_worker", environment=processes.environment_without_secrets()
        )
        with self._change:
            self._process = process
            if self._closed:
                process.kill()
        began = time.monotonic()
        connection = Connection(ours.detach())
        connection.send((self._load, log.getEffectiveLevel()))
        while True:
            kind, value = connection.recv()
            if kind == "version":
                with self._change:
                    self._checkpoint_version = value
                    self._change.notify_all()
            elif kind == "failed":
                process.wait()
                raise value
            else:
                break
        log.info("Model ready after %.1f s: %s", time.monotonic() - began, value)
        with self._change:
            self._connection, self.description = connection, value
            self.loads += 1
        self._set("ready", None)
        return connection

    def _set(self, state: State, error: OmniTimelineError | None) -> None:
        with self._change:
            self._state, self._error = state, error
            self._change.notify_all()


def _how(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
