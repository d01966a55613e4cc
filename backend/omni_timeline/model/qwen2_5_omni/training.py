"""Training of a low-rank adapter on Qwen2.5-Omni: the loss of one batch, and a step of the optimizer.

Its language model alone is adapted, unless its towers are to be. What they make of pictures does not change then, so
that it is computed once for each pair of frames, whatever windows the pair is in. The loss is that of the answers'
tokens: the vocabulary is scored at their positions alone, since over a prompt of 8,000 tokens that would be 12 GB.

Knows tensors, and what an answer should have been. Knows nothing of where that comes from, of schedules or of scores.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutputWithPooling

from omni_timeline.answers.answer import NUMERALS
from omni_timeline.errors import first_line
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.devices import find_device, find_dtype, one_memory_error
from omni_timeline.model.family import Exercise, Rates
from omni_timeline.model.lora import TRAINED, lora_config, save_adapter, trained_parameters
from omni_timeline.model.qwen2_5_omni.memory import SPARE_BYTES, peak_bytes, shape_of
from omni_timeline.model.qwen2_5_omni.model import OmniModel

# A regular expression over full names: the towers have layers of the same endings.
LANGUAGE_MODEL = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
TOWERS = (
    r".*(visual\.blocks\.\d+\.(attn\.(q|k|v|proj)|mlp\.(gate|up|down)_proj)|visual\.merger\.mlp\.[02]|"
    r"audio_tower\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|fc1|fc2)|audio_tower\.proj)"
)
RANK, ALPHA = 16, 32
SMALL_VOCABULARY = 32_000  # tokens; a checkpoint with fewer has tokens that it has never written
WIDTH_OF_RATE = 128  # of the language model for which rates are given; wider ones take proportionally less
BETAS = (0.9, 0.98)
LONGEST_GRADIENT = 1.0
BATCH_TOKENS = {"cpu": 2000, "cuda": 5000}  # that go through the model at a time; one clip may have more
KEPT_BYTES = 2 * 1024**3  # of pictures as the tower sees them, in main memory
IGNORED = -100

Grid = tuple[Path, float, float, int, int]  # the file, the own times of the two pictures, height and width


class OmniTraining:
    """An adapter in training. Meanwhile the model answers with it, as far as it has come.

    Args:
        model: a loaded checkpoint without adapters.
        labels: those of the project; their tokens are trained too where a small vocabulary makes that necessary.
        seed: of the adapter's first weights.
        with_towers: adapts what sees and hears, too.
    """

    def __init__(self, model: OmniModel, labels: Sequence[str], seed: int = 0, *, with_towers: bool = False) -> None:
        self._model = model
        self._with_towers = with_towers
        self._thinker = model.model
        torch.manual_seed(seed)
        modules = f"{LANGUAGE_MODEL}|{TOWERS}" if with_towers else LANGUAGE_MODEL
        config = lora_config(modules, RANK, ALPHA, self._label_tokens(labels))
        self._wrapped = model.adapters.begin_training(config)
        matrices, rows = trained_parameters(self._wrapped)
        self._parameters = [*matrices, *rows]
        groups = [{"params": matrices}, *([{"params": rows}] if rows else [])]
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, weight_decay=0.0)
        self._grids: OrderedDict[Grid, Tensor] = OrderedDict()
        self._kept_bytes = 0
        if self._thinker.device.type != "cpu":
            self._save_memory()

    @classmethod
    def bytes_needed(cls, checkpoint: Checkpoint, device: str, dtype: str | None, quantization: str | None) -> int:
        """What training takes of a GPU's memory, the weights included, with windows of the default size; not towers."""
        precision = find_dtype(dtype, find_device(device))
        return peak_bytes(shape_of(checkpoint.folder, precision, quantization, LANGUAGE_MODEL, RANK)) + SPARE_BYTES

    @property
    def trained(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self._parameters)

    def step(self, exercises: Sequence[Exercise], rates: Rates) -> float:
        """Learn from exercises, clips with sound among clips without; the mean loss of an answer's token.

        Raises:
            OutOfMemoryError: one of them is too much for the device.
        """
        scale = WIDTH_OF_RATE / self._thinker.config.get_text_config().hidden_size
        for group, rate in zip(self._optimizer.param_groups, (rates.matrices, rates.tokens), strict=False):
            group["lr"] = rate * scale
        answers = [self._answer(exercise.answer) for exercise in exercises]
        tokens = sum(map(len, answers))
        total = 0.0
        self._thinker.train()
        try:
            with one_memory_error():
                for batch in self._batches(exercises):
                    loss = self.loss([exercises[number] for number in batch], [answers[number] for number in batch])
                    (loss / tokens).backward()
                    total += loss.item()
        finally:
            self._thinker.eval()
        torch.nn.utils.clip_grad_norm_(self._parameters, LONGEST_GRADIENT)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return total / tokens

    def loss(self, exercises: Sequence[Exercise], answers: Sequence[Tensor] | None = None) -> Tensor:
        """The summed loss of the answers' tokens of a batch; all clips with sound, or all without."""
        answers = answers or [self._answer(exercise.answer) for exercise in exercises]
        rows = [exercise.row for exercise in exercises]
        inputs = self._model.inputs.build(
            [row.clip for row in rows], [row.prompt for row in rows], [row.second_per_grid for row in rows]
        )
        prompts = [ids[mask.bool()] for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
        whole = [torch.cat(parts) for parts in zip(prompts, answers, strict=True)]
        longest = max(map(len, answers))
        wanted = pad_sequence(list(answers), True, IGNORED, padding_side="left")
        inputs["input_ids"] = pad_sequence(whole, True, 0, padding_side="left")
        inputs["attention_mask"] = pad_sequence([torch.ones_like(ids) for ids in whole], True, 0, padding_side="left")
        seen = self._seen(exercises, inputs)
        inputs = inputs.to(self._thinker.device)
        hidden = self._thinker.model(
            **inputs, mm_encoder_outputs={"video": BaseModelOutputWithPooling(pooler_output=seen)}, use_cache=False
        ).last_hidden_state[:, -longest - 1 : -1]
        scores = self._thinker.lm_head(hidden).float()
        return F.cross_entropy(
            scores.flatten(0, 1), wanted.to(scores.device).flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def save(self, folder: Path) -> None:
        """Write the adapter as far as it has come; the folder must not be there.

        Raises:
            OSError: it cannot be written.
        """
        save_adapter(self._wrapped, folder, self._model.version)

    def save_state(self, file: Path) -> None:
        """Write what training goes on from.

        Raises:
            OSError: it cannot be written.
        """
        adapter = get_peft_model_state_dict(self._wrapped, adapter_name=TRAINED, save_embedding_layers=False)
        try:
            torch.save({"adapter": adapter, "optimizer": self._optimizer.state_dict()}, file)
        except RuntimeError as error:  # what a full disk is to it
            raise OSError(f"{file} cannot be written: {first_line(error)}") from error

    def resume(self, file: Path) -> None:
        """Go on from what was written.

        Raises:
            ValueError: it is not what `save_state` writes.
            OSError: it cannot be read.
        """
        try:
            state = torch.load(file, map_location=self._thinker.device, weights_only=True)
            set_peft_model_state_dict(self._wrapped, state["adapter"], adapter_name=TRAINED)
            self._optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, UnpicklingError, EOFError) as error:
            raise ValueError(f"{file} is not a state of this training: {first_line(error)}") from error

    def _batches(self, exercises: Sequence[Exercise]) -> list[list[int]]:
        """The numbers of the exercises that go through the model together: like sound, not too many tokens."""
        limit = BATCH_TOKENS.get(self._thinker.device.type, BATCH_TOKENS["cpu"])
        tokens = [self._model.family.clip_tokens(exercise.row.clip) for exercise in exercises]
        order = sorted(range(len(exercises)), key=lambda n: (exercises[n].row.clip.audio is None, tokens[n]))
        batches: list[list[int]] = []
        for number in order:
            is_silent = exercises[number].row.clip.audio is None
            if batches:
                first = exercises[batches[-1][0]].row.clip.audio is None
                if first == is_silent and tokens[number] * (len(batches[-1]) + 1) <= limit:
                    batches[-1].append(number)
                    continue
            batches.append([number])
        return batches

    def _seen(self, exercises: Sequence[Exercise], inputs: dict[str, Any]) -> list[Tensor]:
        """What the tower makes of each clip's pictures; takes them out of `inputs`."""
        patches, shapes = inputs.pop("pixel_values_videos"), inputs["video_grid_thw"]
        if self._with_towers:
            device = self._thinker.device
            return list(self._thinker.model.get_video_features(patches.to(device), shapes.to(device)).pooler_output)
        per_clip = patches.split([int(shape.prod()) for shape in shapes])
        clips = []
        for exercise, pixels, (count, height, width) in zip(exercises, per_clip, shapes.tolist(), strict=True):
            names = grid_names(exercise, height, width)
            missing = [number for number, name in enumerate(names) if name not in self._grids]
            if missing:
                chosen = pixels.unflatten(0, (count, height * width))[missing].flatten(0, 1)
                self._look([names[number] for number in missing], chosen, height, width)
            clips.append(torch.cat([self._grids[name] for name in names]).to(self._thinker.device))
            for name in names:
                self._grids.move_to_end(name)
        self._forget()
        return clips

    @torch.no_grad()
    def _look(self, names: Sequence[Grid], pixels: Tensor, height: int, width: int) -> None:
        """Remember what the tower makes of grids: each is seen for itself."""
        shape = torch.tensor([[len(names), height, width]])
        device = self._thinker.device
        [embeddings] = self._thinker.model.get_video_features(pixels.to(device), shape.to(device)).pooler_output
        for name, grid in zip(names, embeddings.cpu().chunk(len(names)), strict=True):
            self._grids[name] = grid.clone()
            self._kept_bytes += grid.nbytes

    def _forget(self) -> None:
        while self._kept_bytes > KEPT_BYTES and self._grids:
            _, grid = self._grids.popitem(last=False)
            self._kept_bytes -= grid.nbytes

    def _answer(self, text: str) -> Tensor:
        """The tokens of an answer, and the one that ends it."""
        tokenizer = self._model.processor.tokenizer
        return torch.tensor([*tokenizer(text, add_special_tokens=False)["input_ids"], self._model.end_ids[0]])

    def _label_tokens(self, labels: Sequence[str]) -> list[int]:
        """The tokens that only labels are written with, where the vocabulary is small."""
        if self._thinker.config.get_text_config().vocab_size >= SMALL_VOCABULARY:
            return []
        tokenizer = self._model.processor.tokenizer

        def tokens(text: str) -> set[int]:
            return set(tokenizer(text, add_special_tokens=False)["input_ids"])

        frame = set[int]().union(*map(tokens, ("From 1.0 to 2.0, .\n", *NUMERALS)))
        return sorted(set[int]().union(*(tokens(f"From 1.0 to 2.0, {label}.") for label in labels)) - frame)

    def _save_memory(self) -> None:
        """Compute what lies between two layers again instead of keeping it."""
        trained = self._thinker if self._with_towers else self._thinker.model.language_model
        trained.gradient_checkpointing_enable({"use_reentrant": False})
        gc.collect()


def grid_names(exercise: Exercise, height: int, width: int) -> list[Grid]:
    """What tells the pictures of an exercise apart, two frames at a time; `height` and `width` in patches."""
    clip = exercise.row.clip
    shown = clip.shown
    return [
        (clip.info.path, shown[first], shown[min(first + 1, len(shown) - 1)], height, width)
        for first in range(0, len(shown), 2)
    ]
