"""A project's labelling configuration, and the only code between segments and Label Studio's regions.

Knows which tags can hold a segment, which label of the project a model's words mean, and the shape of Label Studio's
results in both directions. Knows no network, no model, and of time only the frame rate that Label Studio uses, which
need not be the file's.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omni_timeline.errors import LabelConfigError
from omni_timeline.segments import Segment
from omni_timeline.timebase import LabelTimeline

DEFAULT_FRAME_RATE = 24.0  # frames per second; Label Studio's own where frameRate says nothing it can use
HIGHEST_FRAME_RATE = 1e6  # beyond any camera: such a frameRate is a mistake
USUAL_DEFAULT_LABELS = ("event", "other", "unknown")  # a label of such a name takes what fits no other
LARGEST_FRAME = 2**53  # beyond it a number no longer counts single frames
NEEDS = '<TimelineLabels toName="video"> with <Label> tags, on a <Video name="video" value="$video">'


@dataclass(frozen=True)
class Label:
    """One <Label>: what Label Studio stores for it, and the other names under which a model may mean it."""

    value: str
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class TimelineControl:
    """One <TimelineLabels> on the video.

    Attributes:
        name: what results call it (`from_name`).
        labels: at least one.
        default: the value of the label that takes what fits none.
    """

    name: str
    labels: tuple[Label, ...]
    default: str


@dataclass(frozen=True)
class LabelConfig:
    """Where a project keeps its segments: timelines of labels on one video, and perhaps a text for each region.

    Attributes:
        video: the <Video>'s name (`to_name` of results).
        video_field: the key of the task's data that holds its URL.
        controls: every <TimelineLabels> on that video, at least one; the first one's default label counts.
        text_area: name of the <TextArea perRegion="true"> on the same video; without one, texts go to `meta.text`.
        frame_rate_attribute: frameRate as it is written, or "".
    """

    video: str
    video_field: str
    controls: tuple[TimelineControl, ...]
    text_area: str | None = None
    frame_rate_attribute: str = ""

    @classmethod
    def from_xml(cls, xml: str) -> LabelConfig:
        """Read a labelling configuration; names of tags and attributes in any case, as in Label Studio's editor.

        Of several videos it takes the first that a <TimelineLabels> names.

        Raises:
            LabelConfigError: there is no place for a segment in it; the message names the tag that is needed.
        """
        tags = [_Tag(element) for element in _root(xml).iter()]
        videos = {tag["name"]: tag for tag in tags if tag.kind == "video" and tag["name"]}
        timelines = [tag for tag in tags if tag.kind == "timelinelabels"]
        video = next((videos[name] for tag in timelines for name in tag.targets if name in videos), None)
        if video is None:
            raise LabelConfigError(f"The labelling config needs {NEEDS}; found {_found(tags)}.")
        field = re.fullmatch(r"\$([^,\s]+)", video["value"])
        if field is None:
            raise LabelConfigError(
                f'The <Video> of the labelling config needs value="$field", a field of the task\'s data; '
                f'found value="{video["value"]}".'
            )
        on_video = [tag for tag in tags if video["name"] in tag.targets]
        text_areas = [tag["name"] for tag in on_video if tag.kind == "textarea" and tag["perregion"] == "true"]
        return cls(
            video=video["name"],
            video_field=field[1],
            controls=tuple(_control(tag) for tag in on_video if tag.kind == "timelinelabels"),
            text_area=next(filter(None, text_areas), None),
            frame_rate_attribute=video["framerate"],
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of all labels, in the order of the config, each once."""
        return tuple(dict.fromkeys(label.value for control in self.controls for label in control.labels))

    @property
    def default_label(self) -> str:
        """The label that takes what fits none.

        That of the attribute `model_default_label` of <TimelineLabels>; else one called Event, Other or Unknown;
        else the first.
        """
        return self.controls[0].default

    def label_for(self, name: str) -> str:
        """The label that a model means by `name`, or the default label."""
        return self._known(name) or self.default_label

    def labelled(self, segment: Segment) -> Segment:
        """The segment with a label of the project; words that are none of its labels move into the text."""
        label = self._known(segment.label)
        if label is not None:
            return replace(segment, label=label)
        words = f"{segment.label}: {segment.text}" if segment.text else segment.label
        return replace(segment, label=self.default_label, text=words)

    def frame_rate(self, task_data: Mapping[str, Any]) -> float:
        """Frames per second of Label Studio's timeline for this task.

        As its editor reads `frameRate`: a number or a $field of the task's data, 1/x for values below 1, and 24 for
        everything else.
        """
        written = self.frame_rate_attribute
        field = re.fullmatch(r"\$([\w\[\].{}]+)", written)
        number = _javascript_number(_look_up(task_data, field[1]) if field else written)
        if not 1 / HIGHEST_FRAME_RATE <= number <= HIGHEST_FRAME_RATE:  # NaN is neither
            return DEFAULT_FRAME_RATE
        return 1 / number if number < 1 else number

    def to_result(
        self, segments: Iterable[Segment], *, duration: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Label Studio's results for the segments of a video of `duration` seconds, in their order.

        Each becomes a region of whole frames within the timeline, its label one of the project's. The ids follow from
        the content alone: the same segments give the same result.
        """
        timeline = LabelTimeline(self.frame_rate(task_data), duration)
        taken: set[str] = set()
        result: list[dict[str, Any]] = []
        for segment in sorted(self.labelled(segment) for segment in segments):
            first, last = timeline.frames(segment.start, segment.end)
            region_id = _unused_id(f"{first}-{last} {segment.label}: {segment.text}", taken)
            result += self._regions(segment, [{"start": first, "end": last}], region_id)
        return result

    def prediction(
        self, segments: Sequence[Segment], *, duration: float, task_data: Mapping[str, Any], model_version: str
    ) -> dict[str, Any]:
        """A whole prediction of Label Studio; its score is the mean of the segments', left out where none has one."""
        scores = [segment.score for segment in segments if segment.score is not None]
        score = {"score": sum(scores) / len(scores)} if scores else {}
        result = self.to_result(segments, duration=duration, task_data=task_data)
        return {"model_version": model_version, "result": result, **score}

    def from_result(self, result: Any, *, task_data: Mapping[str, Any], duration: float | None = None) -> list[Segment]:
        """The segments of an annotation or a prediction, in order; the reverse of `to_result`. Never raises.

        A region with several ranges or labels gives a segment for each. Labels stay as they are, those that the config
        no longer has too. What is no region on this video's timeline is passed over: relations, texts without a region,
        regions without frames (Label Studio writes them when another control shares the video) or with frames that are
        no numbers. With `duration`, segments are cut to it.
        """
        timeline = LabelTimeline(self.frame_rate(task_data), duration or 1.0)
        items = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
        texts = self._texts(items)
        segments = []
        for item in items:
            value = item.get("value")
            if not isinstance(value, Mapping) or item.get("to_name", self.video) != self.video:
                continue
            for first, last in _frames(value.get("ranges")):
                start, end = timeline.seconds(first, last)
                end = min(end, duration or math.inf)
                text = texts.get(_id(item)) or _joined(_get(item.get("meta"), "text"))
                for label in _strings(value.get("timelinelabels")):
                    if label.strip() and start < end:
                        segments.append(Segment(start, end, label, text, _score(item.get("score"))))
        return sorted(segments)

    def _regions(self, segment: Segment, ranges: list[dict[str, int]], region_id: str) -> Iterator[dict[str, Any]]:
        """The label's result and, where there is a text and a tag for it, the text's, joined by their id."""
        common = {"id": region_id, "to_name": self.video}
        score = {} if segment.score is None else {"score": segment.score}
        loose_text = {"meta": {"text": [segment.text]}} if segment.text and self.text_area is None else {}
        labels = {"ranges": ranges, "timelinelabels": [segment.label]}
        owner = next((c.name for c in self.controls if segment.label in {label.value for label in c.labels}), None)
        yield {**common, "from_name": owner, "type": "timelinelabels", "value": labels, **loose_text, **score}
        if segment.text and self.text_area is not None:
            text = {"ranges": [dict(span) for span in ranges], "text": [segment.text]}
            yield {**common, "from_name": self.text_area, "type": "textarea", "value": text, **score}

    def _known(self, name: str) -> str | None:
        labels = [label for control in self.controls for label in control.labels]
        if name in {label.value for label in labels}:
            return name
        called = {_key(other): label.value for label in reversed(labels) for other in reversed(label.other_names)}
        called |= {_key(label.value): label.value for label in reversed(labels)}  # a label's value beats another's name
        return called.get(_key(name))

    def _texts(self, items: Sequence[Mapping[str, Any]]) -> dict[str | None, str]:
        """The texts by the id of their region; that of this config's TextArea where a region has several."""
        texts: dict[str | None, str] = {}
        for item in items:
            text = _joined(_get(item.get("value"), "text")) if item.get("type") == "textarea" else ""
            if text and (item.get("from_name") == self.text_area or _id(item) not in texts):
                texts[_id(item)] = text
        texts.pop(None, None)
        return texts


# --- The config's XML ------------------------------------------------------------------------------------------------

_LAYOUT = {"view", "label", "header", "style", "choice"}  # not worth naming as what was found


class _Tag:
    """A tag with its attributes by their name in lower case; an absent one is ""."""

    def __init__(self, element: ET.Element) -> None:
        self.element = element
        self.written = str(element.tag)
        self.kind = self.written.lower()
        self._attributes = {name.lower(): value.strip() for name, value in element.attrib.items()}

    def __getitem__(self, attribute: str) -> str:
        return self._attributes.get(attribute, "")

    @property
    def targets(self) -> list[str]:
        """The names in toName."""
        return [name.strip() for name in self["toname"].split(",") if name.strip()]


def _root(xml: str) -> ET.Element:
    if not xml.strip():
        raise LabelConfigError(f"The labelling config is empty; it needs {NEEDS}.")
    if re.search(r"<!(?:DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise LabelConfigError("The labelling config must not have a DOCTYPE or entities of its own; take them out.")
    try:
        return ET.fromstring(xml.strip())
    except (ET.ParseError, ValueError) as error:
        raise LabelConfigError(f"The labelling config is not well-formed XML: {error}; it needs {NEEDS}.") from error


def _found(tags: Iterable[_Tag]) -> str:
    names = dict.fromkeys(
        f'<{tag.written} toName="{tag["toname"]}">' if tag["toname"] else f"<{tag.written}>"
        for tag in tags
        if tag.kind not in _LAYOUT
    )
    return ", ".join(names) or "neither"


def _control(tag: _Tag) -> TimelineControl:
    if not tag["name"]:
        raise LabelConfigError("The <TimelineLabels> of the labelling config needs a name.")
    labels: dict[str, Label] = {}
    for child in map(_Tag, tag.element.iter()):
        # Label Studio and its SDK store the alias where there is one (LabelTag.parse_node; checked with 2.1.2).
        if child.kind == "label" and (value := child["alias"] or child["value"]):
            others = (child["value"], *(name.strip() for name in child["predicted_values"].split(",")))
            labels.setdefault(value, Label(value, tuple(name for name in others if name and name != value)))
    if not labels:
        hint = f' (labels from the task\'s data, as in value="{tag["value"]}", cannot be read)' if tag["value"] else ""
        raise LabelConfigError(f'<TimelineLabels name="{tag["name"]}"> needs <Label value="…"> tags in it{hint}.')
    by_key = {_key(value): value for value in reversed(labels)}
    wanted = tag["model_default_label"]
    if wanted and _key(wanted) not in by_key:
        raise LabelConfigError(
            f'model_default_label="{wanted}" is none of the labels of <TimelineLabels name="{tag["name"]}">: '
            f"{', '.join(labels)}."
        )
    usual = next((by_key[name] for name in USUAL_DEFAULT_LABELS if name in by_key), next(iter(labels)))
    return TimelineControl(tag["name"], tuple(labels.values()), by_key[_key(wanted)] if wanted else usual)


def _key(name: str) -> str:
    """What two spellings of a label have in common: case, width, white space, dashes and punctuation do not count."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    key = " ".join(re.sub(r"[\s_:–—-]+", " ", folded).split()).strip(" .,;!?*\"'`()[]“”‘’。、")
    return key or folded  # a label may be all punctuation


# --- Values from outside ---------------------------------------------------------------------------------------------


def _look_up(data: Any, path: str) -> Any:
    """What the editor finds in a task's data under a path such as "meta.fps" or "rates[0]"; None where nothing is."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    for part in re.findall(r"[^.\[\]]+", path):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def _javascript_number(value: Any) -> float:
    """`Number(value)` of JavaScript for plain decimal numbers; NaN for everything else."""
    if isinstance(value, str) and re.fullmatch(
        r"[+-]?(?:[0-9]{1,300}\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", value.strip(), re.I
    ):
        return float(value)
    if isinstance(value, int | float) and abs(value) < LARGEST_FRAME:
        return float(value)
    return math.nan


def _frames(ranges: Any) -> Iterator[tuple[int, int]]:
    """First and last frame of every range that has both, in order and on the timeline."""
    for span in ranges if isinstance(ranges, list) else []:
        first, last = _javascript_number(_get(span, "start")), _javascript_number(_get(span, "end"))
        if math.isfinite(first) and math.isfinite(last) and last >= max(first, 1):
            yield max(1, round(first)), max(1, round(last))


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _id(item: Mapping[str, Any]) -> str | None:
    region_id = item.get("id")
    return region_id if isinstance(region_id, str) else None


def _strings(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _joined(value: Any) -> str:
    """The texts of one TextArea, which is a list with an entry for each submission, or one string; lines of a text."""
    return "\n".join(text for text in _strings(value) if text.strip())


def _score(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if usable else None


def _unused_id(content: str, taken: set[str]) -> str:
    """Ten characters, as many as Label Studio's own ids have, that follow from the content and are not yet taken."""
    counter = 0
    while True:
        digest = hashlib.blake2b(f"{counter} {content}".encode(errors="replace"), digest_size=5).hexdigest()
        if digest not in taken:
            taken.add(digest)
            return digest
        counter += 1
