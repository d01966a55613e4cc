"""What differs between families of models, as far as the rest of this package has to know it.

A family is a folder beside this file. Its `family.py` states one `ModelFamily` and needs no torch, so that whoever
plans windows or reads a config knows the numbers before any weights are loaded; its other modules are nobody else's
business. `checkpoint.FAMILIES` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from omni_timeline.answers.answer import Answer
from omni_timeline.media.clip import Clip

if TYPE_CHECKING:
    from omni_timeline.model.checkpoint import Checkpoint
    from omni_timeline.model.prompts import Prompt


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


class Model(Protocol):
    """A loaded checkpoint of any family."""

    family: ModelFamily

    @property
    def version(self) -> str:
        """The checkpoint's name and a hash that changes with its files."""

    @property
    def description(self) -> str:
        """The version and how it runs, in one line."""

    def frame_size(self, height: int, width: int, max_pixels: int | None = None) -> tuple[int, int]:
        """The height and width that a picture of this size is given to the model in."""

    def smaller_frames(self, max_pixels: int | None) -> int:
        """What to lower `max_pixels` to when frames of that size do not fit into memory."""

    def build(self, clips: Sequence[Clip], prompt: Prompt, second_per_grid: Sequence[float]) -> Mapping[str, Any]:
        """The tensors of a batch, one row a clip."""

    def generate(
        self, inputs: Mapping[str, Any], *, max_new_tokens: int, grammars: Sequence[str] | None = None
    ) -> list[Answer]:
        """The model's answer to each row."""

    def token_reports(self, inputs: Mapping[str, Any]) -> list[TokenReport]:
        """What the model makes of each row."""


@dataclass(frozen=True)
class ModelFamily:
    """One family of models.

    Attributes:
        name: as its authors write it.
        loader: "module:class" of its `Model`, which has a `from_checkpoint`.
        model_types: the `model_type`s of its checkpoints' config.json.
        frames_per_grid: how many frames it merges into one step of time.
        nominal_second_per_grid: seconds between two grids of a video, as its stock processor assumes.
        system_prompt: what it was trained to be told first.
    """

    name: str
    loader: str
    model_types: tuple[str, ...]
    frames_per_grid: int
    nominal_second_per_grid: float
    system_prompt: str

    def whole_grids(self, frames: int) -> int:
        """`frames` rounded to whole grids as the family's own samplers do; at least one grid."""
        return max(1, round(frames / self.frames_per_grid)) * self.frames_per_grid

    def load(self, checkpoint: Checkpoint, *, device: str | None = None, dtype: str | None = None) -> Model:
        """The checkpoint, loaded.

        Args:
            checkpoint: one of this family.
            device: cpu, cuda, cuda:1, mps; the first GPU where there is one by default.
            dtype: bfloat16, float16 or float32; bfloat16 on a GPU and float32 elsewhere by default.

        Raises:
            ModelError: it cannot be loaded, or not run as asked.
        """
        module, _, attribute = self.loader.partition(":")
        load = cast("Callable[..., Model]", getattr(import_module(module), attribute).from_checkpoint)
        return load(checkpoint, device=device, dtype=dtype)
