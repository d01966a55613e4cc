"""Low-rank adapters of a loaded model: given to it, saved, loaded and swapped.

PEFT's own classes are used, since transformers' (`model.load_adapter`, `set_adapter`, ...) ask for a PEFT that does not
exist (5.24 for 0.22). They put their layers into the model that they are given; it is used as before, and whoever holds
it need not know.

Knows PEFT. Knows no family: the caller names what is adapted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from omni_timeline.errors import ModelError, first_line
from omni_timeline.model.adapter import Adapter, write_base

KEPT_ADAPTERS = 8  # of several projects, in the model at a time: some 100 MB each for one of 3 billion parameters
TRAINED = "in-training"  # the name of the adapter that is being trained


class Adapters:
    """The adapters of one model; one at a time is in use, none at first. Not thread-safe.

    Args:
        model: a transformers model, whose layers are wrapped in place.
        base: the version of its checkpoint.
    """

    def __init__(self, model: Any, base: str) -> None:
        self._model = model
        self._base = base
        self._wrapped: Any = None
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._is_training = False

    def use(self, adapter: Adapter | None) -> None:
        """From now on the model answers with this adapter; with None as its checkpoint does, or as it is trained.

        Raises:
            RequestError: it belongs to another checkpoint, or its files are gone.
            ModelError: its files have changed, or cannot be loaded.
        """
        if adapter is None:
            if self._wrapped is not None and not self._is_training:
                self._wrapped.base_model.disable_adapter_layers()
            return
        adapter.check_base(self._base)
        if adapter.version not in self._loaded:
            self._load(adapter)
        self._loaded.move_to_end(adapter.version)
        self._wrapped.base_model.enable_adapter_layers()
        self._wrapped.set_adapter(adapter.version)

    def begin_training(self, config: LoraConfig) -> Any:
        """The model with a fresh adapter that changes nothing yet; the adapter stays in use."""
        assert self._wrapped is None, "a model that has adapters is not trained"
        self._wrapped = get_peft_model(self._model, config, adapter_name=TRAINED)
        self._is_training = True
        return self._wrapped

    def _load(self, adapter: Adapter) -> None:
        if Adapter.find(adapter.folder) != adapter:  # PEFT would ask the hub for a folder that is gone
            raise ModelError(f"The adapter in {adapter.folder} has changed: it was {adapter.version}.")
        try:
            if self._wrapped is None:
                self._wrapped = PeftModel.from_pretrained(self._model, adapter.folder, adapter_name=adapter.version)
            else:
                self._wrapped.load_adapter(adapter.folder, adapter.version)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise ModelError(f"The adapter in {adapter.folder} cannot be loaded: {first_line(error)}") from error
        self._model.eval()
        self._loaded[adapter.version] = None
        while len(self._loaded) > KEPT_ADAPTERS:
            oldest, _ = self._loaded.popitem(last=False)
            self._wrapped.delete_adapter(oldest)


def lora_config(modules: str, rank: int, alpha: int, token_ids: Sequence[int]) -> LoraConfig:
    """What is adapted.

    Args:
        modules: a regular expression that the full names of the adapted layers match; of a list of endings PEFT makes
            layers of the towers, too.
        rank: of the matrices.
        alpha: their weight, as a multiple of the rank.
        token_ids: tokens that get a row of their own.
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=modules,
        trainable_token_indices={"embed_tokens": sorted(token_ids)} if token_ids else None,
    )


def save_adapter(wrapped: Any, folder: Path, base: str) -> None:
    """Write the adapter that is trained into a folder, which must not be there.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True)
    wrapped.peft_config[TRAINED].base_model_name_or_path = base  # not a path of this machine
    try:
        wrapped.save_pretrained(folder, selected_adapters=[TRAINED], save_embedding_layers=False)
    except (SafetensorError, RuntimeError) as error:  # what a full disk is to it
        raise OSError(f"The adapter cannot be written: {first_line(error)}") from error
    inner = folder / TRAINED
    for file in inner.iterdir():
        file.rename(folder / file.name)
    inner.rmdir()
    (folder / "README.md").unlink(missing_ok=True)  # of PEFT's, with nothing in it
    write_base(folder, base)


def trained_parameters(wrapped: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The parameters that learn: those of low-rank matrices, and rows of tokens."""
    named = [(name, parameter) for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
    return (
        [parameter for name, parameter in named if "lora_" in name],
        [parameter for name, parameter in named if "lora_" not in name],
    )
