"""Training of an adapter: which exercises when, at what rates, until when; and how to go on after an interruption.

    Classroom -> steps, with a look at the held-out videos now and then -> the adapter that did best there

A run is a folder. All that is needed to go on lies in it, written whole or not at all, so that whoever ends the process
loses a minute. What is drawn depends on the seed and the number of the step alone: a run that was interrupted ends as
one that was not.

Knows no torch: a `Training` of the model's family does the arithmetic.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from omni_timeline.learning.lessons import Classroom
from omni_timeline.model.family import Exercise, Rates, Training
from omni_timeline.pipeline.prediction import OnProgress, Progress

FINAL_RATE = 0.02  # of the highest one, at the end of the cosine
SAVE_SECONDS = 60.0  # s between two saved states
TIMED_STEPS = 5  # from which it is told how long all will take
PROGRESS, STATE = "progress.json", "state.pt"
GOOD_ENOUGH = 0.99  # F1 on the held-out videos


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained. The defaults were chosen with the demo checkpoint, see docs/learning.md.

    Attributes:
        steps: how many at most.
        exercises: in each step.
        replayed: of them, where there is something to replay.
        rates: the highest ones.
        warm_up: steps until they are reached.
        checks: how often the held-out videos are looked at, spread evenly over all steps.
        patience: checks without a better one, in the second half, after which training ends.
        seed: of everything that is drawn.
        with_towers: whether what sees and hears is adapted, too, for looks and sounds that the model has never met. It
            takes more time and memory, and costs more of what the model knew.
    """

    steps: int = 600
    exercises: int = 6
    replayed: int = 2
    rates: Rates = field(default_factory=lambda: Rates(matrices=2e-3, tokens=1e-2))
    warm_up: int = 10
    checks: int = 6
    patience: int = 2
    seed: int = 0
    with_towers: bool = False

    def rates_at(self, step: int) -> Rates:
        """The rates of a step: they rise, and then fall along a cosine."""
        rising = min(1.0, (step + 1) / self.warm_up)
        falling = FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * step / self.steps)) / 2
        return Rates(self.rates.matrices * rising * falling, self.rates.tokens * rising * falling)

    def is_check(self, done: int) -> bool:
        """Whether the held-out videos are looked at after so many steps."""
        return done == self.steps or done * self.checks // self.steps > (done - 1) * self.checks // self.steps


WITH_TOWERS = Recipe(steps=700, rates=Rates(matrices=3e-3, tokens=1e-2), with_towers=True)
"""For looks and sounds that the model has never met."""


