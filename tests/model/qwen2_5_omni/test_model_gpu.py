"""The model on an NVIDIA GPU: what it is loaded as by default, and that it answers as on the CPU."""

from __future__ import annotations

import pytest
import torch

from model_inputs import Laid, make_clip
from omni_timeline.errors import ModelError
from omni_timeline.model.qwen2_5_omni.inputs import ClipInputs, RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu() -> OmniModel:
    return OmniModel.load("demo")


@pytest.fixture(scope="module")
def inputs(gpu: OmniModel) -> ClipInputs:
    """Two clips with sound, one of them with more than 2 s from grid to grid."""
    return RealTimeInputs(gpu.processor, gpu.model).build([make_clip(12, sound=True), make_clip(120, sound=True)])


def test_a_gpu_is_used_in_bfloat16_where_there_is_one(gpu: OmniModel) -> None:
    assert gpu.model.device.type == "cuda"
    assert gpu.model.dtype == torch.bfloat16
    assert gpu.model.config._attn_implementation in ("flash_attention_2", "sdpa")
    assert "cuda:0, bfloat16" in gpu.description


def test_bfloat16_answers_are_as_likely_as_the_cpus(gpu: OmniModel, demo_model: OmniModel, inputs: ClipInputs) -> None:
    """Token for token the first one: later ones may part where two are about as likely."""
    RealTimeInputs(demo_model.processor, demo_model.model)
    pairs = zip(gpu.generate(inputs, max_new_tokens=8), demo_model.generate(inputs, max_new_tokens=8), strict=True)
    for ours, theirs in pairs:
        assert ours.log_probabilities[0] == pytest.approx(theirs.log_probabilities[0], abs=0.1)


def test_float32_answers_are_the_cpus(demo_model: OmniModel, inputs: ClipInputs) -> None:
    model = OmniModel.load("demo", device="cuda", dtype="float32", attention="sdpa")
    for each in (model, demo_model):
        RealTimeInputs(each.processor, each.model)
    pairs = zip(model.generate(inputs, max_new_tokens=8), demo_model.generate(inputs, max_new_tokens=8), strict=True)
    for ours, theirs in pairs:
        assert ours.token_ids == theirs.token_ids
        assert ours.log_probabilities == pytest.approx(theirs.log_probabilities, abs=1e-2)


def test_times_are_right_on_the_gpu_after_the_usual_scripts_cast(gpu: OmniModel) -> None:
    real = RealTimeInputs(gpu.processor, gpu.model)
    for duration in (12, 24.5, 120):
        clip = make_clip(duration, sound=True)
        moved = real.build([clip]).to(gpu.model.device).to(gpu.model.dtype)
        assert moved["video_second_per_grid"].dtype == torch.float32
        assert {value.device.type for value in moved.values() if torch.is_tensor(value)} == {"cuda"}
        assert gpu.token_reports(moved) == gpu.token_reports(real.build([clip]))
        on_cpu = {key: value.cpu() if torch.is_tensor(value) else value for key, value in moved.items()}
        Laid(gpu.model, on_cpu).check(clip, 1 / 60)
        assert gpu.generate(moved, max_new_tokens=2)


def test_flash_attention_agrees_with_sdpa(inputs: ClipInputs) -> None:
    pytest.importorskip("flash_attn")
    outputs = []
    for attention in ("flash_attention_2", "sdpa"):
        model = OmniModel.load("demo", device="cuda", attention=attention)
        RealTimeInputs(model.processor, model.model)
        outputs.append(model.generate(inputs, max_new_tokens=1))
    for flash, sdpa in zip(*outputs, strict=True):
        assert flash.log_probabilities == pytest.approx(sdpa.log_probabilities, abs=0.1)


def test_flash_attention_in_float32_is_refused() -> None:
    with pytest.raises(ModelError, match="needs bfloat16 or float16, not float32"):
        OmniModel.load("demo", device="cuda", dtype="float32", attention="flash_attention_2")


def test_a_gpu_too_many_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ModelError, match=f"the GPUs here are cuda:0 to cuda:{count - 1}"):
        OmniModel.load("demo", device=f"cuda:{count}")
