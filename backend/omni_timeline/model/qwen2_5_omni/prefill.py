"""The prompts of a batch are read: what each row's first token is chosen from, and the cache for those to come.

The numbers are those of the model's own `forward`, for less:

- Prompts come padded on the left. For that, transformers masks every pair of tokens in every row, and attention is
  computed for all of them. Padded on the right, a prompt needs no mask, since what comes behind it is not seen by it.
- Of the last layer nothing but keys and values is wanted of any position except the last one of each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import apply_rotary_pos_emb


def token_positions(model: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The model's own `get_rope_index`: 3 × rows × tokens; and what is added to a token's number behind the prompt."""
    sound = inputs.get("feature_attention_mask")
    found: tuple[Tensor, Tensor] = model.get_rope_index(
        inputs["input_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        use_audio_in_video=inputs["use_audio_in_video"],
        audio_seqlens=None if sound is None else sound.sum(-1),
        second_per_grids=inputs["video_second_per_grid"],
    )
    return found


def read_prompts(model: Any, inputs: Mapping[str, Any], cache: Cache) -> tuple[Tensor, Tensor, Tensor]:
    """Reads the prompts into an empty cache, their padding behind them.

    Args:
        model: a Qwen2_5OmniThinkerForConditionalGeneration; its layers attend to all that came before.
        inputs: what it reads, on its device, padded on either side.
        cache: takes the keys and values.

    Returns:
        The scores of the first token to write, rows × 1 × vocabulary; the mask of what is in the cache, rows × tokens;
        and the position of the first token to write, rows × 1.
    """
    order = inputs["attention_mask"].argsort(dim=1, descending=True, stable=True)
    moved = {**inputs, **{key: inputs[key].gather(1, order) for key in ("input_ids", "attention_mask")}}
    positions, deltas = token_positions(model, moved)
    mask = moved.pop("attention_mask")
    lengths = mask.sum(1, keepdim=True)
    with _last_layer_at(model, lengths - 1):
        logits = model(**moved, position_ids=positions, cache=cache, use_cache=True).logits
    return logits, mask, lengths + deltas


@contextmanager
def _last_layer_at(model: Any, places: Tensor) -> Iterator[None]:
    """Within the block, the model's last layer and what comes behind it compute one place of each row (rows × 1)."""
    layer = model.model.language_model.layers[-1]
    layer.forward = partial(_at, layer, places)
    try:
        yield
    finally:
        del layer.forward


def _at(
    layer: Any,
    places: Tensor,
    states: Tensor,
    *,
    cache: Cache,
    position_embeddings: tuple[Tensor, Tensor],
    **_: Any,
) -> Tensor:
    """`Qwen2_5OmniDecoderLayer.forward`, at one place of each row: rows × tokens × width becomes rows × 1 × width."""
    attention = layer.self_attn
    rows = torch.arange(len(states), device=states.device)[:, None]
    read = layer.input_layernorm(states)
    asked, held, given = (
        project(seen).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        for project, seen in (
            (attention.q_proj, read[rows, places]),
            (attention.k_proj, read),
            (attention.v_proj, read),
        )
    )
    cos, sin = position_embeddings
    asked, _ = apply_rotary_pos_emb(asked, asked, cos[rows, places], sin[rows, places])
    held, _ = apply_rotary_pos_emb(held, held, cos, sin)
    held, given = cache.update(held, given, attention.layer_idx)
    before = torch.arange(held.shape[2], device=places.device) <= places[..., None, None]
    found, _ = sdpa_attention_forward(attention, asked, held, given, before, scaling=attention.scaling)
    attended = states[rows, places] + attention.o_proj(found.flatten(2))
    result: Tensor = attended + layer.mlp(layer.post_attention_layernorm(attended))
    return result
