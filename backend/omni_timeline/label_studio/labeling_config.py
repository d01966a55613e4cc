"""A project's labeling configuration, and the only code between segments and Label Studio's regions.

Knows which tags can hold a segment, which label of the project a model's words mean, what a project may decide in its
config, and the shape of Label Studio's results in both directions. Knows no network, no model, and of time only the
frame rate that Label Studio uses, which need not be the file's.

    <TimelineLabels> on a <Video>     whole frames of Label Studio's timeline
    <Labels> on an <Audio>            seconds, as floats
    <TextArea perRegion="true">       a region's text, on either; without one it goes into the region's `meta.text`
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from omni_timeline.errors import LabelConfigError, OmniTimelineError
from omni_timeline.pipeline.options import MIN_WINDOW_SECONDS, PredictOptions
from omni_timeline.segments import Segment
from omni_timeline.timebase import LabelTimeline

DEFAULT_FRAME_RATE = 24.0  # frames per second; Label Studio's own where frameRate says nothing it can use
MAX_FRAME_RATE = 1e6  # beyond any camera: such a frameRate is a mistake
USUAL_DEFAULT_LABELS = ("event", "other", "unknown")  # a label of such a name takes what fits no other
MAX_FRAME_NUMBER = 2**53  # beyond it a number no longer counts single frames
MAX_FRAMES = 768  # that a project may ask for; as many as Qwen's own qwen-omni-utils takes (`FPS_MAX_FRAMES`)
MAX_CHARACTERS = 2_000_000  # in a labeling config; 5,000 labels take a quarter of it
NEEDS = '<TimelineLabels toName="video"> on a <Video>, or <Labels toName="audio"> on an <Audio>, with <Label> tags'


@dataclass(frozen=True)
class Label:
    """One <Label>: what Label Studio stores for it, and the other names under which a model may mean it.

    Attributes:
        value: what is stored: the alias where there is one.
        other_names: its value beside an alias, then those in `predicted_values`.
        hint: what it means, from `hint` or else its other names; "" where the config says neither.
    """

    value: str
    other_names: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Control:
    """One tag that holds segments: <TimelineLabels> on a video, or <Labels> on an audio.

    Attributes:
        name: what results call it (`from_name`).
        kind: the `type` of its results, and the key of the labels in their value.
        media: the name of the <Video> or <Audio> it is on (`to_name`).
        labels: at least one.
        text_area: name of the <TextArea perRegion="true"> on the same media; without one, texts go to `meta.text`.
        frame_rate_attribute: the video's frameRate as it is written, or "".
    """

    name: str
    kind: Literal["timelinelabels", "labels"]
    media: str
    labels: tuple[Label, ...]
    text_area: str | None = None
    frame_rate_attribute: str = ""

    @property
    def frame_rate_field(self) -> str | None:
        """The path in the task's data that `frameRate` refers to; None where it is a number or absent."""
        field = re.fullmatch(r"\$([\w\[\].{}]+)", self.frame_rate_attribute)
        return field[1] if field else None

    def frame_rate(self, task_data: Mapping[str, Any]) -> float:
        """Frames per second of Label Studio's timeline for this task.

        As its editor reads `frameRate`: a number or a $field of the task's data, 1/x for values below 1, and 24 for
        everything else.
        """
        field = self.frame_rate_field
        number = _javascript_number(_look_up(task_data, field) if field else self.frame_rate_attribute)
        if not 1 / MAX_FRAME_RATE <= number <= MAX_FRAME_RATE:  # NaN is neither
            return DEFAULT_FRAME_RATE
        return 1 / number if number < 1 else number

    def span(self, segment: Segment, duration: float, task_data: Mapping[str, Any]) -> dict[str, Any]:
        """Where the segment lies in a video of `duration` seconds, as the value of a result has it."""
        if self.kind == "labels":
            end = min(segment.end, duration)
            return {"start": min(segment.start, end), "end": end, "channel": 0}
        first, last = LabelTimeline(self.frame_rate(task_data), duration).frames(segment.start, segment.end)
        return {"ranges": [{"start": first, "end": last}]}

    def seconds(self, value: Mapping[str, Any], task_data: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
        """Start and end of every span in a result's value; the reverse of `span`."""
        if self.kind == "labels":
            start, end = _javascript_number(value.get("start")), _javascript_number(value.get("end"))
            if math.isfinite(start) and math.isfinite(end):
                yield max(0.0, start), end
            return
        timeline = LabelTimeline(self.frame_rate(task_data), 1.0)  # the length does not matter here
        for first, last in _frames(value.get("ranges")):
            yield timeline.seconds(first, last)


@dataclass(frozen=True)
class ProjectSettings:
    """What a project decides for itself, by attributes of its control tag; None: as the service is set.

    Attributes:
        prompt: `model_prompt`, the instruction for the model.
        frames: `model_frames`, how many frames of a video or window the model sees.
        window_seconds: `model_window_seconds`, how long a stretch the model sees at once; "whole" for all of it.
        score_threshold: `model_score_threshold`; segments with a lower score are left out.
    """

    prompt: str | None = None
    frames: int | None = None
    window_seconds: float | Literal["whole"] | None = None
    score_threshold: float | None = None


@dataclass(frozen=True)
class LabelConfig:
    """Where a project keeps its segments, and what it decides for itself.

    Attributes:
        video_field: the key of the task's data that holds the video's URL.
        controls: the tags that hold segments of that video, at least one; a segment's label decides between them.
            Those on a timeline come first.
        default_label: the label that takes what fits none: that of `model_default_label`; else one called Event,
            Other or Unknown; else the first.
        settings: its own choices.
    """

    video_field: str
    controls: tuple[Control, ...]
    default_label: str
    settings: ProjectSettings = ProjectSettings()

    @classmethod
    def from_xml(cls, xml: str) -> LabelConfig:
        """Read a labeling configuration; names of tags and attributes in any case, as in Label Studio's editor.

        Of several videos it takes the first that a <TimelineLabels> names; without one, the first audio that a
        <Labels> names, and where a <Video> is in sync with it, that video's file.

        Raises:
            LabelConfigError: there is no place for a segment in it, and the message names the tag that is needed; or
                an attribute has a value that cannot be.
        """
        tags = _tags(_root(xml))
        media = {(tag.kind, tag["name"]): tag for tag in reversed(tags) if tag.kind in _MEDIA.values() and tag["name"]}
        holders = [(tag, media[key]) for tag in tags for key in tag.keys_of_media if key in media]
        if not holders:
            raise LabelConfigError(f"The labeling config needs {NEEDS}; found {_found(tags)}.")
        holders.sort(key=lambda holder: holder[0].kind != "timelinelabels")  # stable: else in the config's order
        shown = _shown(media)
        field = _field(shown[holders[0][1]])
        chosen: dict[_Tag, _Tag] = {}
        for tag, of in holders:
            if shown[of]["value"] == f"${field}":
                chosen.setdefault(tag, of)
        text_areas = {
            name: tag["name"]
            for tag in reversed(tags)
            if tag.kind == "textarea" and tag["perregion"].lower() == "true" and tag["name"]
            for name in tag.targets
        }
        controls = tuple(_control(tag, of, text_areas.get(of["name"])) for tag, of in chosen.items())
        return cls(field, controls, _default_label(list(chosen), controls), _settings(list(chosen)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of all labels, in the order of the config, each once."""
        return tuple(self._owners)

    @property
    def hints(self) -> dict[str, str]:
        """What labels mean, by label, for those where the config says it."""
        labels = [label for control in self.controls for label in control.labels if label.hint]
        return {label.value: label.hint for label in reversed(labels)}

    def options(self, base: PredictOptions) -> PredictOptions:
        """What the model is asked for this project: `base`, with the labels and whatever the config decides.

        Descriptions are asked for where the config has a place for a region's text.
        """
        chosen = self.settings
        window = chosen.window_seconds
        return replace(
            base,
            labels=self.labels,
            hints=tuple(sorted(self.hints.items())),
            descriptions=any(control.text_area is not None for control in self.controls),
            prompt=base.prompt if chosen.prompt is None else replace(base.prompt, user=chosen.prompt),
            frames=base.frames if chosen.frames is None else chosen.frames,
            window_seconds=base.window_seconds if window is None else None if window == "whole" else window,
            score_threshold=base.score_threshold if chosen.score_threshold is None else chosen.score_threshold,
        )

    def needed_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a task's data that its prediction needs: the video's URL and what its frame rates refer to.

        Nested values are found under their whole path: `{"meta.fps": 25}` stands for `{"meta": {"fps": 25}}`, which
        Label Studio reads alike. What is neither text nor number is of no use for either and left out.
        """
        fields = [self.video_field, *(control.frame_rate_field for control in self.controls)]
        found = {field: _look_up(data, field) for field in fields if field}
        return {field: value for field, value in found.items() if isinstance(value, str | int | float)}

    def label_for(self, name: str) -> str:
        """The label that a model means by `name`, or the default label."""
        return self._known(name) or self.default_label

    def labeled(self, segment: Segment) -> Segment:
        """The segment with a label of the project; words that are none of its labels move into the text."""
        label = self._known(segment.label)
        if label is not None:
            return replace(segment, label=label)
        words = f"{segment.label}: {segment.text}" if segment.text else segment.label
        return replace(segment, label=self.default_label, text=words)

    def to_result(
        self, segments: Iterable[Segment], *, duration: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Label Studio's results for the segments of a video of `duration` seconds, in their order.

        Each becomes a region within the timeline, its label one of the project's. The ids follow from the content
        alone: the same segments give the same result.
        """
        taken: set[str] = set()
        result: list[dict[str, Any]] = []
        for segment in sorted(self.labeled(segment) for segment in segments):
            control = self._owners[segment.label]
            span = control.span(segment, duration, task_data)
            region_id = _unused_id(f"{json.dumps(span)} {segment.label}: {segment.text}", taken)
            common: dict[str, Any] = {"id": region_id, "to_name": control.media}
            common |= {"original_length": duration} if control.kind == "labels" else {}
            common |= {} if segment.score is None else {"score": segment.score}
            loose_text = {"meta": {"text": [segment.text]}} if segment.text and control.text_area is None else {}
            labels = {**span, control.kind: [segment.label]}
            result.append({**common, "from_name": control.name, "type": control.kind, "value": labels, **loose_text})
            if segment.text and control.text_area is not None:
                text = {**deepcopy(span), "text": [segment.text]}
                result.append({**common, "from_name": control.text_area, "type": "textarea", "value": text})
        return result

    def prediction(
        self, segments: Sequence[Segment], *, duration: float, task_data: Mapping[str, Any], model_version: str
    ) -> dict[str, Any]:
        """A whole prediction of Label Studio; its score is the mean of the segments', left out where none has one."""
        scores = [segment.score for segment in segments if segment.score is not None]
        score = {"score": sum(scores) / len(scores)} if scores else {}
        result = self.to_result(segments, duration=duration, task_data=task_data)
        return {"model_version": model_version, "result": result, **score}

    def check(self, prediction: Mapping[str, Any], *, duration: float, task_data: Mapping[str, Any]) -> None:
        """Refuse a prediction that Label Studio would store and then choke on.

        It stores nearly everything, and a region without a value makes the task's page unusable; frames that are no
        whole numbers vanish; a score that is not a number loses the whole batch (1.23.2). Whatever passes here also
        passes `LabelInterface.validate_prediction` of Label Studio's SDK.

        Raises:
            OmniTimelineError: something is wrong with it, which is a mistake in this package.
        """
        try:
            json.dumps(prediction, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            _require(False, f"it is no JSON ({error})")
        version, result = prediction.get("model_version"), prediction.get("result")
        _require(isinstance(version, str) and version != "", f"model_version must be a text, got {_short(version)}")
        _require("score" not in prediction or _score(prediction["score"]) is not None, "its score must be from 0 to 1")
        _require(isinstance(result, list), f"result must be a list, got {_short(result)}")
        seen: dict[tuple[str, bool], Any] = {}
        for region in result or []:
            self._check_region(region, duration, task_data)
            is_text, region_id = region["type"] == "textarea", region["id"]
            times = region["to_name"], *(region["value"].get(key) for key in ("ranges", "start", "end", "channel"))
            _require((region_id, is_text) not in seen, f"the id {_short(region_id)} is there twice")
            _require(
                not is_text or seen.get((region_id, False)) == times,
                f"this text has no region before it with its id and times: {_short(region)}",
            )
            seen[region_id, is_text] = times

    def from_result(self, result: Any, *, task_data: Mapping[str, Any], duration: float | None = None) -> list[Segment]:
        """The segments of an annotation or a prediction, in order; the reverse of `to_result`. Never raises.

        A region with several ranges or labels gives a segment for each. Labels stay as they are, those that the config
        no longer has too. What is no region of this config's controls is passed over: relations, texts without a
        region, regions without times (Label Studio writes them when another control shares the video) or with times
        that are no numbers. With `duration`, segments are cut to it.
        """
        media = {control.media: control for control in reversed(self.controls)}
        items = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
        texts = self._texts(items)
        segments = []
        for item in items:
            value, name = item.get("value"), item.get("to_name", self.controls[0].media)
            control = media.get(name) if isinstance(name, str) else None
            if control is None or not isinstance(value, Mapping):
                continue
            for start, end in control.seconds(value, task_data):
                end = min(end, duration or math.inf)
                text = texts.get(_id(item)) or _joined(_get(item.get("meta"), "text"))
                for label in _strings(value.get(control.kind)):
                    if label.strip() and start < end:
                        segments.append(Segment(start, end, label, text, _score(item.get("score"))))
        return sorted(segments)

    @cached_property
    def _owners(self) -> dict[str, Control]:
        """The control of each label; the first that has it."""
        owners: dict[str, Control] = {}
        for control in self.controls:
            for label in control.labels:
                owners.setdefault(label.value, control)
        return owners

    @cached_property
    def _by_key(self) -> dict[str, str]:
        """The label behind each key of a name."""
        labels = [label for control in self.controls for label in control.labels]
        called = {_key(other): label.value for label in reversed(labels) for other in reversed(label.other_names)}
        return called | {_key(label.value): label.value for label in reversed(labels)}  # a value beats another's name

    def _known(self, name: str) -> str | None:
        return name if name in self._owners else self._by_key.get(_key(name))

    def _texts(self, items: Sequence[Mapping[str, Any]]) -> dict[str | None, str]:
        """The texts by the id of their region; that of this config's TextArea where a region has several."""
        ours = {control.text_area for control in self.controls}
        texts: dict[str | None, str] = {}
        for item in items:
            text = _joined(_get(item.get("value"), "text")) if item.get("type") == "textarea" else ""
            from_ours = isinstance(item.get("from_name"), str) and item["from_name"] in ours
            if text and (from_ours or _id(item) not in texts):
                texts[_id(item)] = text
        texts.pop(None, None)
        return texts

    def _check_region(self, region: Any, duration: float, task_data: Mapping[str, Any]) -> None:
        """One of a prediction's results; see `check`."""
        described = _short(region)

        def require(fine: bool, otherwise: str) -> None:
            _require(fine, f"{otherwise}: {described}")

        require(isinstance(region, dict) and isinstance(region.get("value"), dict), "a region needs a value")
        named = all(isinstance(region.get(key), str) and region[key] for key in ("id", "from_name", "to_name", "type"))
        require(named, "id, from_name, to_name and type must be texts")
        value, is_text = region["value"], region["type"] == "textarea"
        owners = {(c.text_area if is_text else c.name, c.media): c for c in reversed(self.controls)}
        control = owners.get((region["from_name"], region["to_name"]))
        require(control is not None, "the config has no such from_name and to_name")
        assert control is not None  # for the type checker
        require(is_text or region["type"] == control.kind, f"the type must be {control.kind}")
        require("score" not in region or _score(region["score"]) is not None, "its score must be from 0 to 1")
        words = value.get("text" if is_text else control.kind)
        are_texts = isinstance(words, list) and words != [] and all(isinstance(word, str) for word in words)
        require(are_texts, "labels and text must be lists of texts")
        require(is_text or set(words) <= {label.value for label in control.labels}, "the control has no such label")
        if control.kind == "labels":
            start, end = value.get("start"), value.get("end")
            ordered = type(start) in (int, float) and type(end) in (int, float) and 0 <= start <= end <= duration
            require(ordered, f"seconds must be numbers with 0 <= start <= end <= {duration}")
        else:
            length = LabelTimeline(control.frame_rate(task_data), duration).length
            ranges = value.get("ranges")
            require(isinstance(ranges, list) and len(ranges) == 1, "there must be one range")
            first, last = _get(ranges[0], "start"), _get(ranges[0], "end")
            ordered = type(first) is int and type(last) is int and 1 <= first <= last <= length
            require(ordered, f"frames must be whole numbers with 1 <= start <= end <= {length}")


# --- The config's XML ------------------------------------------------------------------------------------------------

_MEDIA = {"timelinelabels": "video", "labels": "audio"}  # which media each control can hold segments of
_KINDS = {"audioplus": "audio"}  # other spellings that the editor still reads
_LAYOUT = {"view", "label", "header", "style", "choice"}  # not worth naming as what was found
_MAX_NAMED = 8  # tags or labels in one message


class _Tag:
    """A tag with its attributes by their name in lower case; an absent one is "".

    Attributes:
        labels: the <Label> tags in it, if it is a control.
    """

    def __init__(self, element: ET.Element) -> None:
        self.written = str(element.tag)
        self.kind = _KINDS.get(self.written.lower(), self.written.lower())
        self.labels: list[_Tag] = []
        self._attributes = {name.lower(): value.strip() for name, value in element.attrib.items()}

    def __getitem__(self, attribute: str) -> str:
        return self._attributes.get(attribute, "")

    @property
    def targets(self) -> list[str]:
        """The names in toName."""
        return [name.strip() for name in self["toname"].split(",") if name.strip()]

    @property
    def keys_of_media(self) -> list[tuple[str, str]]:
        """Kind and name of what it could hold segments of; empty for tags that hold none."""
        return [(_MEDIA[self.kind], name) for name in self.targets] if self.kind in _MEDIA else []


def _root(xml: str) -> ET.Element:
    if not xml.strip():
        raise LabelConfigError(f"The labeling config is empty; it needs {NEEDS}.")
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(
            f"The labeling config has {len(xml):,} characters; it must have at most {MAX_CHARACTERS:,}."
        )
    if re.search(r"<!(?:DOCTYPE|ENTITY)", xml, re.IGNORECASE):
        raise LabelConfigError("The labeling config must not have a DOCTYPE or entities of its own; take them out.")
    try:
        return ET.fromstring(xml.strip())
    except (ET.ParseError, ValueError) as error:
        raise LabelConfigError(f"The labeling config is not well-formed XML: {error}; it needs {NEEDS}.") from error


def _tags(root: ET.Element) -> list[_Tag]:
    """All tags in the order of the config, each <Label> also in the nearest control around it."""
    tags: list[_Tag] = []
    waiting: list[tuple[ET.Element, _Tag | None]] = [(root, None)]  # no recursion: a config may be nested a mile deep
    while waiting:
        element, control = waiting.pop()
        tag = _Tag(element)
        tags.append(tag)
        if tag.kind == "label" and control is not None:
            control.labels.append(tag)
        within = tag if tag.kind in _MEDIA else control
        waiting += [(child, within) for child in reversed(element)]
    return tags


def _shown(media: Mapping[tuple[str, str], _Tag]) -> dict[_Tag, _Tag]:
    """The tag with the file to watch for each media: the video in sync with an audio, where there is one; else itself.

    The `sync` of tags that play together is one word of the admin's choice, or the other's name.
    """
    videos = {tag[key]: tag for (kind, _), tag in media.items() if kind == "video" for key in ("sync", "name")}
    videos.pop("", None)
    return {
        tag: tag if kind == "video" else videos.get(tag["sync"]) or videos.get(name) or tag
        for (kind, name), tag in media.items()
    }


def _field(media: _Tag) -> str:
    field = re.fullmatch(r"\$([^,\s]+)", media["value"])
    if field is None:
        raise LabelConfigError(
            f'The <{media.written}> of the labeling config needs value="$field", a field of the task\'s data; '
            f'found value="{_short(media["value"])}".'
        )
    return field[1]


def _found(tags: Iterable[_Tag]) -> str:
    names = dict.fromkeys(
        f'<{tag.written} toName="{tag["toname"]}">' if tag["toname"] else f"<{tag.written}>"
        for tag in tags
        if tag.kind not in _LAYOUT
    )
    return _named(names) or "neither"


def _named(names: Iterable[str]) -> str:
    """The first few of them, and how many more there are."""
    few = [_short(name) for name in names]
    more = [f"{len(few) - _MAX_NAMED} more"] if len(few) > _MAX_NAMED else []
    return ", ".join(few[:_MAX_NAMED] + more)


def _short(value: object, most: int = 200) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


def _control(tag: _Tag, media: _Tag, text_area: str | None) -> Control:
    if not tag["name"]:
        raise LabelConfigError(f"The <{tag.written}> of the labeling config needs a name.")
    labels: dict[str, Label] = {}
    for child in tag.labels:
        # Label Studio and its SDK store the alias where there is one (LabelTag.parse_node; checked with 2.1.2).
        if value := child["alias"] or child["value"]:
            predicted = [name.strip() for name in child["predicted_values"].split(",") if name.strip()]
            others = tuple(name for name in (child["value"], *predicted) if name and name != value)
            labels.setdefault(value, Label(value, others, child["hint"] or ", ".join(others)))
    if not labels:
        hint = f' (labels from the task\'s data, as in value="{tag["value"]}", cannot be read)' if tag["value"] else ""
        raise LabelConfigError(f'<{tag.written} name="{tag["name"]}"> needs <Label value="…"> tags in it{hint}.')
    kind: Literal["timelinelabels", "labels"] = "labels" if tag.kind == "labels" else "timelinelabels"
    return Control(tag["name"], kind, media["name"], tuple(labels.values()), text_area, media["framerate"])


def _default_label(tags: Sequence[_Tag], controls: Sequence[Control]) -> str:
    every: dict[str, str] = {}
    for tag, control in zip(tags, controls, strict=True):
        by_key = {_key(label.value): label.value for label in reversed(control.labels)}
        if wanted := tag["model_default_label"]:
            if _key(wanted) not in by_key:
                raise LabelConfigError(
                    f'model_default_label="{_short(wanted)}" is none of the labels of '
                    f'<{tag.written} name="{tag["name"]}">: {_named(label.value for label in control.labels)}.'
                )
            return by_key[_key(wanted)]
        every = by_key | every
    return next((every[name] for name in USUAL_DEFAULT_LABELS if name in every), controls[0].labels[0].value)


def _settings(tags: Sequence[_Tag]) -> ProjectSettings:
    seconds = f'a number of seconds, at least {MIN_WINDOW_SECONDS:g}, or "whole"'
    window = _attribute(tags, "model_window_seconds")
    is_whole = window.lower() == "whole"
    frames = _number(tags, "model_frames", 1, MAX_FRAMES, f"a whole number from 1 to {MAX_FRAMES}")
    return ProjectSettings(
        prompt=_attribute(tags, "model_prompt") or None,
        frames=None if frames is None else int(frames),
        window_seconds=(
            "whole"
            if is_whole
            else _number(tags, "model_window_seconds", MIN_WINDOW_SECONDS, MAX_FRAME_NUMBER, seconds)
        ),
        score_threshold=_number(tags, "model_score_threshold", 0, 1, "a number from 0 to 1"),
    )


def _attribute(tags: Sequence[_Tag], name: str) -> str:
    """What the control tags say, "" if nothing; a project can have it only one way."""
    values = list(dict.fromkeys(tag[name] for tag in tags if tag[name]))
    if len(values) > 1:
        raise LabelConfigError(
            f'{name}="{_short(values[0])}" and {name}="{_short(values[1])}" contradict each other; say it on one tag.'
        )
    return values[0] if values else ""


def _number(tags: Sequence[_Tag], name: str, low: float, high: float, allowed: str) -> float | None:
    written = _attribute(tags, name)
    if not written:
        return None
    number = _javascript_number(written)
    if not low <= number <= high or ("whole number" in allowed and number != int(number)):  # NaN is not between
        raise LabelConfigError(f'{name}="{_short(written)}" cannot be; it must be {allowed}.')
    return number


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
        elif isinstance(data, list) and re.fullmatch("[0-9]{1,9}", part) and int(part) < len(data):
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
    if isinstance(value, int | float) and abs(value) < MAX_FRAME_NUMBER:
        return float(value)
    return math.nan


def _frames(ranges: Any) -> Iterator[tuple[int, int]]:
    """First and last frame of every range that has both, in order and on the timeline."""
    for span in ranges if isinstance(ranges, list) else []:
        first, last = _javascript_number(_get(span, "start")), _javascript_number(_get(span, "end"))
        if math.isfinite(first) and math.isfinite(last) and last >= max(first, 1):
            yield max(1, round(first)), max(1, round(last))


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise OmniTimelineError(f"This prediction is not as Label Studio needs it: {otherwise}; please report this.")


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
