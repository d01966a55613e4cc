"""Windows in doubt are looked at again in shorter ones, within a bound, until the model is sure or they are short."""

from __future__ import annotations

import random as randomness
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.pipeline.adaptive import (
    CROWDED,
    DENSE,
    SHORT,
    UNSURE,
    Doubt,
    doubts_of,
    shorter_windows,
)
from omni_timeline.pipeline.agreement import SURE, has_repeats
from omni_timeline.pipeline.looks import Found, look_at
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.reading import Reading
from omni_timeline.pipeline.windows import Window, split_windows
from omni_timeline.segments import Segment, overlap

OPTIONS = PredictOptions(labels=("a", "b"))
WINDOW = Window(0.0, 48.0)


def reading(*segments: Segment, repeated: int = 0, is_complete: bool = True) -> Reading:
    return Reading(tuple(sorted(segments)), "", (), Counter(repeated=repeated), is_complete)


def events(count: int, score: float = 0.99) -> list[Segment]:
    """So many events one after the other in WINDOW."""
    step = WINDOW.duration / count
    return [Segment(number * step, (number + 0.8) * step, "a", score=score) for number in range(count)]


def world(step: float, window: Window, score: float = 0.99) -> list[Segment]:
    """What is seen in a window of a world in which something happens every `step` seconds, for half of that time."""
    numbers = range(int(window.start // step), int(window.end // step) + 1)
    spans = [(max(number * step, window.start), min((number + 0.5) * step, window.end)) for number in numbers]
    return [Segment(start, end, "a", score=score) for start, end in spans if end - start > 0.1]


def looked(
    duration: float, answer: Callable[[Window], Reading], options: PredictOptions = OPTIONS, *, has_audio: bool = False
) -> tuple[Found, list[tuple[Window, ...]]]:
    """What comes of a video whose windows are answered like this, and the windows of each round."""
    rounds = []
    looking = look_at(duration, options, has_audio=has_audio)
    wanted = next(looking)
    while True:
        rounds.append(wanted.windows)
        try:
            wanted = looking.send([answer(window) for window in wanted.windows])
        except StopIteration as end:
            return end.value, rounds


@pytest.mark.parametrize(
    ("answer", "doubts"),
    [
        (reading(), ()),
        (reading(*events(CROWDED - 1)), ()),
        (reading(*events(CROWDED)), (Doubt.CROWDED,)),
        (reading(*events(2, score=UNSURE - 0.01)), (Doubt.UNSURE,)),
        (reading(*events(DENSE, score=UNSURE - 0.01)), (Doubt.DENSE, Doubt.CROWDED, Doubt.UNSURE)),
        (reading(*events(2), repeated=1), (Doubt.REPEATED,)),
        (reading(Segment(28.4, 35.0, "a"), Segment(28.6, 35.0, "a")), (Doubt.REPEATED,)),
        (reading(*events(2), is_complete=False), (Doubt.CUT_OFF,)),
    ],
)
def test_an_answer_gives_reason_to_doubt(answer: Reading, doubts: tuple[Doubt, ...]):
    assert doubts_of({WINDOW: answer}).get(WINDOW, ()) == doubts
    assert doubts_of({Window(0.0, SHORT): answer}) == {}


def test_neighbors_that_disagree_in_what_both_saw_are_both_in_doubt():
    other = Window(40.0, 88.0)
    event = Segment(41.0, 46.0, "a", score=0.99)
    assert doubts_of({WINDOW: reading(event), other: reading(event)}) == {}
    assert doubts_of({WINDOW: reading(event), other: reading()}) == {
        WINDOW: (Doubt.DISPUTED,),
        other: (Doubt.DISPUTED,),
    }


def test_a_sure_model_is_asked_about_each_window_of_the_first_pass_once():
    found, rounds = looked(600.0, lambda window: reading(*world(20.0, window)))
    assert sorted(window for windows in rounds for window in windows) == split_windows(600.0, 48.0)
    assert not found.in_shorter
    assert found.windows == len(split_windows(600.0, 48.0))


def test_a_busy_scout_spares_its_neighbors_the_long_look():
    first = split_windows(600.0, 48.0)
    found, rounds = looked(600.0, lambda window: reading(*world(14.0, window)))
    assert set(rounds[0]) <= set(first)
    assert not set(first) & set(rounds[1])
    assert {round(window.duration) for window in rounds[1]} <= set(range(23, 31))
    assert found.in_shorter == {Doubt.BUSY: len(first) - len(rounds[0])}


def test_busy_scouts_in_doubt_spare_their_neighbors_all_but_the_shortest_looks():
    first = split_windows(600.0, 48.0)
    found, rounds = looked(600.0, lambda window: reading(*world(6.0, window, score=0.3 if window in first else 0.99)))
    assert [len(windows) for windows in rounds[:1]] == [3]
    assert all(max(window.duration for window in windows) <= 15.0 for windows in rounds[1:])
    assert found.in_shorter == {Doubt.DENSE: len(first)}


def test_one_busy_scout_among_quiet_ones_is_believed_by_half():
    first = split_windows(600.0, 48.0)
    there = {window: number for number, window in enumerate(first)}
    for count, expects in ((4, 0), (7, 4)):  # 1, 1 and 4 are 2 on average: between 2 and 4 lies 3, which is not much

        def answer(window: Window, count: int = count) -> Reading:
            busy = there.get(window) == 7
            step = window.duration / (count if busy else 1)
            spots = [window.start + step * number + step / 2 for number in range(count if busy else 1)]
            return reading(*(Segment(spot - 0.5, spot + 0.5, "a", score=0.99) for spot in spots))

        assert looked(600.0, answer)[0].in_shorter.get(Doubt.BUSY, 0) == expects


def test_only_the_window_in_doubt_is_looked_at_again():
    [*_, last] = split_windows(600.0, 48.0)
    found, rounds = looked(600.0, lambda window: reading(*world(20.0, window, score=0.3 if window == last else 0.99)))
    assert rounds[-1] == tuple(shorter_windows({last: (Doubt.UNSURE,)}))
    assert found.in_shorter == {Doubt.UNSURE: 1}


def test_small_doubts_about_shorter_windows_count_unless_most_of_the_first_pass_gave_way():
    first = split_windows(600.0, 48.0)

    def shortest_after(gave_way: int, *, repeated: int = 0) -> float:
        """The shortest window, where so many of the first pass are in doubt, and of the shorter ones all are."""
        doubted = first[len(first) - gave_way :]

        def answer(window: Window) -> Reading:
            score = 0.3 if window in doubted or window not in first else 0.99
            return reading(*world(20.0, window, score=score), repeated=repeated * (window not in first))

        found, rounds = looked(600.0, answer)
        assert found.in_shorter == {Doubt.UNSURE: gave_way}
        return min(window.duration for windows in rounds for window in windows)

    assert len(first) == 15
    assert shortest_after(9) <= 15.0
    assert shortest_after(10) > SHORT
    assert shortest_after(10, repeated=1) <= 15.0


@pytest.mark.parametrize(
    ("duration", "has_audio", "longest"),
    [(600.0, False, 48.0), (600.0, True, 25.0), (48.1, True, 25.0), (48.0, True, 48.0), (30.0, True, 48.0)],
)
def test_videos_with_sound_are_looked_at_in_shorter_windows_unless_one_holds_them(
    duration: float, has_audio: bool, longest: float
):
    found, rounds = looked(duration, lambda window: reading(), has_audio=has_audio)
    windows = split_windows(duration, longest)
    assert sorted(window for windows in rounds for window in windows) == windows
    assert found.windows == len(windows)
    options = PredictOptions(labels=("a", "b"), window_seconds=40.0)
    found, rounds = looked(duration, lambda window: reading(), options, has_audio=has_audio)
    assert rounds == [tuple(split_windows(duration, 40.0))]


def test_a_fixed_length_is_looked_at_once_whatever_the_answers():
    options = PredictOptions(labels=("a", "b"), window_seconds=48.0)
    found, rounds = looked(600.0, lambda window: reading(*world(5.0, window, score=0.1)), options)
    assert rounds == [tuple(split_windows(600.0, 48.0))]
    assert not found.in_shorter


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(SHORT + 1, 48.0), st.sampled_from(Doubt))
def test_shorter_windows_cover_the_same_time_at_most_three_for_each_or_four_where_it_is_dense(
    gaps: list[float], length: float, doubt: Doubt
):
    windows = [Window(0.0, length)]
    for gap in gaps:  # overlapping by a sixth, or apart
        start = windows[-1].end + (gap if gap > 0.7 else -length / 6)
        windows.append(Window(start, start + length))
    shorter = shorter_windows(dict.fromkeys(windows, (doubt,)))
    assert len(shorter) <= (4 if doubt is Doubt.DENSE else 3) * len(windows)
    assert all(window.duration < length for window in shorter)
    for window in windows:
        inside = [each for each in shorter if each.start < window.end and window.start < each.end]
        assert min(each.start for each in inside) <= window.start + 1e-9
        assert max(each.end for each in inside) >= window.end - 1e-9
        assert all(later.start <= earlier.end for earlier, later in pairwise(sorted(inside)))


def test_shorter_windows_reach_the_very_end():
    window = Window(33.11119101227147, 107.3335730368144)
    assert window.start + window.duration < window.end  # the sum is rounded down
    assert shorter_windows({window: (Doubt.UNSURE,)})[-1].end == window.end


@st.composite
def whims(draw: st.DrawFn) -> Callable[[Window], Reading]:
    """A model that answers anything, but always the same about a window."""
    seed = draw(st.integers(0, 10_000))

    def answer(window: Window) -> Reading:
        random = randomness.Random(f"{seed} {window}")
        segments = []
        for _ in range(random.choice((0, 1, 2, 5, 9))):
            start = random.uniform(window.start, window.end - 0.2)
            end = random.uniform(start + 0.1, window.end)
            segments.append(Segment(start, end, random.choice("ab"), score=random.choice((0.2, 0.9, 0.97, 1.0))))
        return reading(*segments, repeated=random.random() < 0.1, is_complete=random.random() < 0.9)

    return answer


@given(whims(), st.floats(1, 2000), st.floats(1, 7), st.booleans())
def test_it_ends_within_the_bound_and_the_video_stays_covered(
    answer, duration: float, max_looks: float, has_audio: bool
):
    options = PredictOptions(labels=("a", "b"), max_looks=max_looks)
    found, rounds = looked(duration, answer, options, has_audio=has_audio)
    asked = [window for windows in rounds for window in windows]
    assert len(asked) <= max_looks * found.windows
    assert len(set(asked)) == len(asked)
    reached = 0.0
    for window in sorted(asked):
        assert window.start <= reached + 1e-9
        reached = max(reached, window.end)
    assert reached == duration


@given(whims(), st.floats(1, 600), st.booleans())
def test_what_a_look_was_sure_of_is_not_lost(answer, duration: float, has_audio: bool):
    found, rounds = looked(duration, answer, has_audio=has_audio)
    for window in {window for windows in rounds for window in windows}:
        for segment in answer(window).segments:
            if segment.score >= SURE and window.start + 0.3 < segment.start and segment.end < window.end - 0.3:
                assert any(other.label == segment.label and overlap(segment, other) for other in found.segments)


@given(whims(), st.floats(1, 600), st.booleans())
def test_no_event_is_there_twice(answer, duration: float, has_audio: bool):
    found, _ = looked(duration, answer, has_audio=has_audio)
    assert not has_repeats(found.segments)


@given(whims(), st.randoms())
def test_the_order_of_the_answers_does_not_matter(answer, random):
    def shuffled(window: Window) -> Reading:
        segments = list(answer(window).segments)
        random.shuffle(segments)
        return Reading(tuple(segments), "", (), answer(window).lines, answer(window).is_complete)

    assert looked(300.0, shuffled)[0].segments == looked(300.0, answer)[0].segments
