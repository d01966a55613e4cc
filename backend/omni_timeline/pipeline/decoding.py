"""The scheduler's decode threads: a window of whichever video is due first, again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from omni_timeline.model.isolated import IsolatedModel
from omni_timeline.pipeline.backlog import Backlog, Job, ReadyRow
from omni_timeline.pipeline.batches import RowCost
from omni_timeline.pipeline.prediction import OPENING, Progress
from omni_timeline.pipeline.run import OpenVideo, VideoRun
from omni_timeline.pipeline.statistics import Statistics

WORDS_TOKENS = 150  # about as many as the words around a clip


class VideoOpener(Protocol):
    """Opens videos: `media.isolated.Decoder`, or whatever has their clips. May be used by several threads."""

    def open(self, path: Path, group: str | None) -> AbstractContextManager[OpenVideo]:
        """The video at `path`, for as long as the context lasts; `group` as in `Decoder.open`."""

    def close(self) -> None:
        """End what runs for it."""


class Decoding:
    """What one decode thread does; several may run at a time.

    Args:
        backlog: where jobs come from and decoded windows go.
        decoder: opens videos.
        models: one of them says how large frames are, once it is loaded.
        statistics: counts.
    """

    def __init__(
        self, backlog: Backlog, decoder: VideoOpener, models: Sequence[IsolatedModel], statistics: Statistics
    ) -> None:
        self._backlog = backlog
        self._decoder = decoder
        self._models = models
        self._statistics = statistics

    def run(self) -> None:
        """Decode until the backlog is closed."""
        while (job := self._next_job()) is not None:
            try:
                self._decode_one(job)
            except Exception as error:  # whatever happens to one video must not cost the others
                self._backlog.fail(job, error)
            finally:
                with self._backlog.change:
                    job.is_decoding = False
                    self._backlog.change.notify_all()

    def _next_job(self) -> Job | None:
        """The next video to decode a window of; None when there is nothing more to do."""
        backlog = self._backlog
        with backlog.change:
            while not backlog.is_closed:
                is_loaded = any(model.facts is not None for model in self._models)
                if is_loaded and (job := backlog.next_job()) is not None:
                    return job
                backlog.change.wait()
        return None

    def _decode_one(self, job: Job) -> None:
        """Open the video if it is not open, and decode its next window if there is room for it.

        Without room it is left for later: a thread that waited could not decode for a question that comes meanwhile.
        A short one is closed at once: hundreds may wait for the model, most of them need no second look, and each open
        video has a process.
        """
        if job.video is None:
            self._open(job)
        run = job.run
        assert run is not None
        with self._backlog.change:
            if (needed := self._backlog.reserve(job)) is None or (turn := run.next_window()) is None:
                return
        number, window = turn
        began = time.perf_counter()
        try:
            assert job.video is not None
            clip = run.load(job.video, window)
        except BaseException:
            self._backlog.release(needed)
            raise
        self._statistics.decoded(time.perf_counter() - began)
        # A model answers with one adapter at a time. A question goes by itself: company would make it slower.
        kind = clip.audio is not None, run.options.adapter, job.is_urgent
        cost = RowCost(job.due, run.family.clip_tokens(clip) + WORDS_TOKENS, kind)
        with self._backlog.change:
            self._backlog.decoded(ReadyRow(job, run, number, clip, needed, cost, time.monotonic()))
            self._backlog.change.notify_all()
        if run.is_short and not run.has_window:
            job.video = None
            job.opened.close()

    def _open(self, job: Job) -> None:
        """Open the video, for the first time or for another look."""
        run = job.run or self._new_run(job)
        with run.stage("decode"):
            job.video = job.opened.enter_context(self._decoder.open(job.path, job.group))
        if job.run is None:
            run.begin(job.video.info)
            job.run = run

    def _new_run(self, job: Job) -> VideoRun:
        if job.on_progress is not None:
            job.on_progress(Progress(OPENING))
        model = next(model for model in self._models if model.facts is not None)
        assert model.facts is not None
        return VideoRun(job.path, job.options, model.family, model.facts, job.on_progress)
