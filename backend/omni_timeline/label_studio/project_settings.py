"""The settings of a project, from attributes of its control tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from omni_timeline.errors import LabelConfigError
from omni_timeline.label_studio.tags import Tag
from omni_timeline.label_studio.values import MAX_WHOLE_NUMBER, number, shortened
from omni_timeline.pipeline.options import MIN_WINDOW_SECONDS, PredictOptions

MAX_FRAMES = 768  # as many as Qwen's own qwen-omni-utils takes (`FPS_MAX_FRAMES`)


@dataclass(frozen=True)
class ProjectSettings:
    """A project's own settings; None: the service's setting holds.

    Attributes:
        prompt: `model_prompt`, the instruction for the model.
        frames: `model_frames`, how many frames of a video or window the model sees.
        window_seconds: `model_window_seconds`, how long a stretch the model sees at once; "whole" for all of it,
            "auto" for less where the model is unsure.
        score_threshold: `model_score_threshold`; segments with a lower score are left out.
    """

    prompt: str | None = None
    frames: int | None = None
    window_seconds: float | Literal["auto", "whole"] | None = None
    score_threshold: float | None = None

    @classmethod
    def from_tags(cls, tags: Sequence[Tag]) -> ProjectSettings:
        """The settings that the control tags of a project state.

        Raises:
            LabelConfigError: an attribute is invalid, or two tags contradict each other.
        """
        return cls(
            prompt=_written(tags, "model_prompt") or None,
            frames=_frames(_written(tags, "model_frames")),
            window_seconds=_window_seconds(_written(tags, "model_window_seconds")),
            score_threshold=_score_threshold(_written(tags, "model_score_threshold")),
        )

    def applied_to(self, options: PredictOptions) -> PredictOptions:
        """The options of the service with the project's choices in their place."""
        window = self.window_seconds
        return replace(
            options,
            prompt=options.prompt if self.prompt is None else replace(options.prompt, user=self.prompt),
            frames=options.frames if self.frames is None else self.frames,
            window_seconds=options.window_seconds if window is None else None if window == "whole" else window,
            score_threshold=options.score_threshold if self.score_threshold is None else self.score_threshold,
        )


def _written(tags: Sequence[Tag], name: str) -> str:
    """The one value that the tags give an attribute, "" where none has it."""
    values = list(dict.fromkeys(tag[name] for tag in tags if tag[name]))
    if len(values) > 1:
        raise LabelConfigError(
            f'{name}="{shortened(values[0])}" and {name}="{shortened(values[1])}" contradict each other: '
            "set it on one tag only."
        )
    return values[0] if values else ""


def _frames(written: str) -> int | None:
    if not written:
        return None
    frames = number(written)
    if not (1 <= frames <= MAX_FRAMES and frames.is_integer()):
        raise _invalid("model_frames", written, f"a whole number from 1 to {MAX_FRAMES}")
    return int(frames)


def _window_seconds(written: str) -> float | Literal["auto", "whole"] | None:
    if not written:
        return None
    if written.lower() == "whole":
        return "whole"
    if written.lower() == "auto":
        return "auto"
    seconds = number(written)
    if not MIN_WINDOW_SECONDS <= seconds <= MAX_WHOLE_NUMBER:
        raise _invalid("model_window_seconds", written, f'seconds, at least {MIN_WINDOW_SECONDS:g}, "auto" or "whole"')
    return seconds


def _score_threshold(written: str) -> float | None:
    if not written:
        return None
    threshold = number(written)
    if not 0 <= threshold <= 1:
        raise _invalid("model_score_threshold", written, "a number from 0 to 1")
    return threshold


def _invalid(name: str, written: str, allowed: str) -> LabelConfigError:
    return LabelConfigError(f'{name}="{shortened(written)}" is invalid: must be {allowed}.')
