from __future__ import annotations

import pytest

from omni_timeline.errors import RequestError
from omni_timeline.model.prompts import DEFAULT_PROMPT, DEFAULT_USER, Prompt, with_labels


def test_the_default_prompt_is_the_original_experiments_word_for_word():
    assert Prompt() == DEFAULT_PROMPT == Prompt(user=DEFAULT_USER, system=None)
    assert DEFAULT_USER == (
        "Could you detail events during different time segments? Format strictly:\n"
        "From xx to xx, event1.\nFrom xx to xx, event2.\n..."
    )


def test_labels_are_named_on_one_more_line_in_the_callers_order():
    prompt = with_labels(["red square", "low tone"])
    assert prompt.user == DEFAULT_USER + "\nUse only these labels: red square, low tone."
    assert prompt.system is None


@pytest.mark.parametrize(
    ("labels", "hints", "line"),
    [
        (["goal"], None, "Use only these labels: goal."),
        (["goal", "goal", " goal "], None, "Use only these labels: goal."),
        (["goal", "foul"], {"foul": "the  whistle\nblows", "corner": "unused"},
         "Use only these labels: goal, foul (the whistle blows)."),
        # A comma inside a label would read as two labels.
        (["wind, rain", "sun"], None, "Use only these labels: wind, rain; sun."),
        (["说话", "动作"], None, "Use only these labels: 说话, 动作."),
    ],
)  # fmt: skip
def test_the_line_of_labels_can_be_read_in_one_way_only(labels, hints, line):
    assert with_labels(labels, hints).user.splitlines()[-1] == line


def test_labels_are_added_to_the_callers_own_prompt():
    own = Prompt(user="List the goals.", system="You watch football.")
    assert with_labels(["goal"], prompt=own) == Prompt(
        user="List the goals.\nUse only these labels: goal.", system="You watch football."
    )


@pytest.mark.parametrize("labels", [[], [""], ["goal", "  "]])
def test_blank_labels_are_refused(labels):
    with pytest.raises(RequestError, match="at least one"):
        with_labels(labels)


def test_a_prompt_file_is_the_users_words_without_the_space_around_them(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes("\ufeff\nList every goal.\nFrom xx to xx, goal.\n\n".encode())
    assert Prompt.from_file(path) == Prompt(user="List every goal.\nFrom xx to xx, goal.")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read: No such file"), (b" \n", "is empty"), (b"\xff\xfe\x00\xd8", "not UTF-8")],
)
def test_a_prompt_file_that_cannot_be_used_says_why_and_which(tmp_path, content, complaint):
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=complaint) as error:
        Prompt.from_file(path)
    assert str(path) in str(error.value)


def test_a_prompt_of_no_words_is_refused():
    with pytest.raises(RequestError, match="empty"):
        Prompt(user=" \n")
