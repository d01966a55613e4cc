"""The scheduler's thread for each model: a batch of what is due first, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import ModelError, ModelLostError, OmniTimelineError, OutOfMemoryError, RetryableError
from omni_timeline.model.isolated import IsolatedModel
from omni_timeline.model.wire import Answered
from omni_timeline.pipeline.backlog import MAX_TRIES, Backlog, ReadyRow
from omni_timeline.pipeline.prediction import ANSWERING, Progress
from omni_timeline.pipeline.run import degraded, with_smaller_frames
from omni_timeline.pipeline.statistics import Statistics

LOADING_SECONDS = 1.0  # s between two looks at whether a model is there

log = logging.getLogger(__name__)


class Answering:
    """What the thread of one model does.

    Args:
        backlog: where rows come from and predictions go.
        model: answers them.
        statistics: counts.
        given_up: called when there will be no model.
    """

    def __init__(
        self, backlog: Backlog, model: IsolatedModel, statistics: Statistics, given_up: Callable[[], None]
    ) -> None:
        self._backlog = backlog
        self._model = model
        self._statistics = statistics
        self._given_up = given_up
        self._budget: int | None = None  # tokens of a batch; what the model says at first, less once memory ran out

    def run(self) -> None:
        """Answer until the backlog is closed, or there will be no model."""
        while not self._backlog.is_closed:
            try:
                if not self._model.wait(LOADING_SECONDS):
                    continue
            except OmniTimelineError:
                self._given_up()
                return
            batch, has_all_cores = self._next_batch()
            if not batch:
                continue
            try:
                answered = self._ask(batch, has_all_cores)
            except ModelLostError as error:
                self._again(batch, error)
            except Exception as error:  # whatever happens to one batch must not cost the others
                for row in batch:
                    self._backlog.release(row.bytes)
                    self._backlog.fail(row.job, error)
            else:
                self._take(batch, answered)

    def _next_batch(self) -> tuple[list[ReadyRow], bool]:
        """What goes into the model now, nothing after a moment without any; and whether nothing is to be decoded."""
        backlog = self._backlog
        if self._budget is None:
            assert self._model.facts is not None
            self._budget = self._model.facts.batch_tokens
        with backlog.change:
            backlog.change.notify_all()  # decoding may have waited for the model's facts
            batch, wait = backlog.next_batch(self._budget, time.monotonic())
            if not batch and not backlog.is_closed:
                backlog.change.wait(wait)
            return batch, not backlog.has_to_decode

    def _ask(self, batch: Sequence[ReadyRow], has_all_cores: bool) -> Answered:
        for job in dict.fromkeys(row.job for row in batch):
            if job.on_progress is not None and not job.versions:
                job.on_progress(Progress(ANSWERING))
        return self._model.ask([row.run.row(row.clip) for row in batch], has_all_cores=has_all_cores)

    def _take(self, batch: Sequence[ReadyRow], answered: Answered) -> None:
        """Bring the answers to a batch back to its videos."""
        self._statistics.generated(answered.seconds, len(batch))
        if len(batch) > 1 and all(isinstance(answer, OutOfMemoryError) for answer in answered.answers):
            self._halve(batch)
            return
        for row, answer in zip(batch, answered.answers, strict=True):
            row.run.spend("generate", answered.seconds / len(batch))
            self._backlog.release(row.bytes)
            if row.job.future.done() or row.job.run is not row.run:
                continue  # it has failed meanwhile, or is looked at again
            try:
                if isinstance(answer, Answer):
                    self._read(row, answer)
                elif isinstance(answer, OutOfMemoryError) and not row.job.is_degraded:
                    self._look_again_smaller(row)
                else:
                    self._backlog.fail(row.job, answer)
            except Exception as error:  # whatever happens to one video must not cost the others
                self._backlog.fail(row.job, error)

    def _read(self, row: ReadyRow, answer: Answer) -> None:
        job, run = row.job, row.run
        with self._backlog.change:  # several models may bring answers about one video
            job.versions.add(self._model.version or "")
            run.put(row.number, row.clip, answer)
            is_done = run.found is not None
            self._backlog.change.notify_all()
        if not is_done:
            return
        if len(job.versions) > 1:
            raise RetryableError("The checkpoint was changed meanwhile; the video is looked at again later.")
        [version] = job.versions
        found = run.prediction(version)
        if job.is_degraded:
            found = degraded(found, job.options.version(version), run.options)
        self._statistics.finished()
        self._backlog.finish(job, found)

    def _halve(self, batch: Sequence[ReadyRow]) -> None:
        """A batch did not fit into memory: smaller ones from now on."""
        log.warning("%d windows at a time do not fit into memory; batches are halved", len(batch))
        tokens = max(row.cost.tokens for row in batch) * len(batch)
        self._budget = max(1, min(self._budget or tokens, tokens) // 2)
        with self._backlog.change:
            self._backlog.ready += batch
            self._backlog.change.notify_all()

    def _look_again_smaller(self, row: ReadyRow) -> None:
        """A single window does not fit into memory: its video is looked at from the beginning, in smaller frames."""
        job = row.job
        log.warning("%s does not fit into memory; trying smaller frames", job.path.name)
        smaller = with_smaller_frames(row.run)
        smaller.begin(row.clip.info)
        with self._backlog.change:
            self._backlog.forget_rows(job)
            job.run, job.is_degraded = smaller, True
            self._backlog.change.notify_all()

    def _again(self, batch: Sequence[ReadyRow], error: ModelLostError) -> None:
        """A process was lost with a batch in it."""
        with self._backlog.change:
            lost = self._backlog.again(batch)
            self._backlog.change.notify_all()
        for row in lost:
            sentence = (
                f"The model's process was lost {MAX_TRIES} times at this video; the log says more. Not enough memory "
                f"is the usual reason: lower MAX_PIXELS or FRAMES. ({error})"
            )
            self._backlog.fail(row.job, ModelError(sentence))
