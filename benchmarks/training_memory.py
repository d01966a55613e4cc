"""What a step of training costs on a GPU: peak memory and seconds, of random weights with the sizes of released ones.

    python benchmarks/training_memory.py                        3B and 7B, bf16
    python benchmarks/training_memory.py --sizes 3B --nf4       its language model in 4 bits (bitsandbytes)
    python benchmarks/training_memory.py --device cpu --sizes tiny     whether it runs at all

Needs torch, transformers and peft; no checkpoint is downloaded. The weights say nothing, so neither do the losses: what
is measured is the arithmetic of `OmniTraining.step`, one clip at a time, with gradient checkpointing. Each row is a
clip of 48 s at 50 frames with sound; "towers" is the first step on it, in which the pictures are looked at, "step" the
mean of those that find them remembered.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.model.checkpoint import DEMO_FOLDER, Checkpoint
from omni_timeline.model.family import Exercise, Rates, Row
from omni_timeline.model.prompts import with_labels
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.timebase import FrameTimes, samples_in, sampling_instants

SECONDS, FRAMES, FPS = 48.0, 50, 25.0
LABELS = ("speech", "music", "applause", "door")
ANSWER = "\n".join(f"From {start}.0 to {start + 3}.5, {LABELS[start % 4]}." for start in range(0, 44, 5))


@dataclass(frozen=True)
class Size:
    """The sizes of a released checkpoint; what is not here, the two have in common."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    is_tied: bool
    tower_layers: int = 32
    tower_width: int = 1280


SIZES = {
    "3B": Size(2048, 11008, 36, 16, 2, 151936, is_tied=True),
    "7B": Size(3584, 18944, 28, 28, 4, 152064, is_tied=False),
    "tiny": Size(256, 512, 2, 2, 1, 40000, is_tied=True, tower_layers=1, tower_width=160),
}


def config_of(size: Size) -> Any:
    """A config of this size with the token ids of the demo checkpoint, whose processor is used."""
    config = Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER).to_dict()
    config["tie_word_embeddings"] = size.is_tied
    config["text_config"] |= {
        "hidden_size": size.hidden, "intermediate_size": size.feed_forward, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "num_key_value_heads": size.key_value_heads,
        "vocab_size": size.vocabulary, "tie_word_embeddings": size.is_tied, "head_dim": size.hidden // size.heads,
        "layer_types": ["full_attention"] * size.layers, "initializer_range": 0.02,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": _sections(size)},
    }  # fmt: skip
    width = size.tower_width
    config["vision_config"] |= {
        "depth": size.tower_layers, "hidden_size": width, "num_heads": width // 80, "intermediate_size": width * 8 // 3,
        "out_hidden_size": size.hidden, "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112,
    }  # fmt: skip
    config["audio_config"] |= {
        "d_model": width, "encoder_layers": size.tower_layers, "encoder_attention_heads": width // 64 or 1,
        "encoder_ffn_dim": 4 * width, "output_dim": size.hidden,
    }  # fmt: skip
    return Qwen2_5OmniThinkerConfig.from_dict(config)


def _sections(size: Size) -> list[int]:
    half = size.hidden // size.heads // 2
    return [half - 2 * (half * 3 // 8), half * 3 // 8, half * 3 // 8]


@contextmanager
def model_of(size: Size, device: str, quantization: str | None) -> Iterator[OmniModel]:
    """A model of this size with random weights; one that is quantised goes by way of the disk, as a real one does."""
    from transformers import Qwen2_5OmniProcessor

    processor = Qwen2_5OmniProcessor.from_pretrained(DEMO_FOLDER)
    with torch.device(device):
        thinker = Qwen2_5OmniThinkerForConditionalGeneration._from_config(
            config_of(size), dtype=torch.bfloat16, attn_implementation="sdpa"
        )
    checkpoint = Checkpoint("random", DEMO_FOLDER, "random", QWEN2_5_OMNI)
    if quantization is None:
        yield OmniModel(checkpoint, processor, thinker.eval())
        return
    with TemporaryDirectory() as name:
        thinker.save_pretrained(name)
        processor.save_pretrained(name)
        del thinker
        _forget()
        checkpoint = Checkpoint("random", Path(name), "random", QWEN2_5_OMNI)
        yield OmniModel.from_checkpoint(checkpoint, device=device, dtype="bfloat16", quantization=quantization)


def exercise(number: int, tokens_per_grid: int) -> Exercise:
    """A clip of noise with an answer. `number` tells it from others."""
    rng = np.random.default_rng(number)
    height, width = QWEN2_5_OMNI.frame_size(720, 1280, 28 * 28, tokens_per_grid * 28 * 28)
    times = tuple(sampling_instants(0.0, SECONDS, FRAMES))
    clip = Clip(
        VideoInfo(Path(f"{number}.mp4"), SECONDS, FPS, round(SECONDS * FPS), 1280, 720, 0.0, has_audio=True),
        0.0,
        SECONDS,
        rng.integers(0, 255, (FRAMES, 3, height, width), dtype=np.uint8),
        FrameTimes(times),
        times,
        0.1 * rng.standard_normal(samples_in(SECONDS), dtype=np.float32),
    )
    return Exercise(Row(clip, with_labels(LABELS), QWEN2_5_OMNI.second_per_grid(clip)), ANSWER)


def measure(name: str, device: str, quantization: str | None, tokens_per_grid: int, steps: int) -> str:
    """One row of the table."""
    _forget()
    with model_of(SIZES[name], device, quantization) as model:
        billions = sum(parameter.numel() for parameter in model.model.parameters()) / 1e9
        loaded = _peak(device)
        training = model.family.train(model, LABELS, 0)
        material = exercise(0, tokens_per_grid)
        rates = Rates(2e-3, 1e-2)
        seconds, losses = [], []
        for _ in range(steps + 1):
            began = time.perf_counter()
            losses.append(training.step([material], rates))
            seconds.append(time.perf_counter() - began)
        tokens = model.report(material.row).prompt_tokens
        cells = [
            name, quantization or "bf16", f"{billions:.2f}", f"{tokens}", f"{loaded:.1f}", f"{_peak(device):.1f}",
            f"{seconds[0]:.1f}", f"{sum(seconds[1:]) / steps:.2f}", f"{losses[0]:.2f} to {losses[-1]:.2f}",
        ]  # fmt: skip
        return "| " + " | ".join(cells) + " |"


def _peak(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if device.startswith("cuda") else float("nan")


def _forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=("3B", "7B"))
    parser.add_argument("--tokens-per-grid", nargs="+", type=int, default=(128, 256), help="pixels / 784, at most")
    parser.add_argument("--nf4", action="store_true", help="the language model in 4 bits, too")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda"):
        print(torch.cuda.get_device_name(), torch.__version__)
    print("| size | weights | 10⁹ parameters | tokens | loaded, GB | peak, GB | towers, s | step, s | loss |")
    print("|---" * 9 + "|")
    for name in arguments.sizes:
        for quantization in (None, "nf4") if arguments.nf4 else (None,):
            for tokens in arguments.tokens_per_grid:
                print(measure(name, arguments.device, quantization, tokens, arguments.steps), flush=True)


if __name__ == "__main__":
    main()
