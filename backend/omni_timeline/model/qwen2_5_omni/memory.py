"""How much of a GPU's memory a step of training takes: arithmetic on a checkpoint's config, without its weights.

Measured for random weights in the shapes of 3B and 7B with clips of 4,295 and 7,595 tokens (docs/speed.md, On a GPU);
`peak_bytes` is within 2 % of all four.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from omni_timeline.model.quantization import BITS

LONGEST_TOKENS = 8000  # of one clip: 50 frames of the default size, and 48 s of sound
BYTES_OF_A_TRAINED_NUMBER = 16  # itself, its gradient and AdamW's two moments, in float32
KEPT_OF_A_LAYER = 12  # times its feed-forward width: what the layer holds that is computed again just now
SPARE_BYTES = 500_000_000  # for what the allocator cannot use, and for the head's scores


@dataclass(frozen=True)
class Shape:
    """A language model, and what it takes to have it in memory.

    Attributes:
        weight_bytes: of the whole checkpoint as it is loaded.
        trained: numbers of the adapter.
        layers: of the language model.
        width: of what lies between two layers.
        feed_forward: width within them.
        number_bytes: of one number in the precision that is computed in.
    """

    weight_bytes: int
    trained: int
    layers: int
    width: int
    feed_forward: int
    number_bytes: int


def peak_bytes(shape: Shape, tokens: int = LONGEST_TOKENS) -> int:
    """What training takes at its peak, with one clip of so many tokens at a time and gradient checkpointing."""
    kept = shape.layers * shape.width + KEPT_OF_A_LAYER * shape.feed_forward
    return shape.weight_bytes + BYTES_OF_A_TRAINED_NUMBER * shape.trained + tokens * shape.number_bytes * kept


def shape_of(folder: Path, dtype: torch.dtype, quantization: str | None, adapted: str, rank: int) -> Shape:
    """The shape of a checkpoint.

    Args:
        folder: of the checkpoint.
        dtype: the precision that is computed in.
        quantization: of the language model's layers, if they are quantised.
        adapted: a regular expression that the full names of the adapted layers match.
        rank: of the adapter.
    """
    config: Any = Qwen2_5OmniThinkerConfig.from_pretrained(folder)
    with torch.device("meta"):
        model: Any = Qwen2_5OmniThinkerForConditionalGeneration._from_config(config, dtype=dtype)
    every = sum(each.numel() for each in model.parameters())
    linear = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)]
    quantized = sum(each.weight.numel() for name, each in linear if name.startswith("model.language_model."))
    saved = quantized * (dtype.itemsize - BITS[quantization] / 8) if quantization else 0
    text = config.get_text_config()
    trained = sum(each.in_features + each.out_features for name, each in linear if re.fullmatch(adapted, name))
    return Shape(
        weight_bytes=every * dtype.itemsize - int(saved),
        trained=rank * trained,
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        feed_forward=text.intermediate_size,
        number_bytes=dtype.itemsize,
    )
