"""An event is one segment, and several looks at it make one score."""

from __future__ import annotations

from collections import Counter

import pytest

from omni_timeline.pipeline.agreement import one_for_each_event, with_agreement, with_sure_ones
from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.windows import Window
from omni_timeline.segments import Segment

WHOLE, LEFT, RIGHT = Window(0.0, 48.0), Window(0.0, 26.0), Window(22.0, 48.0)
EVENT = Segment(5.0, 10.0, "a", score=0.8)


def looks(**segments: list[Segment]) -> dict[Window, Reading]:
    windows = {"whole": WHOLE, "left": LEFT, "right": RIGHT}
    return {windows[name]: Reading(tuple(found), "", (), Counter()) for name, found in segments.items()}


def test_of_one_event_written_twice_the_surer_stays():
    sure, other = Segment(28.4, 35.0, "low tone", score=0.9), Segment(28.6, 35.0, "low tone", score=0.7)
    assert one_for_each_event([sure, other]) == one_for_each_event([other, sure]) == (sure,)


@pytest.mark.parametrize(
    ("one", "other"),
    [((10.0, 12.0), (12.0, 14.0)), ((10.0, 12.0), (12.1, 14.0)), ((10.0, 13.0), (12.0, 15.0))],
)
def test_events_that_touch_follow_or_overlap_a_little_stay_two(one: tuple[float, float], other: tuple[float, float]):
    both = (Segment(*one, "a", score=0.9), Segment(*other, "a", score=0.8))
    assert one_for_each_event(both) == both


def test_free_words_for_the_same_thing_are_one_event():
    both = (Segment(10.0, 14.0, "red car on the left", score=0.9), Segment(10.2, 14.0, "car on the left", score=0.8))
    assert one_for_each_event(both) == tuple(sorted(both))
    assert one_for_each_event(both, free_words=True) == both[:1]
    different = (both[0], Segment(10.2, 14.0, "dog barks", score=0.8))
    assert one_for_each_event(different, free_words=True) == different


def test_two_looks_that_agree_are_worth_more_than_one():
    [alone] = with_agreement([EVENT], looks(whole=[EVENT]))
    [agreed] = with_agreement([EVENT], looks(whole=[EVENT], left=[Segment(5.1, 10.0, "a", score=0.9)]))
    [disputed] = with_agreement([EVENT], looks(whole=[EVENT], left=[]))
    assert (alone.looks, agreed.looks, disputed.looks) == ("", "agree", "differ")
    assert agreed.score == pytest.approx(0.9**2)
    assert disputed.score < alone.score < agreed.score  # type: ignore[operator]


def test_looks_that_saw_less_than_half_of_a_segment_do_not_count():
    event = Segment(24.0, 40.0, "a", score=0.8)
    assert with_agreement([event], looks(whole=[event], left=[]))[0].looks == ""
    assert with_agreement([event], looks(whole=[event], right=[]))[0].looks == "differ"


def test_a_segment_without_a_score_stays_without():
    event = Segment(5.0, 10.0, "a")
    assert with_agreement([event], looks(whole=[event], left=[])) == (event,)


def test_what_a_look_was_sure_of_and_saw_whole_is_kept():
    sure, cut, unsure = (
        Segment(5.0, 10.0, "a", score=0.99),
        Segment(0.0, 3.0, "b", score=0.99),
        Segment(30.0, 33.0, "a", score=0.6),
    )
    assert with_sure_ones([], looks(whole=[cut, sure, unsure])) == (sure,)
    assert with_sure_ones([EVENT], looks(whole=[sure])) == (EVENT,)
