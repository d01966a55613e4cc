"""A new version beside the one that is in use: compared on tasks from which neither was learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from corrected_tasks import CONFIG, DURATION, address, annotation, task
from omni_timeline.learning.asking import Model
from omni_timeline.learning.corrections import read_tasks
from omni_timeline.learning.in_use import against
from omni_timeline.learning.learn import Outcome, learn
from omni_timeline.learning.sources import Source
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.pipeline.calibration import Calibration
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment

NOW = "2026-11-26T10:00:00+00:00"
Said = Mapping[int, tuple[tuple[str, str], ...]]
"""By task: what the model says, and what people made of it, one event after the other."""


class Addresses:
    """Videos that are named and not there: nobody looks into them."""

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        yield Path(url)


def events(labels: list[str]) -> tuple[Segment, ...]:
    return tuple(Segment(5.0 * place, 5.0 * place + 3.0, label, "", 0.8) for place, label in enumerate(labels))


def learned(said: Said, in_use: LearnedVersion | None = None) -> Outcome:
    """What comes of these corrections."""
    rows = [task(number, annotation(number, events([people for _, people in pairs]))) for number, pairs in said.items()]
    source = Source("project 7", CONFIG, read_tasks(rows, CONFIG), Addresses())
    words = {address(number): [model for model, _ in pairs] for number, pairs in said.items()}

    def predict(path: Path, options: PredictOptions) -> Prediction:
        return Prediction(path, DURATION, events(words[str(path)]), options.version("demo-1"), "")

    model, options = Model("demo-1", predict), CONFIG.options(PredictOptions())
    outcome = learn(source, model, options, NOW, with_curve=False)
    return outcome if in_use is None else against(outcome, in_use, model)


FEW = {number: (("talk", "music"), ("talk", "music")) for number in range(1, 9)}
MORE = FEW | {number: (("talk", "music"), ("bang", "door")) for number in range(9, 19)}


def test_the_same_corrections_are_not_offered_twice():
    first = learned(FEW).version
    assert first.is_offered
    again = learned(FEW, first).version
    assert (again.is_offered, again.reason) == (False, "These corrections teach what the version in use does already.")


def test_more_corrections_are_compared_with_what_is_in_use_on_tasks_that_neither_knows():
    first = learned(FEW).version
    second = learned(MORE, first).version
    assert second.is_offered
    assert "Against the version in use: F1 +" in second.reason
    assert second.reason.endswith("(10 tasks).")  # those of the eighteen from which the first was not learned


def test_what_is_clearly_worse_than_the_version_in_use_is_not_offered():
    """A third of all events have a word that occurs once; an earlier version knew these."""
    kinds = ("speech", "door")
    said = {
        number: (("talk", "music"), (f"zq{number * 7919}", kinds[number % 2]), ("talk", "music"))
        for number in range(1, 13)
    }
    known = {model: people for pairs in said.values() for model, people in pairs}
    first = learned(FEW).version
    options = replace(first.options, calibration=Calibration(names=tuple(known.items())))
    in_use = replace(first, options=options, made_from=replace(first.made_from, learned=()))
    assert learned(said).version.is_offered
    second = learned(said, in_use).version
    assert not second.is_offered
    assert second.reason.startswith("It is clearly worse than the version in use: F1 -")
