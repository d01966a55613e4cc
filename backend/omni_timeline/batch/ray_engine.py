"""An engine on a Ray cluster: Ray Data streams tasks through decoders and models, with back-pressure between them.

    tasks --> Queue --> read --> Preparing: fetch, decode --> Predicting: an actor for each GPU --> outcomes
    (here)              (here)   an actor for each core       with a Scheduler of its own            (here)

Every row is one task. Listing and storing stay in the process of the command: outcomes are small, and one process can
look before it stores. Ray starts an actor again that has died, and gives it its rows once more; rows that are lost all
the same are still without a prediction, and are listed again by the next pass.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, read_datasource
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError
from ray.util.queue import Queue

from omni_timeline import processes
from omni_timeline.batch.carried import Carried, CarriedVideos, carry
from omni_timeline.batch.cluster import Cluster, FrameRules, Sizes, alive
from omni_timeline.batch.nodes import Admission, MakeParts, code_version
from omni_timeline.batch.outcomes import Outcome, Plan, Predicted, Task, attempt
from omni_timeline.errors import (
    DecoderLostError,
    MediaError,
    ModelError,
    OmniTimelineError,
    RetryableError,
    UnreachableError,
)
from omni_timeline.label_studio.addresses import video_name
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.label_studio.tasks import Look, TaskVideo, combined
from omni_timeline.media.isolated import Decoder
from omni_timeline.model.checkpoint import FAMILIES
from omni_timeline.model.family import ModelFacts
from omni_timeline.model.isolated import IsolatedModel
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.prediction import Priority
from omni_timeline.pipeline.run import VideoRun
from omni_timeline.pipeline.scheduler import Scheduler

VIDEOS_IN_A_MODEL = 32  # that its scheduler works on at a time, so that batches fill up
VIDEOS_BEFORE_A_MODEL = 8  # that wait for it beyond these
MODEL_DECODERS = 2  # of an actor with a model: for second looks, and windows that were not carried
AGAIN_SECONDS = 10.0  # s until an actor that could not begin again is started once more
WATCH_SECONDS = 5.0  # s between two looks at which machines are left
STUCK_SECONDS = 3600.0  # s without any progress, after which a pass is broken off
ROW = "row"  # the one column: a pickled Task, then Prepared or an Outcome, then an Outcome

log = logging.getLogger(__name__)


class RayEngine:
    """Predicts tasks on a cluster.

    Args:
        cluster: the machines.
        make_parts: what predicting needs on each of them; sent to them, with whatever it holds.
        plan: how the tasks are predicted.
        load: which checkpoint.
        stuck_seconds: without any progress, after which a pass is broken off; one that waits for tasks just ends.

    Attributes:
        capacity: how many tasks it has a use for at a time.

    Raises:
        RequestError: the machines have too little for what was asked for.
        ModelError: the model can run on none of them.
    """

    def __init__(
        self,
        cluster: Cluster,
        make_parts: MakeParts,
        plan: Plan,
        load: Load,
        *,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self._cluster = cluster
        self._stuck_seconds = stuck_seconds
        self._make_parts = make_parts
        self._plan = plan
        self._load = load
        admission = cluster.admission()
        cluster.require(admission)
        self.capacity = _capacity(cluster.sizes(admission))

    def outcomes(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """What comes of the tasks, as it comes. Those that are lost with a machine are missing.

        Raises:
            OmniTimelineError: nothing at all can be predicted, or the tasks cannot be listed.
        """
        admission = self._cluster.admission()
        sizes = self._cluster.sizes(admission)
        self.capacity = _capacity(sizes)
        feeder = _Feeder(tasks)
        count = 0
        try:
            dataset = self._dataset(feeder.queue, admission, sizes)
            for bundle in dataset.iter_internal_ref_bundles():  # `iter_batches` tells Ray's statistics of each row
                for table in ray.get([entry.ref for entry in bundle.blocks]):
                    for row in table[ROW]:
                        count += 1
                        yield pickle.loads(row.as_py())
        except (RayError, ExecutionTimeoutError, RuntimeError, TimeoutError) as error:
            if isinstance(error, ExecutionTimeoutError) and count >= feeder.count:
                return  # nothing is to be done: models and decoders end, and the next task starts new ones
            if isinstance(error, _NoneLeftError):
                log.warning("%s", error)
                return
            if not count:
                raise _told(error) from error
            log.warning("Ray broke off, and what was not predicted yet is tried again: %s", _told(error))
        finally:
            feeder.close()
        feeder.check()

    def _dataset(self, queue: Queue, admission: Admission, sizes: Sizes) -> Dataset:
        for_models = self._cluster.with_room(admission, sizes)
        _configure_ray_data(self._stuck_seconds, partial(_Watch, for_models))
        rules = self._cluster.frame_rules(admission)
        rows = read_datasource(_Tasks(queue), override_num_blocks=1, concurrency=1, num_cpus=0, label_selector=_here())
        prepared = rows.map(
            Preparing,
            fn_constructor_args=(self._make_parts, self._plan, rules, code_version()),
            compute=ActorPoolStrategy(size=sizes.decoders),
            num_cpus=1,
            label_selector=_on(*admission.admitted),
        )
        predicted: Dataset = prepared.map(
            Predicting,
            fn_constructor_args=(
                self._make_parts,
                self._plan,
                self._on_device(sizes),
                processes.threads_chosen(sizes.threads_per_model),
                admission.checkpoint,
                code_version(),
            ),
            compute=ActorPoolStrategy(
                size=sizes.models,
                max_concurrent_calls_per_actor=VIDEOS_IN_A_MODEL,
                max_tasks_in_flight_per_actor=VIDEOS_IN_A_MODEL + VIDEOS_BEFORE_A_MODEL,
                enable_true_multi_threading=True,
            ),
            num_cpus=0,  # else it might wait for ever for the core of a decoder that waits for it
            num_gpus=sizes.gpus_per_model,
            label_selector=_on(*for_models),
        )
        return predicted

    def _on_device(self, sizes: Sizes) -> Load:
        device = "cuda" if sizes.gpus_per_model else "cpu"  # Ray shows an actor its own GPU alone
        return replace(self._load, device=device)


def _on(*machines: str) -> dict[str, str]:
    """What keeps something on these machines, of which Ray wants the ids."""
    return {"ray.io/node-id": f"in({','.join(machines)})"}


def _here() -> dict[str, str]:
    return _on(ray.get_runtime_context().get_node_id())


def _capacity(sizes: Sizes) -> int:
    return sizes.models * (VIDEOS_IN_A_MODEL + VIDEOS_BEFORE_A_MODEL) + 2 * sizes.decoders


class _Feeder:
    """Puts tasks into a queue that the cluster reads, in a thread: the next task may be a long time coming.

    Attributes:
        count: how many it has put there.
    """

    def __init__(self, tasks: Iterator[Task]) -> None:
        self.count = 0
        self.queue = Queue(maxsize=1, actor_options={"num_cpus": 0, "label_selector": _here()})
        self._error: BaseException | None = None
        self._closed = False
        threading.Thread(target=self._run, args=(tasks,), name="feeder", daemon=True).start()

    def _run(self, tasks: Iterator[Task]) -> None:
        try:
            for task in tasks:
                self.count += 1
                self.queue.put(pickle.dumps(task))
        except BaseException as error:
            if not self._closed:
                self._error = error
        if not self._closed:
            with suppress(RayError):  # the reader has gone
                self.queue.put(None)

    def close(self) -> None:
        """Take no more tasks."""
        self._closed = True
        self.queue.shutdown(force=True)

    def check(self) -> None:
        """Raises what the list of tasks has raised."""
        if self._error is not None:
            raise self._error


class _Tasks(Datasource):
    """The tasks in a queue, up to the first None, each a block of its own."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(_blocks, self._queue), unknown)]


