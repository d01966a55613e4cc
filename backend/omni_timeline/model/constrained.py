"""What is written at each place of an answer: the token that the model finds likeliest of those that a grammar allows.

Knows llguidance. Knows no checkpoint and no segments; how a model is run is for its family to know.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import llguidance.hf
import torch
from llguidance import LLMatcher, LLParserLimits
from torch import Tensor

from omni_timeline.errors import ModelError

KEPT_GRAMMARS = 32  # compiled ones; the windows of a video share one, but for the last
# llguidance gives up once a lexer has built so many expressions and states; the copies of a matcher have one lexer, so
# with its own limits a grammar for 48 s came to an end after a few dozen answers. What ours can build is finite anyway.
_ANY_NUMBER = 10**12
_LIMITS = LLParserLimits(initial_lexer_fuel=_ANY_NUMBER, step_lexer_fuel=_ANY_NUMBER, max_lexer_states=_ANY_NUMBER)
MOST_AT_ONCE = 8  # tokens of a row that a model reads in one step: each is scored against the whole vocabulary


class GrammarCompiler:
    """The grammars that a tokenizer can follow; compiled ones are kept. Any thread may call it.

    Args:
        tokenizer: a fast tokenizer of transformers.
        vocabulary: how many tokens the model scores; more than the tokenizer has, since models are padded.
        end_ids: the tokens that end an answer.

    Attributes:
        tokenizer: llguidance's own picture of the tokenizer: the bytes of each token.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, end_ids: Sequence[int]) -> None:
        self.end_ids = tuple(end_ids)
        self.vocabulary = vocabulary
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(end_ids))
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, grammar: str) -> LLMatcher:
        """A fresh matcher; those of one grammar have one lexer, so that what one has worked out the others know.

        Raises:
            ModelError: llguidance does not take the grammar.
        """
        with self._lock:
            compiled = self._compiled.pop(grammar, None) or LLMatcher(self.tokenizer, grammar, limits=_LIMITS)
            if compiled.is_error():
                raise ModelError(f"The grammar cannot be compiled: {compiled.get_error()}")
            self._compiled[grammar] = compiled
            while len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
            return compiled.deep_copy()


class Writer:
    """Writes the answer of one row of a batch: at each place the likeliest token that may follow.

    Where the grammar leaves no choice, as after "From 3.2 t", the tokens that have to follow are written at once: a
    model reads them all in its next step.

    Args:
        matcher: holds the answer to its grammar; None for one that may say what it will.
        end_ids: the tokens that end an answer.
        limit: how many tokens it may have, without its end.

    Attributes:
        token_ids: what is written, without the end.
        complete: whether the answer has come to its end.
        whole: after how many of these tokens the answer could last have ended; 0 where it never could, None without a
            grammar.
    """

    def __init__(self, matcher: LLMatcher | None, end_ids: Sequence[int], limit: int) -> None:
        self._matcher = matcher
        self._end_ids = frozenset(end_ids)
        self._limit = limit
        self.token_ids: list[int] = []
        self.complete = False
        self.whole: int | None = None if matcher is None else 0

    @property
    def is_done(self) -> bool:
        """Whether nothing more will be written."""
        return self.complete or len(self.token_ids) == self._limit

    def write(self, likeliest: int, scores: Tensor) -> list[int]:
        """The next token and those that have to follow it; none where the answer is at its end or its limit.

        Args:
            likeliest: the token that the model finds likeliest.
            scores: the model's scores of all tokens.

        Raises:
            ModelError: the grammar cannot be followed; to end the answer there would be to say nothing of it.
        """
        if self.is_done:
            return []
        begin = len(self.token_ids)
        chosen = likeliest if self._matcher is None else self._allowed(self._matcher, likeliest, scores)
        self.complete = chosen in self._end_ids
        if not self.complete:
            self._take(chosen)
            for token_id in self._forced():
                self._take(token_id)
        return self.token_ids[begin:]

    def _allowed(self, matcher: LLMatcher, likeliest: int, scores: Tensor) -> int:
        """The likeliest token, or the likeliest of those that may follow.

        To ask about one token is far quicker than about all, and mostly the model does as it should.
        """
        if not matcher.validate_tokens([likeliest]):
            forbidden = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8) == 0
            likeliest = int(scores.masked_fill(forbidden.to(scores.device), -torch.inf).argmax())
        if matcher.is_error():
            raise _cannot_follow(matcher)
        return likeliest

    def _forced(self) -> list[int]:
        """The tokens that have to follow what is written, as far as they may be read at once."""
        room = min(MOST_AT_ONCE - 1, self._limit - len(self.token_ids))
        if self._matcher is None or room == 0:
            return []
        forced: list[int] = self._matcher.compute_ff_tokens()[:room]
        return forced

    def _take(self, token_id: int) -> None:
        self.token_ids.append(token_id)
        if self._matcher is None:
            return
        if not self._matcher.consume_token(token_id):
            raise _cannot_follow(self._matcher)
        if self._matcher.is_accepting():
            self.whole = len(self.token_ids)


def _cannot_follow(matcher: LLMatcher) -> ModelError:
    reason, *_ = matcher.get_error().splitlines()  # the others are llguidance's state
    return ModelError(f"The answer cannot be held to its grammar: {reason}")
