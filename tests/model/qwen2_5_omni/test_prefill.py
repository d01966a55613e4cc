"""Reading the prompts of a batch gives what the model's own `forward` gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model_inputs import make_clip
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.cache import roomy_cache
from omni_timeline.model.qwen2_5_omni.inputs import ClipInputs, RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.qwen2_5_omni.prefill import read_prompts


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request: pytest.FixtureRequest) -> OmniModel:
    loaded = OmniModel.load("demo", device="cpu", attention=request.param)
    if request.param == "sdpa":
        loaded.model.double()  # so that hardly anything of a difference is rounding; transformers' eager gives nan then
    return loaded


def build(model: OmniModel, sound: bool, durations: tuple[float, ...] = (12, 3, 7.3)) -> ClipInputs:
    clips = [make_clip(duration, sound=sound, size=(56, 84)) for duration in durations]
    prompts = [Prompt(user="List the events." + " And then?" * number) for number in range(len(clips))]
    built = RealTimeInputs(model.processor, model.model).build(clips, prompts)
    exact = {key: built[key].to(model.model.dtype) for key in ("pixel_values_videos", "input_features") if key in built}
    return ClipInputs({**built, **exact})


def stock(model: OmniModel, inputs: ClipInputs) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor]:
    """Scores, keys and values of each layer, and positions of the next token by the model alone."""
    cache = roomy_cache(model.model.config.get_text_config())
    with torch.inference_mode():
        logits = model.model(**inputs, cache=cache, use_cache=True).logits[:, -1:]
    position = inputs["attention_mask"].sum(1, keepdim=True) + model.model.model.rope_deltas
    return logits, [(layer.keys, layer.values) for layer in cache.layers], position


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("durations", [(12, 3, 7.3), (5,), (5, 5)])
def test_the_numbers_are_those_of_the_model_itself(model: OmniModel, sound: bool, durations: tuple[float, ...]):
    tolerance = {"rtol": 0.0, "atol": 1e-6 if model.model.dtype is torch.float64 else 1e-4}
    inputs = build(model, sound, durations)
    logits, layers, position = stock(model, inputs)
    cache = roomy_cache(model.model.config.get_text_config())
    with torch.inference_mode():
        found, mask, at = read_prompts(model.model, inputs, cache)
    torch.testing.assert_close(found, logits, **tolerance)
    assert at.tolist() == position.tolist()
    padded = inputs["attention_mask"]
    assert mask.sum(1).tolist() == padded.sum(1).tolist()
    for row, length in enumerate(mask.sum(1).tolist()):
        assert mask[row].tolist() == [1] * length + [0] * (mask.shape[1] - length)
        for layer, (keys, values) in zip(cache.layers, layers, strict=True):
            torch.testing.assert_close(layer.keys[row, :, :length], keys[row, :, -length:], **tolerance)
            torch.testing.assert_close(layer.values[row, :, :length], values[row, :, -length:], **tolerance)


def test_the_inputs_are_left_alone(model: OmniModel):
    inputs = build(model, sound=True)
    before = {key: value.clone() for key, value in inputs.items() if torch.is_tensor(value)}
    with torch.inference_mode():
        read_prompts(model.model, inputs, roomy_cache(model.model.config.get_text_config()))
    for key, value in before.items():
        assert torch.equal(inputs[key], value), key


def test_the_last_layer_computes_one_place_of_a_row_and_only_while_prompts_are_read(model: OmniModel):
    shapes: list[tuple[int, ...]] = []
    last = model.model.model.language_model.layers[-1]
    hook = last.mlp.register_forward_hook(lambda _, __, found: shapes.append(tuple(found.shape)))
    inputs = build(model, sound=False)
    try:
        with torch.inference_mode():
            read_prompts(model.model, inputs, roomy_cache(model.model.config.get_text_config()))
            stock(model, inputs)
    finally:
        hook.remove()
    rows, tokens = inputs["input_ids"].shape
    width = model.model.config.get_text_config().hidden_size
    assert shapes == [(rows, 1, width), (rows, tokens, width)]


def test_the_model_is_itself_again_after_an_error(model: OmniModel):
    inputs = build(model, sound=False)
    expected, *_ = stock(model, inputs)
    broken = {**inputs, "pixel_values_videos": inputs["pixel_values_videos"][:-4]}
    with torch.inference_mode(), pytest.raises(IndexError):
        read_prompts(model.model, broken, roomy_cache(model.model.config.get_text_config()))
    found, *_ = stock(model, inputs)
    assert torch.equal(found, expected)
