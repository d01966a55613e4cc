"""The language model's attention, without copies of what has been read; the results are the same.

Heads share their keys and values: eight of them in Qwen2.5-Omni-3B, seven in 7B. transformers 5.24 asks such heads side
by side where each asks for one token, as if they were so many tokens of one head. For several tokens it copies keys and
values for each head, in each layer and step, of all that was read. After words that had to follow there are several
tokens (`decoding`), so here they are asked side by side too.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

SHARED = "sdpa_shared"


def share_keys(model: Any) -> None:
    """Have a loaded model's language model attend so, where torch's kernel is used."""
    config = model.config.get_text_config()
    if config._attn_implementation == "sdpa":
        config._attn_implementation = SHARED


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers: of rows × heads × tokens × width, rows × tokens × heads × width."""
    rows, heads, tokens, width = query.shape
    sharing = heads // key.shape[1]
    if attention_mask is None or attention_mask.shape[1] > 1 or tokens == 1 or tokens == key.shape[2]:
        attended: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return attended
    together = query.reshape(rows, key.shape[1], sharing * tokens, width)
    mask = attention_mask.repeat(1, 1, sharing, 1)
    found = scaled_dot_product_attention(together, key, value, attn_mask=mask, scale=scaling)
    return found.reshape(rows, heads, tokens, width).transpose(1, 2).contiguous(), None


AttentionInterface.register(SHARED, _attend)
AttentionMaskInterface.register(SHARED, sdpa_mask)
