"""A close look moves edges to where it sees them, and touches nothing else."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.refine import (
    BORDER,
    LOOK_SECONDS,
    REACH,
    ROOM,
    SURE_DIGITS,
    Look,
    doubted_edges,
    refine_edges,
    refinement_windows,
)
from omni_timeline.pipeline.windows import Window
from omni_timeline.segments import Segment

EVENT = Segment(20.0, 40.0, "a", "text", 0.5)


def around(edge: float) -> Look:
    return Look(Window(edge - LOOK_SECONDS / 2, edge + LOOK_SECONDS / 2), (edge,))


def reading(*segments: Segment, edges: dict[float, float]) -> Reading:
    return Reading(segments, "", (), Counter(), edges=edges)


def test_there_is_a_look_at_each_edge_with_room_on_both_sides():
    assert refinement_windows([40.0, 20.0], 100.0) == [around(20.0), around(40.0)]


def test_edges_that_are_near_share_a_look():
    [look] = refinement_windows([20.0, 21.5, 21.0, 22.0], 100.0)
    assert look.edges == (20.0, 21.0, 21.5, 22.0)
    assert look.window.start <= 20.0 - ROOM
    assert look.window.end >= 22.0 + ROOM


def test_where_the_video_begins_or_ends_there_is_nothing_to_look_for():
    assert refinement_windows([0.0, 100.0], 100.0) == []


def test_a_short_video_has_been_seen_closely_enough():
    assert refinement_windows([3.0, 5.0], 9.0) == []


def test_edges_are_worth_a_look_where_the_model_doubted_its_digits_and_did_not_see_them_closely():
    long, short = Window(0.0, 48.0), Window(40.0, 52.0)
    sure = Segment(10.0, 12.0, "b")
    readings = {
        long: reading(EVENT, sure, edges={20.0: 0.5, 40.0: 0.6, 10.0: SURE_DIGITS, 12.0: 0.99}),
        short: reading(Segment(45.0, 47.0, "c"), edges={45.0: 0.2, 47.0: 0.2}),
    }
    found = [each for reading in readings.values() for each in reading.segments]
    assert doubted_edges(found, readings) == {20.0, 40.0}


def test_an_edge_moves_to_the_nearest_of_its_label():
    seen = [
        (around(20.0), [Segment(19.7, 24.0, "a"), Segment(20.1, 24.0, "b"), Segment(18.5, 19.0, "a")]),
        (around(40.0), [Segment(36.0, 40.6, "a")]),
    ]
    assert refine_edges([EVENT], seen) == (Segment(19.7, 40.6, "a", "text", 0.5),)


def test_the_border_of_a_look_is_no_edge_and_neither_is_one_out_of_reach():
    assert refine_edges([EVENT], [(around(20.0), [Segment(16.0, 24.0, "a")])]) == (EVENT,)
    assert refine_edges([EVENT], [(around(20.0), [Segment(20.0 + REACH + 0.1, 23.0, "a")])]) == (EVENT,)
    assert refine_edges([EVENT], [(around(20.0), [])]) == (EVENT,)


def test_a_segment_never_ends_before_it_starts():
    short = Segment(20.0, 20.5, "a")
    look = Look(Window(16.0, 24.0), (20.0, 20.5))
    assert refine_edges([short], [(look, [Segment(21.5, 22.5, "a"), Segment(18.0, 18.6, "a")])])[0].duration > 0


@given(st.lists(st.floats(0, 100), max_size=24), st.floats(100, 4000))
def test_every_look_lies_in_the_video_and_holds_its_edges(edges: list[float], duration: float):
    found = refinement_windows(edges, duration)
    for look in found:
        assert 0 <= look.window.start < look.window.end <= duration
        assert all(look.window.start + BORDER <= edge <= look.window.end - BORDER + 1e-9 for edge in look.edges)
    assert {edge for look in found for edge in look.edges} == {e for e in edges if BORDER < e < duration - BORDER}
