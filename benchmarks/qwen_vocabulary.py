"""Qwen2.5-Omni's real vocabulary on a tiny thinker with random weights: what needs the tokens, but no knowledge.

The ranks lie in the wheel of dashscope, a development dependency; the special tokens go on top of them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.convert_slow_tokenizer import TikTokenConverter

from omni_timeline.model.checkpoint import DEMO_FOLDER, Checkpoint
from omni_timeline.model.qwen2_5_omni.model import OmniModel

VOCABULARY = 151_936  # scored by the 3B model; 152,064 by the 7B
FIRST_SPECIAL = 151_643  # so many ranks
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_bos|>", "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>",
)  # fmt: skip
NAMED = {
    "audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
    "image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}  # fmt: skip
CONFIGURED = {
    "audio_token_id": "<|AUDIO|>", "audio_start_token_id": "<|audio_bos|>", "audio_end_token_id": "<|audio_eos|>",
    "image_token_id": "<|IMAGE|>", "video_token_id": "<|VIDEO|>", "vision_start_token_id": "<|vision_bos|>",
    "vision_end_token_id": "<|vision_eos|>",
}  # fmt: skip
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen_tokenizer() -> Any:
    """A fast tokenizer of transformers, as Qwen/Qwen2.5-Omni-3B has it."""
    spec = find_spec("dashscope")  # found, not imported
    assert spec is not None, "pip install dashscope"
    assert spec.origin is not None
    ranks = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    converted = TikTokenConverter(str(ranks), pattern=PATTERN).converted()
    converted.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=converted,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=NAMED,
    )


def random_model(tokenizer: Any = None) -> OmniModel:
    """A thinker of the demo checkpoint's size, with random weights that shout as loud as a real model's.

    Args:
        tokenizer: Qwen's; the demo checkpoint's small one by default.
    """
    config = Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER)
    processor = Qwen2_5OmniProcessor.from_pretrained(DEMO_FOLDER)
    if tokenizer is not None:
        processor = Qwen2_5OmniProcessor(
            image_processor=processor.image_processor,
            video_processor=processor.video_processor,
            feature_extractor=processor.feature_extractor,
            tokenizer=tokenizer,
            chat_template=processor.chat_template,
        )
        config.text_config.vocab_size = VOCABULARY
        for field, token in CONFIGURED.items():
            setattr(config, field, FIRST_SPECIAL + SPECIAL.index(token))
    torch.manual_seed(4)
    model = Qwen2_5OmniThinkerForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(4)
    return OmniModel(Checkpoint.find("demo"), processor, model)
