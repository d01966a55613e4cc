"""What a model wrote about one clip, token by token, as plain values.

Knows no model, no torch and no meaning of the text: `confidence` reads the probabilities, `grammar` and `segments` the
words.
"""

from __future__ import annotations

from dataclasses import dataclass

NUMERALS = "0123456789."  # what times are written with


@dataclass(frozen=True)
class Answer:
    """What the model wrote about one clip.

    Attributes:
        text: without control tokens.
        token_ids: the tokens of the text, without the one that ends it.
        log_probabilities: of each of these tokens, by the model alone, natural logarithm; <= 0.
        complete: the model ended the text itself; False where it was cut off at max_new_tokens, under a grammar then
            after its last whole line.
        offsets: where each token begins in the text, in characters.
        numerals: for each token, the log-probabilities that the model gave to each of `NUMERALS` in its place; they
            tell how far off a digit might be.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    complete: bool
    offsets: tuple[int, ...] = ()
    numerals: tuple[tuple[float, ...], ...] = ()
