"""Which rows share a batch: the one that is due first and those like it, up to a budget of tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_timeline.pipeline.batches import FILLED, FILLED_BY_FEW, MAX_ROWS, RowCost, choose_batch, is_full


def batch(*rows: tuple[float, int] | tuple[float, int, str], budget: int = 10_000) -> list[int]:
    """The numbers of the rows that are chosen; each row is (due, tokens[, kind])."""
    costs = [RowCost(row[0], row[1], row[2] if len(row) > 2 else "silent") for row in rows]
    return choose_batch([(cost, number) for number, cost in enumerate(costs)], budget)


def test_nothing_waits_and_nothing_is_chosen():
    assert batch() == []


def test_rows_go_in_the_order_in_which_they_are_due():
    assert batch((3.0, 100), (1.0, 100), (2.0, 100)) == [1, 2, 0]


def test_kinds_do_not_mix_and_the_one_due_first_decides():
    assert batch((2.0, 100, "silent"), (1.0, 100, "sounding"), (3.0, 100, "sounding")) == [1, 2]


def test_a_batch_keeps_to_its_budget_padding_included():
    assert batch((1.0, 100), (2.0, 100), (3.0, 100), budget=250) == [0, 1]
    assert batch((1.0, 90), (2.0, 100), (3.0, 90), budget=299) == [0, 1]  # three of them are padded to 300


def test_a_row_larger_than_the_budget_goes_alone():
    assert batch((1.0, 5_000), (2.0, 100), budget=250) == [0]


def test_a_long_row_and_short_ones_do_not_pad_each_other():
    assert batch((1.0, 1_000), (2.0, 100), (3.0, 900), budget=2_999) == [0, 2]
    assert batch((1.0, 100), (2.0, 1_000), (3.0, 110), budget=2_999) == [0, 2]


def test_rows_that_fit_into_one_batch_share_it_unless_most_of_it_would_be_padding():
    """A second batch costs as many steps again."""
    assert batch((1.0, 1_000), (2.0, 100), (3.0, 900), budget=3_000) == [0, 1, 2]
    assert batch((1.0, 400), (2.0, 1_000), (3.0, 600), (4.0, 500)) == [0, 1, 2, 3]
    assert batch((1.0, 100), (2.0, 1_000), (3.0, 110)) == [0, 2]
    assert batch(*[(1.0, 400)] * (MAX_ROWS - 1), (2.0, 1_000), budget=10**6)[-1] == MAX_ROWS - 2
    assert batch((1.0, 400), (2.0, 700), *[(3.0, 1_000, "sounding")] * 40) == [0, 1]  # others do not count


def test_a_row_that_may_have_brought_a_process_down_goes_alone():
    suspect, other = RowCost(1.0, 100, "silent", is_alone=True), RowCost(2.0, 100, "silent")
    assert choose_batch([(suspect, "suspect"), (other, "other")], 10_000) == ["suspect"]
    late = RowCost(3.0, 100, "silent", is_alone=True)
    assert choose_batch([(late, "late"), (other, "other")], 10_000) == ["other"]


@pytest.mark.parametrize(
    ("rows", "budget", "full"), [(1, 250, False), (2, 250, True), (MAX_ROWS - 1, 10**6, False), (MAX_ROWS, 10**6, True)]
)
def test_a_batch_is_full_when_one_more_row_like_these_would_be_too_many(rows: int, budget: int, full: bool):
    assert is_full([RowCost(1.0, 100, "silent")] * rows, budget) is full


costs = st.builds(RowCost, st.floats(0, 10), st.integers(1, 500), st.sampled_from(["a", "b"]), st.booleans())


@given(st.lists(costs, max_size=60), st.integers(1, 5_000))
def test_whatever_waits_the_first_goes_and_the_rest_fits(waiting: list[RowCost], budget: int):
    chosen = choose_batch(list(zip(waiting, waiting, strict=True)), budget)
    assert bool(chosen) == bool(waiting)
    if len(chosen) > 1:
        longest, total = max(cost.tokens for cost in chosen), sum(cost.tokens for cost in chosen)
        assert longest * len(chosen) <= budget
        alike = [cost for cost in waiting if cost.kind == chosen[0].kind and not cost.is_alone]
        few = len(alike) <= MAX_ROWS and max(cost.tokens for cost in alike) * len(alike) <= budget
        assert total >= (FILLED_BY_FEW if few else FILLED) * longest * len(chosen)
        assert len({cost.kind for cost in chosen}) == 1
        assert not any(cost.is_alone for cost in chosen)
    if chosen:
        assert chosen[0].due == min(cost.due for cost in waiting)
