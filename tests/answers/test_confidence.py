"""A score is high where the model was sure of what matters, and low where it was not."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from omni_timeline.answers.answer import Answer
from omni_timeline.answers.confidence import score_edges, score_segments
from omni_timeline.answers.grammar import Grammar
from omni_timeline.answers.parser import parse_segments
from omni_timeline.segments import Segment

if TYPE_CHECKING:
    from omni_timeline.model.qwen2_5_omni.model import OmniModel

NUMERALS = "0123456789."
Doubt = dict[str, float]  # what else the model thought of in a token's place, with its probability


def answer_of(*written: tuple[str, Doubt] | str) -> Answer:
    """An answer of these tokens; each is certain but for its doubt."""
    tokens = [token if isinstance(token, tuple) else (token, {}) for token in written]
    text = "".join(token for token, _ in tokens)
    own = [1 - sum(doubt.values()) for _, doubt in tokens]
    return Answer(
        text=text,
        token_ids=tuple(range(len(tokens))),
        log_probabilities=tuple(map(math.log, own)),
        complete=True,
        offsets=tuple(accumulate((len(token) for token, _ in tokens), initial=0))[:-1],
        numerals=tuple(
            tuple(
                math.log(max(probability if numeral == token else doubt.get(numeral, 0.0), 1e-30))
                for numeral in NUMERALS
            )
            for (token, doubt), probability in zip(tokens, own, strict=True)
        ),
    )


def scores(*written: tuple[str, Doubt] | str, grammar: Grammar | None = None) -> list[float | None]:
    """The scores of the segments of such an answer."""
    answer = answer_of(*written)
    parsed = grammar.read(answer.text) if grammar else parse_segments(answer.text, 48.0)
    return [segment.score for segment in score_segments(parsed, answer)]


def line(*start: tuple[str, Doubt] | str) -> list[tuple[str, Doubt] | str]:
    """From … to 22.3, red square; 10 s long if it starts at 12.3."""
    return ["From", " ", *start, " to", " ", "2", "2", ".", "3", ",", " red", " square", "."]


def test_an_edge_is_as_sure_as_all_its_digits():
    answer = answer_of(*line("1", ("2", {"3": 0.5}), ".", ("3", {"4": 0.2})))
    [(start, end)] = score_edges(parse_segments(answer.text, 48.0), answer)
    assert (start, end) == (pytest.approx(0.4), pytest.approx(1.0))
    clock = answer_of("0:12", " to ", "0:15", ", ", "red", " square")
    assert score_edges(parse_segments(clock.text, 48.0), clock) == ((0.0, 0.0),)


def test_what_is_certain_has_the_score_1():
    assert scores(*line("1", "2", ".", "3")) == [pytest.approx(1)]


@pytest.mark.parametrize(
    ("start", "score"),
    [
        (["1", "2", ".", ("3", {"4": 0.2, "1": 0.3})], 1.0),  # tenths of a second do not matter to ten seconds
        (["1", ("2", {"3": 0.2, "1": 0.3}), ".", "3"], 1.0),
        (["1", ("2", {"9": 0.4}), ".", "3"], 0.6),  # 19 is far from 12.3
        ([("1", {"3": 0.4}), "2", ".", "3"], 0.6),
        ([("1", {"2": 0.4}), ("2", {"7": 0.5}), ".", "3"], 0.3),  # 20 would be far, too
        ([("1", {"9": 0.4}), "2", ".", "3"], 1.0),  # 9.9 was meant, which is near
        (["1", ("2", {".": 0.4}), ".", "3"], 0.6),  # 1.9
        ([("1", {" a": 0.4}), "2", ".", "3"], 0.6),  # no number at all
    ],
)
def test_a_doubtful_digit_costs_by_how_far_it_would_move_the_segment(start: list, score: float) -> None:
    """`score` is what is left of the start; the end is certain, and both make a geometric mean."""
    assert scores(*line(*start)) == [pytest.approx(math.sqrt(score))]


def test_the_same_doubt_weighs_more_in_a_short_segment():
    doubt = ("3", {"5": 0.4})
    long = ["From", " ", "1", ".", doubt, " to", " ", "9", ".", "3", ",", " red", " square", "."]
    short = ["From", " ", "1", ".", doubt, " to", " ", "1", ".", "7", ",", " red", " square", "."]
    assert scores(*long) == [pytest.approx(1)]
    assert scores(*short) == [pytest.approx(math.sqrt(0.6))]


def test_a_doubtful_label_costs_what_it_is_doubted():
    tokens = line("1", "2", ".", "3")
    tokens[-3] = (" red", {" blue": 0.5})
    tokens[-2] = (" square", {" circle": 0.2})
    assert scores(*tokens) == [pytest.approx(0.4)]


def test_descriptions_and_the_ends_of_lines_cost_nothing():
    """What else there is to say of an event, and whether another one follows, is not whether it happened."""
    tokens = [*line("1", "2", ".", "3")[:-1], ":", (" small", {" large": 0.9}), (".\n", {".": 0.9})]
    tokens += [("From", {"": 0.9}), *line("3", ".", "0")[1:-1], (".", {".\n": 0.5})]
    assert scores(*tokens, grammar=Grammar(("red square", "low tone"), 30.0, descriptions=True)) == [
        pytest.approx(1),
        pytest.approx(1),
    ]


def test_each_segment_has_the_score_of_its_own_line():
    """Segments come in order of time, lines as the model wrote them."""
    late = ["From", " ", "2", "0", ".", "0", " to", " ", "2", "2", ".", "0", ",", (" high", {" low": 0.7}), " tone"]
    early = ["From", " ", "1", ".", "0", " to", " ", "2", ".", "0", ",", (" low", {" high": 0.1}), " tone", "."]
    assert scores(*late, ".\n", *early) == [pytest.approx(0.9), pytest.approx(0.3)]


def test_numbers_of_several_digits_in_one_token_count_as_written():
    tokens = line(("12", {"13": 0.25}), ".", "3")
    assert scores(*tokens) == [pytest.approx(math.sqrt(0.75))]


def test_times_that_are_not_plain_numbers_are_scored_by_the_line():
    tokens = ["[0:03-0:07]", (" red", {" blue": 0.25}), " square"]
    assert scores(*tokens) == [pytest.approx(0.75)]


def test_no_segments_have_no_scores():
    assert scores("No", " events", ".") == []


def test_the_demo_checkpoint_is_sure_of_its_samples(demo_model: OmniModel, samples: list) -> None:
    """And of each digit's odds it tells the same twice: among the numerals, and as the token's own."""
    from omni_timeline.media.video import load_clip
    from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
    from omni_timeline.synthetic import LABELS

    inputs = RealTimeInputs(demo_model.processor, demo_model.model)
    for path in samples:
        clip = load_clip(path, resize=inputs.resize)
        grammar = Grammar(LABELS, clip.duration)
        [output] = demo_model.generate(inputs.build([clip]), grammars=[grammar.text])
        segments = score_segments(grammar.read(output.text), output)
        assert segments
        assert all(isinstance(segment, Segment) and (segment.score or 0) > 0.5 for segment in segments)
        for at, numerals, own in zip(output.offsets, output.numerals, output.log_probabilities, strict=True):
            if output.text[at].isdigit():
                assert numerals[int(output.text[at])] == pytest.approx(own, abs=1e-5)
