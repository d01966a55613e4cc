"""A grammar can be followed by any number of answers, one after the other."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoTokenizer

from omni_timeline.answers.grammar import Grammar
from omni_timeline.answers.lines import format_segments
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.constrained import GrammarCompiler, Writer
from omni_timeline.segments import Segment

SHAPES = ("red square", "red circle", "low tone")


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_FOLDER)
    return GrammarCompiler(tokenizer, 1024, tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


def write_lines(grammars: GrammarCompiler, grammar: str, rng: random.Random) -> None:
    """Have an answer of a few lines written, with times up to 47.5 s."""
    tenths = sorted(rng.sample(range(475), 16))
    segments = [
        Segment(start / 10, end / 10, rng.choice(SHAPES), "x" + "".join(rng.choices("abcdefgh ", k=100)) + "x")
        for start, end in zip(tenths[::2], tenths[1::2], strict=True)
    ]
    token_ids = grammars.tokenizer.tokenize_str(format_segments(segments))
    writer = Writer(grammars.matcher(grammar), grammars.end_ids, 2000)
    while len(writer.token_ids) < len(token_ids):
        assert writer.write(token_ids[len(writer.token_ids)], torch.zeros(grammars.vocabulary))
    assert writer.token_ids == token_ids


@pytest.mark.parametrize("labels", [SHAPES, ()])
def test_a_grammar_lasts_for_any_number_of_answers(grammars: GrammarCompiler, labels: tuple[str, ...]) -> None:
    grammar, rng = Grammar(labels, 47.5, descriptions=True).text, random.Random(0)
    grammars.matcher(grammar).compute_logit_bias()  # from then on llguidance counts what its lexer builds
    for _ in range(200):
        write_lines(grammars, grammar, rng)
