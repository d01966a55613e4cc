"""When what is learned, how training ends, and what an interruption costs; a fake model does no arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from omni_timeline.learning.training import PROGRESS, Check, Recipe, Run, train
from omni_timeline.model.family import Exercise, Rates
from omni_timeline.pipeline.prediction import Progress

RECIPE = Recipe(steps=12, exercises=2, replayed=1, warm_up=2, checks=4)


@dataclass
class Room:
    """Exercises that are their own numbers."""

    name: str

    def exercise(self, draw: int) -> Exercise:
        return f"{self.name}{draw}"  # type: ignore[return-value]


@dataclass
class Learner:
    """Remembers what it was shown."""

    shown: list[tuple[str, ...]] = field(default_factory=list)
    rates: list[Rates] = field(default_factory=list)
    is_disk_full: bool = False
    ends_at: int | None = None

    def step(self, exercises: Sequence[Exercise], rates: Rates) -> float:
        if len(self.shown) == self.ends_at:
            raise KeyboardInterrupt
        self.shown.append(tuple(map(str, exercises)))
        self.rates.append(rates)
        return 1.0 / len(self.shown)

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text(str(len(self.shown)))

    def save_state(self, file: Path) -> None:
        if self.is_disk_full:
            raise OSError(28, "No space left on device")
        file.write_text(json.dumps([*map(list, self.shown)]))

    def resume(self, file: Path) -> None:
        self.shown = [tuple(each) for each in json.loads(file.read_text())]


def run(learner: Learner, folder: Path, scores: Sequence[float] = (0.1, 0.2, 0.3, 0.4), task: str = "one", **more):
    left = iter(scores)
    return train(learner, Room("n"), Room("r"), RECIPE, lambda: next(left), folder, task, **more)


def test_each_step_has_new_exercises_and_replayed_ones(tmp_path: Path):
    learner = Learner()
    trained = run(learner, tmp_path / "run")
    assert learner.shown[:2] == [("n0", "n1", "r0"), ("n2", "n3", "r1")]
    assert len(learner.shown) == trained.steps == 12
    assert [(check.step, check.f1) for check in trained.checks] == [(3, 0.1), (6, 0.2), (9, 0.3), (12, 0.4)]
    assert trained.checks[0].loss == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert (trained.adapter / "weights").read_text() == "12"
    assert trained.stopped == ""


def test_rates_rise_and_fall():
    rates = [RECIPE.rates_at(step).matrices for step in range(12)]
    assert rates[0] == pytest.approx(RECIPE.rates.matrices / 2)
    assert max(rates) == rates[1] < RECIPE.rates.matrices
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 0.1 * RECIPE.rates.matrices


def test_the_adapter_is_the_one_that_did_best_on_held_out_videos(tmp_path: Path):
    trained = run(Learner(), tmp_path / "run", (0.1, 0.5, 0.4, 0.5))
    assert (trained.adapter / "weights").read_text() == "12"  # the later of two
    trained = run(Learner(), tmp_path / "other", (0.1, 0.5, 0.4, 0.3))
    assert (trained.adapter / "weights").read_text() == "6"
    assert trained.best == Check(6, 0.5, trained.checks[1].loss)


def test_it_ends_early_where_nothing_is_gained(tmp_path: Path):
    learner = Learner()
    recipe = Recipe(steps=12, exercises=1, checks=12, patience=2)
    scores = iter([0.5, *[0.4] * 11])
    trained = train(learner, Room("n"), None, recipe, lambda: next(scores), tmp_path / "run", "one")
    assert len(learner.shown) == 8, "two checks in the second half"
    assert "did not get better" in trained.stopped
    assert (trained.adapter / "weights").read_text() == "1"
    trained = run(Learner(), tmp_path / "other", (0.5, 1.0))
    assert (len(trained.checks), trained.stopped) == (2, "nothing is left to learn on the held-out videos")


def test_what_was_interrupted_goes_on_and_ends_alike(tmp_path: Path):
    """Ended without warning in the middle of a step, twice; all that is lost is what came after the last check."""
    whole = run(Learner(), tmp_path / "whole")
    for ends_at in (4, 8):
        with pytest.raises(KeyboardInterrupt):
            run(Learner(ends_at=ends_at), tmp_path / "run", (0.1, 0.2, 0.3, 0.4)[ends_at // 7 :])
    told: list[Progress] = []
    learner = Learner()
    trained = run(learner, tmp_path / "run", (0.3, 0.4), on_progress=told.append)
    assert told[0].done == 7
    assert learner.shown == [(f"n{2 * step}", f"n{2 * step + 1}", f"r{step}") for step in range(12)]
    assert [(check.step, check.f1) for check in trained.checks] == [(check.step, check.f1) for check in whole.checks]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"state-000012", "adapter-000012"}


def test_another_task_does_not_go_on_from_there(tmp_path: Path):
    run(Learner(), tmp_path / "run")
    learner = Learner()
    trained = run(learner, tmp_path / "run", task="another")
    assert len(learner.shown) == 12
    assert len(trained.checks) == 4


def test_a_state_that_is_damaged_is_left_behind(tmp_path: Path):
    run(Learner(), tmp_path / "run")
    (tmp_path / "run" / "state-000012" / PROGRESS).write_text("{")
    learner = Learner()
    run(learner, tmp_path / "run")
    assert len(learner.shown) == 12


def test_a_full_disk_is_an_error_and_leaves_the_state_before(tmp_path: Path):
    learner = Learner()
    with pytest.raises(KeyboardInterrupt):
        run(Learner(ends_at=4), tmp_path / "run", (0.1,))
    learner.is_disk_full = True
    with pytest.raises(OSError, match="No space left"):
        run(learner, tmp_path / "run", (0.2,))
    assert not list((tmp_path / "run").glob("*.part"))
    fresh = Learner()
    assert Run.resume(tmp_path / "run", "one", fresh).done == 3


def test_the_steps_are_as_many_as_there_is_time_for(tmp_path: Path):
    learner = Learner()
    told: list[Progress] = []
    recipe = Recipe(steps=10**9, exercises=1, checks=1)
    trained = train(
        learner, Room("n"), None, recipe, lambda: 0.1, tmp_path / "run", "one", told.append, max_seconds=0.05
    )
    assert 5 <= trained.steps < 10**6
    assert len(trained.checks) == 1
    assert "left" in str(told[0])
