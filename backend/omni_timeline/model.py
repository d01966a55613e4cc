"""A checkpoint of Qwen2.5-Omni: where it lies, how it is loaded, what it answers.

Knows folders, hubs, devices and tokens. Knows no video: tensors come from `inputs`, text and log-probabilities go out.
The thinker alone is loaded, from thinker-only checkpoints and from full ones: the talker that speaks is never built.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of whichever HTTP library it uses
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from omni_timeline.errors import ModelError

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo" / "checkpoint"
DEMO_NOTE = "DEMO: it knows nothing but coloured shapes and tones, see docs/demo-world.md"
WAY_OUT = "`--model demo` works without a download."

CHECKPOINT_FILES = ["*.json", "*.jinja", "*.txt", "*.safetensors"]
MODEL_TYPES = ("qwen2_5_omni", "qwen2_5_omni_thinker")  # a full checkpoint's config.json, and a thinker's
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
HUB_TIMEOUT = 5.0  # s without an answer before a cached copy is taken; offline, nobody should wait for minutes
END_TOKENS = ("<|im_end|>", "<|endoftext|>")

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ATTENTIONS = ("flash_attention_2", "sdpa", "eager")
FLASH_ATTENTION_CAPABILITY = (8, 0)  # Ampere; flash-attn 2 has no kernels for older GPUs

HASHED_BLOCK = 64 * 1024  # bytes
HASHED_BLOCKS = 256  # of each file: 16 MiB are read whole, of larger ones an even sample

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """What the model wrote about one clip.

    Attributes:
        text: without control tokens.
        token_ids: the tokens of the text, without the one that ends it.
        log_probabilities: of each of these tokens, by the model alone, natural logarithm; <= 0.
        complete: the model ended the text itself; False where it was cut off at max_new_tokens.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    complete: bool


@dataclass(frozen=True)
class TokenTimes:
    """When the model takes the tokens of one clip to be, in seconds after its first grid."""

    grid_seconds: tuple[float, ...]
    audio_seconds: tuple[float, ...]  # empty for a clip without sound


