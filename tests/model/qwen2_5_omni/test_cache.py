"""The cache with room: what it holds is what transformers' own holds, bit by bit."""

from __future__ import annotations

import pytest
import torch
from transformers import GenerationConfig
from transformers.cache_utils import DynamicCache, DynamicLayer

from model_inputs import make_clip
from omni_timeline.model.qwen2_5_omni.cache import SPARE_TOKENS, RoomyLayer, roomy_cache
from omni_timeline.model.qwen2_5_omni.model import OmniModel

LONG_ANSWER = SPARE_TOKENS + 20  # more than there is room for at first


def test_it_holds_what_was_put_in_however_much_comes():
    torch.manual_seed(0)
    layer = RoomyLayer()
    expected = torch.empty(2, 3, 0, 4), torch.empty(2, 3, 0, 4)
    assert layer.get_seq_length() == 0
    for tokens in (7, *[1] * LONG_ANSWER, 200, 1):
        new = torch.randn(2, 3, tokens, 4), torch.randn(2, 3, tokens, 4)
        expected = tuple(torch.cat(pair, dim=2) for pair in zip(expected, new, strict=True))
        found = layer.update(*new)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
        assert layer.get_seq_length() == expected[0].shape[2]


def test_it_holds_the_rows_that_are_kept():
    torch.manual_seed(0)
    ours, theirs = RoomyLayer(), DynamicLayer()
    for kept in ([0, 2, 3], [1, 2], [0]):
        for tokens in (5, 1, SPARE_TOKENS, 1):
            rows = ours.keys.shape[0] if ours.is_initialized else 4
            new = torch.randn(rows, 3, tokens, 4), torch.randn(rows, 3, tokens, 4)
            for found, expected in zip(ours.update(*new), theirs.update(*new), strict=True):
                assert torch.equal(found, expected)
        ours.batch_select_indices(torch.tensor(kept))
        theirs.batch_select_indices(torch.tensor(kept))
    assert torch.equal(ours.keys, theirs.keys)
    assert torch.equal(ours.values, theirs.values)


@pytest.mark.parametrize("sound", [False, True])
def test_a_model_writes_the_same_with_it(demo_model: OmniModel, sound: bool):
    inputs = demo_model.inputs.build([make_clip(3, sound=sound), make_clip(8, sound=sound)])
    config = GenerationConfig(do_sample=False, max_new_tokens=LONG_ANSWER, min_new_tokens=LONG_ANSWER)
    scores = []
    with torch.inference_mode():
        for cache in (DynamicCache(config=demo_model.model.config.get_text_config()), roomy(demo_model)):
            written = demo_model.model.generate(
                **inputs, generation_config=config, cache=cache, output_scores=True, return_dict_in_generate=True
            )
            scores.append(torch.stack(written.scores))
    assert torch.equal(*scores)


def roomy(model: OmniModel) -> DynamicCache:
    cache = roomy_cache(model.model.config.get_text_config())
    assert {type(layer) for layer in cache.layers} == {RoomyLayer}
    return cache
