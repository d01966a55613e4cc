"""Which windows are looked at, as values: no model and no files."""

from __future__ import annotations

from collections import Counter

import pytest

from omni_timeline.pipeline.looks import look_at
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.reading import Reading
from omni_timeline.segments import Segment


@pytest.mark.parametrize(
    ("stretch", "duration", "window"),
    [((10.0, 15.0), 60.0, (10.0, 15.0)), ((55.0, 70.0), 60.0, (55.0, 60.0)), ((80.0, 90.0), 60.0, (58.0, 60.0)),
     ((3.0, 4.0), 1.0, (0.0, 1.0)), ((0.0, 300.0), 400.0, (0.0, 300.0))],
)  # fmt: skip
def test_a_stretch_is_one_window_within_the_video(
    stretch: tuple[float, float], duration: float, window: tuple[float, float]
):
    looking = look_at(duration, PredictOptions(stretch=stretch, refine=True, window_seconds=25), has_audio=True)
    [asked] = next(looking).windows
    assert (asked.start, asked.end) == window
    found = (Segment(0.1, 0.9, "a"),)
    with pytest.raises(StopIteration) as end:
        looking.send([Reading(found, "", (), Counter())])
    assert end.value.value.segments == found
