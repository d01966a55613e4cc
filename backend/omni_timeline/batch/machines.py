"""Where a job runs: on this machine, or on a Ray cluster. Either states its checkpoint, and then makes an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from omni_timeline import processes
from omni_timeline.batch.job import Engine
from omni_timeline.batch.nodes import MakeParts
from omni_timeline.batch.outcomes import Plan
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.isolated import models_on
from omni_timeline.model.wire import Load

# Ray reads these when it is imported. No reports to its makers; no lines of its C++ on the terminal: what matters comes
# as exceptions; and from a Ray of our own no statistics, since it has no dashboard that would show them.
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
WITHOUT_STATISTICS = {
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "RAY_metrics_report_interval_ms": "60000",
}


@dataclass(frozen=True)
class Wanted:
    """How much of a cluster was asked for; None for as much as there is.

    Attributes:
        gpus: copies of the model on GPUs; 0 for the CPU.
        workers: copies of the model on the CPU.
        decoders: processes that fetch and decode.
    """

    gpus: int | None = None
    workers: int | None = None
    decoders: int | None = None


@dataclass(frozen=True)
class Machines:
    """One or several machines.

    Attributes:
        name: "local" or "ray".
        checkpoint: the version of the checkpoint there.
        engine: predicts by a plan.
    """

    name: str
    checkpoint: str
    engine: Callable[[Plan], Engine]


@contextmanager
def this_machine(
    load: Load, devices: Sequence[str | None], make_parts: MakeParts, decoders: int | None = None
) -> Iterator[Machines]:
    """This machine alone. The model is loaded when the engine gets its first task.

    Args:
        load: which checkpoint.
        devices: a copy of the model runs on each.
        make_parts: what predicting needs here.
        decoders: videos that are decoded at a time.

    Raises:
        ModelError: there is no such checkpoint.
    """
    from omni_timeline.batch.local import LocalEngine
    from omni_timeline.pipeline.scheduler import Scheduler

    checkpoint = Checkpoint.find(load.name, load.hub).quantized_version(load.quantization)
    parts = make_parts()
    models = models_on(devices, load, silence_seconds=parts.silence_seconds)
    scheduler = Scheduler(models, limits=parts.limits, decoders=decoders, memory_bytes=parts.clip_bytes)
    try:
        yield Machines("local", checkpoint, lambda plan: LocalEngine(scheduler, parts.files, parts.cache, plan))
    finally:
        scheduler.close()


@contextmanager
def ray_cluster(address: str | None, load: Load, wanted: Wanted, make_parts: MakeParts) -> Iterator[Machines]:
    """A Ray cluster: the one at `address`, or one on this machine that ends with the context.

    Args:
        address: of a running cluster; None for one of its own.
        load: which checkpoint.
        wanted: how much of the cluster is used.
        make_parts: what predicting needs on each machine; called there.

    Raises:
        OmniTimelineError: there is no such cluster, or the model can run on none of its machines.
    """
    processes.set_defaults(RAY_ENVIRONMENT if address else {**RAY_ENVIRONMENT, **WITHOUT_STATISTICS})
    from omni_timeline.batch.cluster import connected
    from omni_timeline.batch.ray_engine import RayEngine

    with connected(address, load, wanted) as cluster:
        checkpoint = cluster.admission().checkpoint
        yield Machines("ray", checkpoint, lambda plan: RayEngine(cluster, make_parts, plan, load))
