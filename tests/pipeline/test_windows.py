"""Windows cover a video; their reports become one segment for each event, whatever the order they come in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.pipeline.windows import Window, WindowedSegment, merge_windows, split_windows
from omni_timeline.segments import Segment

LEFT, RIGHT = Window(0.0, 48.0), Window(40.0, 88.0)  # both see 40 to 48


def seen(
    window: Window, *spans: tuple[float, float], label: str = "a", score: float | None = None
) -> list[WindowedSegment]:
    return [WindowedSegment(window, Segment(start, end, label, score=score)) for start, end in spans]


def spans(segments: tuple[Segment, ...]) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in segments]


@given(st.floats(0.1, 8000), st.floats(2, 400))
def test_windows_cover_the_video_overlap_by_a_sixth_and_are_no_longer_than_asked(duration: float, longest: float):
    windows = split_windows(duration, longest)
    assert windows[0].start == 0.0
    assert windows[-1].end == duration
    assert all(window.duration <= longest * (1 + 1e-9) for window in windows)
    for earlier, later in pairwise(windows):
        assert earlier.end - later.start == pytest.approx(longest / 6, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("duration", "longest"), [(48.0, 48.0), (10.0, 48.0), (5000.0, None)])
def test_one_window_is_enough_for_what_fits_into_it(duration: float, longest: float | None):
    assert split_windows(duration, longest) == [Window(0.0, duration)]


def test_an_event_across_a_border_is_one_segment():
    reports = seen(LEFT, (30.0, 48.0)) + seen(RIGHT, (40.0, 60.0))
    assert spans(merge_windows(reports)) == [(30.0, 60.0)]


def test_an_event_through_three_windows_is_one_segment():
    third = Window(80.0, 128.0)
    reports = seen(LEFT, (30.0, 48.0)) + seen(RIGHT, (40.0, 88.0)) + seen(third, (80.0, 100.0))
    assert spans(merge_windows(reports)) == [(30.0, 100.0)]


def test_an_event_that_both_windows_see_whole_is_one_segment_with_the_better_score():
    reports = seen(LEFT, (41.0, 43.0), score=0.4) + seen(RIGHT, (41.2, 43.1), score=0.9)
    assert merge_windows(reports) == (Segment(41.0, 43.0, "a", score=0.9),)  # LEFT sees more of what is around 42 s


def test_an_edge_is_where_the_window_puts_it_that_sees_more_of_what_is_around():
    reports = seen(LEFT, (41.0, 47.0)) + seen(RIGHT, (41.5, 47.5))
    assert spans(merge_windows(reports)) == [(41.0, 47.5)]


def test_events_that_touch_stay_two():
    reports = seen(LEFT, (30.0, 44.0), (44.0, 48.0)) + seen(RIGHT, (40.0, 44.2), (44.1, 60.0))
    assert spans(merge_windows(reports)) == [(30.0, 44.2), (44.1, 60.0)] or spans(merge_windows(reports)) == [
        (30.0, 44.0),
        (44.0, 60.0),
    ]
    assert len(merge_windows(reports)) == 2


def test_what_a_border_cuts_off_beside_an_event_is_a_remnant_of_it():
    """Two windows put the same edge a little apart."""
    assert spans(merge_windows(seen(LEFT, (30.0, 39.9)) + seen(RIGHT, (40.0, 40.3)))) == [(30.0, 39.9)]
    assert spans(merge_windows(seen(LEFT, (47.8, 48.0)) + seen(RIGHT, (48.1, 60.0)))) == [(48.1, 60.0)]


def test_what_only_begins_at_a_border_is_an_event_where_there_is_no_other_near():
    assert spans(merge_windows(seen(LEFT, (30.0, 36.0)) + seen(RIGHT, (40.0, 42.0)))) == [(30.0, 36.0), (40.0, 42.0)]
    reports = seen(LEFT, (38.0, 39.9), (40.0, 42.0)) + seen(RIGHT, (40.0, 42.0))
    assert spans(merge_windows(reports)) == [(38.0, 39.9), (40.0, 42.0)]


def test_reports_of_one_window_are_never_joined():
    reports = seen(LEFT, (1.0, 5.0), (2.0, 6.0))
    assert spans(merge_windows(reports)) == [(1.0, 5.0), (2.0, 6.0)]


def test_different_labels_are_different_events():
    reports = seen(LEFT, (30.0, 48.0), label="red car on the left") + seen(
        RIGHT, (40.0, 60.0), label="blue car on the left"
    )
    assert len(merge_windows(reports)) == 2
    assert len(merge_windows(reports, free_words=True)) == 1  # the model's own words for one thing need not be the same


def test_what_only_one_window_reports_is_kept():
    assert spans(merge_windows(seen(RIGHT, (41.0, 43.0)))) == [(41.0, 43.0)]


@st.composite
def reports(draw: st.DrawFn) -> list[WindowedSegment]:
    windows = split_windows(draw(st.floats(50, 300)), 48.0)
    found = []
    for window in windows:
        for _ in range(draw(st.integers(0, 4))):
            start = draw(st.floats(window.start, window.end - 0.2))
            end = draw(st.floats(start + 0.1, window.end))
            score = draw(st.none() | st.floats(0, 1))
            found.append(WindowedSegment(window, Segment(start, end, draw(st.sampled_from("ab")), score=score)))
    return found


@st.composite
def scenes(draw: st.DrawFn) -> tuple[float, list[Segment]]:
    """A duration and what happens: of each label one event after the other, some of which touch."""
    duration = draw(st.floats(50, 300))
    events = []
    for label in "ab":
        edges = sorted(draw(st.sets(st.integers(0, int(10 * duration)), max_size=12)))
        spans = [(start / 10, end / 10) for start, end in pairwise(edges)]
        events += [Segment(start, end, label) for start, end in spans if draw(st.booleans())]
    return duration, sorted(events)


@given(scenes())
def test_what_every_window_sees_rightly_comes_back_as_it_is(scene: tuple[float, list[Segment]]):
    """However an event lies across the borders, and also where the next one of its label begins at its end."""
    duration, events = scene
    found = [
        WindowedSegment(window, Segment(max(event.start, window.start), min(event.end, window.end), event.label))
        for window in split_windows(duration, 48.0)
        for event in events
        if max(event.start, window.start) < min(event.end, window.end)
    ]
    assert list(merge_windows(found)) == events


@given(reports(), st.randoms())
def test_the_order_of_the_reports_does_not_matter(found: list[WindowedSegment], random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert merge_windows(shuffled) == merge_windows(found)


@given(reports())
def test_merging_again_changes_nothing(found: list[WindowedSegment]):
    once = merge_windows(found)
    whole = Window(0.0, 300.0)
    assert merge_windows([WindowedSegment(whole, segment) for segment in once]) == once
    assert merge_windows([*found, *found]) == once


@given(reports())
def test_no_instant_is_made_up_and_none_of_a_lone_report_is_lost(found: list[WindowedSegment]):
    merged = merge_windows(found)
    for segment in merged:
        covering = sorted((r.segment.start, r.segment.end) for r in found if r.segment.label == segment.label)
        reached = segment.start
        for start, end in covering:
            if start <= reached:
                reached = max(reached, end)
        assert reached >= segment.end
    assert len(merged) <= len(found)
    assert bool(merged) == bool(found)
