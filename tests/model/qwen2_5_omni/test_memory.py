"""What training is said to take is what was measured, and what is counted of a checkpoint is what is loaded."""

from __future__ import annotations

import pytest
import torch

from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.devices import gpu_memory
from omni_timeline.model.qwen2_5_omni.memory import SPARE_BYTES, Shape, peak_bytes, shape_of
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.qwen2_5_omni.training import LANGUAGE_MODEL, RANK, OmniTraining

THREE = Shape(8_782_877_824, 29_933_568, layers=36, width=2048, feed_forward=11008, number_bytes=2)
SEVEN = Shape(17_861_906_560, 40_370_176, layers=28, width=3584, feed_forward=18944, number_bytes=2)


@pytest.mark.parametrize(
    ("shape", "tokens", "gigabytes"),
    [(THREE, 4295, 11.1), (THREE, 7595, 12.5), (SEVEN, 4295, 21.4), (SEVEN, 7595, 23.5)],
)
def test_the_peak_is_the_one_that_was_measured(shape: Shape, tokens: int, gigabytes: float):
    """benchmarks/training_memory.py on an H200, see docs/speed.md."""
    assert peak_bytes(shape, tokens) / 1e9 == pytest.approx(gigabytes, rel=0.02)


def test_a_checkpoint_is_counted_as_it_is_loaded(demo_model: OmniModel):
    checkpoint = Checkpoint.find()
    shape = shape_of(checkpoint.folder, torch.float32, None, LANGUAGE_MODEL, RANK)
    assert shape.weight_bytes == sum(each.numel() * each.element_size() for each in demo_model.model.parameters())
    training = OmniTraining(OmniModel.load("demo", device="cpu"), ())
    assert shape.trained == training.trained
    needed = checkpoint.family.training_bytes(checkpoint, device="cpu")
    assert needed == peak_bytes(shape) + SPARE_BYTES


@pytest.mark.parametrize("name", ["nf4", "int8"])
def test_a_quantised_checkpoint_is_counted_as_it_is_loaded(name: str):
    shape = shape_of(Checkpoint.find().folder, torch.float32, name, LANGUAGE_MODEL, RANK)
    model = OmniModel.load("demo", device="cpu", quantization=name).model
    loaded = sum(each.numel() * each.element_size() for each in model.parameters())
    assert shape.weight_bytes == pytest.approx(loaded, rel=0.03)  # scales are not among the parameters


def test_a_cpu_has_no_memory_of_its_own():
    assert gpu_memory("cpu") is None
