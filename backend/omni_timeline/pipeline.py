"""From the path of a video to the segments that the model sees and hears in it.

    path -> media.load_clip -> Clip -> inputs.build -> tensors -> model.generate -> text -> parse_segments -> Prediction

Knows the order of the stages and which clock the model was told, so that what comes back is in seconds of the whole
video. Knows nothing of Label Studio, of HTTP or of printing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from omni_timeline.errors import OmniTimelineError, RequestError
from omni_timeline.inputs import RealTimeInputs
from omni_timeline.media import Clip, load_clip
from omni_timeline.model import OmniModel, Output
from omni_timeline.prompts import DEFAULT_PROMPT, Prompt
from omni_timeline.segments import Segment, parse_segments
from omni_timeline.timebase import NOMINAL_SECOND_PER_GRID, even_frame_count

Remap = Literal["real", "nominal", "rescale"]

DEFAULT_FRAMES = 50
DEFAULT_MAX_NEW_TOKENS = 512  # about 25 lines; a checkpoint that writes more is repeating itself


@dataclass(frozen=True)
class Prediction:
    """What the model finds in one video.

    Attributes:
        path: the video, as it was given.
        duration: seconds of the whole video.
        segments: sorted, in seconds of the whole video.
        model_version: names the checkpoint and the settings: the same version predicts the same.
        text: the model's answer, word for word.
        warnings: one sentence for each thing in the file or in the answer that is not as it should be.
    """

    path: Path
    duration: float
    segments: tuple[Segment, ...]
    model_version: str
    text: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A video without a prediction, and why."""

    path: Path
    error: OmniTimelineError


class Pipeline:
    """A model, and how it is asked.

    Args:
        model: the loaded checkpoint.
        frames: how many frames the model sees of a video, spread evenly over its time.
        max_pixels: the largest frame, in pixels, that the model gets; None for what its processor was saved with.
        prompt: the words it is asked with.
        remap: the time that the model's positions stand for. "real" is the video's own. "nominal" is what the stock
            processor assumes, frames at 2 fps, and what the model says is left as it is. "rescale" is nominal too,
            but what it says is stretched to the true duration; that cannot be done to a sound track, so clips with
            sound are refused. The last two are there for comparison, see docs/remap.md.
        max_new_tokens: where the answer is cut off.

    Raises:
        RequestError: a setting that cannot be.
    """

    def __init__(
        self,
        model: OmniModel,
        *,
        frames: int = DEFAULT_FRAMES,
        max_pixels: int | None = None,
        prompt: Prompt = DEFAULT_PROMPT,
        remap: Remap = "real",
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
    ) -> None:
        for name, value in (("frames", frames), ("max_new_tokens", max_new_tokens)):
            if value < 1:
                raise RequestError(f"{name} must be at least 1, got {value}.")
        if remap not in get_args(Remap):
            raise RequestError(f"remap must be one of {', '.join(get_args(Remap))}, got {remap!r}.")
        self.model = model
        self.frames = even_frame_count(frames)
        self.prompt = prompt
        self.remap = remap
        self.max_new_tokens = max_new_tokens
        self.inputs = RealTimeInputs(
            model.processor,
            model.model,
            max_pixels=max_pixels,
            second_per_grid="real" if remap == "real" else "nominal",
        )
        settings = [self.frames, max_pixels, asdict(prompt), remap, max_new_tokens]
        self.model_version = f"{model.version}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:6]}"

    def predict(self, path: Path) -> Prediction:
        """The segments of one video.

        Raises:
            OmniTimelineError: the video cannot be read, or the model cannot run on it.
        """
        clip = self.load(path)
        inputs = self.inputs.build([clip], self.prompt)
        [output] = self.model.generate(inputs, max_new_tokens=self.max_new_tokens)
        return replace(self.read(clip, output), path=path)

    def predict_all(self, paths: Iterable[Path]) -> Iterator[Prediction | Failure]:
        """One result for each path, in order, as soon as it is there. A video that fails does not cost the others."""
        for path in paths:
            try:
                yield self.predict(path)
            except OmniTimelineError as error:
                yield Failure(path, error)

    def load(self, path: Path) -> Clip:
        """What the model gets to see and to hear of a video."""
        clip = load_clip(path, frames=self.frames, resize=self.inputs.resize)
        if self.remap == "rescale" and clip.audio is not None:
            raise RequestError(
                f"{path.name} has sound, and remap 'rescale' cannot keep sound and picture together: "
                "use remap 'real', or a copy of the video without its sound track."
            )
        return clip

    def read(self, clip: Clip, output: Output) -> Prediction:
        """The model's answer about a clip, in seconds of the whole video."""
        stretch = self._stretch(clip)
        parsed = parse_segments(output.text, clip.duration / stretch, truncated=not output.complete)
        cut = () if output.complete else (f"the answer was cut off after {len(output.token_ids)} tokens",)
        return Prediction(
            path=clip.info.path,
            duration=clip.info.duration,
            segments=tuple(_placed(segment, clip, stretch) for segment in parsed.segments),
            model_version=self.model_version,
            text=output.text,
            warnings=clip.warnings + parsed.warnings + cut,
        )

    def _stretch(self, clip: Clip) -> float:
        """Seconds of the video for each second that the model speaks of."""
        return clip.times.second_per_grid / NOMINAL_SECOND_PER_GRID if self.remap == "rescale" else 1.0

    def inspect(self, path: Path) -> dict[str, Any]:
        """What the model is given of one video, for a person or a test to look at: `omni-timeline inspect --json`."""
        return self.describe(self.load(path))

    def describe(self, clip: Clip) -> dict[str, Any]:
        """`inspect` of a clip that is loaded already.

        `grid_seconds` is not what we meant to tell the model, but what its own `get_rope_index` makes of the tensors,
        in seconds of the video.
        """
        inputs = self.inputs.build([clip], self.prompt)
        [times] = self.model.token_times(inputs)
        token_ids = inputs["input_ids"][0]
        config = self.model.model.config
        window = {
            "start": clip.start,
            "end": clip.end,
            "frame_seconds": list(clip.times.seconds),
            "second_per_grid": float(inputs["video_second_per_grid"][0]),
            "grid_seconds": [clip.start + second for second in times.grid_seconds],
            "audio_tokens": int((token_ids == config.audio_token_id).sum()),
            "video_tokens": int((token_ids == config.video_token_id).sum()),
            "prompt_tokens": len(token_ids),  # all of them: the sound's and the picture's too
        }
        return {
            "video": str(clip.info.path),
            "duration": clip.info.duration,
            "fps": clip.info.fps,
            "has_audio": clip.info.has_audio,
            "start_time": clip.info.start_time,
            "windows": [window],
        }


def _placed(segment: Segment, clip: Clip, stretch: float) -> Segment:
    """A segment in seconds of the whole video, from one in the seconds that the model speaks."""
    end = min(clip.start + segment.end * stretch, clip.end)
    return replace(segment, start=clip.start + segment.start * stretch, end=end)
