"""Questions about one region, asked in the labeling page.

A text of a region that begins with "?" is a question, and its answer takes the place of that region's text:

    ?              where exactly does this begin and end, and what happens?
    ? who speaks   the question itself; the region stays where it is

Label Studio 1.23.2 sends all regions whenever a text is entered or a label is changed, and takes whatever comes back
into the annotation at once. So the answer to a request without a question is empty, and an answer has one region.
Knows regions and options. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.label_studio.values import member
from omni_timeline.pipeline.options import MIN_WINDOW_SECONDS, PredictOptions
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment, overlap

MARK = "?"
MARGIN_SECONDS = 3.0  # s that are seen before and after a region, at least: an event may be there that it misses
MARGIN = 0.25  # of the region's length
MAX_WORDS = 1000  # characters of a question
MAX_ANSWER = 2000  # characters of an answer
NOTHING = "Nothing was found here."


@dataclass(frozen=True)
class Question:
    """A question about a region.

    Attributes:
        region: the region's id.
        segment: where the region lies; its text begins with the mark.
        words: the question; "" asks where the event is and what happens.
    """

    region: str
    segment: Segment
    words: str

    @classmethod
    def find(cls, result: Any, config: LabelConfig, data: Mapping[str, Any]) -> Question | None:
        """The last question among the regions of a labeling page; None if there is none.

        Args:
            result: the regions as Label Studio sends them, unchecked.
            config: the project's labeling config.
            data: the task's data.
        """
        items = result if isinstance(result, list) else []
        names = dict.fromkeys(name for item in items if isinstance(name := member(item, "id"), str))
        for name in reversed(names):
            group = [item for item in items if member(item, "id") == name]
            for segment in config.from_result(group, task_data=data):
                last_line = segment.text.strip().splitlines()[-1].strip() if segment.text.strip() else ""
                if last_line.startswith(MARK):
                    return cls(name, segment, last_line.strip(f"{MARK} ")[:MAX_WORDS])
        return None

    def options(self, project: PredictOptions) -> PredictOptions:
        """The options for the model: the region and its surroundings, or the question about the region."""
        if self.words:
            stretch = (self.segment.start, self.segment.end)
        else:
            margin = max(MARGIN_SECONDS, MARGIN * self.segment.duration)
            stretch = (max(0.0, self.segment.start - margin), self.segment.end + margin)
        missing = max(0.0, MIN_WINDOW_SECONDS - (stretch[1] - stretch[0]))
        stretch = (max(0.0, stretch[0] - missing / 2), stretch[1] + missing)
        return replace(project, stretch=stretch, question=self.words, refine=False, score_threshold=0.0)

    def answer(self, found: Prediction) -> Segment:
        """The region with the answer as its text; for a question without words, moved to where the event is."""
        kept = replace(self.segment, text=NOTHING, score=None)
        if self.words:
            return replace(kept, text=" ".join(found.text.split())[:MAX_ANSWER] or NOTHING)
        touching = [segment for segment in found.segments if overlap(segment, self.segment) > 0]
        same = [segment for segment in touching if segment.label == self.segment.label]
        best = max(same or touching, key=lambda segment: (overlap(segment, self.segment), segment), default=None)
        if best is None:
            return kept
        return replace(best, label=self.segment.label, text=best.text or best.label)
