"""What is asked about one clip, and what the answer says in seconds of the whole video.

Knows the grammar that the answer was held to, and the clock that the model was told. Knows no model and no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from omni_timeline.answers.answer import Answer
from omni_timeline.answers.confidence import score_edges, score_segments
from omni_timeline.answers.grammar import Grammar
from omni_timeline.answers.parser import parse_segments
from omni_timeline.media.clip import Clip
from omni_timeline.model.family import Row
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.segments import Segment


@dataclass(frozen=True)
class Reading:
    """What one answer says.

    Attributes:
        segments: with scores, sorted, in seconds of the whole video.
        text: the answer word for word.
        warnings: one sentence for each thing that is not as it should be.
        lines: how many lines were dropped or mended, by reason.
        is_complete: the model ended the answer itself.
        edges: the seconds at which segments begin and end, each with the probability that the model gave to its digits.
    """

    segments: tuple[Segment, ...]
    text: str
    warnings: tuple[str, ...]
    lines: Counter[str]
    is_complete: bool = True
    edges: Mapping[float, float] = field(default_factory=dict)


def grammar_for(clip: Clip, options: PredictOptions, clock: Clock) -> Grammar:
    """What can be written about a clip."""
    return Grammar(options.closed_labels, clock.duration(clip), descriptions=options.descriptions)


def row_for(clip: Clip, options: PredictOptions, clock: Clock) -> Row:
    """What the model is given to answer about a clip."""
    return Row(
        clip=clip,
        prompt=options.words,
        second_per_grid=clock.second_per_grid(clip),
        grammar=grammar_for(clip, options, clock).text if options.constrained and not options.question else None,
        max_new_tokens=options.max_new_tokens,
        adapter=options.adapter,
    )


def read_answer(answer: Answer, clip: Clip, options: PredictOptions, clock: Clock) -> Reading:
    """The answer to what `options` ask about a clip."""
    if options.question:
        return Reading((), answer.text, clip.warnings, Counter())
    if options.constrained:
        parsed = grammar_for(clip, options, clock).read(answer.text)
    else:
        parsed = parse_segments(answer.text, clock.duration(clip), truncated=not answer.complete)
    cut = () if answer.complete else (f"the answer was cut off after {len(answer.token_ids)} tokens",)
    segments = tuple(
        replace(segment, start=clock.to_video(clip, segment.start), end=clock.to_video(clip, segment.end))
        for segment in score_segments(parsed, answer)
    )
    scores = score_edges(parsed, answer)
    return Reading(
        segments=segments,
        text=answer.text,
        warnings=clip.warnings + parsed.warnings + cut,
        lines=Counter({name: count for name, count in vars(parsed.counts).items() if count}),
        is_complete=answer.complete,
        edges={
            edge: score
            for segment, both in zip(segments, scores, strict=True)
            for edge, score in zip((segment.start, segment.end), both, strict=True)
        },
    )
