"""Learning while the server serves: who asked for it, one project after the other, each in a process of its own.

    Start Training, or enough corrections ---> Runs ---> learning.worker ---> a version ---> in use
                                                              |  ^
                                                         the server's model, after everybody who waits

The process has no model and no time that others need: it is nice, its questions are answered last, and it is ended when
it takes longer or more memory than it may. Knows turns and limits. Knows nothing of how anything is learned.
"""

from __future__ import annotations

import fcntl
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from omni_timeline import processes
from omni_timeline.errors import BusyError, OmniTimelineError, RequestError
from omni_timeline.label_studio.tasks import Model
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.learning.wire import VIDEOS_AT_A_TIME, Assignment, Learned, NotLearned, Question, Reply, Step
from omni_timeline.pipeline.prediction import Prediction, Priority
from omni_timeline.service.projects import OnFailure
from omni_timeline.service.runs import MAX_ATTEMPTS, Run, Runs

WORKER = "omni_timeline.learning.worker"
LOCK = "learning.lock"
TICK = 0.2  # s between two looks at the process and the queue
PRESS_SECONDS = 5.0  # s within which the annotation is reported that Label Studio sent Start Training for
PAUSE = 30.0  # s before learning is tried again, where that can help

Assign = Callable[[int, str], Assignment]
"""Called with a project and the version of the model."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What learning may take, and when it begins without being asked to.

    Attributes:
        seconds: how long it may take.
        memory_bytes: how much memory its process may take.
        after: how many corrections it takes.
        every: seconds between two beginnings.
    """

    seconds: float
    memory_bytes: int
    after: int
    every: float