def _blocks(queue: Queue) -> Iterator[Any]:
    import pyarrow

    while (task := queue.get()) is not None:
        yield pyarrow.table({ROW: [task]})
    queue.put(None)  # for a reader that takes the place of this one


@dataclass(frozen=True)
class Prepared:
    """A task whose files were fetched and decoded.

    Attributes:
        task: the task.
        files: each of its files: what was found in it before, or its clips.
    """

    task: Task
    files: tuple[Look | Carried, ...]


class Preparing:
    """What an actor does that fetches and decodes: one task after the other."""

    def __init__(self, make_parts: MakeParts, plan: Plan, rules: FrameRules, code: str) -> None:
        with _begun_again():
            _require_code(code)
            self._parts = make_parts()
            self._plan = plan
            self._decoder = Decoder(self._parts.limits)
            self._facts = ModelFacts("", rules.min_pixels, rules.max_pixels, batch_tokens=0)
            self._family = next(family for family in FAMILIES if family.name == rules.family)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """A row of the next stage for one of this."""
        task: Task = pickle.loads(row[ROW])
        return {ROW: pickle.dumps(attempt(task, partial(self._prepare, task)), protocol=5)}

    def _prepare(self, task: Task) -> Prepared:
        request = self._plan.request(task)
        urls = [config.video_url(task.data) for config in request.config.files_of(task.data)]
        return Prepared(task, tuple(self._file(request, url) for url in urls))

    def _file(self, request: TaskRequest, url: str) -> Look | Carried:
        began = time.monotonic()
        try:
            with self._parts.files.local(url, task_id=request.task) as path:
                seconds = {"fetch": time.monotonic() - began}
                return self._read(request, TaskVideo(path, video_name(url)), url, seconds)
        except UnreachableError as error:
            raise RetryableError(str(error)) from error

    def _read(self, request: TaskRequest, video: TaskVideo, url: str, seconds: dict[str, float]) -> Look | Carried:
        state = video.state()
        try:
            digest = self._parts.cache.digest(video.path)
        except OSError as error:
            raise video.unreadable(error) from error
        if (kept := self._parts.cache.get(digest, request.version, video.path)) is not None:
            return kept, True, seconds
        run = VideoRun(video.path, request.options, self._family, self._facts, seconds=seconds)
        try:
            with ExitStack() as opened:
                with run.stage("decode"):
                    file = opened.enter_context(self._decoder.open(video.path, request.project))
                carried = carry(file, run, url, video.name, digest)
        except DecoderLostError as error:  # the job tries it once more, with a pause
            raise RetryableError(video.named(str(error))) from error
        except MediaError as error:
            video.require_unchanged(state)
            raise MediaError(video.named(str(error))) from error
        video.require_unchanged(state)
        return carried

    def __del__(self) -> None:
        self._decoder.close()


