"""Regions as Label Studio stores them: written from segments, read back, and checked once more before they leave.

A region with a text is two results that share an id, one for its label and one for its text; without a TextArea for it
the text goes into the `meta` of the first. Knows no kind of control: what differs between them is in `controls`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omni_timeline.errors import OmniTimelineError
from omni_timeline.label_studio.controls import Control, Span
from omni_timeline.label_studio.values import member, score, shortened, strings
from omni_timeline.segments import Segment, written_score


@dataclass(frozen=True)
class Region:
    """One region of a prediction, as its control can hold it.

    Attributes:
        id: what joins its results; unique in its prediction.
        control: the tag that holds it.
        span: where it lies.
        label: one of the control's labels.
        text: the description, or "".
        score: 0 to 1; None where there is no score.
        is_disputed: looks at the video differ about it; its `meta` says so.

    Raises:
        ValueError: an attribute is invalid.
    """

    id: str
    control: Control
    span: Span
    label: str
    text: str = ""
    score: float | None = None
    is_disputed: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) and self.id):
            raise ValueError("the id must be a text")
        if self.label not in self.control.label_values:
            raise ValueError("the control has no such label")
        if self.score is not None and score(self.score) is None:
            raise ValueError("its score must be from 0 to 1")

    @property
    def results(self) -> list[dict[str, Any]]:
        """Its results: the labels', then the text's, if it has a text and a place of its own for it."""
        kind = self.control.kind
        labels = self._result(self.control.name, kind, {kind: [self.label]})
        meta: dict[str, Any] = {"looks": "differ"} if self.is_disputed else {}
        if self.text and self.control.text_area is None:
            meta["text"] = [self.text]
        labels = {**labels, "meta": meta} if meta else labels
        if not self.text or self.control.text_area is None:
            return [labels]
        return [labels, self._result(self.control.text_area, "textarea", {"text": [self.text]})]

    def _result(self, from_name: str, kind: str, content: dict[str, list[str]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "from_name": from_name,
            "to_name": self.control.media.name,
            "type": kind,
            "value": {**self.span.value(), **content},
            **self.span.result_fields(),
            **({} if self.score is None else {"score": written_score(self.score)}),
        }


def regions(
    segments: Iterable[Segment],
    owners: Mapping[str, Control],
    duration: float,
    task_data: Mapping[str, Any],
    taken: set[str],
) -> list[Region]:
    """The regions of the segments of a video of `duration` seconds, in the segments' order.

    The ids follow from the content alone: the same segments give the same regions.

    Args:
        segments: their labels are keys of `owners`.
        owners: the control of each label.
        duration: seconds.
        task_data: the task's data, which may hold the frame rate.
        taken: ids of other regions of the same prediction; those of these regions are added.
    """
    found = []
    for segment in sorted(segments):
        control = owners[segment.label]
        span = control.span(segment, duration, task_data)
        region_id = _unused_id(f"{json.dumps(span.value())} {segment.label}: {segment.text}", taken)
        is_disputed = segment.looks == "differ"
        found.append(Region(region_id, control, span, segment.label, segment.text, segment.score, is_disputed))
    return found


def check_prediction(
    prediction: Mapping[str, Any], controls: Sequence[Control], duration: float, task_data: Mapping[str, Any]
) -> None:
    """Refuse a prediction that Label Studio would store but could not show.

    It stores nearly everything, and a region without a value makes the task's page unusable; frames that are no whole
    numbers vanish; a score that is not a number loses the whole batch (1.23.2). Every result must be one that a
    `Region` writes. A prediction that passes also passes `LabelInterface.validate_prediction` of Label Studio's SDK.

    Raises:
        OmniTimelineError: the prediction is invalid, which is a fault of this package.
    """
    try:
        _check(prediction, controls, duration, task_data)
    except ValueError as error:
        raise OmniTimelineError(f"This prediction is invalid for Label Studio: {error}; please report this.") from error


def read_segments(
    result: Any, controls: Sequence[Control], duration: float | None, task_data: Mapping[str, Any]
) -> list[Segment]:
    """The segments of any annotation or prediction, in order. Never raises.

    A region with several ranges or labels gives a segment for each. Labels stay as they are, also those that the config
    no longer has. Everything else is left out: relations, texts without a region, regions of other controls, regions
    without times (Label Studio writes them when another control shares the video) or with times that are no numbers.
    With `duration`, segments are cut to it.
    """
    on_media: dict[str, dict[str, Control]] = {}
    for control in controls:
        on_media.setdefault(control.media.name, {}).setdefault(control.kind, control)
    items = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
    texts = _texts(items, {control.text_area for control in controls})
    segments = []
    for item in items:
        value, name = item.get("value"), item.get("to_name", controls[0].media.name)
        if not isinstance(value, Mapping) or not isinstance(name, str):
            continue
        text = texts.get(_id(item)) or _joined(member(item.get("meta"), "text"))
        for kind, control in on_media.get(name, {}).items():
            labels = [label for label in strings(value.get(kind)) if label.strip()]
            for start, end in control.seconds(value, task_data):
                end = min(end, duration or math.inf)
                if start < end:
                    segments += [Segment(start, end, label, text, score(item.get("score"))) for label in labels]
    return sorted(segments)


def _check(
    prediction: Mapping[str, Any], controls: Sequence[Control], duration: float, task_data: Mapping[str, Any]
) -> None:
    """Raises ValueError with the reason; see `check_prediction`."""
    try:
        json.dumps(prediction, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON ({error})") from error
    version, result = prediction.get("model_version"), prediction.get("result")
    if not (isinstance(version, str) and version):
        raise ValueError(f"model_version must be a text, got {shortened(version)}")
    if "score" in prediction and score(prediction["score"]) is None:
        raise ValueError("its score must be from 0 to 1")
    if not isinstance(result, list):
        raise ValueError(f"result must be a list, got {shortened(result)}")
    named = {(control.name, control.media.name): control for control in reversed(controls)}
    found: dict[str, Region] = {}
    texts: set[str] = set()
    for item in result:
        try:
            if member(item, "type") == "textarea":
                _check_text(item, found, texts)
            else:
                region = _read_region(item, named, duration, task_data)
                if region.id in found:
                    raise ValueError(f"the id {region.id} is there twice")
                found[region.id] = region
        except (TypeError, ValueError) as error:
            raise ValueError(f"{error}: {shortened(item)}") from error


def _read_region(
    item: Any, named: Mapping[tuple[str, str], Control], duration: float, task_data: Mapping[str, Any]
) -> Region:
    """The region of a result that is no text.

    Raises:
        ValueError: it is not the result of a region.
    """
    value = member(item, "value")
    if not isinstance(value, dict):
        raise ValueError("a region needs a value")
    if not all(isinstance(item.get(key), str) for key in ("id", "from_name", "to_name", "type")):
        raise ValueError("id, from_name, to_name and type must be texts")
    control = named.get((item["from_name"], item["to_name"]))
    if control is None:
        raise ValueError("the config has no such from_name and to_name")
    if item["type"] != control.kind:
        raise ValueError(f"the type must be {control.kind}")
    label = _only_text(value.get(control.kind))
    meta = item.get("meta", {})
    text = _only_text(member(meta, "text")) if "text" in meta else ""
    span = control.read_span(value, duration, task_data)
    is_disputed = member(meta, "looks") is not None
    region = Region(item["id"], control, span, label, text, item.get("score"), is_disputed)
    if item not in region.results:
        raise ValueError("it has more or less than a region's result has")
    return region


def _check_text(item: Mapping[str, Any], found: Mapping[str, Region], texts: set[str]) -> None:
    """Raises ValueError where this is not the one result for the text of a region before it."""
    text = _only_text(member(item.get("value"), "text"))
    region = found.get(item.get("id", ""))
    if region is None or item not in replace(region, text=text).results:
        raise ValueError("this text has no region before it with its id and times")
    if region.id in texts:
        raise ValueError(f"the id {region.id} is there twice")
    texts.add(region.id)


def _only_text(value: Any) -> str:
    if not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)):
        raise ValueError("labels and text must be lists of one text")
    return value[0]


def _texts(items: Sequence[Mapping[str, Any]], ours: set[str | None]) -> dict[str | None, str]:
    """The texts by the id of their region; that of this config's TextArea where a region has several."""
    texts: dict[str | None, str] = {}
    for item in items:
        text = _joined(member(item.get("value"), "text")) if item.get("type") == "textarea" else ""
        from_ours = isinstance(item.get("from_name"), str) and item["from_name"] in ours
        if text and (from_ours or _id(item) not in texts):
            texts[_id(item)] = text
    texts.pop(None, None)
    return texts


def _id(item: Mapping[str, Any]) -> str | None:
    region_id = item.get("id")
    return region_id if isinstance(region_id, str) else None


def _joined(value: Any) -> str:
    """The texts of one TextArea, which is a list with an entry for each submission, or one string; lines of a text."""
    return "\n".join(text for text in strings(value) if text.strip())


def _unused_id(content: str, taken: set[str]) -> str:
    """Ten characters, as many as Label Studio's own ids have, that follow from the content and are not yet taken."""
    counter = 0
    while True:
        digest = hashlib.blake2b(f"{counter} {content}".encode(errors="replace"), digest_size=5).hexdigest()
        if digest not in taken:
            taken.add(digest)
            return digest
        counter += 1
