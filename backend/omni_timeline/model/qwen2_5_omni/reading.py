"""What comes out of the model, and what it makes of its inputs, as values without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from omni_timeline.answers.answer import Answer
from omni_timeline.model.constrained import Writer
from omni_timeline.model.family import TokenReport
from omni_timeline.model.qwen2_5_omni.decoding import Scores
from omni_timeline.model.qwen2_5_omni.family import POSITIONS_PER_SECOND
from omni_timeline.model.qwen2_5_omni.prefill import token_positions


def read_answer(tokenizer: Any, written: Writer, scores: Scores) -> Answer:
    """The answer that a row is, and what the model thought of it; one that was cut off up to its last whole line."""
    kept = len(written.token_ids) if written.complete or written.whole is None else written.whole
    token_ids = written.token_ids[:kept]

    def text(count: int) -> str:
        words: str = tokenizer.decode(token_ids[:count], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return words

    return Answer(
        text=text(kept),
        token_ids=tuple(token_ids),
        log_probabilities=tuple(scores.tokens[:kept]),
        complete=written.complete,
        # A part of a character at the end of a prefix is decoded as one; the tokens within it all begin where it does.
        offsets=tuple(len(text(count).rstrip("\ufffd")) for count in range(kept)),
        numerals=tuple(map(tuple, scores.numerals[:kept])),
    )


def token_reports(model: Any, inputs: Mapping[str, Any]) -> list[TokenReport]:
    """What the model makes of the tensors: the times of each row's grids and sounds."""
    config = model.config
    positions, _ = token_positions(model, inputs)
    reports = []
    for row, thw in enumerate(inputs["video_grid_thw"]):
        token_ids, places = inputs["input_ids"][row], positions[0][row]
        video, audio = token_ids == config.video_token_id, token_ids == config.audio_token_id
        grids = places[video].reshape(int(thw[0]), -1)[:, 0]
        reports.append(
            TokenReport(
                second_per_grid=float(inputs["video_second_per_grid"][row]),
                grid_seconds=_seconds(grids - grids[0]),
                audio_seconds=_seconds(places[audio] - grids[0]),
                video_tokens=int(video.sum()),
                audio_tokens=int(audio.sum()),
                prompt_tokens=int(inputs["attention_mask"][row].sum()),
            )
        )
    return reports


def _seconds(positions: Tensor) -> tuple[float, ...]:
    return tuple(position / POSITIONS_PER_SECOND for position in positions.tolist())
