"""Whatever a model likes best, what it writes is of the grammar, and reads as the project's labels within the clip."""

from __future__ import annotations

import json
import math
import pickle
import random
import re
import unicodedata
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLParserLimits
from transformers import AutoTokenizer

from benchmarks.qwen_vocabulary import VOCABULARY, qwen_tokenizer, random_model
from model_inputs import make_clip
from omni_timeline.answers.answer import NUMERALS, Answer
from omni_timeline.answers.grammar import MAX_CLIP_SECONDS, Grammar
from omni_timeline.answers.lines import NO_EVENTS, format_segments
from omni_timeline.answers.parser import parse_segments
from omni_timeline.errors import ModelError
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.constrained import MOST_AT_ONCE, GrammarCompiler, Writer
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.segments import Segment

SHAPES = ("red square", "red circle", "low tone")
ADVERSARIAL = (
    'say "hi"', "it's", "back\\slash", "a: b", "a - b", "x, y", "日本語：猫", "😀", "e\u0301", "é", "\u200b", "١٢",
    "From 3 to 4", "From 3 to 4, dog", "From 1.0 to 2.0, b: c.\nFrom 3.0 to 4.0, d.", "line\nbreak", "tab\t x",
    "etc.", "etc", "...", "event", "No events", "No events.", "Dog", "dog", "DOG", "Dog runs", "Dog runs fast",
    "Dog. Cat", "12:30", "http://x.y/z?q=1", "*bold*", "`code`", "<|im_end|>", "(2)", "a (2)", "a", " a", "[x]{1,3}|y",
    "{{0}}", "/regex/", "%ignore", "3.5", "start: x", "a" * 300,
)  # fmt: skip


@pytest.fixture(scope="module")
def qwen() -> Any:
    """The tokenizer with the real vocabulary."""
    tokenizer = qwen_tokenizer()
    assert tokenizer.convert_tokens_to_ids(["!", "<|endoftext|>", "<|VIDEO|>"]) == [0, 151_643, 151_656]
    return tokenizer