class OmniModel:
    """A loaded checkpoint, made by `OmniModel.load`. Any thread may call it; one answer is generated at a time.

    Attributes:
        name: as it was asked for: "demo", a folder or a hub id.
        version: the checkpoint's name and a hash that changes with its files, such as "demo-1a2b3c4d".
        processor: its Qwen2_5OmniProcessor.
        model: its Qwen2_5OmniThinkerForConditionalGeneration, in evaluation mode, set to greedy decoding.
    """

    def __init__(self, name: str, version: str, processor: Any, model: Any) -> None:
        self.name = name
        self.version = version
        self.processor = processor
        self.model = model
        tokenizer = processor.tokenizer
        vocabulary = tokenizer.get_vocab()
        self._end_ids = [vocabulary[token] for token in END_TOKENS if token in vocabulary] or [tokenizer.eos_token_id]
        self._pad_id = self._end_ids[-1] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        # Replaced, not changed: what a checkpoint says of sampling would otherwise fill the gaps in our own settings.
        model.generation_config = GenerationConfig(
            do_sample=False, num_beams=1, eos_token_id=self._end_ids, pad_token_id=self._pad_id
        )
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
    ) -> Self:
        """Loads a checkpoint, downloading it first if need be.

        Args:
            name: "demo" for the bundled one, a folder, or an id on the hub such as Qwen/Qwen2.5-Omni-3B.
            hub: huggingface or modelscope.
            device: cpu, cuda, cuda:1, mps; the first GPU where there is one by default.
            dtype: bfloat16, float16 or float32; bfloat16 on a GPU and float32 elsewhere by default.
            attention: flash_attention_2, sdpa or eager; the first that can run here by default.

        Raises:
            ModelError: there is no such checkpoint, or it cannot run as asked.
        """
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()  # of the weights: it would fill a log file
        place = _device(device)
        precision = _dtype(dtype, place)
        attention = _attention(attention, place, precision)
        folder = _folder(name, hub)
        _check_type(folder, name)
        try:
            processor = Qwen2_5OmniProcessor.from_pretrained(folder)
            model, report = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
                folder, dtype=precision, attn_implementation=attention, output_loading_info=True
            )
            missing = sorted(report["missing_keys"])
            model = model.to(place).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError, ImportError) as error:
            raise ModelError(f"The checkpoint {name} cannot be loaded: {_first_line(error)} {WAY_OUT}") from error
        if missing:
            raise ModelError(f"The checkpoint {name} lacks {len(missing)} weights, {missing[0]} among them. {WAY_OUT}")
        if processor.chat_template is None:
            raise ModelError(f"The checkpoint {name} has no chat template (chat_template.jinja or .json). {WAY_OUT}")
        basename = DEMO if name == DEMO else (name.rsplit("/", 1)[-1] if HUB_ID.fullmatch(name) else folder.name)
        loaded = cls(name, f"{basename}-{_content_hash(folder)}", processor, model)
        logger.info("Loaded %s", loaded.description)
        return loaded

    @property
    def is_demo(self) -> bool:
        """Whether this is the bundled demo checkpoint, which nobody should take for a real one."""
        return self.name == DEMO

    @property
    def description(self) -> str:
        """One line for a log: the version and how it runs."""
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        size = f"{parameters / 1e9:.1f} billion" if parameters >= 1e9 else f"{parameters / 1e6:.1f} million"
        how = [str(self.model.device), str(self.model.dtype).removeprefix("torch.")]
        how += [self.model.config._attn_implementation, f"{size} parameters"]
        return f"{self.version}: {', '.join(how)}" + (f" ({DEMO_NOTE})" if self.is_demo else "")

    def generate(self, inputs: Mapping[str, Any], *, max_new_tokens: int = 512) -> list[Output]:
        """The model's answer to each row of `inputs`, most likely token by token."""
        device = self.model.device
        on_device = {key: value.to(device) if torch.is_tensor(value) else value for key, value in inputs.items()}
        prompt_length = on_device["input_ids"].shape[1]
        chosen = _ChosenLogProbabilities()
        with self._lock, torch.inference_mode(), _last_position_only(self.model.lm_head):
            sequences: Tensor = self.model.generate(
                **on_device, max_new_tokens=max_new_tokens, logits_processor=LogitsProcessorList([chosen])
            )
        log_probabilities = chosen.of(sequences).tolist()
        return [
            self._output(token_ids, row)
            for token_ids, row in zip(sequences[:, prompt_length:].tolist(), log_probabilities, strict=True)
        ]

    def _output(self, token_ids: list[int], log_probabilities: list[float]) -> Output:
        ends = [index for index, token_id in enumerate(token_ids) if token_id in self._end_ids]
        length = ends[0] if ends else len(token_ids)
        return Output(
            text=self.processor.tokenizer.decode(
                token_ids[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False
            ),
            token_ids=tuple(token_ids[:length]),
            log_probabilities=tuple(log_probabilities[:length]),
            complete=bool(ends),
        )

    def token_times(self, inputs: Mapping[str, Any]) -> list[TokenTimes]:
        """What the model's own `get_rope_index` makes of the tensors: the times of each row's grids and sounds."""
        config = self.model.config
        sound = inputs.get("feature_attention_mask")
        positions, _ = self.model.get_rope_index(
            inputs["input_ids"],
            video_grid_thw=inputs["video_grid_thw"],
            attention_mask=inputs["attention_mask"],
            use_audio_in_video=inputs["use_audio_in_video"],
            audio_seqlens=None if sound is None else sound.sum(-1),
            second_per_grids=inputs["video_second_per_grid"],
        )
        times = []
        for token_ids, row, thw in zip(inputs["input_ids"], positions[0], inputs["video_grid_thw"], strict=True):
            grids = row[token_ids == config.video_token_id].reshape(int(thw[0]), -1)[:, 0]
            heard = row[token_ids == config.audio_token_id]
            rate = config.position_id_per_seconds
            times.append(
                TokenTimes(
                    grid_seconds=tuple(position / rate for position in (grids - grids[0]).tolist()),
                    audio_seconds=tuple(position / rate for position in (heard - grids[0]).tolist()),
                )
            )
        return times


class _ChosenLogProbabilities(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped here
    """Notes the log-probability of each token that `generate` chooses.

    Each step is told of the choice by the next one's sequence, so that the scores of one step are kept, not of all:
    152 thousand of them for each token and row.
    """

    def __init__(self) -> None:
        self._chosen: list[Tensor] = []
        self._latest: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._note(input_ids)
        self._latest = scores.float().log_softmax(-1)
        return scores

    def of(self, sequences: Tensor) -> Tensor:
        """Rows × new tokens, for the finished sequences."""
        self._note(sequences)
        return torch.stack(self._chosen, dim=1)

    def _note(self, sequences: Tensor) -> None:
        if self._latest is not None:
            self._chosen.append(self._latest.gather(1, sequences[:, -1:]).squeeze(1))


@contextmanager
def _last_position_only(lm_head: torch.nn.Module) -> Iterator[None]:
    """Scores the vocabulary at the last position alone: over a whole prompt of 10,000 tokens that would be 3 GB."""
    hook = lm_head.register_forward_pre_hook(lambda _, arguments: (arguments[0][:, -1:],))
    try:
        yield
    finally:
        hook.remove()


def _device(name: str | None) -> torch.device:
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


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ModelError(f"There is no dtype {name!r}: say {', '.join(DTYPES)}.")
    return DTYPES[name]


def _attention(name: str | None, device: torch.device, dtype: torch.dtype) -> str:
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
        return f"flash-attn cannot be imported ({_first_line(error)}), `pip install 'omni-timeline[gpu]'` installs it"
    return None


def _folder(name: str, hub: str) -> Path:
    """Where the checkpoint's files lie, after downloading them if it is a hub's."""
    if name == DEMO:
        if not (DEMO_FOLDER / "config.json").is_file():
            raise ModelError("The demo checkpoint is missing from this installation; install omni-timeline again.")
        return DEMO_FOLDER
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"There is no folder {name}, and it is no hub id like Qwen/Qwen2.5-Omni-3B. {WAY_OUT}")
    if hub == "huggingface":
        return _from_hugging_face(name)
    if hub == "modelscope":
        return _from_modelscope(name)
    raise ModelError(f"There is no hub {hub!r}: say huggingface or modelscope.")


def _from_hugging_face(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=CHECKPOINT_FILES, etag_timeout=HUB_TIMEOUT))
    except (OSError, ValueError, HTTPError) as error:
        raise ModelError(_cannot_fetch(name, "Hugging Face", error)) from error


