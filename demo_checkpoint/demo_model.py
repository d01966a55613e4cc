"""The demo checkpoint before training: Qwen2.5-Omni's own classes, made small, with a tokenizer of its own.

`untrained(folder)` writes a folder that every `from_pretrained` of the real classes accepts. The numbers that make it
learn at this size, and why, stand beside them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from demo_prompts import draw_prompt
from omni_timeline.answers.lines import format_segments
from omni_timeline.model.prompts import DEFAULT_USER
from omni_timeline.model.qwen2_5_omni.family import SYSTEM_PROMPT
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, draw_scene

VOCABULARY = 1024
MIN_PIXELS = 4 * 28 * 28  # a square picture becomes 56 x 56: four tokens a grid
MAX_PIXELS = 8 * 28 * 28  # a wide one 56 x 84, so that its shorter side keeps the pixels that tell shapes apart

NAMED_TOKENS = {  # the attributes that Qwen2.5-Omni's processor reads off its tokenizer
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_bos|>", "<|vision_eos|>", "<|vision_pad|>", "<|IMAGE|>", "<|VIDEO|>",
)  # fmt: skip

# Qwen2.5-Omni's turn format: every media item stands between its begin and end tokens.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}\
{%- for item in message['content'] -%}
{%- if item['type'] == 'video' -%}<|vision_bos|><|VIDEO|><|vision_eos|>\
{%- elif item['type'] == 'image' -%}<|vision_bos|><|IMAGE|><|vision_eos|>\
{%- elif item['type'] == 'audio' -%}<|audio_bos|><|AUDIO|><|audio_eos|>\
{%- elif item['type'] == 'text' -%}{{ item['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def make_tokenizer(seed: int) -> Qwen2Tokenizer:
    """A byte-level BPE with Qwen2's pre-tokenizer (each digit alone), trained on prompts and answers of the demo."""
    rng = np.random.default_rng(seed)
    corpus = [f"{role}\n" for role in ("system", "user", "assistant")] * 200
    for _ in range(4000):
        prompt = draw_prompt(rng)
        corpus += [prompt.system or "", prompt.user]
        corpus.append(format_segments(draw_scene(rng, rng.uniform(2, 60), sound=True).events))
    corpus += [format_segments([Segment(1.0, 2.0, label)]) for label in LABELS] * 20
    corpus += [DEFAULT_USER, SYSTEM_PROMPT] * 50
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    trained = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
        extra_special_tokens=NAMED_TOKENS,
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def make_processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniProcessor:
    """Qwen2.5-Omni's processor with the real feature extractors' settings and the demo's pixel budget."""
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    return Qwen2_5OmniProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        video_processor=Qwen2VLVideoProcessor(size=size),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=128, chunk_length=300, return_attention_mask=True, padding_side="right", dither=0.0
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def make_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5OmniThinkerConfig:
    """The thinker's configuration at 1.2 million parameters."""
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "initializer_range": 0.05,
        # The first section of frequencies turns with time. The released model's sixteen of sixty-four end at a
        # wavelength of 6.4 s; with twelve of sixteen they reach 141 s, and one small model can tell a minute apart.
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [12, 2, 2]},
        "tie_word_embeddings": True,
        "pad_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
    }
    vision = {
        "depth": 1,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "fullatt_block_indexes": [0],
        "out_hidden_size": 128,
        "initializer_range": 0.05,
    }
    audio = {
        "encoder_layers": 1,
        "d_model": 64,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 128,
        "output_dim": 128,
        "initializer_range": 0.05,
    }
    return Qwen2_5OmniThinkerConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        audio_token_index=token("<|AUDIO|>"),
        image_token_index=token("<|IMAGE|>"),
        video_token_index=token("<|VIDEO|>"),
        audio_start_token_id=token("<|audio_bos|>"),
        audio_end_token_id=token("<|audio_eos|>"),
        vision_start_token_id=token("<|vision_bos|>"),
        vision_end_token_id=token("<|vision_eos|>"),
        user_token_id=token("user"),
        pad_token_id=token("<|endoftext|>"),
        eos_token_id=token("<|im_end|>"),
        initializer_range=0.05,
        tie_word_embeddings=True,
    )


def untrained(folder: Path, seed: int) -> None:
    """Writes the checkpoint with random weights to `folder`."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(seed)
    model = Qwen2_5OmniThinkerForConditionalGeneration(make_config(tokenizer))
    model.generation_config.eos_token_id = list(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    model.generation_config.pad_token_id = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    folder.mkdir(parents=True, exist_ok=True)
    make_processor(tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)
