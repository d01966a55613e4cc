"""Tags that can hold segments: one class for each kind, which writes and reads its times.

    <TimelineLabels> on a <Video>     whole frames of Label Studio's timeline
    <Labels> on an <Audio>            seconds, as floats

A new kind of tag is a class here, named in CONTROLS; no other code depends on the kind of a control. Knows time, and of
it only the frame rate that Label Studio uses, which need not be the file's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from omni_timeline.label_studio.labels import Label
from omni_timeline.label_studio.values import field_of, look_up, member, number
from omni_timeline.segments import Segment
from omni_timeline.timebase import LabelTimeline

DEFAULT_FRAME_RATE = 24.0  # frames per second; Label Studio's own where frameRate says nothing it can use
MAX_FRAME_RATE = 1e6  # beyond any camera: such a frameRate is a mistake


@dataclass(frozen=True)
class Media:
    """The <Video> or <Audio> that a control is on.

    Attributes:
        name: what results call it (`to_name`).
        field: path in the task's data of the file to watch: its own, or that of the video in sync with it.
        frame_rate: its frameRate as the config has it, or "".
    """

    name: str
    field: str
    frame_rate: str = ""


class Span(ABC):
    """The span of a region in the unit of its control; always within the video, with start <= end."""

    @abstractmethod
    def value(self) -> dict[str, Any]:
        """The times as the value of a result has them."""

    def result_fields(self) -> dict[str, Any]:
        """The fields that a result has beside its value because of this kind of span."""
        return {}


@dataclass(frozen=True)
class FrameSpan(Span):
    """Frames of Label Studio's timeline, the first being 1, both ends included.

    Raises:
        ValueError: anything but whole numbers with 1 <= first <= last <= length.
    """

    first: int
    last: int
    length: int

    def __post_init__(self) -> None:
        if not (type(self.first) is int and type(self.last) is int and 1 <= self.first <= self.last <= self.length):
            raise ValueError(f"frames must be whole numbers with 1 <= start <= end <= {self.length}")

    def value(self) -> dict[str, Any]:
        """The times as the value of a result has them."""
        return {"ranges": [{"start": self.first, "end": self.last}]}


@dataclass(frozen=True)
class SecondsSpan(Span):
    """Seconds of a sound of `duration` seconds.

    Raises:
        ValueError: anything but numbers with 0 <= start <= end <= duration.
    """

    start: float
    end: float
    duration: float

    def __post_init__(self) -> None:
        are_numbers = type(self.start) in (int, float) and type(self.end) in (int, float)
        if not (are_numbers and 0 <= self.start <= self.end <= self.duration):
            raise ValueError(f"seconds must be numbers with 0 <= start <= end <= {self.duration}")

    def value(self) -> dict[str, Any]:
        """The times as the value of a result has them."""
        return {"start": self.start, "end": self.end, "channel": 0}

    def result_fields(self) -> dict[str, Any]:
        """The length of the sound, which Label Studio's own regions have too."""
        return {"original_length": self.duration}