def _from_modelscope(name: str) -> Path:
    try:
        from modelscope import snapshot_download as modelscope_download
        from modelscope.hub.errors import HubError
    except ImportError as error:
        raise ModelError(
            f"Fetching {name} from ModelScope needs `pip install 'omni-timeline[modelscope]'`. {WAY_OUT}"
        ) from error
    try:
        return Path(modelscope_download(name, allow_patterns=CHECKPOINT_FILES))
    except (OSError, ValueError, HubError) as error:
        raise ModelError(_cannot_fetch(name, "ModelScope", error)) from error


def _cannot_fetch(name: str, hub: str, error: Exception) -> str:
    return (
        f"There is no folder {name}, and it could not be fetched from {hub}: {_first_line(error)} "
        f"Check the name and the network. {WAY_OUT}"
    )


def _check_type(folder: Path, name: str) -> None:
    """Says what a folder that is no Qwen2.5-Omni checkpoint is instead."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{name} is not a checkpoint: it has no config.json. {WAY_OUT}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} is not a checkpoint: its config.json cannot be read. {WAY_OUT}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in MODEL_TYPES:
        raise ModelError(f"{name} is a {kind or 'nameless'} checkpoint, and only Qwen2.5-Omni is understood. {WAY_OUT}")


def _content_hash(folder: Path) -> str:
    """Eight hexadecimal digits that change when a file of the checkpoint does, without reading gigabytes.

    Of a large file only evenly spread blocks are read. Training touches every tensor, so it cannot slip through them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        step = max(HASHED_BLOCK, size // HASHED_BLOCKS)
        with path.open("rb") as file:
            for offset in range(0, size, step):
                file.seek(offset)
                digest.update(file.read(HASHED_BLOCK))
    return digest.hexdigest()[:8]


def _first_line(error: Exception) -> str:
    """The first line of an error's message, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(" .") + "."
