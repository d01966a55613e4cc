"""One host that is slow or silent holds a few fetches, and no other host's."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from omni_timeline.errors import BusyHostError, FetchError, UnreachableError
from omni_timeline.label_studio.host_slots import FORGET_SECONDS, REST_SECONDS, HostSlots

VIDEO = "a video"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slots(clock: Clock) -> HostSlots:
    return HostSlots(2, clock)


def fail(slots: HostSlots, host: str = "slow", video: str = VIDEO) -> None:
    with pytest.raises(UnreachableError), slots.slot(host, video):
        raise UnreachableError(f"{host} does not answer.")


def test_a_host_has_so_many_slots_and_each_host_its_own(slots: HostSlots):
    with ExitStack() as held:
        held.enter_context(slots.slot("slow", VIDEO))
        assert slots.has_room("slow")
        held.enter_context(slots.slot("slow", VIDEO))
        assert not slots.has_room("slow")
        with pytest.raises(BusyHostError) as refused, slots.slot("slow", VIDEO):
            pass
        assert refused.value.host == "slow"
        with slots.slot("other", VIDEO):
            assert slots.has_room("other")
    assert slots.has_room("slow")


def test_a_host_that_could_not_be_reached_is_left_alone_for_a_moment(slots: HostSlots, clock: Clock):
    fail(slots)
    clock.now += REST_SECONDS - 1
    with (
        pytest.raises(UnreachableError, match=r"slow does not answer\. Other videos at slow wait"),
        slots.slot("slow", VIDEO),
    ):
        pytest.fail("it was asked")
    with slots.slot("other", VIDEO):
        pass
    clock.now += 1
    with slots.slot("slow", VIDEO):
        pass
    with slots.slot("slow", VIDEO):  # it answers again
        pass


def test_an_answer_that_is_a_refusal_is_an_answer(slots: HostSlots):
    with pytest.raises(FetchError), slots.slot("slow", VIDEO):
        raise FetchError("404")
    with slots.slot("slow", VIDEO):
        pass
    assert slots.silent() == []


def test_hosts_that_do_not_answer_are_listed_for_a_while(slots: HostSlots, clock: Clock):
    fail(slots)
    clock.now += 2 * REST_SECONDS
    fail(slots)
    clock.now += 5
    [silent] = slots.silent()
    assert (silent.name, str(silent.error)) == ("slow", "slow does not answer.")
    clock.now += FORGET_SECONDS
    assert slots.silent() == []


def test_the_videos_that_wait_for_a_host_are_counted_once_each_until_it_answers(slots: HostSlots, clock: Clock):
    for video in ("a", "b", "a"):
        fail(slots, video=video)  # the first one is tried
    assert [silent.videos for silent in slots.silent()] == [2]
    clock.now += REST_SECONDS
    with slots.slot("slow", "a"):
        pass
    assert slots.silent() == []
