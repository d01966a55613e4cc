"""What differs between families of models, as far as the rest of this package has to know it.

A family is a folder beside this file. Its `family.py` states one `ModelFamily` and needs no torch, so that whoever
plans windows, decodes frames or fills batches knows the numbers where no weights are loaded; its other modules are
used by no other folder. `checkpoint.FAMILIES` lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from omni_timeline.errors import MediaError, RequestError

if TYPE_CHECKING:  # numpy takes its time, and the command line needs none of it
    from pathlib import Path

    from omni_timeline.answers.answer import Answer
    from omni_timeline.media.clip import Clip
    from omni_timeline.model.adapter import Adapter
    from omni_timeline.model.checkpoint import Checkpoint
    from omni_timeline.model.prompts import Prompt

MAX_ASPECT = 200  # of a picture's longer side over its shorter one; beyond it transformers' own sizing gives up


@dataclass(frozen=True)
class Row:
    """One row of a batch: a clip, and what is asked about it.

    Attributes:
        clip: what the model sees and hears.
        prompt: what is said to it.
        second_per_grid: seconds from one temporal grid to the next, as the model is told.
        grammar: what its answer is held to, in llguidance's syntax; None to let it write what it will.
        max_new_tokens: where its answer is cut off.
        adapter: what was trained on top of the checkpoint; None for the checkpoint alone.
    """

    clip: Clip
    prompt: Prompt
    second_per_grid: float
    grammar: str | None = None
    max_new_tokens: int = 512
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Exercise:
    """A row, and what its answer should be."""

    row: Row
    answer: str


@dataclass(frozen=True)
class Rates:
    """How far a step of training goes, for a language model of width 128; wider ones take proportionally less.

    Attributes:
        matrices: for the matrices of an adapter.
        tokens: for the rows of tokens, where some are trained.
    """

    matrices: float
    tokens: float


@dataclass(frozen=True)
class TokenReport:
    """What a model is given of one clip, as the model itself counts it.

    Attributes:
        second_per_grid: seconds from one temporal grid to the next, as the model was told.
        grid_seconds: when the model takes each grid to be, in seconds after the first.
        audio_seconds: when it takes each token of sound to be; empty for a clip without sound.
        video_tokens: how many tokens the pictures are.
        audio_tokens: how many the sound is.
        prompt_tokens: all tokens together, those of the words too.
    """

    second_per_grid: float
    grid_seconds: tuple[float, ...]
    audio_seconds: tuple[float, ...]
    video_tokens: int
    audio_tokens: int
    prompt_tokens: int


@dataclass(frozen=True)
class ModelFacts:
    """What has to be known of a loaded checkpoint where it is not loaded.

    Attributes:
        description: its version and how it runs, in one line.
        min_pixels: smaller frames are enlarged to this.
        max_pixels: the default size to which larger frames are reduced.
        batch_tokens: how many tokens of prompts, padding included, are worth trying at a time in the memory that is
            free on its device.
    """

    description: str
    min_pixels: int
    max_pixels: int
    batch_tokens: int


class Model(Protocol):
    """A loaded checkpoint of any family. Any thread may call it; one batch is worked on at a time."""

    family: ModelFamily

    @property
    def version(self) -> str:
        """The checkpoint's name and a hash that changes with its files."""

    @property
    def facts(self) -> ModelFacts:
        """What has to be known of it where it is not loaded."""

    def answer(self, rows: Sequence[Row], on_step: Callable[[], None] | None = None) -> list[Answer]:
        """The answer to each row; all with sound or all without, all with one adapter. `on_step`: at each token."""

    def report(self, row: Row) -> TokenReport:
        """What it makes of a row."""


class Training(Protocol):
    """An adapter in training. Meanwhile its model answers with it, as far as it has come."""

    def step(self, exercises: Sequence[Exercise], rates: Rates) -> float:
        """Learn from exercises; the mean loss of an answer's token."""

    def save(self, folder: Path) -> None:
        """Write the adapter as far as it has come."""

    def save_state(self, file: Path) -> None:
        """Write what training goes on from."""

    def resume(self, file: Path) -> None:
        """Go on from what was written."""