class Predicting:
    """What an actor does that holds a model: many tasks at a time, in batches across them."""

    def __init__(self, make_parts: MakeParts, plan: Plan, load: Load, threads: int, checkpoint: str, code: str) -> None:
        with _begun_again():
            _require_code(code)
            processes.choose_threads(threads)  # Ray has chosen by the cores that this actor reserves: none
            self._parts = make_parts()
            self._plan = plan
            self._videos = CarriedVideos(Decoder(self._parts.limits))
            model = IsolatedModel(load, silence_seconds=self._parts.silence_seconds)
            self._scheduler = Scheduler(
                [model], opener=self._videos, decoders=MODEL_DECODERS, memory_bytes=self._parts.clip_bytes
            )
            self._scheduler.start()
            self._scheduler.wait()
            if self._scheduler.checkpoint_version != checkpoint:
                self._scheduler.close()
                raise ModelError(f"The checkpoint here is {self._scheduler.checkpoint_version}, not {checkpoint}.")

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """The outcome of one task."""
        prepared = pickle.loads(row[ROW])
        if isinstance(prepared, Prepared):
            prepared = attempt(prepared.task, partial(self._predict, prepared))
            if self._scheduler.error is not None:
                os._exit(1)  # Ray starts the next one, which says why there is no model
        return {ROW: pickle.dumps(prepared)}

    def _predict(self, prepared: Prepared) -> Predicted:
        task = prepared.task
        request = self._plan.request(task)
        looks = [
            self._look(request, Path(task.key, str(number), file.name), file) if isinstance(file, Carried) else file
            for number, file in enumerate(prepared.files)
        ]
        made = combined(request, request.config.files_of(task.data), looks)
        return Predicted(task, made.entry, made.kept, made.seconds)

    def _look(self, request: TaskRequest, path: Path, carried: Carried) -> Look:
        """What the model finds in a file, which `path` stands for."""
        fetch = partial(self._parts.files.local, carried.url, task_id=request.task)
        self._videos.add(path, carried, fetch, self._parts.cache.digest)
        try:
            found = self._scheduler.predict(path, request.options, priority=Priority.BACKGROUND, group=request.project)
        finally:
            self._videos.remove(path)
        if found.model_version != request.version:
            raise RetryableError("The checkpoint was changed meanwhile.")
        if not found.is_degraded:
            self._parts.cache.put(carried.digest, found)
        return found, False, dict(carried.seconds)

    def __del__(self) -> None:
        self._scheduler.close()


