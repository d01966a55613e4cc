"""What is to be done, and what comes next: the rules of the scheduler, without threads or processes.

    waiting -> open: its windows are decoded one by one -> rows that are ready -> a batch -> read -> done

One number decides whose turn it is: when a video is *due*. It is due when it was submitted, later by a head start for
what is more urgent, and later again for each of its windows that was decoded. So a question from the labeling page
goes before requests, requests go before background work, a video of twelve hours lets newcomers in between its
windows, and no job starves, since what waits stays due while what comes later is due later.

`now` is an argument, on any clock that does not go back. To ask what comes next, or to change something, a caller holds
`change`; what ends a job takes it by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from omni_timeline.errors import OmniTimelineError
from omni_timeline.media.clip import Clip
from omni_timeline.pipeline.batches import MAX_ROWS, RowCost, choose_batch, is_full
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import OnProgress, Prediction
from omni_timeline.pipeline.run import OpenVideo, VideoRun

LINGER_SECONDS = 0.1  # s that a batch waits for more rows while some are being decoded
MAX_OPEN = 64  # videos; each has a process
MAX_TRIES = 2  # of a row in a model whose process ends
WINDOW_SECONDS = 2.0  # s later due for each window that was decoded


log = logging.getLogger(__name__)


@dataclass(eq=False)
class Job:
    """A video on its way.

    Attributes:
        path: the file.
        options: how it is looked at.
        due: jobs that are due earlier go first.
        is_urgent: a person waits for it, so it waits neither for room nor for company.
        on_progress: called now and then with how far it is.
        group: whose video it is, see `media.isolated.Decoder.open`.
        future: what comes of it.
        run: what is known of it; None before it was opened.
        video: the open file; None before it was opened, and where it was closed until it is looked at again.
        opened: closes what is open.
        is_decoding: a window of it is being decoded.
        is_degraded: it is looked at in smaller frames than was asked for.
        versions: of the checkpoints that answered.
    """

    path: Path
    options: PredictOptions
    due: float
    is_urgent: bool = False
    on_progress: OnProgress | None = None
    group: str | None = None
    future: Future[Prediction] = field(default_factory=Future)
    run: VideoRun | None = None
    video: OpenVideo | None = None
    opened: ExitStack = field(default_factory=ExitStack)
    is_decoding: bool = False
    is_degraded: bool = False
    versions: set[str] = field(default_factory=set)

    @property
    def has_window(self) -> bool:
        """Whether a window could be decoded now."""
        return not self.is_decoding and (self.run is None or self.run.has_window)

    @property
    def next_bytes(self) -> int:
        """How much memory its next clip takes, at most; 0 where that is not known."""
        return 0 if self.run is None else self.run.next_bytes


@dataclass(eq=False)
class ReadyRow:
    """A decoded window that waits for a model, or is in one.

    Attributes:
        job: the video.
        run: the way through the model that it belongs to; a job may have begun another since.
        number: of the window within its round.
        clip: what was decoded.
        bytes: how much memory it takes.
        cost: what matters when batches are made.
        since: when it was decoded.
        tries: how often a model's process ended with it.
    """

    job: Job
    run: VideoRun
    number: int
    clip: Clip
    bytes: int
    cost: RowCost
    since: float
    tries: int = 0


@dataclass(eq=False)
class Backlog:
    """Jobs by where they are.

    Attributes:
        memory_bytes: how much decoded clips may take up.
        max_ready: beyond so many rows that wait for a model nothing more is decoded, but for a question.
        waiting: jobs that have not been opened.
        open: jobs whose windows are decoded or answered.
        ready: rows that wait for a model.
        bytes_in_use: by rows that are being decoded, ready, or in a model.
        is_closed: nothing more is to be done.
        change: notified of every change.
    """

    memory_bytes: int
    max_ready: int = MAX_ROWS
    waiting: list[Job] = field(default_factory=list)
    open: list[Job] = field(default_factory=list)
    ready: list[ReadyRow] = field(default_factory=list)
    bytes_in_use: int = 0
    is_closed: bool = False
    change: threading.Condition = field(default_factory=threading.Condition)

    def add(self, job: Job) -> bool:
        """Take a job; False when nothing more is done."""
        with self.change:
            if not self.is_closed:
                self.waiting.append(job)
                self.change.notify_all()
            return not self.is_closed

    def jobs(self) -> list[Job]:
        """All of them."""
        with self.change:
            return [*self.waiting, *self.open]

    def close(self) -> list[Job]:
        """Do nothing more; the jobs that are not done."""
        with self.change:
            self.is_closed = True
            self.change.notify_all()
        return self.jobs()

    def next_job(self) -> Job | None:
        """The job that is due first of those with a window to decode; it is open and decoding from now on.

        None also where enough is ready, and where there is no room for its clip: then the others wait with it, or it
        might wait forever.
        """
        has_room = len(self.open) < MAX_OPEN
        able = [job for job in self.open if job.has_window]
        able += [job for job in self.waiting if has_room or job.is_urgent]
        job = min(able, key=lambda job: job.due, default=None)
        if job is None or not self._may_decode(job) or (self._is_enough and not job.is_urgent):
            return None
        if job in self.waiting:
            self.waiting.remove(job)
            self.open.append(job)
        job.is_decoding = True
        return job

    def reserve(self, job: Job) -> int | None:
        """Set memory aside for the next clip of a job; how many bytes, None where there is no room at present."""
        if not self._may_decode(job):
            return None
        self.bytes_in_use += job.next_bytes
        return job.next_bytes

    def _may_decode(self, job: Job) -> bool:
        """Whether there is room for its next clip; for one there always is, however large, and for a question."""
        return job.is_urgent or not self.bytes_in_use or self.bytes_in_use + job.next_bytes <= self.memory_bytes

    def decoded(self, row: ReadyRow) -> None:
        """A window was decoded."""
        self.ready.append(row)
        row.job.due += WINDOW_SECONDS

    def next_batch(self, budget: int, now: float) -> tuple[list[ReadyRow], float]:
        """The rows that go into a model now, and how many seconds to wait when there are none.

        A batch that could take more rows waits for those on their way, but not for long, and never for a row that
        somebody waits for.
        """
        batch = choose_batch([(row.cost, row) for row in self.ready], budget)
        if not batch:
            return [], LINGER_SECONDS
        wait = min(row.since for row in batch) + LINGER_SECONDS - now
        if wait > 0 and self._may_grow(batch, budget):
            return [], wait
        self.ready = [row for row in self.ready if row not in batch]
        return batch, 0.0

    def _may_grow(self, batch: Sequence[ReadyRow], budget: int) -> bool:
        if self._is_enough or is_full([row.cost for row in batch], budget):
            return False
        if any(row.job.is_urgent or row.cost.is_alone for row in batch):
            return False
        return self.has_to_decode

    @property
    def _is_enough(self) -> bool:
        """Whether so much is ready that no model will wait for more."""
        return len(self.ready) >= self.max_ready

    @property
    def has_to_decode(self) -> bool:
        """Whether a window of some video is being decoded, or could be."""
        return bool(self.waiting) or any(job.is_decoding or job.has_window for job in self.open)

    def again(self, batch: Sequence[ReadyRow]) -> list[ReadyRow]:
        """A model's process was lost with a batch in it: its rows are asked once more, each by itself.

        Returns:
            The rows that were lost too often, which are not.
        """
        lost = []
        for row in batch:
            row.tries += 1
            if row.tries < MAX_TRIES:
                row.cost = replace(row.cost, is_alone=True)
                self.ready.append(row)
            else:
                lost.append(row)
                self.bytes_in_use -= row.bytes
        return lost

    def forget_rows(self, job: Job) -> None:
        """Drop the rows of a job that are ready; they are no longer wanted."""
        self.bytes_in_use -= sum(row.bytes for row in self.ready if row.job is job)
        self.ready = [row for row in self.ready if row.job is not job]

    def release(self, freed: int) -> None:
        """A clip of so many bytes is not needed any more."""
        with self.change:
            self.bytes_in_use -= freed
            self.change.notify_all()

    def finish(self, job: Job, found: Prediction) -> None:
        """A job is done."""
        self._remove(job)
        if not job.future.done():
            job.future.set_result(found)

    def fail(self, job: Job, error: Exception) -> None:
        """A job comes to nothing; an error that was not raised on purpose is logged."""
        if not isinstance(error, OmniTimelineError):  # a mistake of ours
            log.error("Failed at %s", job.path.name, exc_info=error)
            error = OmniTimelineError(f"Unexpected {type(error).__name__}; the log says more.")
        self._remove(job)
        if not job.future.done():
            job.future.set_exception(error)

    def _remove(self, job: Job) -> None:
        with self.change:
            for jobs in (self.waiting, self.open):
                if job in jobs:
                    jobs.remove(job)
            self.forget_rows(job)
            self.change.notify_all()
        job.opened.close()
