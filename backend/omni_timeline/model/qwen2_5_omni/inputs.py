"""From clips to the tensors that Qwen2.5-Omni reads, every token of them at its true time.

Knows how Qwen2.5-Omni is told the time: seconds per temporal grid for the picture, 25 tokens to the second for the
sound, the two interleaved in chunks of 2 s. Knows nothing of files, weights or answers.

Only the parts of the processor are called here (its video processor, feature extractor, tokenizer and chat template),
not the processor itself: on that way it takes every video to be sampled at 2 fps, overrides the saved frame size,
pads all sound to 300 s and cuts it there. Where none of that matters the tensors are the processor's own, by test.
docs/remap.md says why each step is as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature

from omni_timeline.errors import ModelError, RequestError
from omni_timeline.media.clip import Clip
from omni_timeline.model.prompts import DEFAULT_PROMPT, Prompt
from omni_timeline.model.qwen2_5_omni.family import (
    DEFAULT_MAX_PIXELS,
    FRAMES_PER_GRID,
    POSITIONS_PER_SECOND,
    QWEN2_5_OMNI,
    SAMPLES_PER_TOKEN,
    SYSTEM_PROMPT,
    TOKEN_SIDE,
)
from omni_timeline.timebase import SAMPLE_RATE

COLOURS = 3  # of a pixel


class ClipInputs(BatchFeature):  # type: ignore[misc]  # transformers is untyped here
    """What `model.generate(**inputs)` takes. `to` moves it to a device; it may cast anything but the clock.

    In bfloat16 `video_second_per_grid` has 8 bits: of 60 s, the last grid would land up to 0.2 s off, and out of the
    chunk its token was laid out in, which shifts the times of all tokens between.
    """

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves every tensor, in place, as `BatchFeature.to` does; `video_second_per_grid` stays float32."""
        exact = self["video_second_per_grid"]
        super().to(*args, **kwargs)
        self["video_second_per_grid"] = exact.to(self["video_second_per_grid"].device)
        return self


