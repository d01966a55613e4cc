"""What a GPU makes of a model as large as the released ones: loading, batches, kinds of attention, a compiled step.

    python benchmarks/gpu.py --size 3B      # some minutes on an H100
    python benchmarks/gpu.py --size tiny --device cpu   # only to try the script: slow, and no figures

The weights are random, in the shapes of Qwen2.5-Omni, so the answers mean nothing and their cost is the real one. They
are written to a folder first and loaded from it as any checkpoint is. Clips are 30 s long with sound, 50 frames of 448
pixels across; answers are 64 tokens long.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

from demo_clips import table
from omni_timeline.errors import ModelError, OutOfMemoryError
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.family import Row
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.timebase import SAMPLE_RATE, FrameTimes

# hidden, intermediate, layers, heads, heads for keys and values, vocabulary: of the released config.json files
TEXT = {
    "tiny": (128, 384, 4, 4, 2, 2_048),
    "3B": (2_048, 11_008, 36, 16, 2, 151_936),
    "7B": (3_584, 18_944, 28, 28, 4, 152_064),
}
SECONDS, FRAMES, SIDE, TOKENS = 30.0, 50, (252, 448), 64
BATCHES = (1, 4, 16)
PREPROCESSOR = {
    "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "hop_length": 160, "n_fft": 400,
    "n_samples": 4_800_000, "nb_max_frames": 30_000, "chunk_length": 300, "sampling_rate": SAMPLE_RATE,
    "return_attention_mask": True, "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136,
    "max_pixels": 12_845_056, "patch_size": 14, "merge_size": 2, "temporal_patch_size": 2,
    "processor_class": "Qwen2_5OmniProcessor",
}  # fmt: skip


def random_checkpoint(folder: Path, size: str, device: str) -> None:
    """A thinker with random weights in bfloat16, and the demo's tokenizer."""
    config = Qwen2_5OmniThinkerConfig.from_pretrained(DEMO_FOLDER)
    hidden, intermediate, layers, heads, key_value_heads, vocabulary = TEXT[size]
    text, vision, audio = config.text_config, config.vision_config, config.audio_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = hidden, intermediate, layers
    text.num_attention_heads, text.num_key_value_heads, text.vocab_size = heads, key_value_heads, vocabulary
    text.layer_types = ["full_attention"] * layers
    vision.out_hidden_size = audio.output_dim = hidden
    if size != "tiny":
        text.rope_parameters = {**text.rope_parameters, "mrope_section": [16, 24, 24]}
        vision.hidden_size, vision.depth, vision.num_heads, vision.intermediate_size = 1280, 32, 16, 3420
        vision.window_size, vision.fullatt_block_indexes = 112, [7, 15, 23, 31]
        audio.d_model, audio.encoder_layers, audio.encoder_attention_heads, audio.encoder_ffn_dim = 1280, 32, 20, 5120
    torch.manual_seed(0)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen2_5OmniThinkerForConditionalGeneration(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder, max_shard_size="4GB")
    for path in DEMO_FOLDER.iterdir():
        if path.name not in ("config.json", "model.safetensors", "processor_config.json"):
            shutil.copy(path, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))


@cache
def clip() -> Clip:
    """Noise to see and to hear."""
    noise = np.random.default_rng(0)
    height, width = SIDE
    info = VideoInfo(
        path=Path("noise.mp4"), duration=SECONDS, fps=25.0, frame_count=round(SECONDS * 25), width=width, height=height,
        start_time=0.0, has_audio=True,
    )  # fmt: skip
    return Clip(
        info=info,
        start=0.0,
        end=SECONDS,
        frames=noise.integers(0, 256, size=(FRAMES, 3, height, width), dtype=np.uint8),
        times=FrameTimes(tuple(np.linspace(0, SECONDS, FRAMES).tolist())),
        shown=tuple(np.linspace(0, SECONDS, FRAMES).tolist()),
        audio=noise.normal(0, 0.1, round(SECONDS * SAMPLE_RATE)).astype(np.float32),
    )