@pytest.fixture(scope="module")
def demo_grammars() -> GrammarCompiler:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
    return GrammarCompiler(tokenizer, 1024, tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


@pytest.fixture(scope="module")
def qwen_grammars(qwen: Any) -> GrammarCompiler:
    return GrammarCompiler(qwen, VOCABULARY, qwen.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


@pytest.fixture(scope="module", params=["demo", "qwen"])
def grammars(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_grammars")


def takes(grammars: GrammarCompiler, grammar: Grammar, text: str) -> bool:
    """Whether `text` is a whole answer. Character by character, so that "<|im_end|>" is not the end."""
    matcher = grammars.matcher(grammar.text)
    tokens = [token for character in text for token in grammars.tokenizer.tokenize_bytes(character.encode())]
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def test_only_a_token_that_leads_astray_is_kept_from_a_model(demo_grammars: GrammarCompiler) -> None:
    """It writes what it likes wherever it does as it should; else what it likes best of what the grammar allows."""
    matcher = demo_grammars.matcher(Grammar(SHAPES, 48.0).text)
    [begin, space, *_] = demo_grammars.tokenizer.tokenize_str("From 3.2 to 7.8, low tone.")
    [stray] = demo_grammars.tokenizer.tokenize_str(" red")
    scores = torch.zeros(demo_grammars.vocabulary)
    scores[stray], scores[begin] = 3.0, 1.0
    for likeliest in (begin, stray):
        assert Writer(matcher.deep_copy(), demo_grammars.end_ids, 10).write(likeliest, scores) == [begin, space]


def test_what_has_to_follow_is_written_at_once(grammars: GrammarCompiler) -> None:
    """The answer is the same as token by token, and no token of it was chosen where there was no choice."""
    grammar = Grammar(("red square", "red circle", "low tone"), 9.5)
    text = "From 3.2 to 7.8, red square.\nFrom 4.0 to 9.5, low tone."
    token_ids = grammars.tokenizer.tokenize_str(text)
    writer = Writer(grammars.matcher(grammar.text), grammars.end_ids, 100)
    runs = []
    while len(writer.token_ids) < len(token_ids):
        runs.append(writer.write(token_ids[len(writer.token_ids)], torch.zeros(grammars.vocabulary)))
    assert writer.token_ids == token_ids
    assert writer.whole == len(token_ids)
    assert not writer.is_done
    words = [grammars.tokenizer.decode_str(run) for run in runs]
    assert words[:6] == ["From ", "3.", "2 to ", "7.", "8,", " red"]
    assert writer.write(grammars.end_ids[0], torch.zeros(grammars.vocabulary)) == []
    assert writer.complete


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
def test_what_has_to_follow_stays_within_the_limit(demo_grammars: GrammarCompiler, limit: int) -> None:
    token_ids = demo_grammars.tokenizer.tokenize_str("From 3.2 to 7.8, low tone.")
    writer = Writer(demo_grammars.matcher(Grammar(SHAPES, 9.5).text), demo_grammars.end_ids, limit)
    while not writer.is_done:
        assert writer.write(token_ids[len(writer.token_ids)], torch.zeros(demo_grammars.vocabulary))
    assert writer.token_ids == token_ids[:limit]
    assert not writer.complete


def test_a_text_that_has_to_be_is_read_in_steps_of_a_few_tokens(demo_grammars: GrammarCompiler) -> None:
    only = "From 3.2 to 7.8, low tone.\nFrom 3.2 to 7.8, low tone."
    token_ids = demo_grammars.tokenizer.tokenize_str(only)
    writer = Writer(demo_grammars.matcher(f"start: {json.dumps(only)}"), demo_grammars.end_ids, 100)
    runs = list(iter(lambda: writer.write(0, torch.zeros(demo_grammars.vocabulary)), []))
    assert [token_id for run in runs for token_id in run] == token_ids
    assert {len(run) for run in runs[:-1]} == {MOST_AT_ONCE}
    assert writer.complete


def test_a_matcher_that_gives_up_does_not_end_the_answer_unheard(demo_grammars: GrammarCompiler) -> None:
    ambiguous = 'start: many\nmany: many many | "x" | "xx" | "xxx" | ""'
    limits = LLParserLimits(step_max_items=5, max_items_in_row=5)
    matcher = LLMatcher(demo_grammars.tokenizer, ambiguous, limits=limits)
    writer = Writer(matcher, demo_grammars.end_ids, 10)
    with pytest.raises(ModelError, match=r"cannot be held to its grammar: .*Too many items.*lexemes$"):
        writer.write(0, torch.zeros(demo_grammars.vocabulary))


class TestTimes:
    @pytest.mark.parametrize(
        ("duration", "start", "end", "ok"),
        [
            (48.0, "3.2", "7.8", True),
            (48.0, "0.0", "48.0", True),
            (48.0, "9.9", "10.0", True),
            (48.0, "47.9", "48.0", True),
            (48.0, "48.0", "48.0", False),  # start before end
            (48.0, "7.8", "7.8", False),
            (48.0, "7.8", "7.7", False),
            (48.0, "17.8", "9.7", False),
            (48.0, "3.0", "48.1", False),
            (48.0, "03.0", "7.0", False),
            (48.0, "3", "7", False),
            (48.0, "3.25", "7.0", False),
            (48.0, "-1.0", "7.0", False),
            (7.86, "1.0", "7.9", True),  # 7.86 is written 7.9
            (7.84, "1.0", "7.9", False),
            (0.02, "0.0", "0.1", True),  # something has to be sayable of the shortest clip
            (0.02, "0.0", "0.2", False),
            (3600.0, "3599.9", "3600.0", True),
            (3600.0, "999.9", "1000.0", True),
            (3600.0, "1000.0", "999.9", False),
        ],
    )
    def test_lie_inside_the_clip_and_in_order(
        self, demo_grammars: GrammarCompiler, duration: float, start: str, end: str, ok: bool
    ) -> None:
        grammar = Grammar(SHAPES, duration)
        assert takes(demo_grammars, grammar, f"From {start} to {end}, red square.") is ok

    @given(tenths=st.integers(1, 520), a=st.integers(0, 560), b=st.integers(0, 560))
    def test_are_all_those_that_can_be(self, tenths: int, a: int, b: int) -> None:
        """The pattern is an ordinary regular expression, so Python's own engine can check it."""
        [pattern] = re.findall(r"^TIMES: /(.*)/$", Grammar((), tenths / 10).text, re.MULTILINE)
        matched = re.fullmatch(pattern, f"{a / 10:.1f} to {b / 10:.1f}")
        assert bool(matched) == (a < b <= tenths)

    @pytest.mark.parametrize("duration", [0.0, -1.0, math.nan, math.inf, MAX_CLIP_SECONDS * 2])
    def test_of_no_clip_are_refused(self, duration: float) -> None:
        with pytest.raises(ValueError, match="a grammar is for"):
            Grammar(SHAPES, duration)


class TestLines:
    @pytest.mark.parametrize(
        ("text", "ok"),
        [
            ("No events.", True),
            ("From 1.0 to 2.0, red square.", True),
            ("From 1.0 to 2.0, red square.\nFrom 0.0 to 9.0, low tone.", True),
            ("From 1.0 to 2.0, red square.\n", True),
            ("", False),
            ("No events.\nFrom 1.0 to 2.0, red square.", False),
            ("From 1.0 to 2.0, red square", False),
            ("From 1.0 to 2.0, red squares.", False),
            ("From 1.0 to 2.0, Red square.", False),
            ("From 1.0 to 2.0, red square: small.", False),
            ("from 1.0 to 2.0, red square.", False),
            ("From 1.0 to 2.0, red square.\n\nFrom 1.0 to 2.0, low tone.", False),
        ],
    )
    def test_of_a_closed_set(self, grammars: GrammarCompiler, text: str, ok: bool) -> None:
        assert takes(grammars, Grammar(SHAPES, 10.0), text) is ok

    def test_may_describe_or_not_where_that_is_allowed(self, grammars: GrammarCompiler) -> None:
        grammar = Grammar(SHAPES, 10.0, descriptions=True)
        assert takes(grammars, grammar, "From 1.0 to 2.0, red square.\nFrom 2.0 to 3.0, low tone: a hum. It fades.")
        assert not takes(grammars, grammar, "From 1.0 to 2.0, red square: .")
        assert not takes(grammars, grammar, f"From 1.0 to 2.0, red square: {'a' * 241}.")

    def test_have_the_only_label_where_there_is_one(self, grammars: GrammarCompiler) -> None:
        assert takes(grammars, Grammar(("Applause",), 10.0), "From 1.0 to 2.0, Applause.")
        assert not takes(grammars, Grammar(("Applause",), 10.0), "From 1.0 to 2.0, laughter.")

    def test_are_free_where_there_is_nothing_to_choose(self, grammars: GrammarCompiler) -> None:
        grammar = Grammar((), 10.0)
        assert takes(grammars, grammar, "From 1.0 to 2.0, 一只猫 jumps, twice.")
        assert not takes(grammars, grammar, "From 1.0 to 2.0,  .")
        assert not takes(grammars, grammar, "From 1.0 to 2.0, a\u2028b.")
        assert not takes(grammars, grammar, f"From 1.0 to 2.0, {'a' * 81}.")

    def test_are_not_more_than_agreed(self, grammars: GrammarCompiler) -> None:
        lines = ["From 1.0 to 2.0, low tone."] * 4
        grammar = Grammar(SHAPES, 10.0, max_lines=3)
        assert takes(grammars, grammar, "\n".join(lines[:3]))
        assert not takes(grammars, grammar, "\n".join(lines))

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 470), st.integers(1, 10), st.sampled_from(SHAPES), st.sampled_from(("", "a hum. Loud"))
            ),
            max_size=5,
        )
    )
    def test_are_those_that_models_are_trained_to_write(
        self, demo_grammars: GrammarCompiler, events: list[tuple[int, int, str, str]]
    ) -> None:
        """And they read as the tolerant parser reads them."""
        segments = [Segment(start / 10, (start + length) / 10, *words) for start, length, *words in events]
        text = format_segments(segments)
        grammar = Grammar(SHAPES, 48.0, descriptions=True)
        assert takes(demo_grammars, grammar, text)
        assert grammar.read(text) == parse_segments(text, 48.0)

    @pytest.mark.parametrize("hours", [1, 3])
    def test_of_hours_can_be_followed(self, qwen_grammars: GrammarCompiler, hours: int) -> None:
        text = f"From 1234.5 to {3600 * hours - 1}.9, low tone."
        assert takes(qwen_grammars, Grammar(SHAPES, 3600.0 * hours), text)

    def test_that_llguidance_does_not_take_are_an_error_and_no_answer(self, demo_grammars: GrammarCompiler) -> None:
        with pytest.raises(ModelError, match="cannot be compiled"):
            demo_grammars.matcher("start: nothing")


