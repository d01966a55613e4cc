"""Who is next."""

from __future__ import annotations

from omni_timeline.service.turns import Turns


def order(turns: Turns[str]) -> str:
    found = []
    while (each := turns.next()) is not None:
        found.append(each)
    return "".join(found)


def test_groups_take_turns_whatever_their_size():
    turns = Turns[str](lambda each: True, lambda each: True, lambda: None)
    turns.add("aaaaa")
    turns.add("b")
    turns.add("cc")
    assert order(turns) == "abcacaaa"


def test_the_group_that_is_kept_elsewhere_is_one_of_them():
    kept = iter("xyz")
    turns = Turns[str](lambda each: True, lambda each: True, lambda: next(kept, None))
    turns.add("abc")
    assert order(turns) == "xaybzc"


def test_one_that_does_not_wait_any_more_costs_nobody_a_turn():
    done: set[str] = set("bc")
    turns = Turns[str](lambda each: each not in done, lambda each: True, lambda: None)
    turns.add("abcd")
    turns.add("e")
    assert turns.next() == "a"
    done.add("d")
    assert order(turns) == "e"


def test_what_is_put_aside_comes_back_when_its_reason_has_gone():
    turns = Turns[str](lambda element: True, lambda element: True, lambda: None)
    turns.park("slow 1", ("host", "slow.example"))
    turns.park("slow 2", ("host", "slow.example"))
    turns.park("silent 1", ("host", "silent.example"))
    assert turns.next() is None
    turns.unpark(lambda reason: reason == ("host", "slow.example"))
    assert [turns.next(), turns.next(), turns.next()] == ["slow 1", "slow 2", None]
    turns.unpark(lambda reason: True)
    assert turns.next() == "silent 1"


def test_a_group_whose_turn_it_may_not_be_is_passed_over():
    busy = {"a"}
    turns = Turns[str](lambda each: True, lambda each: each not in busy, lambda: None)
    turns.add("aaa")
    turns.add("bb")
    assert order(turns) == "bb"
    busy.clear()
    assert order(turns) == "aaa"
