"""Many videos at a time: decoding runs ahead in several processes while the models answer, in batches across videos.

    submit -> Backlog -> Decoding: a few threads, each with a process for its video -> Backlog
                      -> Answering: a thread for each model, with a batch           -> Future

What comes next is `Backlog`'s business, what a video needs `VideoRun`'s.

What goes wrong costs its own video only. A decoder that dies is its video's error. A model's process that dies, or is
silent for too long, is replaced, and the rows it had are asked again, each by itself: one that brings down a second
process is its video's error. A batch that does not fit into memory halves the budget of batches; a single row that does
not fit has its video looked at again in smaller frames.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path

from omni_timeline import cores
from omni_timeline.errors import OmniTimelineError, RetryableError
from omni_timeline.media.isolated import Decoder
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.isolated import IsolatedModel, State
from omni_timeline.pipeline.answering import Answering
from omni_timeline.pipeline.backlog import Backlog, Job
from omni_timeline.pipeline.batches import MAX_ROWS
from omni_timeline.pipeline.decoding import Decoding, VideoOpener
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Failure, OnProgress, Prediction, Priority
from omni_timeline.pipeline.statistics import Statistics

MEMORY_BYTES = 1024**3  # of decoded clips that wait for a model, or are in one
MAX_DECODERS = 8
ONE_CALL = ""  # the group of videos that one call is about
AHEAD = 256  # videos submitted before the one whose result is waited for
MISTAKE_SECONDS = 1.0  # s that a thread pauses after one, which may come again


class Scheduler:
    """Videos in, predictions out. May be used by several threads.

    Args:
        models: one for each device, of one checkpoint.
        limits: what one video may ask of a decoder.
        decoders: how many videos are decoded at a time; by default one for each core, at most MAX_DECODERS.
        memory_bytes: how much decoded clips may take up.
        opener: opens videos in place of a decoder with these limits.
    """

    def __init__(
        self,
        models: Sequence[IsolatedModel],
        *,
        limits: DecodeLimits | None = None,
        decoders: int | None = None,
        memory_bytes: int = MEMORY_BYTES,
        opener: VideoOpener | None = None,
    ) -> None:
        self.models = tuple(models)
        self.statistics = Statistics()
        self._decoder = opener or Decoder(limits)
        self.decoders = decoders or min(MAX_DECODERS, cores.usable())
        self._backlog = Backlog(memory_bytes, MAX_ROWS * len(self.models))
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the models and the threads. Does nothing the second time."""
        if self._threads:
            return
        for model in self.models:
            model.start()
        decoding = Decoding(self._backlog, self._decoder, self.models, self.statistics)
        answering = [Answering(self._backlog, model, self.statistics, self._give_up) for model in self.models]
        work = [decoding.run] * self.decoders + [each.run for each in answering]
        self._threads = [
            threading.Thread(target=self._keep_at, args=(each,), name="scheduler", daemon=True) for each in work
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End everything; what is not done yet is cancelled."""
        for job in self._backlog.close():
            job.future.cancel()
        for model in self.models:
            model.close()
        self._decoder.close()
        for thread in self._threads:
            thread.join()
        self._decoder.close()  # a thread may have opened one more video meanwhile

    def __enter__(self) -> Scheduler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def checkpoint_version(self) -> str | None:
        """The checkpoint's version; known long before a model is loaded, None until then."""
        return next((model.version for model in self.models if model.version is not None), None)

    @property
    def state(self) -> State:
        """Whether a model is there on any device, or is coming."""
        states = {model.state for model in self.models}
        return "ready" if "ready" in states else "loading" if "loading" in states else "failed"

    @property
    def description(self) -> str | None:
        """The checkpoint and how it runs, in a line; None until it was loaded."""
        return next((model.facts.description for model in self.models if model.facts is not None), None)

    @property
    def loads(self) -> int:
        """How often a model was loaded, on all devices together."""
        return sum(model.loads for model in self.models)

    @property
    def doing(self) -> str:
        """What a model does while it loads, such as how far its download is; "" when there is nothing to say."""
        return next((model.doing for model in self.models if model.doing), "")

    def lately(self) -> dict[str, float]:
        """What was got done in the last minute, see `Statistics.lately`."""
        return self.statistics.lately()

    def silent_seconds(self) -> dict[str, float]:
        """How long each device's process has given no sign of life while it works, in seconds."""
        return {model.load.device or "the device": model.silent_seconds for model in self.models}

    def lost(self) -> dict[str, OmniTimelineError]:
        """Why there is no model on a device and none is coming, for each such device."""
        return {model.load.device or "the device": model.error for model in self.models if model.error is not None}

    def wait(self) -> None:
        """Return when a model is there.

        Raises:
            OmniTimelineError: there will be none.
        """
        while not any(model.wait(0.1) for model in self.models if model.error is None):
            if (error := self.error) is not None:
                raise error

    def wait_for_version(self, seconds: float) -> str | None:
        """The checkpoint's version, if it is known within so many seconds."""
        return self.models[0].wait_for_version(seconds)

    @property
    def error(self) -> OmniTimelineError | None:
        """Why there is no model, when none is coming on any device."""
        errors = [model.error for model in self.models]
        return errors[0] if errors and all(error is not None for error in errors) else None

    def submit(
        self,
        path: Path,
        options: PredictOptions | None = None,
        *,
        priority: Priority = Priority.REQUEST,
        group: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Future[Prediction]:
        """The segments of one video, some time; the future's error is an OmniTimelineError.

        Args:
            path: the file.
            options: how it is looked at, and what the model is asked.
            priority: what it goes before.
            group: whose video it is, such as a project: videos of one group may be decoded by one process in turn,
                which is quicker. None for a process of its own.
            on_progress: called now and then with how far it is.
        """
        due = time.monotonic() + priority.value
        job = Job(path, options or PredictOptions(), due, priority is Priority.INTERACTIVE, on_progress, group)
        job.future.add_done_callback(lambda _: self.statistics.finished())
        if (error := self.error) is not None:
            job.future.set_exception(error)
        elif not self._backlog.add(job):
            job.future.cancel()
        return job.future

    def predict(
        self,
        path: Path,
        options: PredictOptions | None = None,
        on_progress: OnProgress | None = None,
        *,
        priority: Priority = Priority.REQUEST,
        group: str | None = None,
    ) -> Prediction:
        """The segments of one video; arguments as of `submit`.

        Raises:
            RetryableError: the scheduler was closed meanwhile.
            OmniTimelineError: the video cannot be read, the model cannot run on it, or there is no model.
        """
        try:
            return self.submit(path, options, priority=priority, group=group, on_progress=on_progress).result()
        except CancelledError as error:
            raise RetryableError(f"{path.name} was not predicted: the work was stopped.") from error

    def predict_all(
        self, paths: Iterable[Path], options: PredictOptions | None = None, on_progress: OnProgress | None = None
    ) -> Iterator[Prediction | Failure]:
        """One result for each path, in their order. A video that fails does not cost the others.

        All videos are one group's, see `submit`.
        """
        ahead: deque[tuple[Path, Future[Prediction]]] = deque()
        for path in paths:
            ahead.append((path, self.submit(path, options, group=ONE_CALL, on_progress=on_progress)))
            if len(ahead) >= AHEAD:
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())

    def _keep_at(self, work: Callable[[], None]) -> None:
        """Do a thread's work to its end; a mistake in it fails the videos that are there, none that come later."""
        while True:
            try:
                return work()
            except Exception as error:
                for job in self._backlog.jobs():
                    self._backlog.fail(job, error)
                time.sleep(MISTAKE_SECONDS)

    def _give_up(self) -> None:
        """Fail what waits, if there is no model left to wait for."""
        if (error := self.error) is not None:
            for job in self._backlog.jobs():
                self._backlog.fail(job, error)


def _result(path: Path, future: Future[Prediction]) -> Prediction | Failure:
    try:
        return future.result()
    except OmniTimelineError as error:
        return Failure(path, error)
