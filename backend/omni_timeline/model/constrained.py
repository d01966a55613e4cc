"""What happens at each token that a model writes: a grammar says which may follow, and the model's own scores are kept.

Knows llguidance and the order in which things have to happen: scores are noted before a grammar touches them, for
confidence is about what the model thought, not about what it was left with. Knows no checkpoint and no segments.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import llguidance.hf
import torch
from llguidance import LLMatcher
from torch import Tensor
from transformers import LogitsProcessor

from omni_timeline.errors import ModelError

KEPT_GRAMMARS = 32  # compiled ones; the windows of a video share one, but for the last


class LogProbRecorder(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Notes the model's log-probability of each token that `generate` chooses, and of each numeral beside it.

    Each step learns of the choice from the next one's sequence, so that these few scores are kept of a step, not all
    152 thousand of each row. A grammar is followed only then, for it changes the scores in place.

    Args:
        numeral_ids: the tokens of NUMERALS.
        constraint: what the answers are held to, or None.
        on_step: called at each step: a sign of life.
    """

    def __init__(
        self,
        numeral_ids: Sequence[int],
        constraint: GrammarConstraint | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        self._constraint = constraint
        self._on_step = on_step
        self._numeral_ids = torch.tensor(numeral_ids, dtype=torch.long)
        self._chosen: list[Tensor] = []
        self._numerals: list[Tensor] = []
        self._latest: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, and -inf for what a grammar forbids."""
        if self._on_step is not None:
            self._on_step()
        self._note(input_ids)
        self._latest = scores.float().log_softmax(-1)
        self._numeral_ids = self._numeral_ids.to(scores.device)
        self._numerals.append(self._latest[:, self._numeral_ids])
        return scores if self._constraint is None else self._constraint.hold(scores)

    def of(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """For the finished sequences: rows × new tokens, and rows × new tokens × numerals."""
        self._note(sequences)
        return torch.stack(self._chosen, dim=1), torch.stack(self._numerals, dim=1)

    def _note(self, sequences: Tensor) -> None:
        if self._latest is None:  # nothing is chosen yet: the first step brings the prompt alone
            return
        self._chosen.append(self._latest.gather(1, sequences[:, -1:]).squeeze(1))
        if self._constraint is not None:
            self._constraint.note(sequences[:, -1].tolist())


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
        """A fresh matcher.

        Raises:
            ModelError: llguidance does not take the grammar.
        """
        with self._lock:
            compiled = self._compiled.pop(grammar, None) or LLMatcher(self.tokenizer, grammar)
            if compiled.is_error():
                raise ModelError(f"The grammar cannot be compiled: {compiled.get_error()}")
            self._compiled[grammar] = compiled
            while len(self._compiled) > KEPT_GRAMMARS:
                self._compiled.popitem(last=False)
            return compiled.deep_copy()


class GrammarConstraint:
    """Holds each row of a batch to its grammar and its length; made for each `generate`, which decodes greedily.

    Args:
        matchers: one for each row; None for one that may write what it will.
        end_ids: the tokens that end an answer.
        vocabulary: how many tokens the model scores.
        limits: how many tokens each row may have; one that has them is made to end, so that the others need not wait.

    Attributes:
        whole: for each row, up to how many tokens what is written so far could end; 0 where it never could, None for a
            row without a grammar.
    """

    def __init__(
        self, matchers: Sequence[LLMatcher | None], end_ids: Sequence[int], vocabulary: int, limits: Sequence[int]
    ) -> None:
        self._matchers = matchers
        self._limits = limits
        self._end_ids = frozenset(end_ids)
        self._ends = bytearray(vocabulary)
        for token_id in end_ids:
            self._ends[token_id] = 1
        self._ended = [False] * len(matchers)
        self._length = 0  # tokens that were noted
        self.whole: list[int | None] = [None if matcher is None else 0 for matcher in matchers]

    def hold(self, scores: Tensor) -> Tensor:
        """The scores of the next tokens; in a row whose likeliest token is not allowed, -inf for all that are not.

        To ask about one token is far quicker than about all, and mostly the model does as it should.

        Raises:
            ModelError: a matcher gave up; it would end the answer there, and say nothing.
        """
        for row, (matcher, likeliest) in enumerate(zip(self._matchers, scores.argmax(-1).tolist(), strict=True)):
            if self._ended[row]:  # and is padded until the others are done
                continue
            allowed = self._allowed(matcher, likeliest, is_full=self._length >= self._limits[row])
            if matcher is not None and matcher.is_error():
                raise _cannot_follow(matcher)
            if allowed is not None:
                forbidden = torch.frombuffer(allowed, dtype=torch.uint8) == 0
                scores[row].masked_fill_(forbidden.to(scores.device), -torch.inf)
        return scores

    def _allowed(self, matcher: LLMatcher | None, likeliest: int, *, is_full: bool) -> bytearray | None:
        """A byte for each token, 0 where it may not follow; None where the likeliest one may."""
        if is_full or (matcher is not None and matcher.is_stopped()):
            return self._ends
        if matcher is None or matcher.validate_tokens([likeliest]):
            return None
        return bytearray(matcher.compute_logit_bias())

    def note(self, token_ids: Sequence[int]) -> None:
        """Takes the token that was chosen for each row to its matcher.

        Raises:
            ModelError: a matcher does not take it, though it was allowed.
        """
        self._length += 1
        for row, (matcher, token_id) in enumerate(zip(self._matchers, token_ids, strict=True)):
            if self._ended[row] or token_id in self._end_ids:
                self._ended[row] = True
                continue
            if matcher is None:
                continue
            if not matcher.consume_token(token_id):
                raise _cannot_follow(matcher)
            if matcher.is_accepting():
                self.whole[row] = self._length


def _cannot_follow(matcher: LLMatcher) -> ModelError:
    reason, *_ = matcher.get_error().splitlines()  # the others are llguidance's state
    return ModelError(f"The answer cannot be held to its grammar: {reason}")