@contextmanager
def _begun_again() -> Iterator[None]:
    """What an actor begins with: where it fails for one that ran before, that is tried again and again.

    Ray gives up such an actor, and its pass waits for it for ever. One that never ran ends the pass with the reason.
    """
    try:
        yield
    except Exception:
        if not ray.is_initialized() or not ray.get_runtime_context().was_current_actor_reconstructed:
            raise
        log.exception("It is tried again in %.0f s.", AGAIN_SECONDS)
        time.sleep(AGAIN_SECONDS)
        os._exit(1)


def _require_code(code: str) -> None:
    if code != code_version():
        raise ModelError(f"This machine has other code of omni-timeline ({code_version()}, not {code}).")


class _NoneLeftError(ExecutionTimeoutError):
    """No machine of a pass is left that the model could be on."""

    def __init__(self) -> None:
        super().__init__("All machines with room for the model have left: the others are looked at once more.")


class _Watch(ExecutionCallback):
    """Breaks a pass off when no machine is left that the model could be on: Ray would wait for one.

    Args:
        for_models: the ids of the machines that it could be on.
    """

    def __init__(self, for_models: Collection[str]) -> None:
        self._for_models = for_models
        self._looked = time.monotonic()

    def on_execution_step(self, _: object) -> None:
        """Called by Ray's scheduler many times a second."""
        if time.monotonic() >= self._looked + WATCH_SECONDS:
            self._looked = time.monotonic()
            if not alive(self._for_models):
                raise _NoneLeftError


def _configure_ray_data(stuck_seconds: float, watch: Callable[[], ExecutionCallback]) -> None:
    """Each row goes on by itself as soon as it is there, and errors cost their own rows only."""
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # a row that is lost is listed again
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.memory_usage_poll_interval_s = None  # a thread for each row
    context.target_max_block_size, context.target_min_block_size = 1, 0
    context.max_errored_blocks = -1
    context.execution_no_progress_timeout_s = stuck_seconds
    context.custom_execution_callback_classes = [watch]  # type: ignore[list-item]  # called like a class


def _told(error: BaseException) -> OmniTimelineError:
    """What Ray's error means, in a sentence."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, OmniTimelineError):
        return cause
    said = re.findall(r"^(?:\S*\.)?\w*Error: (.+)$", str(error), re.MULTILINE)
    return OmniTimelineError(f"Ray: {said[-1] if said else str(error).strip().splitlines()[0]}")
