"""A checkpoint of Qwen2.5-Omni: how it is loaded, what it answers.

Knows devices, precisions and tokens. Knows no video: tensors come from `inputs`, text and log-probabilities go out.
The thinker alone is loaded, from thinker-only checkpoints and from full ones: the talker that speaks is never built.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from omni_timeline.answers.answer import NUMERALS, Answer
from omni_timeline.errors import ModelError, RequestError, first_line
from omni_timeline.model.adapter import Adapter
from omni_timeline.model.checkpoint import DEMO, Checkpoint
from omni_timeline.model.constrained import GrammarCompiler, Writer
from omni_timeline.model.devices import batch_tokens, find_attention, find_device, find_dtype, one_memory_error
from omni_timeline.model.family import ModelFacts, Row, TokenReport
from omni_timeline.model.hubs import WAY_OUT
from omni_timeline.model.quantization import quantization_config
from omni_timeline.model.qwen2_5_omni.attention import share_keys
from omni_timeline.model.qwen2_5_omni.decoding import decode
from omni_timeline.model.qwen2_5_omni.family import END_TOKENS, NOT_QUANTIZED, QWEN2_5_OMNI
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs, saved_pixels
from omni_timeline.model.qwen2_5_omni.reading import read_answer, token_reports
from omni_timeline.model.qwen2_5_omni.towers import quicken

if TYPE_CHECKING:  # PEFT takes its time, and most models have no adapter
    from omni_timeline.model.lora import Adapters

DEMO_NOTE = "DEMO: it knows nothing but coloured shapes and tones, see docs/demo-world.md"

logger = logging.getLogger(__name__)


class OmniModel:
    """A loaded checkpoint, made by `OmniModel.load`. Any thread may call it; one answer is generated at a time.

    Attributes:
        checkpoint: its files, and their version.
        processor: its Qwen2_5OmniProcessor.
        model: its Qwen2_5OmniThinkerForConditionalGeneration, in evaluation mode.
        inputs: builds the tensors that it reads.
        quantization: how its weights are quantised, if they are.
        end_ids: the tokens that end an answer; the first is the one that answers are trained to end with.
    """

    family = QWEN2_5_OMNI

    def __init__(self, checkpoint: Checkpoint, processor: Any, model: Any, quantization: str | None = None) -> None:
        self.checkpoint = checkpoint
        self.quantization = quantization
        self.processor = processor
        self.model = model
        self.inputs = RealTimeInputs(processor, model)
        tokenizer = processor.tokenizer
        vocabulary = tokenizer.get_vocab()
        self.end_ids = [vocabulary[token] for token in END_TOKENS if token in vocabulary] or [tokenizer.eos_token_id]
        self._numeral_ids = [_only_id(tokenizer, numeral) for numeral in NUMERALS]
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name: str = DEMO,
        *,
        hub: str = "huggingface",
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        quantization: str | None = None,
    ) -> Self:
        """Loads a checkpoint, downloading it first if need be.

        Args:
            name: "demo" for the bundled one, a folder, or an id on the hub such as Qwen/Qwen2.5-Omni-3B.
            hub: huggingface or modelscope.
            device: cpu, cuda, cuda:1, mps; the first GPU where there is one by default.
            dtype: bfloat16, float16 or float32; bfloat16 on a GPU and float32 elsewhere by default.
            attention: flash_attention_2, sdpa or eager; the first that can run here by default.
            quantization: nf4, int8 or fp8, see `quantization`; None for the weights as they are.

        Raises:
            ModelError: there is no such checkpoint, or it cannot run as asked.
        """
        return cls.from_checkpoint(
            Checkpoint.find(name, hub), device=device, dtype=dtype, attention=attention, quantization=quantization
        )

    @classmethod
    def saved_pixels(cls, checkpoint: Checkpoint) -> tuple[int, int]:
        """As `facts` of the loaded checkpoint have it; no weights are read."""
        return saved_pixels(Qwen2_5OmniProcessor.from_pretrained(checkpoint.folder))

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        quantization: str | None = None,
    ) -> Self:
        """As `load`, for a checkpoint whose files are here.

        Raises:
            ModelError: it cannot be loaded, or not run as asked.
        """
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()  # of the weights: it would fill a log file
        place = find_device(device)
        precision = find_dtype(dtype, place)
        attention = find_attention(attention, place, precision)
        name, folder = checkpoint.name, checkpoint.folder
        try:
            processor = Qwen2_5OmniProcessor.from_pretrained(folder)
            model, report = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
                folder,
                dtype=precision,
                attn_implementation=attention,
                quantization_config=quantization_config(quantization, precision, NOT_QUANTIZED),
                device_map={"": place},  # straight there, not through the main memory
                output_loading_info=True,
            )
            missing = sorted(report["missing_keys"])
            model = model.eval()
            quicken(model)
            share_keys(model)
        except (OSError, ValueError, RuntimeError, SafetensorError, ImportError) as error:
            raise ModelError(f"The checkpoint {name} cannot be loaded: {first_line(error)} {WAY_OUT}") from error
        if missing:
            raise ModelError(f"The checkpoint {name} lacks {len(missing)} weights, {missing[0]} among them. {WAY_OUT}")
        if processor.chat_template is None:
            raise ModelError(f"The checkpoint {name} has no chat template (chat_template.jinja or .json). {WAY_OUT}")
        loaded = cls(checkpoint, processor, model, quantization)
        logger.info("Loaded %s", loaded.description)
        return loaded

    @property
    def version(self) -> str:
        """Name and hash of the checkpoint, such as "demo-1a2b3c4d", and how it is quantised, if it is."""
        return self.checkpoint.quantized_version(self.quantization)

    @property
    def description(self) -> str:
        """One line for a log: the version and how it runs."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        size = f"{parameters / 1e9:.1f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.1f} million"
        how = [str(self.model.device), str(self.model.dtype).removeprefix("torch.")]
        how += [self.model.config._attn_implementation, f"{size} parameters"]
        return f"{self.version}: {', '.join(how)}" + (f" ({DEMO_NOTE})" if self.checkpoint.is_demo else "")

    @property
    def facts(self) -> ModelFacts:
        """What has to be known of it where it is not loaded."""
        text = self.model.config.get_text_config()
        return ModelFacts(
            description=self.description,
            min_pixels=self.inputs.min_pixels,
            max_pixels=self.inputs.max_pixels,
            batch_tokens=batch_tokens(self.model.device, self.model.dtype, text),
        )

    def answer(self, rows: Sequence[Row], on_step: Callable[[], None] | None = None) -> list[Answer]:
        """The answer to each row, most likely token by token; each is cut off at its own limit.

        Args:
            rows: all with sound, or all without; all with the same adapter.
            on_step: called at each step.

        Raises:
            RequestError: a row's words hold control tokens of the model, it is more than the model's context holds, or
                its adapter belongs to another checkpoint.
            ModelError: a row's grammar is too large to be followed.
            OutOfMemoryError: this is too much at once.
        """
        limits = [row.max_new_tokens for row in rows]
        with one_memory_error():
            inputs = self.inputs.build(
                [row.clip for row in rows], [row.prompt for row in rows], [row.second_per_grid for row in rows]
            )
        _check_context(inputs["attention_mask"], limits, self.model.config.get_text_config().max_position_embeddings)
        return self.generate(
            inputs,
            max_new_tokens=limits,
            grammars=[row.grammar for row in rows],
            on_step=on_step,
            adapter=_only_adapter(rows),
        )

    def report(self, row: Row) -> TokenReport:
        """What the model makes of a row."""
        [report] = self.token_reports(self.inputs.build([row.clip], row.prompt, [row.second_per_grid]))
        return report

    def generate(
        self,
        inputs: Mapping[str, Any],
        *,
        max_new_tokens: int | Sequence[int] = 512,
        grammars: Sequence[str | None] | None = None,
        on_step: Callable[[], None] | None = None,
        adapter: Adapter | None = None,
    ) -> list[Answer]:
        """The model's answer to each row of `inputs`, most likely token by token.

        Args:
            inputs: of one clip or more, as `RealTimeInputs.build` makes them.
            max_new_tokens: where an answer is cut off; one number, or one for each row.
            grammars: one for each row, in llguidance's syntax, which its answer follows; None to let the model write
                what it will.
            on_step: called at each step.
            adapter: what was trained on top of the checkpoint; None for the checkpoint alone.

        Raises:
            RequestError: the adapter belongs to another checkpoint.
            ModelError: a grammar is too large to be followed, or the adapter cannot be loaded.
            OutOfMemoryError: this is too much at once.
        """
        device = self.model.device
        on_device = {key: value.to(device) if torch.is_tensor(value) else value for key, value in inputs.items()}
        rows = len(on_device["input_ids"])
        limits = [max_new_tokens] * rows if isinstance(max_new_tokens, int) else list(max_new_tokens)
        writers = self._writers(grammars or [None] * rows, limits)
        with self._lock:
            self._use(adapter)
            with torch.inference_mode(), one_memory_error():
                scores = decode(self.model, on_device, writers, self._numeral_ids, on_step)
        return [read_answer(self.processor.tokenizer, *row) for row in zip(writers, scores, strict=True)]

    def _writers(self, grammars: Sequence[str | None], limits: Sequence[int]) -> list[Writer]:
        if len(grammars) != len(limits):
            raise ValueError(f"{len(limits)} clips need as many grammars, got {len(grammars)}")
        matchers = [None if grammar is None else self.grammars.matcher(grammar) for grammar in grammars]
        return [Writer(matcher, self.end_ids, limit) for matcher, limit in zip(matchers, limits, strict=True)]

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """Made when it is needed, for it takes a second or two with a vocabulary of 152 thousand."""
        return GrammarCompiler(self.processor.tokenizer, self._vocabulary_size, self.end_ids)

    @cached_property
    def adapters(self) -> Adapters:
        """Made when one is needed: a model without any is not touched."""
        from omni_timeline.model.lora import Adapters

        return Adapters(self.model, self.version)

    def _use(self, adapter: Adapter | None) -> None:
        if adapter is not None or "adapters" in self.__dict__:
            self.adapters.use(adapter)

    @property
    def _vocabulary_size(self) -> int:
        return int(self.model.config.get_text_config().vocab_size)

    def token_reports(self, inputs: Mapping[str, Any]) -> list[TokenReport]:
        """What the model makes of the tensors: the times of each row's grids and sounds."""
        return token_reports(self.model, inputs)


def _check_context(attention_mask: Tensor, limits: Sequence[int], context: int) -> None:
    """Before anything is computed: beyond its context a model answers nonsense, after minutes."""
    for tokens, limit in zip(attention_mask.sum(dim=1).tolist(), limits, strict=True):
        if tokens + limit > context:
            raise RequestError(
                f"The labels, the prompt and the video take {tokens:,} tokens and the answer up to {limit:,}; the "
                f"model's context holds {context:,}. Use fewer or shorter labels, shorter windows, fewer frames or "
                "smaller ones."
            )


def _only_adapter(rows: Sequence[Row]) -> Adapter | None:
    [adapter] = {row.adapter for row in rows}
    return adapter


def _only_id(tokenizer: Any, character: str) -> int:
    [token_id] = tokenizer(character, add_special_tokens=False)["input_ids"]
    return int(token_id)
