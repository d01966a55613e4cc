"""Weights in fewer bits, for cards of 8 to 16 GB: made from the original weights while they are loaded.

    nf4     4 bits, of bitsandbytes
    int8    8 bits, of bitsandbytes
    fp8     8 bits, of torchao; for GPUs that compute in it (Ada, Hopper and later)

The language model alone is quantised; what a family names is left as it is. Knows no family.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from omni_timeline.errors import ModelError
from omni_timeline.model.wire import QUANTIZATIONS

BITS = {"nf4": 4.5, "int8": 8.0, "fp8": 8.0}  # of a weight; nf4 has a scale of 32 bits for each 64
LIBRARIES = {"nf4": "bitsandbytes", "int8": "bitsandbytes", "fp8": "torchao"}


def quantization_config(name: str | None, dtype: torch.dtype, kept: Sequence[str]) -> Any:
    """Transformers' config for loading in this quantisation; None for None.

    Args:
        name: one of QUANTIZATIONS.
        dtype: what is computed in.
        kept: modules that stay as they are, by their full names: of a part of a name transformers makes nothing, and
            says nothing (5.24).

    Raises:
        ModelError: there is no such quantisation, or its library is not installed.
    """
    if name is None:
        return None
    try:
        if name == "fp8":
            from torchao.quantization import Float8WeightOnlyConfig
            from transformers import TorchAoConfig

            return TorchAoConfig(Float8WeightOnlyConfig(), modules_to_not_convert=list(kept))
        if name in QUANTIZATIONS:
            import bitsandbytes  # noqa: F401  # transformers would say so in a page
            from transformers import BitsAndBytesConfig

            ways: dict[str, dict[str, Any]] = {
                "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype},
                "int8": {"load_in_8bit": True},
            }
            return BitsAndBytesConfig(**ways[name], llm_int8_skip_modules=list(kept))
    except ImportError as error:
        raise ModelError(
            f"The quantization {name} needs {LIBRARIES.get(name)}, which is not installed: pip install "
            f"{LIBRARIES.get(name)}."
        ) from error
    raise ModelError(f"There is no quantization {name!r}: say {', '.join(QUANTIZATIONS)}.")
