"""The batches that the demo checkpoint is trained on: the same after an interruption, and true to their frames."""

from __future__ import annotations

import numpy as np
import pytest

from demo_data import BatchSource, _describe
from omni_timeline.synthetic import Scene, Shape


@pytest.mark.parametrize("windows", [False, True])
def test_a_resumed_run_is_given_the_batches_it_would_have_had(windows: bool):
    straight, resumed = (BatchSource(seed=4, step=step, windows=windows) for step in (0, 2))
    for step in range(2):
        straight.batch(step)
    for step in range(2, 5):
        ours, theirs = straight.batch(step), resumed.batch(step)
        assert ours.answers == theirs.answers
        assert ours.prompt == theirs.prompt
        assert np.array_equal(ours.frames, theirs.frames)
        assert np.array_equal(ours.seconds, theirs.seconds)


def test_the_answer_is_what_the_frames_can_tell():
    still = ((0.5, 0.5), (0.5, 0.5))
    scene = Scene(10.0, (Shape(2.3, 5.1, "red", "square", 1.0, 0.3, still),))
    seconds = np.arange(11.0)  # shown at 3, 4 and 5: it began between 2 and 3 and ended between 5 and 6
    answer, classes, starts = _describe(scene, seconds, seconds)
    assert answer == "From 2.5 to 5.5, red square."
    assert np.flatnonzero(classes).tolist() == [3, 4, 5]
    assert starts.tolist() == [2.5]
