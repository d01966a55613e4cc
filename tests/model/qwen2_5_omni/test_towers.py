"""The towers give what transformers' own give, patch by patch and window by window."""

from __future__ import annotations

import pytest
import torch

from model_inputs import make_clip
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.qwen2_5_omni.towers import quicken


def towers(model: OmniModel, sound: bool, size: tuple[int, int]) -> list[torch.Tensor]:
    """What the language model gets of two clips of different length."""
    inputs = RealTimeInputs(model.processor, model.model).build(
        [make_clip(12, sound=sound, size=size), make_clip(7.3, frames=11, sound=sound, size=size)]
    )
    with torch.inference_mode():
        seen = model.model.get_video_features(inputs["pixel_values_videos"].double(), inputs["video_grid_thw"])
        found = [seen.pooler_output]
        if sound:
            mask = inputs["feature_attention_mask"]
            sounds = inputs["input_features"].double()
            found.append(model.model.get_audio_features(sounds, mask).last_hidden_state)
    return [torch.cat(list(each)) if isinstance(each, list | tuple) else each for each in found]


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("size", [(56, 56), (84, 252), (140, 196)])
def test_they_see_and_hear_the_same(sound: bool, size: tuple[int, int]):
    stock = OmniModel.load("demo", device="cpu")
    stock.model.double()  # so that nothing of the difference is rounding
    for part in stock.model.modules():
        part.__dict__.pop("forward", None)
    expected = towers(stock, sound, size)
    quicken(stock.model)
    for ours, theirs in zip(towers(stock, sound, size), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_loaded_model_does_so():
    model = OmniModel.load("demo", device="cpu")
    assert sum("forward" in vars(part) for part in model.model.modules()) >= 2
    assert "forward" in vars(model.model.model.visual.patch_embed)
