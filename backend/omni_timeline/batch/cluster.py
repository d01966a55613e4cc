"""A Ray cluster: its machines, which of them take part, and how many models and decoders they have room for."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from omni_timeline import cores
from omni_timeline.batch.machines import Wanted
from omni_timeline.batch.nodes import Admission, NodeReport, admit, report
from omni_timeline.errors import OmniTimelineError, RequestError
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.wire import Load

DECODERS_PER_MODEL = 8  # at most, by default; docs/prelabel.md has the arithmetic
SURVEY_SECONDS = 1800.0  # s: the time to download a checkpoint
LOCAL = "local"  # without an address Ray would look for another program's cluster on this machine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sizes:
    """How the machines' cores and GPUs are shared out.

    Attributes:
        models: copies of the model.
        gpus_per_model: 1, or 0 on the CPU.
        threads_per_model: cores that each copy computes with on the CPU.
        decoders: processes that fetch and decode, a core each.
    """

    models: int
    gpus_per_model: int
    threads_per_model: int
    decoders: int


def share_out(machines: Sequence[tuple[int, int]], wanted: Wanted) -> Sizes:
    """How cores and GPUs are shared out: what was asked for, or as much of it as there is.

    Args:
        machines: how many cores and GPUs each of them has.
        wanted: what was asked for.

    Raises:
        RequestError: there is not enough for one copy of the model and one decoder.
    """
    cpus, gpus = (sum(machine[what] for machine in machines) for what in (0, 1))
    on_gpus = bool(gpus) if wanted.gpus is None and wanted.workers is None else bool(wanted.gpus)
    most = min(gpus, cpus - 1) if on_gpus else cpus - 1
    if most < 1:
        raise RequestError(f"The machines that take part have {cpus} cores and {gpus} GPUs: too little for the model.")
    one_each = sum(1 for cores, _ in machines if cores)
    models = min(most, wanted.gpus or gpus) if on_gpus else min(most, wanted.workers or one_each)
    spare = cpus - models
    usual = min(DECODERS_PER_MODEL * models, spare if on_gpus else cpus // 2)
    decoders = min(spare, wanted.decoders or max(1, usual))
    threads = 1 if on_gpus else max(1, min((cpus - decoders) // models, *(cores for cores, _ in machines if cores)))
    return Sizes(models, int(on_gpus), threads, decoders)


def require(wanted: Wanted, sizes: Sizes) -> None:
    """Refuse a job that asks for more than there is.

    Raises:
        RequestError: there is less.
    """
    if sizes.models < (wanted.gpus or wanted.workers or 1) or sizes.decoders < (wanted.decoders or 1):
        raise RequestError(
            f"The machines that take part have room for {sizes.models} copies of the model beside {sizes.decoders} "
            "decoders, a core each: lower --num-gpus, --num-workers or --num-decoders."
        )


@dataclass(frozen=True)
class FrameRules:
    """What has to be known of a checkpoint where videos are decoded and it is not loaded.

    Attributes:
        family: the name of its family.
        min_pixels: as in `ModelFacts`.
        max_pixels: as in `ModelFacts`.
    """

    family: str
    min_pixels: int
    max_pixels: int


def frame_rules(load: Load) -> FrameRules:
    """How large frames are for a checkpoint; imports torch.

    Raises:
        ModelError: there is no such checkpoint here.
    """
    checkpoint = Checkpoint.find(load.name, load.hub)
    return FrameRules(checkpoint.family.name, *checkpoint.family.saved_pixels(checkpoint))


def alive(ids: Collection[str] | None = None) -> list[dict[str, Any]]:
    """What Ray knows of each machine that is there; of those among `ids`, where it is given."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"] and (ids is None or node["NodeID"] in ids)]


