"""Fewer bits for the same checkpoint: smaller, under a version of its own, and it still answers."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from model_inputs import make_clip
from omni_timeline.errors import ModelError
from omni_timeline.model.family import Row
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.quantization import quantization_config
from omni_timeline.model.qwen2_5_omni.family import NOT_QUANTIZED
from omni_timeline.model.qwen2_5_omni.model import OmniModel


def language_model_bytes(model: OmniModel) -> int:
    """Of the layers that are quantised."""
    return sum(each.numel() * each.element_size() for each in model.model.model.language_model.layers.parameters())


@pytest.mark.parametrize(("name", "share"), [("nf4", 0.25), ("int8", 0.35)])
def test_weights_are_quantised_where_they_should_be(name: str, share: float, demo_model: OmniModel):
    model = OmniModel.load("demo", device="cpu", quantization=name)
    assert language_model_bytes(model) < share * language_model_bytes(demo_model)
    for part in ("visual", "audio_tower"):
        theirs, ours = model.model.model.get_submodule(part), demo_model.model.model.get_submodule(part)
        for quantised, plain in zip(theirs.parameters(), ours.parameters(), strict=True):
            assert torch.equal(quantised, plain)
    assert model.version == f"{demo_model.version}-{name}"
    clip = make_clip(5.0, 10, sound=True)
    [answer] = model.answer([Row(clip, Prompt(), 2 * clip.times.second_per_frame)])
    assert answer.text


def test_the_parts_that_are_kept_are_named_in_full(demo_model: OmniModel):
    """Of a part of a name transformers makes nothing, and says nothing."""
    names = dict(demo_model.model.named_modules())
    assert set(NOT_QUANTIZED) <= set(names)


def test_an_unknown_quantisation_is_refused():
    with pytest.raises(ModelError, match="say nf4, int8, fp8"):
        quantization_config("int3", torch.float32, ())


@pytest.mark.skipif(find_spec("torchao") is not None, reason="torchao is installed here")
def test_a_library_that_is_missing_is_named():
    with pytest.raises(ModelError, match="needs torchao, which is not installed: pip install torchao"):
        quantization_config("fp8", torch.float32, ())
