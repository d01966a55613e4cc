"""How videos are looked at and what the model is asked: every setting that changes what is predicted.

One `PredictOptions` and one checkpoint make one model version. Knows nothing of how an answer is found, and no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from omni_timeline.errors import RequestError
from omni_timeline.media.audio_track import AUDIO_TRACK_WORDS, AudioTrack, is_audio_track
from omni_timeline.model.adapter import Adapter
from omni_timeline.model.prompts import DEFAULT_PROMPT, Prompt, with_labels
from omni_timeline.pipeline.calibration import Calibration

Remap = Literal["real", "nominal", "rescale"]
WindowSeconds = float | Literal["auto"] | None

# Raised whenever the same answers of a model give other segments: by another grammar, reading, score or merging. It is
# a part of every model version, so that predictions made by older code are not taken for those of this one.
RESULTS_VERSION = 6

DEFAULT_FRAMES = 50
DEFAULT_WINDOW_SECONDS: WindowSeconds = "auto"
AUTO_WINDOW_SECONDS = 48.0  # s: with 50 frames a grid is shorter than the 2 s chunks of sound, see docs/remap.md
SOUND_WINDOW_SECONDS = 25.0  # s: 50 frames are 2 a second, as Qwen2.5-Omni was trained; see docs/windows.md
DEFAULT_MAX_LOOKS = 5.0  # windows for each one of the first pass
DEFAULT_MAX_NEW_TOKENS = 512  # about 25 lines; a checkpoint that writes more is repeating itself
MIN_WINDOW_SECONDS = 2.0  # s; thousands of windows of milliseconds would keep the model busy for days
QUESTION = "{}\nAnswer in one short sentence about what can be seen and heard in this clip."
GENERIC_LABELS = ("event", "other", "unknown")  # a label of such a name says nothing: the words are in the text


@dataclass(frozen=True)
class PredictOptions:
    """How videos are looked at, and what the model is asked.

    Attributes:
        frames: how many frames the model sees of each window, spread evenly over its time.
        window_seconds: longer videos are covered by overlapping windows of at most this. "auto": of 48 s, with sound of
            25 s, and of shorter ones where the model is unsure; a video of 48 s or less is one window. None looks at
            the whole video at once, however long it is.
        max_looks: with "auto", at most this many windows for each one that the first pass has.
        labels: the only labels there are; empty for free words. One generic label ("event") means free words too.
        hints: what labels mean, for those whose name does not say it: pairs of label and words.
        descriptions: whether the model may say more than the label.
        prompt: the words it is asked with; the labels are named below them.
        constrained: only lines of the right form, with times of the window and these labels, can be written.
        refine: look again, closely, at where events begin and end.
        score_threshold: segments that the model is less sure of are left out; 0 to 1.
        max_pixels: the largest frame, in pixels, that the model gets; None for what its processor was saved with.
        audio_track: which of several sound tracks the model hears: a number from 1, "all" for all together, or None
            for the one that browsers play.
        remap: the time that the model's positions stand for. "real" is the video's own. "nominal" is what the stock
            processor assumes, frames at 2 fps, and what the model says is left as it is. "rescale" is nominal too,
            but what it says is stretched to the true duration; a sound track has no such stretch, so clips with
            sound are refused. The last two are there for comparison, see docs/remap.md.
        max_new_tokens: where the answer about one window is cut off.
        stretch: start and end, in seconds, of the only part that is looked at, in one window; None for the whole video.
        question: what is asked in place of the prompt; the answer is free text, and there are no segments.
        calibration: how the answers are read for one project; None reads them as they are. It may ask with other
            labels than `labels`, which are then those that come out.
        adapter: what was trained on top of the checkpoint; None for the checkpoint alone.

    Raises:
        RequestError: a setting is invalid.
    """

    frames: int = DEFAULT_FRAMES
    window_seconds: WindowSeconds = DEFAULT_WINDOW_SECONDS
    max_looks: float = DEFAULT_MAX_LOOKS
    labels: tuple[str, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    descriptions: bool = True
    prompt: Prompt = DEFAULT_PROMPT
    constrained: bool = True
    refine: bool = False
    score_threshold: float = 0.0
    max_pixels: int | None = None
    audio_track: AudioTrack = None
    remap: Remap = "real"
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS
    stretch: tuple[float, float] | None = None
    question: str = ""
    calibration: Calibration | None = None
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} must be at least 1, got {getattr(self, name)}.")
        longest = self.longest_window
        if longest is not None and not MIN_WINDOW_SECONDS <= longest < math.inf:
            raise RequestError(
                f"window_seconds must be auto, or at least {MIN_WINDOW_SECONDS:g}, or none to look at the whole video "
                f"at once; got {longest:g}."
            )
        if not 1 <= self.max_looks < math.inf:
            raise RequestError(f"max_looks must be at least 1, got {self.max_looks:g}.")
        if self.stretch is not None and not 0 <= self.stretch[0] < self.stretch[1] < math.inf:
            raise RequestError(f"stretch must have 0 <= start < end, got {self.stretch}.")
        if not is_audio_track(self.audio_track):
            raise RequestError(f"audio_track must be {AUDIO_TRACK_WORDS}; got {self.audio_track!r}.")
        if not 0 <= self.score_threshold <= 1:
            raise RequestError(f"score_threshold must be from 0 to 1, got {self.score_threshold}.")
        if self.remap not in get_args(Remap):
            raise RequestError(f"remap must be one of {', '.join(get_args(Remap))}, got {self.remap!r}.")

    @property
    def longest_window(self) -> float | None:
        """The most seconds that the model sees at once; None for all of a video."""
        return AUTO_WINDOW_SECONDS if self.window_seconds == "auto" else self.window_seconds

    @property
    def closed_labels(self) -> tuple[str, ...]:
        """The labels that the model has to choose from; empty when it writes its own words."""
        asked = self.labels if self.calibration is None or self.calibration.asked is None else self.calibration.asked
        generic = len(asked) == 1 and asked[0].strip().casefold() in GENERIC_LABELS
        return () if generic else asked

    @property
    def words(self) -> Prompt:
        """All that is said to the model beside the clip."""
        if self.question:
            return replace(self.prompt, user=QUESTION.format(self.question))
        if not self.closed_labels:
            return self.prompt
        return with_labels(self.closed_labels, dict(self.hints), self.prompt)

    def version(self, checkpoint_version: str) -> str:
        """Names a checkpoint, its adapter, and how they are asked and read: the same version predicts the same."""
        settings = {**asdict(self), "results": RESULTS_VERSION}
        del settings["adapter"]  # it has a name of its own
        if self.calibration is None:
            del settings["calibration"]  # as before there were any
        if self.adapter is not None:
            checkpoint_version = f"{checkpoint_version}-{self.adapter.version}"
        return f"{checkpoint_version}-{hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:6]}"