class TestLabels:
    @pytest.mark.parametrize("descriptions", [False, True])
    def test_however_odd_come_back(self, grammars: GrammarCompiler, descriptions: bool) -> None:
        grammar = Grammar(ADVERSARIAL, 48.0, descriptions)
        assert sorted(grammar.spoken.values()) == sorted(ADVERSARIAL)
        for spoken, label in grammar.spoken.items():
            text = f"From 1.0 to 2.0, {spoken}.\nFrom 3.0 to 4.0, {spoken}."
            assert takes(grammars, grammar, text), spoken
            parsed = grammar.read(text)
            assert parsed.segments == (Segment(1.0, 2.0, label), Segment(3.0, 4.0, label))
            assert not parsed.warnings

    @given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=6, unique=True))
    def test_of_any_kind_come_back(self, labels: list[str]) -> None:
        grammar = Grammar(tuple(labels), 48.0, descriptions=True)
        for spoken, label in grammar.spoken.items():
            assert grammar.read(f"From 1.0 to 2.0, {spoken}: why.").segments == (Segment(1.0, 2.0, label, "why"),)
        assert sorted(grammar.spoken.values()) == sorted(labels)

    def test_are_written_as_models_are_trained_to_write_them(self) -> None:
        grammar = Grammar(ADVERSARIAL, 48.0)
        for spoken, label in grammar.spoken.items():
            if not re.search(r" \(\d\)$", spoken):
                assert format_segments([Segment(1.0, 2.0, label)]) == f"From 1.0 to 2.0, {spoken}."

    def test_that_are_written_as_they_are_keep_their_name(self) -> None:
        """A second one that would be written the same gets a number, whichever comes first in the project."""
        assert Grammar(("a: b", "a - b", "etc.", "etc"), 9.0).spoken == {
            "a - b": "a - b", "etc": "etc", "a - b (2)": "a: b", "etc (2)": "etc.",
        }  # fmt: skip

    @pytest.mark.parametrize("labels", [("a", "a"), ("a", " "), ("",)])
    def test_that_are_none_are_refused(self, labels: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match="labels are different words"):
            Grammar(labels, 9.0)


