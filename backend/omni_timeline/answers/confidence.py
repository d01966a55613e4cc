"""The score of each segment, from 0 to 1: how sure the model was, by the log-probabilities of its line's tokens.

    From 12.3 to 17.8, red square.
         start   end   label

The score is the probability, by the model, that the times are near those written, multiplied by that of the label. Near
means that the segment hardly moves: a model that wavers between 12.3 and 12.4 is almost sure, one that wavers between
12.3 and 22.3 is not, although both doubt one digit. For the times, the geometric mean of start and end counts, since a
model that doubts one mostly doubts the other for the same reason. docs/confidence.md measures this score and other
rules.

Knows the text, its tokens' places and their probabilities. Knows no video, no model and no torch.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace

from omni_timeline.answers.answer import NUMERALS, Answer
from omni_timeline.answers.parser import Parsed
from omni_timeline.segments import Segment

NEAR = 0.3  # of the segment's duration; off by that at one end, it still overlaps by three quarters
NEAREST = 0.15  # s: one decimal up or down is never a doubt

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def score_segments(parsed: Parsed, answer: Answer) -> tuple[Segment, ...]:
    """The segments of an answer with their scores, in their order.

    `parsed` comes from `Grammar.read` or `parse_segments`. A segment whose line does not begin with its times in plain
    numbers, such as one with clock times, is scored by its whole line.
    """
    return tuple(
        replace(segment, score=_score(segment, span, answer))
        for segment, span in zip(parsed.segments, parsed.spans, strict=True)
    )


def score_edges(parsed: Parsed, answer: Answer) -> tuple[tuple[float, float], ...]:
    """For each segment, in their order, the probability of its start as it is written, and of its end.

    0 where the line does not begin with its times in plain numbers.
    """
    scores = []
    for segment, span in zip(parsed.segments, parsed.spans, strict=True):
        numbers = _plain_numbers(segment, span, answer)
        start, end = (0.0, 0.0) if numbers is None else (_as_written(each, answer) for each in numbers)
        scores.append((start, end))
    return tuple(scores)


def _score(segment: Segment, span: tuple[int, int], answer: Answer) -> float:
    numbers = _plain_numbers(segment, span, answer)
    if numbers is None:
        return min(1.0, math.exp(sum(answer.log_probabilities[token] for token in _tokens(answer, *span))))
    start, end = numbers
    tolerance = max(NEAREST, NEAR * segment.duration)
    colon = answer.text.find(":", end.end(), span[1])
    label = _tokens(answer, end.end(), _before_full_stop(answer.text, span[1]) if colon < 0 else colon)
    log_label = sum(answer.log_probabilities[token] for token in label)
    times = math.sqrt(_near(start, tolerance, answer) * _near(end, tolerance, answer))
    return min(1.0, times * math.exp(log_label))


def _plain_numbers(
    segment: Segment, span: tuple[int, int], answer: Answer
) -> tuple[re.Match[str], re.Match[str]] | None:
    """The numbers of start and end that a line begins with; None where it is written in another way."""
    numbers = list(_NUMBER.finditer(answer.text, *span))[:2]
    if len(numbers) < 2 or float(numbers[0][0]) != segment.start or float(numbers[1][0]) < segment.end:
        return None
    return numbers[0], numbers[1]


def _tokens(answer: Answer, begin: int, end: int) -> range:
    """The tokens that begin within these characters of the text."""
    return range(bisect_left(answer.offsets, begin), bisect_left(answer.offsets, end))


def _before_full_stop(text: str, end: int) -> int:
    """The end without the full stop, whose token may also hold the line's end and so the odds of a further event."""
    return end - 1 if text[end - 1 : end] == "." else end


def _near(number: re.Match[str], tolerance: float, answer: Answer) -> float:
    """The probability of this number or of any that is at most `tolerance` away."""
    written = number[0]
    near = 1.0  # the probability that the rest of the number is near, from the last numeral to the first
    for token in reversed(_tokens(answer, number.start(), number.end())):
        place = answer.offsets[token] - number.start()
        own = math.exp(answer.log_probabilities[token])
        others = sum(
            math.exp(log_probability)
            for numeral, log_probability in zip(NUMERALS, answer.numerals[token], strict=True)
            if numeral != written[place] and _distance(written, place, numeral) <= tolerance
        )
        near = own * near + others
    return near


def _as_written(number: re.Match[str], answer: Answer) -> float:
    """The probability of exactly this number."""
    return math.exp(sum(answer.log_probabilities[token] for token in _tokens(answer, number.start(), number.end())))


def _distance(written: str, place: int, numeral: str) -> float:
    """The distance from the number to the nearest one that has `numeral` at `place` and the same numerals before it."""
    return min(abs(other - float(written)) for other in _others(written, place, numeral))


def _others(written: str, place: int, numeral: str) -> Iterator[float]:
    """The numbers that may be nearest, below and above, with as many digits, one more or one fewer."""
    whole = len(written.partition(".")[0])
    before = written[:place]
    if place > whole:  # in the decimals
        yield float(before + numeral) if numeral != "." else math.inf
    elif numeral == ".":
        yield from (float(before + ".0"), float(before + ".9")) if before else (math.inf,)
    else:
        for rest in range(max(0, whole - place - 2), whole - place + 1):
            least = float(before + numeral + "0" * rest)
            most = float(before + numeral + "9" * rest + ".9")
            yield min(max(least, float(written)), most)