@dataclass(frozen=True)
class Control(ABC):
    """One tag that holds segments.

    Attributes:
        kind: the tag in lower case, the `type` of its results and the key of the labels in their value.
        media_kind: the tag that it must be on, in lower case.
        example: what a config needs to have such a control.
        name: what results call it (`from_name`).
        media: the <Video> or <Audio> that it is on.
        labels: at least one.
        text_area: name of the <TextArea perRegion="true"> on the same media; without one, a region's text goes to its
            `meta.text`.
    """

    kind: ClassVar[str]
    media_kind: ClassVar[str]
    example: ClassVar[str]

    name: str
    media: Media
    labels: tuple[Label, ...]
    text_area: str | None = None

    @cached_property
    def label_values(self) -> frozenset[str]:
        """The values of its labels."""
        return frozenset(label.value for label in self.labels)

    @property
    def data_fields(self) -> tuple[str, ...]:
        """Paths of the values that it needs from a task's data."""
        return (self.media.field,)

    @abstractmethod
    def span(self, segment: Segment, duration: float, task_data: Mapping[str, Any]) -> Span:
        """Where a segment lies in a video of `duration` seconds."""

    @abstractmethod
    def read_span(self, value: Mapping[str, Any], duration: float, task_data: Mapping[str, Any]) -> Span:
        """The span of a result's value as this program writes it.

        Raises:
            ValueError: this program writes no such value.
        """

    @abstractmethod
    def seconds(self, value: Mapping[str, Any], task_data: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
        """Start and end, in seconds, of every span in the value of any result; unreadable spans are left out."""


class TimelineLabels(Control):
    """<TimelineLabels> on a <Video>: regions of whole frames."""

    kind = "timelinelabels"
    media_kind = "video"
    example = '<TimelineLabels toName="video"> on a <Video>'

    @property
    def data_fields(self) -> tuple[str, ...]:
        """Paths of the video and of its frame rate, where the task's data has that."""
        field = self._frame_rate_field
        return (self.media.field,) if field is None else (self.media.field, field)

    def frame_rate(self, task_data: Mapping[str, Any]) -> float:
        """Frames per second of Label Studio's timeline for this task.

        As its editor reads `frameRate`: a number or a $field of the task's data, 1/x for values below 1, and 24 for
        everything else.
        """
        field = self._frame_rate_field
        rate = number(self.media.frame_rate if field is None else look_up(task_data, field))
        if not 1 / MAX_FRAME_RATE <= rate <= MAX_FRAME_RATE:  # NaN is neither
            return DEFAULT_FRAME_RATE
        return 1 / rate if rate < 1 else rate

    def span(self, segment: Segment, duration: float, task_data: Mapping[str, Any]) -> FrameSpan:
        """The frames that show the segment."""
        timeline = LabelTimeline(self.frame_rate(task_data), duration)
        return FrameSpan(*timeline.frames(segment.start, segment.end), timeline.length)

    def read_span(self, value: Mapping[str, Any], duration: float, task_data: Mapping[str, Any]) -> FrameSpan:
        """The one range of a result's value.

        Raises:
            ValueError: this program writes no such value.
        """
        ranges = value.get("ranges")
        if not isinstance(ranges, list) or len(ranges) != 1:
            raise ValueError("there must be one range")
        length = LabelTimeline(self.frame_rate(task_data), duration).length
        return FrameSpan(member(ranges[0], "start"), member(ranges[0], "end"), length)

    def seconds(self, value: Mapping[str, Any], task_data: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
        """Start and end of every range that has both, in order and on the timeline."""
        timeline = LabelTimeline(self.frame_rate(task_data), 1.0)  # the length does not matter here
        ranges = value.get("ranges")
        for span in ranges if isinstance(ranges, list) else []:
            first, last = number(member(span, "start")), number(member(span, "end"))
            if math.isfinite(first) and math.isfinite(last) and last >= max(first, 1):
                yield timeline.seconds(max(1, round(first)), max(1, round(last)))

    @property
    def _frame_rate_field(self) -> str | None:
        """The path in the task's data that `frameRate` refers to; None where it is a number or absent."""
        return field_of(self.media.frame_rate)


class AudioLabels(Control):
    """<Labels> on an <Audio>: regions in seconds on the waveform."""

    kind = "labels"
    media_kind = "audio"
    example = '<Labels toName="audio"> on an <Audio> that plays in sync with a <Video>'

    def span(self, segment: Segment, duration: float, task_data: Mapping[str, Any]) -> SecondsSpan:
        """The seconds of the segment, cut to the sound."""
        end = min(segment.end, duration)
        return SecondsSpan(min(segment.start, end), end, duration)

    def read_span(self, value: Mapping[str, Any], duration: float, task_data: Mapping[str, Any]) -> SecondsSpan:
        """The seconds of a result's value.

        Raises:
            ValueError: this program writes no such value.
        """
        return SecondsSpan(value.get("start"), value.get("end"), duration)  # type: ignore[arg-type]  # it checks them

    def seconds(self, value: Mapping[str, Any], task_data: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
        """Start and end, where both are numbers."""
        start, end = number(value.get("start")), number(value.get("end"))
        if math.isfinite(start) and math.isfinite(end):
            yield max(0.0, start), end


CONTROLS: tuple[type[Control], ...] = (TimelineLabels, AudioLabels)  # of two that hold one label, the first gets it