class Cluster:
    """A Ray cluster that this process is connected to. Made by `connected`."""

    def __init__(self, load: Load, wanted: Wanted) -> None:
        self._load = load
        self._wanted = wanted
        self._reports: dict[str, NodeReport] = {}
        self._rules: FrameRules | None = None

    def admission(self) -> Admission:
        """Which machines take part now; those that are new are asked.

        Raises:
            ModelError: the model can run on none of them.
        """
        nodes = self._nodes()
        on_gpus = self._is_on_gpus(nodes)
        new = [node for node in nodes if node["NodeID"] not in self._reports]
        asked = [self._ask(node, self._load if _gpus(node) or not on_gpus else None) for node in new]
        for node, answer in zip(new, asked, strict=True):
            try:
                self._reports[node["NodeID"]] = ray.get(answer, timeout=SURVEY_SECONDS)
            except RayError as error:  # it has left already
                log.warning("%s takes no part: %s", node["NodeManagerAddress"], str(error).strip().splitlines()[0])
        admission = admit([self._reports[node["NodeID"]] for node in nodes if node["NodeID"] in self._reports])
        for refusal in admission.refusals:
            log.warning("%s", refusal)
        return admission

    def require(self, admission: Admission) -> None:
        """Refuse a job that asks for more than the machines have that take part.

        Raises:
            RequestError: they have less.
        """
        require(self._wanted, self.sizes(admission))

    def sizes(self, admission: Admission) -> Sizes:
        """How the machines that take part are used; some may have left the cluster since the job began.

        Raises:
            RequestError: the model has room on none of them.
        """
        nodes = alive(admission.admitted)
        return share_out([(_cores(node), _gpus(node)) for node in nodes], self._wanted)

    def with_room(self, admission: Admission, sizes: Sizes) -> list[str]:
        """The ids of the machines that a copy of the model may be on: those with GPUs, or else with cores."""
        needed = _gpus if sizes.gpus_per_model else _cores
        return [node["NodeID"] for node in alive(admission.admitted) if needed(node)]

    def frame_rules(self, admission: Admission) -> FrameRules:
        """How large frames are for the checkpoint."""
        if self._rules is None:
            able = next(each for each in admission.admitted if self._reports[each].checkpoint)
            look = ray.remote(num_cpus=0, max_calls=1)(frame_rules)  # its process ends, since it has imported torch
            self._rules = ray.get(look.options(scheduling_strategy=_on(able)).remote(self._load))
        return self._rules

    def _nodes(self) -> list[dict[str, Any]]:
        """The machines that are there, the one where this command runs first."""
        ours = ray.get_runtime_context().get_node_id()
        return sorted(alive(), key=lambda node: (node["NodeID"] != ours, node["NodeManagerAddress"], node["NodeID"]))

    def _is_on_gpus(self, nodes: list[dict[str, Any]]) -> bool:
        if self._wanted.gpus is not None or self._wanted.workers is not None:
            return bool(self._wanted.gpus)
        return any(_gpus(node) for node in nodes)

    def _ask(self, node: dict[str, Any], load: Load | None) -> Any:
        asking = ray.remote(num_cpus=0)(report).options(scheduling_strategy=_on(node["NodeID"]))
        return asking.remote(node["NodeID"], node["NodeManagerAddress"], load)


class _RayOutput(io.TextIOBase):
    """Takes what Ray writes to stdout about tasks that it starts again and machines that it has lost."""

    def write(self, text: str) -> int:
        for line in filter(None, map(str.strip, text.splitlines())):
            log.debug("Ray: %s", line)
        return len(text)


@contextmanager
def connected(address: str | None, load: Load, wanted: Wanted) -> Iterator[Cluster]:
    """A running cluster, or one on this machine that ends with the context. Within it, stdout is Ray's alone.

    Args:
        address: of a running cluster, "auto" for that of this machine; None for one of its own.
        load: which checkpoint.
        wanted: how many of what.

    Raises:
        OmniTimelineError: there is no cluster at this address.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        needed = (wanted.workers or 1) + (wanted.decoders or 1)
        quiet |= {"num_cpus": max(cores.usable(), needed), "include_dashboard": False}
    try:
        ray.init(address or LOCAL, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OmniTimelineError(f"There is no Ray cluster at {address or 'this machine'}: {error}") from error
    with redirect_stdout(_RayOutput()):
        try:
            yield Cluster(load, wanted)
        finally:
            ray.shutdown()


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _cores(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("CPU", 0))


def _gpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))
