"""The time that the model gets for a clip, and how the seconds that it writes become seconds of the video.

    real      the video's own time: what the model writes is seconds of the clip
    nominal   the time that the family's stock processor assumes; what the model writes is taken as it is
    rescale   nominal too, but what the model writes is stretched to the clip's true duration

The last two are there for comparison, see docs/remap.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from omni_timeline.media.clip import Clip
from omni_timeline.model.family import ModelFamily
from omni_timeline.pipeline.options import Remap


@dataclass(frozen=True)
class Clock:
    """The time that a model of `family` is told under `remap`."""

    remap: Remap
    family: ModelFamily

    def second_per_grid(self, clip: Clip) -> float:
        """Seconds from one grid to the next, as the model is told."""
        return self.family.second_per_grid(clip) if self.remap == "real" else self.family.nominal_second_per_grid

    def duration(self, clip: Clip) -> float:
        """How long the clip is in the seconds that the model writes."""
        return clip.duration / self._stretch(clip)

    def to_video(self, clip: Clip, second: float) -> float:
        """The second of the video for a second that the model writes; at most the clip's end."""
        return min(clip.start + second * self._stretch(clip), clip.end)

    def _stretch(self, clip: Clip) -> float:
        """Seconds of the video for each second that the model writes."""
        if self.remap != "rescale":
            return 1.0
        return self.family.second_per_grid(clip) / self.family.nominal_second_per_grid