@dataclass(frozen=True)
class Check:
    """A look at the held-out videos: after which step, F1 at IoU .5 there, mean loss since the last one."""

    step: int
    f1: float
    loss: float


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        adapter: the folder of the adapter that did best on the held-out videos, the later one of two that did as well.
        checks: in their order.
        steps: how many were planned.
        seconds: how long it took, without interruptions.
        stopped: why it ended before its last step; "" if it did not.
    """

    adapter: Path
    checks: tuple[Check, ...]
    steps: int
    seconds: float
    stopped: str

    @property
    def best(self) -> Check:
        """The check of the adapter."""
        return best_of(self.checks)


@dataclass
class Run:
    """How far a training is; what its folder says.

    Attributes:
        task: what is trained on and how, as a hash: another one does not go on from here.
        steps: how many there will be.
        done: steps.
        seconds: how long they took.
        losses: of the steps since the last check.
        checks: so far.
    """

    task: str
    steps: int
    done: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def is_checked(self) -> bool:
        """Whether the held-out videos were looked at after the last step."""
        return bool(self.checks) and self.checks[-1].step == self.done

    def save(self, folder: Path, training: Training) -> None:
        """Write the state, and then forget the one before and adapters that are not the best.

        Raises:
            OSError: it cannot be written; the one before is still there.
        """
        partial, whole = folder / "state.part", folder / f"state-{self.done:06d}"
        if whole.exists():
            return
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            training.save_state(partial / STATE)
            (partial / PROGRESS).write_text(json.dumps(asdict(self)), encoding="utf-8")
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(whole)
        needed = {whole, *([_adapter(folder, best_of(self.checks).step)] if self.checks else [])}
        for other in {*folder.glob("state-*"), *folder.glob("adapter-*")} - needed:
            shutil.rmtree(other)

    @classmethod
    def resume(cls, folder: Path, task: str, training: Training) -> Run | None:
        """The run of a folder, if it is of this task; anything else in there is removed."""
        for state in sorted(folder.glob("state-*"), reverse=True):
            try:
                kept = json.loads((state / PROGRESS).read_text(encoding="utf-8"))
                if kept["task"] != task:
                    break
                training.resume(state / STATE)
                return cls(**{**kept, "checks": [Check(**check) for check in kept["checks"]]})
            except (OSError, ValueError, KeyError, TypeError):
                continue  # it was damaged; there may be one before it
        shutil.rmtree(folder, ignore_errors=True)
        return None


def train(
    training: Training,
    new: Classroom,
    replayed: Classroom | None,
    recipe: Recipe,
    measure: Callable[[], float],
    folder: Path,
    task: str,
    on_progress: OnProgress = lambda progress: None,
    max_seconds: float = 0.0,
) -> Trained:
    """Train until the recipe's end, or until it is of no more use.

    Args:
        training: a fresh adapter.
        new: what is to be learned.
        replayed: what is not to be forgotten meanwhile.
        recipe: how.
        measure: F1 on the held-out videos, answered with the adapter as far as it has come.
        folder: of the run; what it holds of the same task is gone on from.
        task: tells this task from others.
        on_progress: called at each step.
        max_seconds: for how long at most, about; 0 for as long as it takes. The steps are fewer then.

    Raises:
        OmniTimelineError: a video cannot be decoded, or memory does not suffice.
        OSError: the folder cannot be written.
    """
    run = Run.resume(folder, task, training) or Run(task, recipe.steps)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic() - run.seconds
    saved = time.monotonic()
    stopped = _end(run, recipe)
    while not stopped and run.done < run.steps:
        recipe = replace(recipe, steps=run.steps)
        exercises = _exercises(new, replayed, recipe, run.done)
        run.losses.append(training.step(exercises, recipe.rates_at(run.done)))
        run.done += 1
        run.seconds = time.monotonic() - began
        if run.done == TIMED_STEPS and max_seconds:
            affordable = int(0.8 * max_seconds / (run.seconds / run.done))  # the rest is for the checks
            run.steps = max(TIMED_STEPS, min(run.steps, affordable))
        on_progress(_progress(run))
        if recipe.is_check(run.done) or (max_seconds and run.seconds > max_seconds):
            _check(run, training, measure, folder)
            run.seconds = time.monotonic() - began
            stopped = _end(run, recipe)
            if max_seconds and run.seconds > max_seconds and run.done < run.steps:
                stopped = f"{max_seconds / 60:g} minutes were over"
        if run.is_checked or time.monotonic() - saved > SAVE_SECONDS:
            run.save(folder, training)
            saved = time.monotonic()
    return Trained(_adapter(folder, best_of(run.checks).step), tuple(run.checks), run.steps, run.seconds, stopped)


def best_of(checks: list[Check] | tuple[Check, ...]) -> Check:
    """The check with the best F1; the last of several."""
    return max(checks, key=lambda check: (check.f1, check.step))


def _exercises(new: Classroom, replayed: Classroom | None, recipe: Recipe, step: int) -> list[Exercise]:
    """Those of a step: from both, where there is something to replay."""
    fresh = recipe.exercises
    found = [new.exercise(step * fresh + number) for number in range(fresh)]
    if replayed is not None:
        found += [replayed.exercise(step * recipe.replayed + number) for number in range(recipe.replayed)]
    return found


def _check(run: Run, training: Training, measure: Callable[[], float], folder: Path) -> None:
    """Measure, and keep the adapter if it is the best so far."""
    check = Check(run.done, measure(), float(np.mean(run.losses)) if run.losses else 0.0)
    run.checks.append(check)
    run.losses = []
    if best_of(run.checks) == check:
        partial = folder / "adapter.part"
        shutil.rmtree(partial, ignore_errors=True)
        training.save(partial)
        shutil.rmtree(_adapter(folder, check.step), ignore_errors=True)
        partial.rename(_adapter(folder, check.step))


def _end(run: Run, recipe: Recipe) -> str:
    """Why training ends before its last step; "" while it goes on."""
    if not run.checks:
        return ""
    if run.checks[-1].f1 >= GOOD_ENOUGH and run.done < run.steps:
        return "nothing is left to learn on the held-out videos"
    best = best_of(run.checks)
    since = [check for check in run.checks if check.step > max(best.step, run.steps // 2)]
    if len(since) >= recipe.patience and run.done < run.steps:
        return f"it did not get better on the held-out videos after {best.step} steps"
    return ""


def _progress(run: Run) -> Progress:
    left = run.seconds / run.done * (run.steps - run.done)
    words = f"about {math.ceil(left / 60)} min left" if left > 60 else f"about {math.ceil(left)} s left"
    return Progress(f"training ({words}), step", run.done, run.steps)


def _adapter(folder: Path, step: int) -> Path:
    return folder / f"adapter-{step:06d}"
