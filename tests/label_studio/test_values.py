from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_timeline.label_studio.values import look_up, number, score, shortened, strings


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (30, 30.0),
        ("29.97", 29.97),
        (" 25\n", 25.0),
        ("1e2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3.0),
        (2**53 - 1, 2.0**53 - 1),
        (2**53, None),  # beyond it a float no longer counts ones
        (10**400, None),
        ("9" * 5000, math.inf),
        ("1_000", None),  # a number to Python, none to JavaScript
        ("３０", None),
        ("0x10", None),
        ("", None),
        ("fast", None),
        ([30], None),
        ({"value": 30}, None),
        (None, None),
    ],
)
def test_numbers_are_those_of_javascript(value, read):
    assert number(value) == read if read is not None else math.isnan(number(value))


@pytest.mark.parametrize(
    ("value", "read"), [(0, 0.0), (0.5, 0.5), (1, 1.0), (1.01, None), (-1, None), (True, None), ("0.5", None)]
)
def test_a_score_is_a_number_from_0_to_1(value, read):
    assert score(value) == read


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("fps", 30),
        ("meta.fps", 25),
        ("rates[1]", 50),
        ("rates[1].x", None),
        ("rates[2]", None),
        ("rates[-1]", None),
        ("meta[fps]", 25),
        ("rates[01]", None),  # no place of a list, to JavaScript
        ("a.b", "as one key"),  # before the nested one, as in the editor
        ("meta", {"fps": 25}),
        ("meta.fps.x", None),
        ("", None),
        (f"rates[{'1' * 5000}]", None),  # more digits than Python reads
        ("rates[²]", None),  # a digit to Python's isdigit
    ],
)
def test_paths_lead_where_the_editor_finds_something(path, found):
    data = {"fps": 30, "meta": {"fps": 25}, "rates": [25, 50], "a.b": "as one key", "a": {"b": "nested"}}
    assert look_up(data, path) == found


def test_a_value_in_a_message_is_one_short_line():
    assert shortened("a\nb\x85\ud800") == "a\\nb\\x85\\ud800"
    assert shortened({"a": 1}) == "{'a': 1}"
    assert shortened("x" * 201) == "x" * 200 + "…"
    assert shortened("señor　日本\u202e") == "señor 日本\\u202e"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(max_examples=100)
@given(json_values, st.text())
def test_no_value_raises(value, path):
    assert number(value) is not None
    assert score(value) is None or 0 <= score(value) <= 1
    assert all(isinstance(text, str) for text in strings(value))
    assert json.dumps(look_up(value, path)) is not None
    assert shortened(value).isprintable()