class TestReading:
    grammar = Grammar(SHAPES, 9.96, descriptions=True)

    @pytest.mark.parametrize("text", ["", "No events.", "No events.\n", "\n"])
    def test_no_events(self, text: str) -> None:
        assert self.grammar.read(text).segments == ()
        assert self.grammar.read(text).warnings == ()

    def test_spans_are_the_lines_of_the_segments(self) -> None:
        text = "From 3.0 to 4.0, low tone: a hum.\nFrom 1.0 to 2.0, red square.\n"
        parsed = self.grammar.read(text)
        assert [segment.label for segment in parsed.segments] == ["red square", "low tone"]
        assert [text[slice(*span)] for span in parsed.spans] == text.splitlines()[::-1]

    def test_an_end_that_rounding_puts_behind_the_clip_is_its_end(self) -> None:
        assert self.grammar.read("From 3.0 to 10.0, low tone.").segments == (Segment(3.0, 9.96, "low tone"),)

    @pytest.mark.parametrize(
        ("line", "count"),
        [
            ("From 4.0 to 3.0, low tone.", "reversed"),
            ("From 11.0 to 12.0, low tone.", "outside"),
            ("From 1.0 to 2.0, red square.", "repeated"),
            ("From 3.0 to 4.0, high tone.", "unreadable"),
            ("From 3.0 to 4.0, low to", "cut_off"),
        ],
    )
    def test_what_cannot_be_is_dropped_and_counted(self, line: str, count: str) -> None:
        parsed = self.grammar.read(f"From 1.0 to 2.0, red square.\n{line}")
        assert parsed.segments == (Segment(1.0, 2.0, "red square"),)
        assert getattr(parsed.counts, count) == 1
        assert len(parsed.warnings) == 1

    def test_a_grammar_can_be_sent_to_another_process(self) -> None:
        """Before it was used and after, when it remembers what follows from it."""
        fresh = pickle.loads(pickle.dumps(Grammar(SHAPES, 9.0)))
        assert fresh == Grammar(SHAPES, 9.0)
        text = fresh.text
        assert pickle.loads(pickle.dumps(fresh)).text == text


# --- Models that know nothing ----------------------------------------------------------------------------------------


def check(grammar: Grammar, text: str, *, complete: bool = True) -> None:
    parsed = grammar.read(text)
    assert set(parsed.warnings) <= {w for w in parsed.warnings if "repeated" in w}, text
    lines = text.rstrip("\n").split("\n") if text else []
    assert len(parsed.segments) + parsed.counts.repeated == len(lines) - (text == NO_EVENTS), text
    assert len(lines) <= grammar.max_lines
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for line in lines for character in line)
    for segment in parsed.segments:
        assert 0 <= segment.start < segment.end <= grammar.duration
        assert grammar.is_free or segment.label in grammar.labels
    assert text or not complete