class RealTimeInputs:
    """Builds the inputs of one model, from its processor. Thread-safe.

    Also mends the model's interleaving, see `keep_grids_whole`: inputs and model must agree on the order of tokens.

    Args:
        processor: a Qwen2_5OmniProcessor.
        model: a Qwen2.5-Omni thinker, or the full model with its talker.
        min_pixels: smaller frames are enlarged to this; the checkpoint's own bound by default.
        max_pixels: larger frames are reduced to this; by default DEFAULT_MAX_PIXELS, or the checkpoint's own bound
            where that is lower.

    Raises:
        RequestError: bounds that no frame can meet.
        ModelError: a model that is not Qwen2.5-Omni.
    """

    def __init__(
        self,
        processor: Any,
        model: nn.Module,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        config: Any = getattr(model.config, "thinker_config", model.config)
        if not hasattr(config, "position_id_per_seconds"):
            raise ModelError(f"RealTimeInputs is made for Qwen2.5-Omni, and this is a {type(model).__name__}.")
        smallest, largest = saved_pixels(processor)
        self._max_pixels = largest if max_pixels is None else max_pixels
        self._min_pixels = min(smallest, self._max_pixels) if min_pixels is None else min_pixels
        QWEN2_5_OMNI.frame_size(TOKEN_SIDE, TOKEN_SIDE, self._min_pixels, self._max_pixels)  # are they possible?
        self._processor = processor
        self._positions_per_second: int = config.position_id_per_seconds
        self._positions_per_chunk = int(config.position_id_per_seconds * config.seconds_per_chunk)
        keep_grids_whole(model)

    @property
    def min_pixels(self) -> int:
        """The smallest frame that the model sees, in pixels."""
        return self._min_pixels

    @property
    def max_pixels(self) -> int:
        """The largest frame that the model sees, in pixels."""
        return self._max_pixels

    def resize(self, height: int, width: int, max_pixels: int | None = None) -> tuple[int, int]:
        """The height and width, multiples of 28, that the model sees a frame of this size in. For `load_clip`.

        Args:
            height: pixels down.
            width: pixels across.
            max_pixels: the largest frame in place of this object's own.

        Raises:
            RequestError: a bound that no frame can meet.
            MediaError: one side is more than 200 times the other.
        """
        largest = self._max_pixels if max_pixels is None else max_pixels
        return QWEN2_5_OMNI.frame_size(height, width, min(self._min_pixels, largest), largest)

    def build(
        self,
        clips: Sequence[Clip],
        prompt: Prompt | str | Sequence[Prompt] = DEFAULT_PROMPT,
        second_per_grid: Sequence[float] | None = None,
    ) -> ClipInputs:
        """The inputs of a batch: one row a clip, padded on the left; time 0 of a row is the start of its clip.

        `use_audio_in_video` is among them, so that `model.generate(**inputs)` is always told. Left out, all positions
        come out wrong, and nothing says so.

        Args:
            clips: any durations and sizes, either all with sound or all without.
            prompt: asked of every clip, or one for each; a string is what the user says.
            second_per_grid: the seconds from grid to grid that the model gets for each clip, in place of the true ones.

        Raises:
            RequestError: no clips, clips with sound among clips without, or a prompt with the model's control tokens.
        """
        if not clips:
            raise RequestError("There are no clips to build inputs from.")
        sounding = clips[0].audio is not None
        if any((clip.audio is not None) != sounding for clip in clips):
            raise RequestError("Clips with sound and clips without cannot share a batch; build them separately.")

        patches, grids = self._pictures(clips)
        seconds = list(map(QWEN2_5_OMNI.second_per_grid, clips)) if second_per_grid is None else list(second_per_grid)
        told = torch.tensor(seconds, dtype=torch.float32)
        sounds = self._sounds(clips) if sounding else {}
        heard = _audio_tokens(sounds["feature_attention_mask"].sum(-1)).tolist() if sounding else [None] * len(clips)

        if isinstance(prompt, str | Prompt):
            prompt = [Prompt(user=prompt) if isinstance(prompt, str) else prompt] * len(clips)
        words = {said: self._words(said) for said in set(prompt)}
        rows = [
            torch.cat([words[said][0], self._layout(thw, second, tokens), words[said][1]])
            for said, thw, second, tokens in zip(prompt, grids, told, heard, strict=True)
        ]
        tokenizer = self._processor.tokenizer
        return ClipInputs(
            {
                "input_ids": pad_sequence(rows, True, tokenizer.pad_token_id, padding_side="left"),
                "attention_mask": pad_sequence([torch.ones_like(row) for row in rows], True, 0, padding_side="left"),
                "pixel_values_videos": patches,
                "video_grid_thw": grids,
                "video_second_per_grid": told,
                "use_audio_in_video": sounding,
                **sounds,
            }
        )

    def _pictures(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        """The patches of all clips, patches × pixels, and the grids of each, clips × (time, down, across).

        Patches are put into their place clip by clip: those of a batch, often hundreds of megabytes, are never there
        twice.
        """
        processor = self._processor.video_processor
        side = processor.patch_size
        sizes = [self._seen_size(clip) for clip in clips]
        grids = torch.tensor(
            [
                (math.ceil(len(clip.frames) / FRAMES_PER_GRID), height // side, width // side)
                for clip, (height, width) in zip(clips, sizes, strict=True)
            ]
        )
        counts = grids.prod(1).tolist()
        patches = torch.empty((sum(counts), COLOURS * processor.temporal_patch_size * side**2))
        for clip, size, place in zip(clips, sizes, patches.split(counts), strict=True):
            place[:] = self._video(clip, size)["pixel_values_videos"]
        return patches, grids

    def _seen_size(self, clip: Clip) -> tuple[int, int]:
        """Height and width in which the model sees a clip; frames decoded at a size for it are not resized again."""
        height, width = clip.frames.shape[-2:]
        is_chosen = (height, width) != (clip.info.height, clip.info.width)
        if is_chosen and height % TOKEN_SIDE == width % TOKEN_SIDE == 0:
            return height, width
        return self.resize(height, width)

    def _video(self, clip: Clip, size: tuple[int, int]) -> BatchFeature:
        return self._processor.video_processor(
            videos=[torch.from_numpy(clip.frames)],
            do_sample_frames=False,
            do_resize=clip.frames.shape[-2:] != size,
            size={"shortest_edge": self._min_pixels, "longest_edge": self._max_pixels},
            cap_pixels_per_frame=False,
            return_tensors="pt",
        )

    def _sounds(self, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """The log-mel spectrograms of all clips, at any length, and which of their columns are sound.

        One clip after the other: together they are padded to the longest before anything is computed, and what is
        computed on the way no longer fits into a processor's cache, which takes twice as long.
        """
        spectrograms = [self._spectrogram(clip) for clip in clips]
        is_sound = [torch.ones(len(columns), dtype=torch.long) for columns in spectrograms]
        return {
            "input_features": pad_sequence(spectrograms, True).transpose(1, 2),
            "feature_attention_mask": pad_sequence(is_sound, True),
        }

    def _spectrogram(self, clip: Clip) -> Tensor:
        """The log-mel spectrogram of a clip's sound, columns × bands."""
        extractor = self._processor.feature_extractor
        wave = _to_the_last_grid(clip)
        # Silence behind the end, as the stock padding to 300 s has it: else the last columns see their own reflection.
        columns = math.ceil((len(wave) + extractor.n_fft) / extractor.hop_length)
        features = extractor(
            wave,
            sampling_rate=SAMPLE_RATE,
            padding="max_length",
            max_length=columns * extractor.hop_length,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        spectrogram: Tensor = features["input_features"][0, :, : int(features["attention_mask"].sum())].T
        return spectrogram

    def _words(self, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """The tokens before and after the video's own."""
        tokenizer = self._processor.tokenizer
        said = SYSTEM_PROMPT if prompt.system is None else prompt.system
        for token in tokenizer.all_special_tokens:
            if token in prompt.user or token in said:
                raise RequestError(f"The prompt contains {token}, a control token of the model; leave it out.")
        system = {"role": "system", "content": [{"type": "text", "text": said}]}
        user = {"role": "user", "content": [{"type": "video", "video": ""}, {"type": "text", "text": prompt.user}]}
        conversation = [system, user] if said else [user]
        text = self._processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        before, after = text.split(self._processor.video_token)
        return self._tokens(before), self._tokens(after)

    def _tokens(self, text: str) -> Tensor:
        return torch.tensor(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)

    def _layout(self, thw: Tensor, second_per_grid: Tensor, audio_tokens: int | None) -> Tensor:
        """The placeholder tokens of one video, in the order in which `get_rope_index` will number them.

        Chunk by chunk of 2 s, all of its video tokens and then all of its audio tokens; None for a video without sound.
        """
        tokens_per_grid = int(thw.prod() // thw[0]) // self._processor.video_processor.merge_size**2
        # The very expression of get_rope_index, float32 and all: a float64 one falls into another chunk now and then.
        video = (torch.arange(int(thw[0])) * second_per_grid * self._positions_per_second).long()
        video = video.repeat_interleave(tokens_per_grid)
        if audio_tokens is None:
            return torch.full_like(video, self._processor.video_token_id)
        audio = torch.arange(audio_tokens)
        chunk = torch.cat([video, audio]) // self._positions_per_chunk
        is_audio = torch.cat([torch.zeros_like(video), torch.ones_like(audio)])
        order = torch.argsort(chunk * 2 + is_audio, stable=True)
        placeholders = torch.tensor([self._processor.video_token_id, self._processor.audio_token_id])[is_audio[order]]
        begin, end = self._tokens(self._processor.audio_bos_token), self._tokens(self._processor.audio_eos_token)
        return torch.cat([begin, placeholders, end])


def saved_pixels(processor: Any) -> tuple[int, int]:
    """The fewest and the most pixels of a frame by what a processor was saved with and DEFAULT_MAX_PIXELS."""
    saved = processor.video_processor.size
    largest = min(saved["longest_edge"], DEFAULT_MAX_PIXELS)
    return min(saved["shortest_edge"], largest), largest


def keep_grids_whole(model: nn.Module) -> None:
    """Makes a Qwen2.5-Omni model interleave picture and sound in the order of time, whatever the length of the video.

    The stock rule moves on by one chunk of 2 s at each *token* that lies beyond the current one, so it cannot step
    over a chunk in which no grid begins. With more than 2 s from grid to grid (50 frames of more than 49 s) it tears
    grids apart: their tokens leak, one a chunk, to places seconds before their time. With shorter grids nothing
    changes. Set on the instance, since transformers' loading of weights depends on the name of the class.
    """
    for part in model.modules():
        if hasattr(part, "get_chunked_index"):
            part.get_chunked_index = _chunks  # type: ignore[assignment]  # a method to mypy, any attribute to torch


def _chunks(positions: Tensor, positions_per_chunk: int, origin: int | Tensor = 0) -> list[tuple[int, int]]:
    """Where each chunk of `positions` begins and ends, the empty ones too. Positions never decrease."""
    if not len(positions):
        return [(0, 0)]
    chunk = ((positions - origin) // positions_per_chunk).cpu()
    ends = torch.searchsorted(chunk, torch.arange(int(chunk[-1]) + 1), right=True).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _to_the_last_grid(clip: Clip) -> npt.NDArray[np.float32]:
    """The sound of a clip, with silence behind it if it would end before the last grid begins.

    That happens to clips of a few hundredths of a second. The text's positions go on where the sound's end, and
    without any audio token at all the model counts on from an empty list.
    """
    assert clip.audio is not None
    grids = math.ceil(len(clip.frames) / FRAMES_PER_GRID)
    tokens = math.floor((grids - 1) * QWEN2_5_OMNI.second_per_grid(clip) * POSITIONS_PER_SECOND) + 1
    missing = tokens * SAMPLES_PER_TOKEN - len(clip.audio)
    return np.pad(clip.audio, (0, missing)) if missing > 0 else clip.audio


def _audio_tokens(columns: Tensor) -> Tensor:
    """How many tokens the audio encoder makes of so many columns of log-mel: two halvings, as in transformers."""
    return ((columns - 1) // 2 + 1 - 2) // 2 + 1
