"""The towers for pictures and sound, with fewer and larger steps than transformers takes; the results are the same.

Both towers attend within short windows: 300 of them in 25 grids of 252 x 448 pixels, 15 in 30 s of sound. Without
flash-attention transformers 5.24 calls the kernel once for each window in each layer, thousands of times for one clip,
so that a GPU waits for Python. Windows of one length fit into one call, and there are two or three lengths.

A patch of pixels becomes a vector by a convolution whose steps are as wide as its kernel, in other words by one product
of matrices. Torch's 3D convolution is slower at that; on some GPUs people have found it far slower (transformers issue
45750, pytorch issue 174051). transformers' own remedy, `fusion_config`, loses the weights of this model (5.24).
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import (
    Qwen2_5_VisionPatchEmbed,
    Qwen2_5OmniAudioAttention,
    Qwen2_5OmniVisionAttention,
    apply_rotary_pos_emb_vision,
)


def quicken(model: nn.Module) -> None:
    """Make a loaded model take patches by a product, and its towers attend by length where torch's kernel is used."""
    part: Any
    for part in model.modules():
        if isinstance(part, Qwen2_5_VisionPatchEmbed):
            part.forward = MethodType(_embed, part)
        elif isinstance(part, Qwen2_5OmniVisionAttention) and part.config._attn_implementation == "sdpa":
            part.forward = MethodType(_see, part)
        elif isinstance(part, Qwen2_5OmniAudioAttention) and part.config._attn_implementation == "sdpa":
            part.forward = MethodType(_hear, part)


def _embed(self: Any, patches: Tensor) -> Tensor:
    """`Qwen2_5_VisionPatchEmbed.forward`, for patches one after the other."""
    weight = self.proj.weight.flatten(1)
    return linear(patches.reshape(-1, weight.shape[1]).to(weight.dtype), weight)


def _see(
    self: Any, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
) -> Tensor:
    """`Qwen2_5OmniVisionAttention.forward`."""
    queries, keys, values = (_heads(self, project(hidden_states)) for project in (self.q, self.k, self.v))
    queries, keys = apply_rotary_pos_emb_vision(queries, keys, *position_embeddings)
    seen: Tensor = self.proj(_attend(queries, keys, values, cu_seqlens, self.scaling))
    return seen


def _hear(self: Any, hidden_states: Tensor, cu_seqlens: Tensor, **_: Any) -> Tensor:
    """`Qwen2_5OmniAudioAttention.forward`."""
    projections = (self.q_proj, self.k_proj, self.v_proj)
    queries, keys, values = (_heads(self, project(hidden_states)) for project in projections)
    heard: Tensor = self.out_proj(_attend(queries, keys, values, cu_seqlens, self.scaling))
    return heard


def _heads(self: Any, states: Tensor) -> Tensor:
    return states.reshape(len(states), self.num_heads, -1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bounds: Tensor, scaling: float) -> Tensor:
    """Attention within each window.

    Args:
        queries: (positions, heads, channels).
        keys: the same.
        values: the same.
        bounds: where windows begin, and the end of the last.
        scaling: of the scores.

    Returns:
        (positions, heads x channels).
    """
    lengths, starts = bounds.diff(), bounds[:-1].long()
    attended = torch.empty_like(values)
    for length in lengths.unique().tolist():
        places = (starts[lengths == length, None] + torch.arange(length, device=starts.device)).flatten()
        asked, held, given = (
            states[places].unflatten(0, (-1, length)).transpose(1, 2) for states in (queries, keys, values)
        )
        found = scaled_dot_product_attention(asked, held, given, scale=scaling)
        attended[places] = found.transpose(1, 2).flatten(0, 1)
    return attended.flatten(1)
