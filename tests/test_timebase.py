from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.timebase import (
    FrameTimes,
    LabelTimeline,
    samples_in,
    sampling_instants,
)


@pytest.mark.parametrize("seconds", [(), (0.0, math.nan), (0.0, math.inf), (1.0, 0.5)])
def test_frame_times_that_cannot_be_are_refused(seconds):
    with pytest.raises(ValueError, match="frame time"):
        FrameTimes(seconds)


@pytest.mark.parametrize(
    ("seconds", "second_per_grid", "grids", "grid_seconds"),
    [
        ((0.0, 0.5, 1.0, 1.5), 1.0, 2, (0.0, 1.0)),
        ((3.0, 5.0, 7.0), 4.0, 2, (3.0, 7.0)),  # an odd last frame fills a grid of its own
        ((0.0, 0.0, 1.0, 2.0), 4 / 3, 2, (0.0, 1.0)),  # the frame that two sampling instants share
        # A single grid stands at time 0 whatever its length.
        ((4.0,), None, 1, (4.0,)),
        ((4.0, 9.0), None, 1, (4.0,)),
        ((4.0, 4.0, 4.0, 4.0), None, 2, (4.0, 4.0)),
    ],
)
def test_grids_stand_at_the_true_times_of_their_first_frames(seconds, second_per_grid, grids, grid_seconds):
    times = FrameTimes(seconds)
    assert times.second_per_grid(2) == (None if second_per_grid is None else pytest.approx(second_per_grid))
    assert times.grid_seconds(2) == grid_seconds
    assert len(grid_seconds) == grids


def test_sampling_instants_include_both_ends():
    assert sampling_instants(1.0, 3.0, 5) == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert sampling_instants(1.0, 3.0, 1) == [1.0]
    # 0.1 + 3·(0.7 − 0.1)/3 is 0.7000000000000001: the last instant must not lie behind the last frame.
    assert sampling_instants(0.1, 0.7, 4)[-1] == 0.7


def test_seconds_of_sound_are_whole_samples():
    assert (samples_in(1.0), samples_in(0.0), samples_in(1 / 3)) == (16_000, 0, 5_333)


@pytest.mark.parametrize(
    ("start", "end", "duration", "frames"),
    [
        (0.0, 3.75, 30.0, (1, 90)),  # what Label Studio's page showed as 90 frames
        (10.0, 20.0, 30.0, (241, 480)),
        (0.1 + 0.2, 0.4, 10.0, (8, 10)),  # 0.30000000000000004 s is frame 8, as 0.3 is
        (0.0, 0.001, 10.0, (1, 1)),  # nothing is shorter than a frame
        (9.999, 10.0, 10.0, (240, 240)),
        (11.0, 12.0, 10.0, (240, 240)),  # the timeline has no frame 265
        (0.0, 10.4, 10.0, (1, 240)),
    ],
)
def test_spans_become_the_label_frames_that_show_them(start, end, duration, frames):
    assert LabelTimeline(24, duration).frames(start, end) == frames


def test_the_timeline_counts_halves_up_as_javascript_does():
    # round() of Python gives 2 for 2.5; Label Studio's page would show a third frame that no region could reach.
    assert LabelTimeline(1.0, 2.5).length == 3
    assert LabelTimeline(24, 0.001).length == 1


@pytest.mark.parametrize(("frame_rate", "duration"), [(0, 1), (-24, 1), (math.nan, 1), (24, 0), (24, math.inf)])
def test_a_timeline_needs_a_rate_and_a_duration(frame_rate, duration):
    with pytest.raises(ValueError, match="positive"):
        LabelTimeline(frame_rate, duration)


@given(
    frame_rate=st.sampled_from([1.0, 23.976, 24.0, 25.0, 29.97, 30000 / 1001, 60.0, 1 / 0.04]),
    duration=st.floats(0.1, 7200),
    frames=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
)
def test_what_a_human_drew_comes_back_unchanged(frame_rate, duration, frames):
    timeline = LabelTimeline(frame_rate, duration)
    first, last = sorted(min(frame, timeline.length) for frame in frames)
    assert timeline.frames(*timeline.seconds(first, last)) == (first, last)