@dataclass(frozen=True)
class ModelFamily:
    """One family of models.

    Attributes:
        name: as its authors write it.
        loader: "module:class" of its `Model`, which has a `from_checkpoint` and a `saved_pixels`.
        trainer: "module:class" of its `Training`, which has a `bytes_needed`.
        model_types: the `model_type`s of its checkpoints' config.json.
        frames_per_grid: how many frames it merges into one step of time.
        nominal_second_per_grid: seconds between two grids of a video, as its stock processor assumes.
        token_side: pixels along each side of the square of a frame that is one token of a grid.
        audio_tokens_per_second: tokens for a second of sound.
        system_prompt: what it was trained to be told first.
    """

    name: str
    loader: str
    trainer: str
    model_types: tuple[str, ...]
    frames_per_grid: int
    nominal_second_per_grid: float
    token_side: int
    audio_tokens_per_second: float
    system_prompt: str

    def whole_grids(self, frames: int) -> int:
        """`frames` rounded to whole grids as the family's own samplers do; at least one grid."""
        return max(1, round(frames / self.frames_per_grid)) * self.frames_per_grid

    def second_per_grid(self, clip: Clip) -> float:
        """True seconds from one grid of a clip to the next; the nominal number for a single grid, at time 0."""
        return clip.times.second_per_grid(self.frames_per_grid) or self.nominal_second_per_grid

    def frame_size(self, height: int, width: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
        """The height and width, multiples of `token_side`, that a picture of this size is given to the model in.

        As transformers' `smart_resize` has it, by test: the proportions are kept as well as such multiples allow,
        and the picture has from `min_pixels` to `max_pixels`.

        Raises:
            RequestError: bounds that no frame can meet.
            MediaError: one side is more than MAX_ASPECT times the other.
        """
        side = self.token_side
        if max_pixels < side * side or not 0 < min_pixels <= max_pixels:
            raise RequestError(
                f"Frames of {min_pixels} to {max_pixels} pixels are not possible: max_pixels must be at least "
                f"{side * side} and no less than min_pixels."
            )
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise MediaError(f"A picture of {width} × {height} pixels is too narrow for the model.")
        rounded = round(height / side) * side, round(width / side) * side
        if rounded[0] * rounded[1] > max_pixels:
            shrink = math.sqrt(height * width / max_pixels)
            return max(side, _floor(height / shrink, side)), max(side, _floor(width / shrink, side))
        if rounded[0] * rounded[1] < min_pixels:
            grow = math.sqrt(min_pixels / (height * width))
            return math.ceil(height * grow / side) * side, math.ceil(width * grow / side) * side
        return rounded

    def clip_tokens(self, clip: Clip) -> int:
        """How many tokens a clip is, but for the words around it."""
        count, _, height, width = clip.frames.shape
        video = math.ceil(count / self.frames_per_grid) * (height * width // self.token_side**2)
        return video + (0 if clip.audio is None else math.ceil(clip.duration * self.audio_tokens_per_second))

    def load(
        self,
        checkpoint: Checkpoint,
        *,
        device: str | None = None,
        dtype: str | None = None,
        quantization: str | None = None,
    ) -> Model:
        """The checkpoint, loaded.

        Args:
            checkpoint: one of this family.
            device: cpu, cuda, cuda:1, mps; the first GPU where there is one by default.
            dtype: bfloat16, float16 or float32; bfloat16 on a GPU and float32 elsewhere by default.
            quantization: nf4, int8 or fp8; None for the weights as they are.

        Raises:
            ModelError: it cannot be loaded, or not run as asked.
        """
        load = cast("Callable[..., Model]", _named(self.loader).from_checkpoint)
        return load(checkpoint, device=device, dtype=dtype, quantization=quantization)

    def saved_pixels(self, checkpoint: Checkpoint) -> tuple[int, int]:
        """The `min_pixels` and `max_pixels` of a checkpoint of this family; imports torch, and reads no weights."""
        return cast("tuple[int, int]", _named(self.loader).saved_pixels(checkpoint))

    def training_bytes(
        self, checkpoint: Checkpoint, *, device: str, dtype: str | None = None, quantization: str | None = None
    ) -> int:
        """What training an adapter takes of a device's memory at its peak, the weights included; reads no weights.

        Args:
            checkpoint: one of this family.
            device: where it is to be trained.
            dtype: as for `load`.
            quantization: as for `load`.

        Raises:
            ModelError: there is no such device or precision.
        """
        needed = cast("Callable[..., int]", _named(self.trainer).bytes_needed)
        return needed(checkpoint, device, dtype, quantization)

    def train(self, model: Model, labels: Sequence[str], seed: int, *, with_towers: bool = False) -> Training:
        """A fresh adapter of a loaded checkpoint that has none, about to be trained.

        Args:
            model: of this family.
            labels: those of the project.
            seed: of the adapter's first weights.
            with_towers: adapts what sees and hears, too, not only the language model.
        """
        train = cast("Callable[..., Training]", _named(self.trainer))
        return train(model, labels, seed, with_towers=with_towers)


def _named(name: str) -> Any:
    """The attribute of a module that "module:attribute" names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _floor(pixels: float, side: int) -> int:
    return math.floor(pixels / side) * side
