"""An answer of a model about one clip, token by token, as plain values.

Knows no model, no torch and no meaning of the text: `confidence` reads the probabilities, `grammar` and `parser` the
words.
"""

from __future__ import annotations

from dataclasses import dataclass

NUMERALS = "0123456789."  # what times are written with


@dataclass(frozen=True)
class Answer:
    """The answer of a model about one clip.

    Attributes:
        text: what the model wrote, without control tokens.
        token_ids: the tokens of the text, without the one that ends it.
        log_probabilities: natural logarithm of the probability of each token, by the model alone; <= 0.
        complete: whether the model ended the text; False where it was cut off at max_new_tokens (with a grammar, after
            the last whole line).
        offsets: where each token begins in the text, in characters.
        numerals: for each token, the log-probabilities that the model gave to each of `NUMERALS` in its place.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    complete: bool
    offsets: tuple[int, ...] = ()
    numerals: tuple[tuple[float, ...], ...] = ()
