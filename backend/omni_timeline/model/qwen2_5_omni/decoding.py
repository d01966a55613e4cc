"""Greedy decoding of a batch in which a row reads several tokens in one step where its grammar left no choice.

transformers' `generate` has every row read one token a step, until the last one is done. Two fifths of an answer's
tokens follow from those before them, and a step hardly costs more with two tokens than with one. Rows that wrote fewer
tokens than others are padded, and their padding is masked as that of their prompts is. Rows that are done are left out.
docs/grammar.md measures the gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from omni_timeline.model.constrained import Writer
from omni_timeline.model.qwen2_5_omni.cache import roomy_cache
from omni_timeline.model.qwen2_5_omni.prefill import read_prompts

LEFT = 0.8  # of the rows of a step: when no more than these have something left to write, the others are left out


@dataclass(frozen=True)
class Scores:
    """What the model thought of what a row wrote, whatever its grammar allowed: natural logarithms of probabilities.

    Attributes:
        tokens: of each token that was written.
        numerals: of each numeral in the place of each of these tokens.
    """

    tokens: list[float]
    numerals: list[list[float]]


def decode(
    model: Any,
    inputs: Mapping[str, Any],
    writers: Sequence[Writer],
    numeral_ids: Sequence[int],
    on_step: Callable[[], None] | None = None,
) -> list[Scores]:
    """Has each row written to its end or its limit.

    Args:
        model: a Qwen2_5OmniThinkerForConditionalGeneration.
        inputs: what it reads, on its device.
        writers: one for each row.
        numeral_ids: the tokens of NUMERALS.
        on_step: called at each step: a sign of life.

    Raises:
        ModelError: a grammar cannot be followed.
    """
    cache = roomy_cache(model.config.get_text_config())
    logits, mask, position = read_prompts(model, inputs, cache)
    notes = _Notes(len(writers), numeral_ids, mask.device)
    rows = list(range(len(writers)))  # those that the tensors are of
    unread = [[0]] * len(rows)  # the tokens of each row that the logits are of: first the last one of its prompt
    while True:
        if on_step is not None:
            on_step()
        last = logits[range(len(rows)), [max(len(tokens) - 1, 0) for tokens in unread]]
        written = [
            writers[row].write(likeliest, scores)
            for row, likeliest, scores in zip(rows, last.argmax(-1).tolist(), last, strict=True)
        ]
        notes.take(rows, logits, [old[1:] + new[:1] for old, new in zip(unread, written, strict=True)])
        unread = written
        left = [place for place, row in enumerate(rows) if len(unread[place]) > 1 or not writers[row].is_done]
        if not left:
            return notes.scores()
        if len(left) <= LEFT * len(rows):
            kept = torch.tensor(left, device=mask.device)
            cache.batch_select_indices(kept)
            mask, position = mask[kept], position[kept]
            rows, unread = [rows[place] for place in left], [unread[place] for place in left]
        token_ids, is_token = _padded(unread, max(map(len, unread)), mask.device)
        mask = torch.cat((mask, is_token.to(mask.dtype)), dim=1)
        places = position + torch.arange(token_ids.shape[1], device=mask.device)
        position = position + is_token.sum(1, keepdim=True)
        logits = model(
            input_ids=token_ids,
            attention_mask=mask,
            position_ids=places.expand(3, -1, -1),
            cache=cache,
            use_cache=True,
        ).logits


class _Notes:
    """Notes the scores of what is written, step by step: a dozen numbers for each token, not 152 thousand."""

    def __init__(self, rows: int, numeral_ids: Sequence[int], device: torch.device) -> None:
        self._count = rows
        self._numeral_ids = torch.tensor(numeral_ids, device=device)
        self._steps: list[tuple[Sequence[int], list[int], Tensor, Tensor]] = []

    def take(self, rows: Sequence[int], logits: Tensor, token_ids: Sequence[Sequence[int]]) -> None:
        """The scores of these rows (rows × positions × vocabulary), and what was written in each, from the first on."""
        wanted, _ = _padded(token_ids, logits.shape[1], logits.device)
        scores = logits.float().log_softmax(-1)
        of_tokens, of_numerals = scores.gather(2, wanted[..., None])[..., 0], scores[..., self._numeral_ids]
        self._steps.append((rows, [len(tokens) for tokens in token_ids], of_tokens, of_numerals))

    def scores(self) -> list[Scores]:
        """Of each row."""
        found = [Scores([], []) for _ in range(self._count)]
        for rows, counts, of_tokens, of_numerals in self._steps:
            for row, count, *noted in zip(rows, counts, of_tokens.tolist(), of_numerals.tolist(), strict=True):
                found[row].tokens.extend(noted[0][:count])
                found[row].numerals.extend(noted[1][:count])
        return found


def _padded(rows: Sequence[Sequence[int]], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows × width: the tokens, zeros behind them; and which of these are tokens."""
    filled = [[*row, *[0] * (width - len(row))] for row in rows]
    lengths = torch.tensor([[len(row)] for row in rows], device=device)
    return torch.tensor(filled, device=device), torch.arange(width, device=device) < lengths
