"""The language model attends as transformers' own function does, also to several tokens at a time."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from omni_timeline.model.qwen2_5_omni.attention import SHARED
from omni_timeline.model.qwen2_5_omni.model import OmniModel

HEADS, SHARING, WIDTH = 6, 3, 8


class Shape(torch.nn.Module):
    """What an attention function reads of the layer that calls it."""

    num_key_value_groups = SHARING
    is_causal = True


@pytest.mark.parametrize(("tokens", "masked"), [(1, True), (2, True), (5, True), (20, True), (1, False), (20, False)])
def test_it_is_that_of_transformers(tokens: int, masked: bool):
    torch.manual_seed(tokens)
    read = 20
    query = torch.randn(3, HEADS, tokens, WIDTH, dtype=torch.float64)
    key, value = torch.randn(2, 3, HEADS // SHARING, read, WIDTH, dtype=torch.float64)
    mask = None
    if masked:
        mask = torch.rand(3, 1, tokens, read) < 0.7
        mask[..., 0] = True
    expected, _ = sdpa_attention_forward(Shape(), query, key, value, mask, scaling=0.3)
    found, _ = ALL_ATTENTION_FUNCTIONS[SHARED](Shape(), query, key, value, mask, scaling=0.3)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("asked", "used"), [("sdpa", SHARED), ("eager", "eager")])
def test_a_loaded_model_does_so_where_torchs_kernel_is_used(asked: str, used: str):
    model = OmniModel.load("demo", device="cpu", attention=asked)
    text = model.model.model.language_model
    assert text.layers[0].self_attn.config._attn_implementation == used
    assert model.model.config._attn_implementation == asked
    assert asked in model.description
