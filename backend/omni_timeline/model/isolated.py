"""A model in a process of its own, on one device: whatever it does, this side goes on.

Importing torch holds Python's lock for seconds, generation takes all cores, memory may run out and a GPU may hang: none
of that is felt here. A process that ends is started again; one that gives no sign of life is ended. What it was asked
is then lost, and `ModelLostError` says so.

Knows when a model is there, and what to make of its silence. Knows no videos and no turns. Imports no torch.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from omni_timeline import cores, processes
from omni_timeline.errors import DownloadError, ModelError, ModelLostError, OmniTimelineError
from omni_timeline.model.checkpoint import FAMILIES, Checkpoint
from omni_timeline.model.family import ModelFacts, ModelFamily, Row
from omni_timeline.model.wire import (
    Alive,
    Answered,
    Ask,
    Broken,
    Found,
    Hello,
    Load,
    Loaded,
    Message,
    Refused,
    receive,
    send,
)

WORKER = "omni_timeline.model.worker"
SILENCE_SECONDS = 600.0  # s without a sign of life
# Rounds, some microseconds, in which threads wait for each other in a loop; libgomp's default is 300,000. As soon as
# anything else runs the loop keeps the core from the very thread that is waited for; without one, threads gain nothing.
_SPIN_COUNT = "3000"
# Bytes from which on a block goes back to the system when it is freed. Unless told, glibc begins far lower and raises
# the threshold with the blocks that are freed, and with it how much freed memory it keeps: the process then grows.
_MMAP_THRESHOLD = str(32 * 1024**2)
COMPUTING = {"GOMP_SPINCOUNT": _SPIN_COUNT, "MALLOC_MMAP_THRESHOLD_": _MMAP_THRESHOLD}
LOADING_ATTEMPTS = 3  # in a row without a model
PAUSE = 1.0  # s before a process is started again; doubles
ENDS_LOADING = "The model's process ends while it loads; the server's log says more."
DOWNLOAD_PAUSE = 60.0  # s before a download that broke off is tried again

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


def models_on(
    devices: Sequence[str | None],
    load: Load,
    *,
    silence_seconds: float = SILENCE_SECONDS,
    is_patient: bool = False,
) -> list[IsolatedModel]:
    """A model for each device, of the checkpoint that `load` names; a device may be there twice.

    The cores are shared out between them and the processes that decode, while there are any. See `IsolatedModel` for
    the arguments.
    """
    usable = cores.usable()
    return [
        IsolatedModel(
            replace(load, device=device),
            silence_seconds=silence_seconds,
            threads=max(1, usable // (len(devices) + 1)),
            most_threads=0 if processes.are_threads_chosen() else usable // len(devices),
            is_patient=is_patient,
        )
        for device in devices
    ]


class IsolatedModel:
    """A model in another process. One batch at a time; several threads may look at it.

    Args:
        load: which checkpoint, and where it runs.
        silence_seconds: how long the process may give no sign of life, while it loads or answers.
        threads: how many it computes with on a CPU; what OMP_NUM_THREADS says wins.
        most_threads: up to how many while nothing else wants the cores.
        is_patient: whether a download that breaks off is tried again and again; else it is an error at once.
        worker: the module that is run.

    Attributes:
        load: which checkpoint, and where it runs.
        doing: what it does while it loads, in words; "" when it has said nothing.
        loads: how often the model was loaded so far.
    """

    def __init__(
        self,
        load: Load,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        threads: int = 1,
        most_threads: int = 0,
        is_patient: bool = False,
        worker: str = WORKER,
    ) -> None:
        self.load = load
        self.doing = ""
        self.loads = 0
        self._silence_seconds = silence_seconds
        self._threads = threads
        self._most_threads = most_threads
        self._is_patient = is_patient
        self._worker = worker
        self._change = threading.Condition()
        self._asking = threading.Lock()  # held while an answer is waited for
        self._state: State = "loading"
        self._error: OmniTimelineError | None = None
        self._version: str | None = None
        self._family: ModelFamily | None = None
        self._facts: ModelFacts | None = None
        self._peer: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting_since: float | None = None  # for a sign of life, on time.monotonic's clock
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to load, and keep a process running from now on. Does nothing the second time."""
        with self._change:
            if self._thread is not None or self._closed:
                return
        if (found := _found_here(self.load)) is not None:
            self._know(found)
        with self._change:
            self._thread = threading.Thread(target=self._keep_running, name="model", daemon=True)
        self._thread.start()

    @property
    def state(self) -> State:
        """Whether a model is there."""
        return self._state

    @property
    def error(self) -> OmniTimelineError | None:
        """Why there is no model, when none is coming."""
        return self._error

    @property
    def version(self) -> str | None:
        """The checkpoint's version: known long before the model is loaded; None until then."""
        return self._version

    @property
    def family(self) -> ModelFamily:
        """The checkpoint's family; known when its version is."""
        assert self._family is not None
        return self._family

    @property
    def facts(self) -> ModelFacts | None:
        """What the loaded model says of itself; None before the first one was loaded."""
        return self._facts

    @property
    def process_id(self) -> int | None:
        """Of the model's process, while there is one."""
        return self._process.pid if self._process else None

    @property
    def silent_seconds(self) -> float:
        """How long a sign of life has been waited for; 0 while there is nothing to do."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    def wait_for_version(self, seconds: float) -> str | None:
        """The checkpoint's version, if it is known within so many seconds."""
        with self._change:
            self._change.wait_for(lambda: self._version is not None or self._error is not None, seconds)
        return self._version

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the model is there within so many seconds (None: however long it takes).

        Raises:
            OmniTimelineError: there will be none.
        """
        with self._change:
            self._change.wait_for(lambda: self._state != "loading" or self._closed, seconds)
            if self._error is not None:
                raise self._error
            return self._state == "ready"

    def ask(self, rows: Sequence[Row], *, has_all_cores: bool = False) -> Answered:
        """The answers to a batch; one caller at a time. `has_all_cores`: this program computes nothing else meanwhile.

        Raises:
            ModelLostError: there is no process, or it ended meanwhile; the next one may answer.
        """
        with self._asking:
            if (peer := self._peer) is None:
                raise ModelLostError("The model's process is not there.")
            try:
                message = self._next(peer, Ask(tuple(rows), self._most_threads if has_all_cores else 0))
                while isinstance(message, Alive):
                    message = self._next(peer)
            except OSError as error:
                raise self._lost(peer, _why(error, self._silence_seconds)) from error
        if isinstance(message, Answered):
            return message
        raise self._lost(peer, message.words if isinstance(message, Broken) else f"it said {message}")

    def close(self) -> None:
        """End the process."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._end()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _next(self, peer: socket.socket, said: Message | None = None) -> Message:
        """Say something, if there is anything to say, and return the next message; neither may take too long."""
        peer.settimeout(self._silence_seconds)
        self._waiting_since = time.monotonic()
        try:
            if said is not None:
                send(peer, said)  # one that hangs does not take much
            return receive(peer)
        finally:
            self._waiting_since = None

    def _lost(self, peer: socket.socket, why: str) -> ModelLostError:
        """End a process that is of no more use; the thread that keeps one running starts the next."""
        with self._change:
            if self._peer is peer:
                self._peer = None
                self._state = "loading"
                process = self._process
                if process is not None and process.poll() is None:
                    process.kill()
            self._change.notify_all()
        log.error("The model's process on %s is of no more use: %s", self.load.device or "its device", why)
        return ModelLostError(f"The model's process is of no more use: {why}.")

    def _keep_running(self) -> None:
        failures = 0
        while not self._closed:
            try:
                peer = self._start()
            except OSError as error:
                failures += 1
                log.error("The model's process brought no model: %s", _why(error, self._silence_seconds))
                self._end()
                if failures == LOADING_ATTEMPTS:
                    self._set("failed", ModelError(ENDS_LOADING))
                    return
                self._rest(PAUSE * 2**failures)
                continue
            except OmniTimelineError as error:
                log.error("The model could not be loaded: %s", error)
                if isinstance(error, DownloadError) and self._is_patient:
                    self.doing = str(error)
                    self._rest(DOWNLOAD_PAUSE)
                    continue
                self._set("failed", error)
                return
            failures = 0
            assert self._process is not None
            self._process.wait()
            with self._change:
                unexpected = self._peer is peer and not self._closed
            if unexpected:
                self._lost(peer, f"it ended ({_how(self._process.returncode)})")
            processes.end_connection(peer, self._asking)

    def _rest(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._closed, seconds)

    def _start(self) -> socket.socket:
        """A process with a loaded model.

        Raises:
            OSError: it ended, or was silent.
            OmniTimelineError: there will be no model.
        """
        environment = {"OMP_NUM_THREADS": str(self._threads), **COMPUTING} | processes.environment_without_secrets()
        process, peer = processes.start(self._worker, environment=environment)
        with self._change:
            self._process = process
            if self._closed:
                process.kill()
        began = time.monotonic()
        send(peer, Hello(self.load, log.getEffectiveLevel()))
        while not isinstance(message := self._next(peer), Loaded):
            match message:
                case Found():
                    self._know(message)
                case Alive(words):
                    self.doing = words
                case Refused(error):
                    process.wait()
                    raise error
                case Broken(words):
                    raise ConnectionResetError(words)
        log.info("Model ready after %.1f s: %s", time.monotonic() - began, message.facts.description)
        with self._change:
            self._peer, self._facts, self.doing = peer, message.facts, ""
            self.loads += 1
        self._set("ready", None)
        return peer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _know(self, found: Found) -> None:
        with self._change:
            self._version = found.version
            self._family = next(family for family in FAMILIES if family.name == found.family)
            self._change.notify_all()

    def _set(self, state: State, error: OmniTimelineError | None) -> None:
        with self._change:
            self._state, self._error = state, error
            self._change.notify_all()


def _found_here(load: Load) -> Found | None:
    """A checkpoint on this machine, which can be named before a process is up; None where that is not so."""
    try:
        if Checkpoint.is_local(load.name):
            checkpoint = Checkpoint.find(load.name)
            return Found(checkpoint.quantized_version(load.quantization), checkpoint.family.name)
    except (OmniTimelineError, OSError):
        pass  # the process will say what is wrong
    return None


def _why(error: OSError, silence_seconds: float) -> str:
    return f"it gave no sign of life for {silence_seconds:g} s" if isinstance(error, TimeoutError) else "it ended"


def _how(status: int | None) -> str:
    if status is None:
        return "without a status"
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