CASES = [
    Grammar(SHAPES, 12.3, max_lines=3),
    Grammar(SHAPES, 47.96, descriptions=True, max_lines=2),
    Grammar((), 0.7, max_lines=2),
    Grammar((), 600.0, descriptions=True, max_lines=2),
    Grammar(ADVERSARIAL, 48.0, max_lines=4),
    Grammar(tuple(f"label {number}" for number in range(200)), 48.0, max_lines=4),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@pytest.mark.parametrize("seed", range(2))
def test_any_walk_through_the_allowed_tokens_is_an_answer(grammars: GrammarCompiler, case: int, seed: int) -> None:
    """Every token that the mask allows leads somewhere, and ends are allowed where a line has ended only."""
    rng = random.Random(seed)
    matcher = grammars.matcher(CASES[case].text)
    tokens: list[int] = []
    while not matcher.is_stopped():
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [token for token in range(mask.bit_length()) if mask >> token & 1] if mask.bit_count() < 400 else []
        while not allowed:
            guess = rng.randrange(mask.bit_length())
            allowed = [guess] if mask >> guess & 1 else []
        token = rng.choice(allowed)
        if token in grammars.end_ids:
            break
        assert matcher.consume_token(token)
        tokens.append(token)
    check(CASES[case], grammars.tokenizer.decode_str(tokens))


@pytest.fixture(scope="module", params=["demo", "qwen"])
def scatterbrain(request: pytest.FixtureRequest) -> OmniModel:
    """A model with random weights: what it likes has nothing to do with what is allowed."""
    return random_model(request.getfixturevalue("qwen") if request.param == "qwen" else None)


@pytest.fixture(scope="module")
def answers(scatterbrain: OmniModel) -> list[Answer]:
    """One batch for all cases, of clips of different durations."""
    clips = [make_clip(grammar.duration if grammar.duration < 60 else 60, 5, sound=False) for grammar in CASES]
    inputs = RealTimeInputs(scatterbrain.processor, scatterbrain.model).build(clips)
    return scatterbrain.generate(inputs, grammars=[grammar.text for grammar in CASES], max_new_tokens=1500)


def test_random_weights_answer_within_the_grammar(answers: list[Answer]) -> None:
    for grammar, output in zip(CASES, answers, strict=True):
        assert output.complete
        check(grammar, output.text)


def test_what_random_weights_say_is_scored_by_what_they_thought(scatterbrain: OmniModel, answers: list[Answer]) -> None:
    """Not by what the grammar left of it: then a line without a choice would be certain."""
    for output in answers:
        assert len(output.token_ids) == len(output.log_probabilities) == len(output.offsets) == len(output.numerals)
        assert output.log_probabilities[0] < -3  # "From" or "No", of which random weights know nothing
        assert list(output.offsets) == sorted(output.offsets)
        for token_id, log_probability, numerals in zip(
            output.token_ids, output.log_probabilities, output.numerals, strict=True
        ):
            token = scatterbrain.processor.tokenizer.decode([token_id])
            if token in list(NUMERALS):
                assert numerals[NUMERALS.index(token)] == pytest.approx(log_probability)


@pytest.mark.parametrize("limit", [1, 10, 23, 40])
def test_an_answer_that_is_cut_off_ends_with_a_whole_line(scatterbrain: OmniModel, limit: int) -> None:
    grammars = [Grammar(SHAPES, 12.0), Grammar(SHAPES, 47.9)]
    clips = [make_clip(grammar.duration, 5, sound=False) for grammar in grammars]
    inputs = RealTimeInputs(scatterbrain.processor, scatterbrain.model).build(clips)
    for grammar, output in zip(
        grammars,
        scatterbrain.generate(inputs, grammars=[grammar.text for grammar in grammars], max_new_tokens=limit),
        strict=True,
    ):
        check(grammar, output.text, complete=output.complete)
        assert output.complete or not output.text or output.text.endswith((".", ".\n"))
        assert len(output.token_ids) <= limit


def test_each_row_needs_a_grammar(scatterbrain: OmniModel) -> None:
    inputs = RealTimeInputs(scatterbrain.processor, scatterbrain.model).build([make_clip(3, 5, sound=False)])
    with pytest.raises(ValueError, match="1 clips need as many grammars, got 2"):
        scatterbrain.generate(inputs, grammars=[grammar.text for grammar in CASES[:2]])