class Learner:
    """Learns one project after the other, from `start` to `stop`.

    Args:
        versions: where learned versions are kept.
        model: answers the questions of the learning process.
        assign: what a project's process is told, given the model's version; None where Label Studio is not known.
        limits: see there.
        on_failure: called with the reason where nothing can be learned.
        worker: the module that is run.

    Attributes:
        runs: where learning of each project stands.
    """

    def __init__(
        self,
        versions: LearnedVersions,
        model: Model,
        assign: Assign | None,
        limits: Limits,
        on_failure: OnFailure,
        *,
        worker: str = WORKER,
    ) -> None:
        self.runs = Runs(versions)
        self._versions = versions
        self._model = model
        self._assign = assign
        self._limits = limits
        self._on_failure = on_failure
        self._worker = worker
        self._stopping = threading.Event()
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin to learn what is queued, in a thread of its own."""
        # The process ends with the thread that started it, so that it is the same one for as long as the server runs.
        threading.Thread(target=self._work, name="learn", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more, and end the process that learns: the next server begins again."""
        self._stopping.set()
        self._wake.set()

    def request(self, project: int, *, wants_learning: bool = False, annotation_count: int | None = None) -> str:
        """Queue a project after a press of Start Training; returns a sentence for the person who pressed it.

        In a project with "Start model training on annotation submission" Label Studio (1.23.2) sends the same event
        whenever an annotation is saved, just before it reports the annotation. So there it waits whether one comes.

        Args:
            project: its number.
            wants_learning: whether the project has that switch on.
            annotation_count: how many annotations it has; None where that is not known.
        """
        if self._assign is None:
            sentence = (
                "Start Training needs LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: corrections are read from there."
            )
            self._on_failure("", str(project), sentence)
            return sentence
        if wants_learning:
            run = self.runs.get(project)
            is_saved = None not in (run.count, annotation_count) and run.count != annotation_count
            self.runs.change(
                project, wants_learning=True, count=annotation_count, pressed=0.0 if is_saved else time.time()
            )
            return f"Project {project} is learned from after {self._limits.after} new corrections, or when asked to."
        try:
            run, is_new = self.runs.enqueue(project, "Start Training")
        except BusyError as error:
            self._on_failure("", str(project), str(error))
            return str(error)
        if is_new:
            sentence = f"Project {project} is queued for learning."
        else:
            sentence = f"Start Training was pressed again, and project {project} is {run.state} already."
            self.runs.change(project, note=sentence)
        log.info("%s", sentence)
        self._wake.set()
        return sentence

    def corrected(self, project: int, annotations: Sequence[int], *, wants_learning: bool) -> None:
        """Note annotations that were made or changed; they are counted in the thread that learns."""
        self.runs.add(project, annotations, wants_learning=wants_learning)

    # --- work --------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(1.0)
            self._wake.clear()
            for run in self.runs.pressed(time.time() - PRESS_SECONDS):
                self.runs.change(run.project, pressed=0.0)
                self.request(run.project)
            for run in self.runs.due(time.time() - self._limits.every, self._limits.after):
                self.runs.enqueue(run.project, f"{run.corrections} new corrections")
            self.runs.save()
            checkpoint = self._model.checkpoint_version
            due = self.runs.next(time.time())
            if due is None or checkpoint is None or self._assign is None or self._stopping.is_set():
                continue
            with self._alone() as is_alone:
                if is_alone:
                    self._learn(due, self._assign, checkpoint)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other server with the same folder learns at this time."""
        with ExitStack() as stack:
            try:
                self._versions.folder.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self._versions.folder / LOCK).open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_alone = True
            except OSError:
                is_alone = False
            yield is_alone

    def _learn(self, run: Run, assign: Assign, checkpoint: str) -> None:
        """Learn a project, and note what came of it."""
        project, now = run.project, time.time()
        self.runs.change(
            project,
            state="running",
            at=now,
            began=now,
            attempts=run.attempts + 1,
            words="begins",
            new=(),
            count_before=self.runs.get(project).count,
        )
        self.runs.save()
        try:
            outcome = self._outcome(assign(project, checkpoint))
        except OmniTimelineError as error:
            outcome = NotLearned(str(error), may_pass=False)
        except Exception as error:  # learning must not cost the server its thread
            log.exception("Project %d is not learned", project)
            outcome = NotLearned(f"Unexpected {type(error).__name__}; the server's log says more.", may_pass=False)
        if self._stopping.is_set() and not isinstance(outcome, Learned):
            self.runs.change(project, state="queued", attempts=run.attempts, words="")
        elif isinstance(outcome, Learned):
            self._take(project, outcome, checkpoint)
        else:
            self._give_up(project, run.attempts + 1, outcome)
        self.runs.save()

    def _take(self, project: int, outcome: Learned, checkpoint: str) -> None:
        """Have the project predicted with what was learned, if that is better."""
        sentence, state = outcome.reason, "not used"
        if outcome.is_offered:
            try:
                self._versions.use(project, outcome.name, checkpoint)
                state = "in use"
                self._versions.prune(project)
            except (RequestError, OSError) as error:
                sentence = f"It could not be brought into use: {error}"
        self.runs.change(
            project, state=state, at=time.time(), words=sentence, version=outcome.name, numbers=outcome.numbers
        )
        log.info("Project %d: %s is %s. %s", project, outcome.name, state, sentence)

    def _give_up(self, project: int, attempts: int, outcome: NotLearned) -> None:
        """Try again later where that can help, and else say why there is no version."""
        log.warning("Project %d is not learned: %s", project, outcome.sentence)
        now = time.time()
        if outcome.may_pass and attempts < MAX_ATTEMPTS:
            self.runs.change(project, state="queued", words=outcome.sentence, not_before=now + PAUSE * attempts)
            return
        self.runs.change(project, state="failed", at=now, words=outcome.sentence)
        self._on_failure("", str(project), f"Nothing was learned: {outcome.sentence}")

    def _outcome(self, assignment: Assignment) -> Learned | NotLearned:
        """What comes of a process that learns."""
        environment = {"OMP_NUM_THREADS": "1", **processes.environment_without_secrets()}
        process, ours = processes.start(self._worker, environment=environment)
        peer = Connection(ours.detach())
        try:
            peer.send(assignment)
            return self._listen(process, peer, assignment)
        except (EOFError, OSError):
            return NotLearned(f"The process that learns ended ({_how(process)}).", may_pass=True)
        finally:
            process.kill()
            process.wait()
            peer.close()

    def _listen(
        self, process: subprocess.Popen[bytes], peer: Connection, assignment: Assignment
    ) -> Learned | NotLearned:
        """Answer a process's questions until it has learned, or may not go on.

        Raises:
            OSError: it has ended.
            EOFError: likewise.
        """
        deadline = time.monotonic() + self._limits.seconds
        speaking = threading.Lock()

        def reply(question: Question) -> None:
            answer = self._answer(question, str(assignment.project))
            with suppress(OSError), speaking:  # the process may be gone
                peer.send(Reply(question.number, answer))

        pool = ThreadPoolExecutor(VIDEOS_AT_A_TIME, "learn-ask")
        try:
            while (stop := self._why_to_stop(process, deadline)) is None:
                if not peer.poll(TICK):
                    self.runs.save()
                    continue
                match peer.recv():
                    case Question() as question:
                        pool.submit(reply, question)
                    case Step(progress):
                        self.runs.change(assignment.project, words=str(progress))
                    case Learned() | NotLearned() as outcome:
                        return outcome
            return stop
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, group: str) -> Prediction | str:
        try:
            path, options = question.path, question.options
            return self._model.predict(path, options, priority=Priority.BACKGROUND, group=group)
        except OmniTimelineError as error:
            return str(error)
        except Exception as error:  # one video must not cost the others theirs
            log.exception("A video is not predicted for learning")
            return f"Unexpected {type(error).__name__}; the server's log says more."

    def _why_to_stop(self, process: subprocess.Popen[bytes], deadline: float) -> NotLearned | None:
        if self._stopping.is_set():
            return NotLearned("The server was stopped.", may_pass=True)
        if time.monotonic() > deadline:
            return NotLearned(
                f"It took more than {self._limits.seconds:g} s (LEARNING_MAX_SECONDS). Videos that were asked about "
                "are remembered: start it again, or allow more.", may_pass=False,
            )  # fmt: skip
        if resident_bytes(process.pid) > self._limits.memory_bytes:
            return NotLearned(
                f"It took more than {self._limits.memory_bytes:,} bytes of memory (LEARNING_MEMORY_BYTES): allow more.",
                may_pass=False,
            )
        return None


def resident_bytes(process: int) -> int:
    """How much memory a process takes now; 0 for one that has ended.

    Without pages of files, such as a checkpoint's while it goes to a GPU: the kernel takes these back when it likes.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    except (OSError, ValueError):
        return 0


def _how(process: subprocess.Popen[bytes]) -> str:
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(1.0)
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return "it closed its connection"