def rows(count: int, tokens: int = TOKENS) -> list[Row]:
    return [Row(clip(), Prompt(), SECONDS / (FRAMES // 2), None, tokens) for _ in range(count)]


@contextmanager
def loaded(folder: Path, device: str, **how: Any) -> Iterator[OmniModel]:
    """The checkpoint, which never ends an answer by itself."""
    model = OmniModel.load(str(folder), device=device, **how)
    model.end_ids = []
    try:
        yield model
    finally:
        del model
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The median; once before the clock starts."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def held(device: str) -> str:
    """What is allocated now."""
    return f"{torch.cuda.memory_allocated() / 1e9:.1f}" if device.startswith("cuda") else "–"


def gigabytes(device: str) -> str:
    """The most that was allocated."""
    return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device.startswith("cuda") else "–"


def loading(folder: Path, device: str, quantizations: Sequence[str | None]) -> None:
    """How long it takes, and where the weights pass through."""
    found = []
    for quantization in quantizations:
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        try:
            with loaded(folder, device, quantization=quantization) as model:
                spent = time.perf_counter() - began
                more = (psutil.Process().memory_info().rss - before) / 1e9
                peak, kept = gigabytes(device), held(device)
                forget_peak(device)
                model.answer(rows(1))
                row = [quantization or "bfloat16", f"{spent:.1f} s", peak, kept, gigabytes(device), f"{more:.1f}"]
                found.append(row)
        except ModelError as error:
            found.append([quantization or "bfloat16", str(error).split(":")[0], *["–"] * 4])
    header = ["weights", "loading", "GPU while loading, GB", "loaded", "with one clip", "main memory, GB more"]
    print(table(header, found))


def batches(folder: Path, device: str, attention: str) -> None:
    """A clip's share of the time, by the size of its batch."""
    found = []
    try:
        with loaded(folder, device, attention=attention) as model:
            for count in BATCHES:
                forget_peak(device)
                built = seconds(lambda count=count: build(model, count))  # type: ignore[misc]
                first = seconds(lambda count=count: model.answer(rows(count, 1)))  # type: ignore[misc]
                whole = seconds(lambda count=count: model.answer(rows(count)))  # type: ignore[misc]
                step = (whole - first) / (TOKENS - 1)
                found.append(
                    [attention, count, f"{built:.2f} s", f"{first:.2f} s", f"{1000 * step:.1f} ms",
                     f"{count / step:.0f}", f"{whole / count:.2f} s", gigabytes(device)]
                )  # fmt: skip
    except (ModelError, OutOfMemoryError) as error:
        found.append([attention, str(error).split(":")[0], *["–"] * 6])
    print(table(["attention", "clips", "inputs", "to the first token", "step", "tokens/s", "a clip", "GPU, GB"], found))


def build(model: OmniModel, count: int) -> object:
    """The inputs of so many clips."""
    wanted = rows(count)
    return model.inputs.build([row.clip for row in wanted], Prompt(), [row.second_per_grid for row in wanted])


def compiled(folder: Path, device: str) -> None:
    """A static cache, whose step can be compiled, against the cache that grows; without our own bookkeeping."""
    with loaded(folder, device, attention="sdpa") as model:
        built = model.inputs.build([clip()], [Prompt()], [SECONDS / (FRAMES // 2)])
        inputs = {key: value.to(device) if torch.is_tensor(value) else value for key, value in built.items()}
        found = []
        for name, how in (("growing", {}), ("static, compiled", {"cache_implementation": "static"})):

            def generate(tokens: int, how: dict[str, Any] = how) -> object:
                with torch.inference_mode():
                    return model.model.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, **how)

            began = time.perf_counter()
            try:
                generate(TOKENS)
            except Exception as error:  # whatever torch.compile raises is the finding
                found.append([name, f"{type(error).__name__}: {str(error).splitlines()[0][:100]}", "–"])
                continue
            warm = time.perf_counter() - began
            step = (seconds(lambda: generate(TOKENS)) - seconds(lambda: generate(1))) / (TOKENS - 1)
            found.append([name, f"{warm:.1f} s", f"{1000 * step:.1f} ms"])
    print(table(["cache", "first call", "step"], found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=TEXT, default="3B", help="whose shapes (default: %(default)s)")
    parser.add_argument("--device", default="cuda:0", help="(default: %(default)s)")
    parser.add_argument("--attention", nargs="*", default=["sdpa", "flash_attention_2"], help="(default: both)")
    parser.add_argument("--quantization", nargs="*", default=[], help="try these as well: nf4, int8, fp8")
    arguments = parser.parse_args()
    device = arguments.device
    if device.startswith("cuda"):
        print(torch.cuda.get_device_name(device), f"torch {torch.__version__}", sep=", ", end="\n\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / f"random-{arguments.size}"
        random_checkpoint(folder, arguments.size, device)
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        loading(folder, device, [None, *arguments.quantization])
        for attention in arguments.attention:
            print(flush=True)
            batches(folder, device, attention)
        print(flush=True)
        compiled(folder, device)


if __name__ == "__main__":
    main()
