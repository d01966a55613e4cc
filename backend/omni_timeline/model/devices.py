"""Where a model runs and how: devices, precisions, kinds of attention, and what running out of memory looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from omni_timeline.errors import ModelError, OutOfMemoryError, first_line

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ATTENTIONS = ("flash_attention_2", "sdpa", "eager")
FLASH_ATTENTION_CAPABILITY = (8, 0)  # Ampere; flash-attn 2 has no kernels for older GPUs
CPU_BATCH_TOKENS = 6_000  # beyond that a CPU gains nothing by larger batches, and a question waits longer
MEMORY_SHARE = 0.6  # of what is free on a GPU; the rest is for fragmentation and for other programs
NO_MEMORY = "can't allocate memory|not enough memory|out of memory"  # torch's words on a CPU


def find_device(name: str | None) -> torch.device:
    """The device of this name; for None the first GPU where there is one, else the CPU.

    Raises:
        ModelError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"There is no device {name!r}: say cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise ModelError(f"There is no device {name}: torch finds no NVIDIA GPU; `--device cpu` runs anywhere.")
        if device.index is not None and device.index >= count:
            raise ModelError(f"There is no device {name}: the GPUs here are cuda:0 to cuda:{count - 1}.")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ModelError("There is no device mps: torch finds no Apple GPU; `--device cpu` runs anywhere.")
    elif device.type != "cpu":
        raise ModelError(f"The device {name} is not supported: say cpu, cuda, cuda:1 or mps.")
    return device


def find_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The precision of this name; for None bfloat16 on an NVIDIA GPU and float32 elsewhere.

    Raises:
        ModelError: there is no such precision.
    """
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ModelError(f"There is no dtype {name!r}: say {', '.join(DTYPES)}.")
    return DTYPES[name]


def find_attention(name: str | None, device: torch.device, dtype: torch.dtype) -> str:
    """Transformers' name of the attention to use; for None the fastest that can run here.

    Raises:
        ModelError: there is no such attention, or it cannot run here.
    """
    if name is not None and name not in ATTENTIONS:
        raise ModelError(f"There is no attention {name!r}: say {', '.join(ATTENTIONS)}.")
    if name in ("sdpa", "eager"):
        return name
    obstacle = _flash_attention_obstacle(device, dtype)
    if name is None:
        return "sdpa" if obstacle else "flash_attention_2"
    if obstacle:
        raise ModelError(f"flash_attention_2 cannot run here: {obstacle}. `--attention sdpa` always can.")
    return name


def _flash_attention_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why flash-attention 2 cannot run; None when it can."""
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, not {device}"
    if dtype == torch.float32:
        return "it needs bfloat16 or float16, not float32"
    if torch.cuda.get_device_capability(device) < FLASH_ATTENTION_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than the GPUs it is made for"
    try:
        import flash_attn  # noqa: F401  # a build for another torch fails here, not at installation
    except ImportError as error:
        return f"flash-attn cannot be imported ({first_line(error)}); the README, With a GPU, says how it is installed"
    return None


@contextmanager
def one_memory_error() -> Iterator[None]:
    """Turns torch's many ways of running out of memory into one error."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch's own class for GPUs is a RuntimeError, like the CPU's
        if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or re.search(NO_MEMORY, str(error))):
            raise
    else:
        return
    # Out here the error is gone, and with it the tensors that its traceback held.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemoryError(
        "The device has too little memory for this video now: lower MAX_PIXELS or FRAMES, or end what else runs there."
    )


def gpu_memory(name: str) -> tuple[int, int] | None:
    """How many bytes are free on a GPU, and how many it has; None where a device is no NVIDIA GPU.

    Raises:
        ModelError: there is no such device here.
    """
    device = find_device(name)
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else None


def batch_tokens(device: torch.device, dtype: torch.dtype, config: Any) -> int:
    """How many tokens of prompts, padding included, are worth trying at a time on a device.

    On a GPU what fits into its free memory by arithmetic: a token keeps its keys and values in every layer, and passes
    through the widest layer once in the precision of the weights. It is halved when memory runs out.

    Args:
        device: where the model is loaded.
        dtype: the precision of its weights.
        config: transformers' config of its language model.
    """
    if device.type != "cuda":
        return CPU_BATCH_TOKENS
    free, _ = torch.cuda.mem_get_info(device)
    heads = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    kept = 2 * config.num_hidden_layers * heads
    passing = 4 * config.hidden_size + 3 * config.intermediate_size
    return max(1, int(MEMORY_SHARE * free / ((kept + passing) * dtype.itemsize)))
