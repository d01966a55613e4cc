"""The process that learns from a project's corrections, beside the server that started it.

Run as `python -m omni_timeline.learning.worker DESCRIPTOR` by `service.learner`, which it talks to in the words of
`wire`. It reads the corrections from Label Studio itself, asks the server's model about their videos, and writes the
version into its folder, whole or not at all. A kill costs the time that it took: the predictions that it
asked for are kept, so that the next one goes on where it ended.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

from omni_timeline import processes
from omni_timeline.errors import DeliveryError, OmniTimelineError
from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.hosts import AllowedHosts
from omni_timeline.learning.asking import Model
from omni_timeline.learning.evaluation import Evaluation
from omni_timeline.learning.improve import TrainingPlan, improve, why_not
from omni_timeline.learning.in_use import against
from omni_timeline.learning.learn import Outcome, learn
from omni_timeline.learning.report.page import page
from omni_timeline.learning.room import wait_for_room
from omni_timeline.learning.sources import Source
from omni_timeline.learning.version import PARTIAL_PREFIX
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.learning.wire import (
    VIDEOS_AT_A_TIME,
    Assignment,
    Learned,
    Message,
    NotLearned,
    Question,
    Reply,
    Step,
)
from omni_timeline.media import sandbox
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction, Progress

NICENESS = 10  # people who label, and the model that answers them, go first
TRAINING_SHARE = 0.9  # of what is left; the rest is for measuring
WAITING_SHARE = 0.5  # of what is left, for memory on a GPU
TRAINING = "training"  # the folder where an interrupted training goes on
ASKING_SHARE = 0.5  # of the time; the rest is for learning
COLLECTING = "collecting corrections"

log = logging.getLogger(__name__)


class Server:
    """The server at the other end of a connection. May be used by several threads."""

    def __init__(self, peer: Connection) -> None:
        self._peer = peer
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Prediction | str]] = {}

    def say(self, message: Message) -> None:
        """Send a message."""
        with self._lock:
            self._peer.send(message)

    def step(self, progress: Progress) -> None:
        """Say how far the work is."""
        self.say(Step(progress))

    def predict(self, path: Path, options: PredictOptions) -> Prediction:
        """What its model finds in a video.

        Raises:
            OmniTimelineError: it finds nothing out, and why.
        """
        number, future = next(self._numbers), Future[Prediction | str]()
        self._waiting[number] = future
        self.say(Question(number, path, options))
        answer = future.result()
        if isinstance(answer, str):
            raise OmniTimelineError(answer)
        return answer

    def listen(self) -> None:
        """Take replies, until the server is gone; then this process has no purpose."""
        try:
            while True:
                reply = self._peer.recv()
                assert isinstance(reply, Reply)
                self._waiting.pop(reply.number).set_result(reply.answer)
        except (EOFError, OSError):
            os._exit(1)


def work(assignment: Assignment, server: Server) -> Learned | NotLearned:
    """Learn, and write the version."""
    try:
        return _learn(assignment, server)
    except DeliveryError as error:
        return NotLearned(str(error), may_pass=error.kind not in ("gone", "refused", "token"))
    except OmniTimelineError as error:
        return NotLearned(str(error), may_pass=False)
    except OSError as error:  # the disk is full, say
        sentence = f"It cannot be written ({error.strerror or error}). Make room in CACHE_DIR, and start it again."
        return NotLearned(sentence, may_pass=False)


def _learn(assignment: Assignment, server: Server) -> Learned:
    """Learn, and write the version.

    Raises:
        OmniTimelineError: there is nothing to learn from, or Label Studio does not hand it out.
        OSError: the version cannot be written.
    """
    began = time.monotonic()
    versions = LearnedVersions(assignment.folder)
    folder = versions.project(assignment.project)
    for unfinished in folder.glob(f"{PARTIAL_PREFIX}*"):  # of a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    server.step(Progress(COLLECTING))
    source = _source(assignment)
    options = source.config.options(assignment.options)
    cache = PredictionCache(assignment.predictions, assignment.prediction_bytes)
    model = Model(assignment.checkpoint, server.predict, VIDEOS_AT_A_TIME).remembering(cache)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        in_use = versions.in_use(assignment.project)
        if in_use is not None:
            in_use.check_base(assignment.checkpoint)
    except OmniTimelineError:  # the server does not use it either
        in_use = None
    outcome = learn(source, model, options, now, server.step, max_seconds=ASKING_SHARE * assignment.max_seconds)
    training = folder / TRAINING
    if assignment.load is not None:
        outcome = _trained(outcome, assignment.load, training, began + assignment.max_seconds, server)
    if in_use is not None:
        outcome = against(outcome, in_use, model, server.step)
    server.step(Progress("writing the report"))
    version = outcome.version
    place = folder / version.name
    if not place.exists():  # it was learned from the same corrections today, maybe by a process that was killed then
        version.save(place, outcome.evaluation.as_object(), page(outcome.evaluation, version, outcome.parts))
    shutil.rmtree(training, ignore_errors=True)
    reason = f"{version.reason} {version.training}".rstrip()
    return Learned(version.name, version.is_offered, reason, numbers(outcome))


def _trained(outcome: Outcome, load: Load, folder: Path, deadline: float, server: Server) -> Outcome:
    """The outcome with an adapter, where one is needed and helps; a training that was interrupted goes on."""
    if sentence := why_not(outcome):
        return replace(outcome, version=replace(outcome.version, training=sentence))
    try:
        checkpoint = Checkpoint.find(load.name, load.hub)
        _wait_for_memory(checkpoint, load, WAITING_SHARE * (deadline - time.monotonic()), server)
        server.step(Progress("loading the model to train it"))
        model = checkpoint.family.load(checkpoint, device=load.device, dtype=load.dtype, quantization=load.quantization)
        seconds = max(1.0, TRAINING_SHARE * (deadline - time.monotonic()))
        return improve(outcome, model, TrainingPlan(folder, max_seconds=seconds), server.step)
    except OmniTimelineError as error:  # the calibration is there, and worth having
        return replace(outcome, version=replace(outcome.version, training=f"Training was given up. {error}"))


def _wait_for_memory(checkpoint: Checkpoint, load: Load, max_seconds: float, server: Server) -> None:
    """Returns once a GPU has room for training; at once for a CPU, whose memory LEARNING_MEMORY_BYTES limits.

    Raises:
        ModelError: there was no room in that time, or there is no such device.
    """
    from omni_timeline.model.devices import gpu_memory  # torch takes its time, and calibrating needs none of it

    device = load.device or "cuda"
    if gpu_memory(device) is None:
        return
    needed = checkpoint.family.training_bytes(
        checkpoint, device=device, dtype=load.dtype, quantization=load.quantization
    )
    wait_for_room(device, needed, lambda: gpu_memory(device) or (0, 0), max_seconds, server.step)


def numbers(outcome: Outcome) -> str:
    """What it is worth, in a line: "12 corrected tasks; F1 0.08 -> 0.98, measured on …"."""
    evaluation: Evaluation = outcome.evaluation
    found = [f"{each.name} {each.quality.f1['0.5'].value:.2f}" for each in evaluation.versions]
    return f"{evaluation.tasks} corrected tasks; F1 {', '.join(found)}; measured on {evaluation.measured_on}"


def _source(assignment: Assignment) -> Source:
    files = VideoFiles(
        assignment.label_studio,
        assignment.api_key,
        assignment.videos,
        assignment.local_files_root,
        public_host=assignment.public_host,
        hosts=AllowedHosts(assignment.allowed_hosts, public=assignment.allow_public_hosts),
        max_bytes=assignment.max_video_bytes,
        cache_bytes=assignment.video_bytes,
    )
    api = LabelStudioApi(assignment.label_studio, assignment.api_key)
    return Source.from_project(api, assignment.project, files, assignment.public_host or assignment.label_studio)


def main(descriptor: int) -> None:
    """Learn what the server at the other end of a socket assigns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.end_with_parent()
    sandbox.hide()  # it will have Label Studio's token
    os.nice(NICENESS)
    peer = Connection(socket.socket(fileno=descriptor).detach())
    assignment = peer.recv()
    assert isinstance(assignment, Assignment)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("omni_timeline").setLevel(assignment.log_level)
    server = Server(peer)
    threading.Thread(target=server.listen, name="replies", daemon=True).start()
    server.say(work(assignment, server))


if __name__ == "__main__":
    main(int(sys.argv[1]))
