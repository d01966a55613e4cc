"""How many cores there are, how many are idle, and how many threads a model computes with because of that."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from omni_timeline import cores
from omni_timeline.model.worker import compute_with, threads_now

CORES = os.cpu_count() or 1


@pytest.fixture
def wanting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says to the kernel's file how many threads want a core now."""
    load = tmp_path / "loadavg"
    monkeypatch.setattr(cores, "LOAD", load)  # the kernel's own says what else runs here
    return lambda threads: load.write_text(f"0.10 0.20 0.30 {threads}/98 1234\n") and None


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("6400000 100000", 64), ("nonsense", 64)],
)
def test_a_container_uses_no_more_cores_than_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(cores, "QUOTA", file)  # only root can give a process a quota
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))  # a large machine
    assert cores.usable() == expected


def test_without_a_container_all_cores_it_is_bound_to_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "none")  # the tests may run in a container
    assert cores.usable() == len(os.sched_getaffinity(0))


def test_the_thread_that_asks_takes_no_core_from_itself(wanting: Callable[[int], None]):
    wanting(1)
    assert cores.idle() == CORES
    wanting(1 + CORES)
    assert cores.idle() == 0
    wanting(100 * CORES)
    assert cores.idle() == 0


def test_this_machine_says_how_many_are_idle():
    found = cores.idle()
    assert found is not None
    assert 0 <= found <= CORES


def test_where_no_kernel_tells_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "LOAD", tmp_path / "none")  # as where there is no Linux
    assert cores.idle() is None


def test_a_model_takes_the_cores_that_are_idle_and_none_that_others_want(
    wanting: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
):
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "cpu_count", lambda: 8)  # a machine of eight cores
    try:
        for others, most, expected in ((0, 8, 8), (0, 4, 4), (3, 8, 5), (7, 8, 2), (20, 8, 2), (0, 2, 2)):
            wanting(1 + others)
            compute_with(most, usual=2)
            assert threads_now() == expected
    finally:
        torch.set_num_threads(before)
