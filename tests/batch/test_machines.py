"""Which machines take part, and how their cores and GPUs are shared out."""

from __future__ import annotations

import pytest

from omni_timeline.batch.cluster import Sizes, require, share_out
from omni_timeline.batch.machines import Wanted
from omni_timeline.batch.nodes import NodeReport, admit, code_version, report
from omni_timeline.errors import ModelError, RequestError
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.wire import Load

HERE = NodeReport("a", "10.0.0.1", "c0de", "demo-1")


def test_machines_that_agree_take_part():
    found = admit([HERE, NodeReport("b", "10.0.0.2", "c0de", "demo-1"), NodeReport("c", "10.0.0.3", "c0de")])
    assert found.admitted == ("a", "b", "c")
    assert (found.refusals, found.checkpoint) == ((), "demo-1")


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (NodeReport("b", "10.0.0.2", "0ther", "demo-1"), "it has other code of omni-timeline (0ther, not c0de)"),
        (NodeReport("b", "10.0.0.2", "c0de", "demo-2"), "it has the checkpoint demo-2, not demo-1"),
        (NodeReport("b", "10.0.0.2", "c0de", trouble="There is no folder /models/x."), "There is no folder /models/x"),
    ],
)
def test_a_machine_that_would_answer_otherwise_is_refused_with_a_reason(other: NodeReport, why: str):
    found = admit([HERE, other])
    assert found.admitted == ("a",)
    [refusal] = found.refusals
    assert refusal.startswith("The machine 10.0.0.2 takes no part: ")
    assert why in refusal


def test_the_command_may_run_where_there_is_no_model():
    found = admit([NodeReport("a", "10.0.0.1", "c0de"), NodeReport("b", "10.0.0.2", "c0de", "demo-1")])
    assert (found.admitted, found.checkpoint) == (("a", "b"), "demo-1")


def test_without_any_machine_for_the_model_nothing_begins():
    with pytest.raises(ModelError, match=r"10\.0\.0\.1: There is no folder"):
        admit([NodeReport("a", "10.0.0.1", "c0de", trouble="There is no folder /models/x.")])
    with pytest.raises(ModelError, match="no machine"):
        admit([NodeReport("a", "10.0.0.1", "c0de"), NodeReport("b", "10.0.0.2", "0ther", "demo-1")])


def test_a_machine_reports_its_own_code_and_checkpoint():
    assert report("a", "here", Load("demo")) == NodeReport("a", "here", code_version(), Checkpoint.find("demo").version)
    assert report("a", "here", Load("demo", quantization="nf4")).checkpoint.endswith("-nf4")
    assert report("a", "here", None) == NodeReport("a", "here", code_version())
    assert "no folder /nowhere" in report("a", "here", Load("/nowhere/at/all")).trouble


@pytest.mark.parametrize(
    ("cpus", "gpus", "wanted", "sizes"),
    [
        (2, 0, Wanted(), Sizes(1, 0, 1, 1)),
        (3, 0, Wanted(workers=2), Sizes(2, 0, 1, 1)),
        (16, 0, Wanted(), Sizes(1, 0, 8, 8)),
        (16, 0, Wanted(workers=4, decoders=4), Sizes(4, 0, 3, 4)),
        (32, 1, Wanted(), Sizes(1, 1, 1, 8)),
        (32, 8, Wanted(), Sizes(8, 1, 1, 24)),
        (256, 8, Wanted(), Sizes(8, 1, 1, 64)),
        (256, 8, Wanted(gpus=2, decoders=30), Sizes(2, 1, 1, 30)),
        (8, 1, Wanted(gpus=0), Sizes(1, 0, 4, 4)),
        (8, 1, Wanted(workers=2), Sizes(2, 0, 2, 4)),
    ],
)
def test_cores_and_gpus_are_shared_out(cpus: int, gpus: int, wanted: Wanted, sizes: Sizes):
    found = share_out([(cpus, gpus)], wanted)
    assert found == sizes
    assert found.models * found.threads_per_model + found.decoders <= cpus


@pytest.mark.parametrize(
    ("machines", "sizes"),
    [
        ([(2, 0), (2, 0)], Sizes(2, 0, 1, 2)),
        ([(16, 0)] * 3, Sizes(3, 0, 8, 24)),
        ([(0, 0), (16, 0)], Sizes(1, 0, 8, 8)),
        ([(8, 1), (16, 0)], Sizes(1, 1, 1, 8)),
    ],
)
def test_without_gpus_each_machine_that_has_cores_has_a_model(machines: list[tuple[int, int]], sizes: Sizes):
    assert share_out(machines, Wanted()) == sizes


def test_a_model_computes_with_no_more_cores_than_a_machine_has():
    assert share_out([(16, 0)] * 3, Wanted(workers=1)) == Sizes(1, 0, 16, 8)


@pytest.mark.parametrize(
    ("cpus", "gpus", "wanted", "sizes"),
    [
        (8, 1, Wanted(gpus=2), Sizes(1, 1, 1, 7)),
        (4, 0, Wanted(workers=4), Sizes(3, 0, 1, 1)),
        (2, 0, Wanted(workers=2, decoders=2), Sizes(1, 0, 1, 1)),
    ],
)
def test_more_than_there_is_is_refused_at_the_start_and_less_goes_on_when_machines_have_left(
    cpus: int, gpus: int, wanted: Wanted, sizes: Sizes
):
    found = share_out([(cpus, gpus)], wanted)
    assert found == sizes
    with pytest.raises(RequestError, match=f"room for {sizes.models} copies"):
        require(wanted, found)


@pytest.mark.parametrize(("cpus", "gpus", "wanted"), [(1, 0, Wanted()), (8, 0, Wanted(gpus=1)), (0, 0, Wanted())])
def test_without_room_for_one_model_nothing_begins(cpus: int, gpus: int, wanted: Wanted):
    with pytest.raises(RequestError, match="too little for the model"):
        share_out([(cpus, gpus)], wanted)
