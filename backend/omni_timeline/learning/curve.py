"""Whether more corrections are worth it: how good a calibration is that is learned from a part of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from omni_timeline.learning.calibrate import Example, Shown, calibrate
from omni_timeline.learning.material import Material
from omni_timeline.metrics import event_f1, pool
from omni_timeline.pipeline.calibration import Calibration

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the corrections
DRAWS = 5  # of each share but the whole
MIN_TASKS = 8  # to learn from, two for the smallest share


@dataclass(frozen=True)
class CurvePoint:
    """F1 at IoU .5 after learning from a share of the corrections; over several draws of them mean, least and most."""

    share: float
    tasks: int
    f1: float
    low: float
    high: float


def learning_curve(
    material: Material, on_point: Callable[[int, int], None] = lambda done, total: None
) -> tuple[CurvePoint, ...]:
    """F1 on the held-out videos after calibrating on a share of the others; none where either are too few."""
    held_out = material.examples(material.held_out)
    learned_from = material.examples(material.learned_from)
    count, order = len(next(iter(learned_from.values()))), np.random.default_rng(0)
    if count < MIN_TASKS or not material.held_out:
        return ()
    points = []
    for number, share in enumerate(SHARES):
        on_point(number, len(SHARES))
        size, found = round(share * count), []
        for _ in range(DRAWS if size < count else 1):
            chosen = sorted(order.permutation(count)[:size])
            few = {asked: [each[place] for place in chosen] for asked, each in learned_from.items()}
            calibration = calibrate(few, material.source.config.labels, material.shown).calibration
            found.append(_f1(calibration, held_out[calibration.asked], material.shown))
        points.append(CurvePoint(share, size, fmean(found), min(found), max(found)))
    return tuple(points)


def _f1(calibration: Calibration, held_out: Sequence[Example], shown: Shown) -> float:
    return pool(
        event_f1(corrected, shown(calibration.apply(example.said, example.duration)))
        for example in held_out
        for corrected in example.corrected
    ).f1
