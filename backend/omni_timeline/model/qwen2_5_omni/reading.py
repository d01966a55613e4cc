"""What comes out of the model, and what it makes of its inputs, as values without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from omni_timeline.answers.answer import Answer
from omni_timeline.model.family import TokenReport
from omni_timeline.model.qwen2_5_omni.family import POSITIONS_PER_SECOND


class AnswerReader:
    """Makes answers of generated tokens.

    Args:
        tokenizer: the checkpoint's.
        end_ids: the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._end_ids = end_ids

    def __call__(
        self, token_ids: list[int], log_probabilities: list[float], numerals: list[list[float]], whole: int | None
    ) -> Answer:
        """The answer that a row of tokens is.

        Args:
            token_ids: what was generated, padding included.
            log_probabilities: of each of these tokens.
            numerals: of each numeral at each of these steps.
            whole: how many tokens of an answer that was cut off are of use; None for all.
        """
        ends = [index for index, token_id in enumerate(token_ids) if token_id in self._end_ids]
        length = ends[0] if ends else len(token_ids) if whole is None else whole
        # A part of a character at the end of a prefix is decoded as one; the tokens within it all begin where it does.
        lengths = [len(self._text(token_ids[:index]).rstrip("\ufffd")) for index in range(length)]
        return Answer(
            text=self._text(token_ids[:length]),
            token_ids=tuple(token_ids[:length]),
            log_probabilities=tuple(log_probabilities[:length]),
            complete=bool(ends),
            offsets=tuple(lengths),
            numerals=tuple(map(tuple, numerals[:length])),
        )

    def _text(self, token_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def token_reports(model: Any, inputs: Mapping[str, Any]) -> list[TokenReport]:
    """What the model's own `get_rope_index` makes of the tensors: the times of each row's grids and sounds."""
    config = model.config
    sound = inputs.get("feature_attention_mask")
    positions, _ = model.get_rope_index(
        inputs["input_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        use_audio_in_video=inputs["use_audio_in_video"],
        audio_seqlens=None if sound is None else sound.sum(-1),
        second_per_grids=inputs["video_second_per_grid"],
    )
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
