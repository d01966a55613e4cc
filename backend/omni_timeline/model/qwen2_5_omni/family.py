"""Qwen2.5-Omni in numbers: all that is its own and stands nowhere else. Needs no torch.

From the released checkpoints' configs and transformers' classes for them; the names in backquotes are theirs.
"""

from __future__ import annotations

from omni_timeline.model.family import ModelFamily
from omni_timeline.timebase import SAMPLE_RATE

FRAMES_PER_GRID = 2  # `temporal_patch_size`: two frames are merged into one step of time
NOMINAL_SECOND_PER_GRID = 1.0  # s; two frames at the 2 fps that the stock processor takes every video to have
POSITIONS_PER_SECOND = 25  # `position_id_per_seconds`: one step of rotary time is 40 ms
SAMPLES_PER_TOKEN = SAMPLE_RATE // POSITIONS_PER_SECOND  # 640: a token of sound is 40 ms too
TOKEN_SIDE = 28  # px: a token of a grid is 2 x 2 (`merge_size`) patches of 14 x 14 (`patch_size`) pixels
PIXELS_PER_TOKEN = TOKEN_SIDE * TOKEN_SIDE
DEFAULT_MAX_PIXELS = 256 * PIXELS_PER_TOKEN  # a 16:9 frame becomes 252 tokens, 50 frames 6,300 of the 32,768 there are
NOT_QUANTIZED = ("model.visual", "model.audio_tower", "lm_head")  # full names; the language model alone is
END_TOKENS = ("<|im_end|>", "<|endoftext|>")

# With any other system prompt the stock processor warns, and the released weights answer worse.
SYSTEM_PROMPT = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and "
    "visual inputs, as well as generating text and speech."
)

QWEN2_5_OMNI = ModelFamily(
    name="Qwen2.5-Omni",
    loader="omni_timeline.model.qwen2_5_omni.model:OmniModel",
    trainer="omni_timeline.model.qwen2_5_omni.training:OmniTraining",
    model_types=("qwen2_5_omni", "qwen2_5_omni_thinker"),  # a full checkpoint's config.json, and a thinker's
    frames_per_grid=FRAMES_PER_GRID,
    nominal_second_per_grid=NOMINAL_SECOND_PER_GRID,
    token_side=TOKEN_SIDE,
    audio_tokens_per_second=POSITIONS_PER_SECOND,
    system_prompt=SYSTEM_PROMPT,
)
