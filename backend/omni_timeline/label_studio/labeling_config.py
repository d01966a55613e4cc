"""A project's labeling configuration: where its segments go, what its labels mean, and what it decides for itself.

    tags -> controls, vocabulary, project settings -> LabelConfig, one for each file of a task

Segments become Label Studio's regions, and regions segments, through LabelConfig only. Knows no network and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from omni_timeline.errors import LabelConfigError, RequestError
from omni_timeline.label_studio.controls import CONTROLS, Control, Media
from omni_timeline.label_studio.labels import Label, Vocabulary, label_key
from omni_timeline.label_studio.project_settings import ProjectSettings
from omni_timeline.label_studio.results import Region, check_prediction, read_segments, regions
from omni_timeline.label_studio.tags import Tag, read_tags
from omni_timeline.label_studio.values import field_of, look_up, nested, shortened
from omni_timeline.pipeline.options import GENERIC_LABELS, PredictOptions
from omni_timeline.segments import Segment, written_score

CONTROL_TOKEN = re.compile(r"<\|[\w ]{1,40}\|>")  # as Qwen's tokenizers and those of its kin write them
MAX_NAMED = 8  # tags or labels in one message
_KINDS = {control.kind: control for control in CONTROLS}
_MEDIA_KINDS = {control.media_kind for control in CONTROLS}
_LAYOUT = {"view", "label", "header", "style", "choice"}  # not worth naming as what was found
NEEDS = f"{', or '.join(control.example for control in CONTROLS)}, with <Label> tags"


@dataclass(frozen=True)
class LabelConfig:
    """The places of a project for segments, and its own settings.

    A task mostly has one file to watch. Where it has several, each with controls of its own, there is a LabelConfig for
    each in `files`: the model is asked about each with the labels of all, and each keeps the segments with its own.

    Attributes:
        controls: the tags that hold segments of one file, at least one; the first that has a segment's label gets it.
        default_label: the label that takes what fits none: that of `model_default_label`; else one called Event,
            Other or Unknown; else the first.
        settings: the project's own settings.
        others: the LabelConfig of each other file of a task.
    """

    controls: tuple[Control, ...]
    default_label: str
    settings: ProjectSettings
    others: tuple[LabelConfig, ...] = ()

    @classmethod
    def from_xml(cls, xml: str) -> LabelConfig:
        """Read a labeling configuration; names of tags and attributes in any case, as in Label Studio's editor.

        The file of an <Audio> that a <Video> is in sync with is that of the video. Of several files the first is the
        one that a <TimelineLabels> names first; without one, a <Labels>.

        Raises:
            LabelConfigError: it has no place for a segment, and the message names the tag that is needed; or an
                attribute is invalid; or a task's file cannot be found by it.
        """
        if not xml.strip():
            raise LabelConfigError(f"The labeling config is empty; it needs {NEEDS}.")
        root = read_tags(xml)
        tags = [root, *root.walk()]
        media = _media(tags)
        holders = [(tag, media[key]) for tag in tags for key in _keys_of_media(tag) if key in media]
        if not holders:
            raise LabelConfigError(f"The labeling config needs {NEEDS}; found {_found(tags)}.")
        order = list(_KINDS)
        holders.sort(key=lambda holder: order.index(holder[0].kind))  # stable: else in the config's order
        watched = _watched(media)
        chosen: dict[str, dict[Tag, Tag]] = {}  # what each tag is on, by the field of the file
        for tag, of in holders:
            chosen.setdefault(_field(_with_picture(watched[of])), {}).setdefault(tag, of)
        text_areas = _text_areas(tags)
        settings = ProjectSettings.from_tags(list(dict.fromkeys(tag for tag, _ in holders)))
        files = []
        for field, tags_on in chosen.items():
            controls = tuple(_control(tag, of, field, text_areas.get(of["name"])) for tag, of in tags_on.items())
            files.append(cls(controls, _default_label(list(tags_on), controls), settings))
        return replace(files[0], others=tuple(files[1:]))

    @cached_property
    def files(self) -> tuple[LabelConfig, ...]:
        """This config for each file of a task, itself the first."""
        each = (replace(self, others=()), *self.others)
        return tuple(replace(file, others=(*each[:place], *each[place + 1 :])) for place, file in enumerate(each))

    @property
    def video_field(self) -> str:
        """Path in the task's data of the file's URL."""
        return self.controls[0].media.field

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of all labels, those of other files too, in the order of the config, each once."""
        return self._vocabulary.values

    @property
    def hints(self) -> dict[str, str]:
        """The meaning of each label that the config explains, by label."""
        return self._vocabulary.hints

    def options(self, base: PredictOptions) -> PredictOptions:
        """The options for this project: `base` with the labels, and with the settings that the config has.

        Descriptions are asked for where the config has a place for a region's text.
        """
        return replace(
            self.settings.applied_to(base),
            labels=self.labels,
            hints=tuple(sorted(self.hints.items())),
            descriptions=any(control.text_area is not None for control in self._all_controls),
        )

    def files_of(self, data: Mapping[str, Any]) -> tuple[LabelConfig, ...]:
        """The config for each file that a task has, at least one: a camera may be missing in some tasks.

        Raises:
            RequestError: the task's data has none of the files, or something else in the place of one.
        """
        found = tuple(file for file in self.files if look_up(data, file.video_field))
        for file in found or (self,):
            file.video_url(data)
        return found

    def video_url(self, data: Mapping[str, Any]) -> str:
        """The address of a task's file.

        Raises:
            RequestError: the task's data has no address there.
        """
        url = look_up(data, self.video_field)
        if not (isinstance(url, str) and url.strip()):
            raise RequestError(
                f"The task's data has no text {shortened(self.video_field)!r}, which the labeling config shows."
            )
        return url

    def data_with(self, url: str) -> dict[str, Any]:
        """A task's data with the address of its file, nested as Label Studio looks it up.

        Raises:
            RequestError: the task needs other files too, or its file stands far down in a list.
        """
        if self.others:
            fields = ", ".join(f"${shortened(file.video_field)}" for file in self.files)
            raise RequestError(f"Tasks of this labeling config have several files ({fields}), and one video is given.")
        try:
            data: dict[str, Any] = nested(self.video_field, url)
        except ValueError as error:
            raise RequestError(f"No task can be made for this labeling config: {error}.") from error
        return data

    def needed_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a task's data that its prediction needs: its files' URLs and what their frame rates refer to.

        Nested values are found under their whole path: `{"meta.fps": 25}` stands for `{"meta": {"fps": 25}}`, which
        Label Studio reads alike. Values that are neither text nor number are left out.
        """
        fields = dict.fromkeys(field for control in self._all_controls for field in control.data_fields)
        found = {field: look_up(data, field) for field in fields}
        return {field: value for field, value in found.items() if isinstance(value, str | int | float)}

    def label_for(self, name: str) -> str:
        """The label that a model means by `name`, or the default label."""
        return self._vocabulary.find(name) or self.default_label

    def labeled(self, segment: Segment) -> Segment:
        """The segment with a label of the project; words that are none of its labels move into the text."""
        return self._vocabulary.labeled(segment)

    def to_result(
        self, segments: Iterable[Segment], *, duration: float, task_data: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Label Studio's results for the segments of a file of `duration` seconds, in their order.

        Each becomes a region within the timeline, its label one of the file's own; those with a label that only another
        file has are left out. The ids follow from the content alone: the same segments give the same result.
        """
        return [result for region in self._regions(segments, duration, task_data, set()) for result in region.results]

    def prediction(
        self, segments: Sequence[Segment], *, duration: float, task_data: Mapping[str, Any], model_version: str
    ) -> dict[str, Any]:
        """The prediction of a task with one file; see `task_prediction`."""
        return task_prediction([(self, segments, duration)], task_data=task_data, model_version=model_version)

    def prediction_of(
        self,
        region: str,
        segment: Segment,
        *,
        duration: float,
        task_data: Mapping[str, Any],
        model_version: str,
    ) -> dict[str, Any]:
        """A prediction, checked, of the one region that has this id.

        Raises:
            RequestError: the config no longer has the region's label.
            OmniTimelineError: the prediction is invalid, which is a fault of this package.
        """
        control = self._owners.get(segment.label)
        if control is None:
            raise RequestError(f"The labeling config has no label {shortened(segment.label)!r} any more.")
        span = control.span(segment, duration, task_data)
        result = Region(region, control, span, segment.label, segment.text, segment.score).results
        prediction = {"model_version": model_version, "result": result}
        self.check(prediction, duration=duration, task_data=task_data)
        return prediction

    def check(self, prediction: Mapping[str, Any], *, duration: float, task_data: Mapping[str, Any]) -> None:
        """Refuse a prediction that Label Studio would store but could not show.

        Raises:
            OmniTimelineError: the prediction is invalid, which is a fault of this package.
        """
        check_prediction(prediction, self.controls, duration, task_data)

    def from_result(self, result: Any, *, task_data: Mapping[str, Any], duration: float | None = None) -> list[Segment]:
        """The segments of an annotation or a prediction, in order; undoes `to_result`. Never raises.

        Results that are no regions of this config's controls are passed over. With `duration`, segments are cut to it.
        """
        return read_segments(result, self.controls, duration, task_data)

    def _regions(
        self, segments: Iterable[Segment], duration: float, task_data: Mapping[str, Any], taken: set[str]
    ) -> list[Region]:
        labeled = (self.labeled(segment) for segment in segments)
        own = [segment for segment in labeled if segment.label in self._owners]
        return regions(own, self._owners, duration, task_data, taken)

    @property
    def _all_controls(self) -> tuple[Control, ...]:
        return (*self.controls, *(control for file in self.others for control in file.controls))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary([label for control in self._all_controls for label in control.labels], self.default_label)

    @cached_property
    def _owners(self) -> dict[str, Control]:
        """The control of each label; the first that has it."""
        return {label.value: control for control in reversed(self.controls) for label in control.labels}


def task_prediction(
    found: Sequence[tuple[LabelConfig, Sequence[Segment], float]], *, task_data: Mapping[str, Any], model_version: str
) -> dict[str, Any]:
    """A whole prediction of Label Studio, checked.

    Its score is the mean of the segments' scores, left out where none has one.

    Args:
        found: for each file of the task its config, its segments, and how many seconds it lasts.
        task_data: the task's data, which may hold the frame rates.
        model_version: of the prediction.

    Raises:
        OmniTimelineError: the prediction is invalid, which is a fault of this package.
    """
    taken: set[str] = set()
    result: list[dict[str, Any]] = []
    scores: list[float] = []
    for config, segments, duration in found:
        made = config._regions(segments, duration, task_data, taken)
        part = [item for region in made for item in region.results]
        config.check({"model_version": model_version, "result": part}, duration=duration, task_data=task_data)
        result += part
        scores += [region.score for region in made if region.score is not None]
    prediction = {"model_version": model_version, "result": result}
    return {**prediction, "score": written_score(sum(scores) / len(scores))} if scores else prediction


def _media(tags: Iterable[Tag]) -> dict[tuple[str, str], Tag]:
    """The tags with something to watch or hear, by kind and name; the first with each."""
    media: dict[tuple[str, str], Tag] = {}
    for tag in tags:
        if tag.kind in _MEDIA_KINDS and tag["name"]:
            media.setdefault((tag.kind, tag["name"]), tag)
    return media


def _keys_of_media(tag: Tag) -> list[tuple[str, str]]:
    """Kind and name of what a tag can hold segments of; empty for tags that hold none."""
    control = _KINDS.get(tag.kind)
    return [] if control is None else [(control.media_kind, name) for name in tag.targets]


def _watched(media: Mapping[tuple[str, str], Tag]) -> dict[Tag, Tag]:
    """The tag with the file to watch for each media: the video in sync with an audio, where there is one; else itself.

    The `sync` of tags that play together is one word of the admin's choice, or the other's name.
    """
    videos: dict[str, Tag] = {}
    for (kind, _), tag in media.items():
        if kind == "video":
            for key in ("name", "sync"):
                videos.setdefault(tag[key], tag)
    videos.pop("", None)
    return {
        tag: tag if kind == "video" else videos.get(tag["sync"]) or videos.get(name) or tag
        for (kind, name), tag in media.items()
    }


def _with_picture(media: Tag) -> Tag:
    """The media, if it has a picture.

    Raises:
        LabelConfigError: it is sound alone, which cannot be predicted.
    """
    if media.kind == "audio":
        name, value = shortened(media["name"]), shortened(media["value"])
        raise LabelConfigError(
            f'<{media.written} name="{name}"> plays sound alone, which cannot be predicted: the model needs a picture. '
            f'If the files have one, add <Video name="video" value="{value}" sync="{name}"/>.'
        )
    return media


def _field(media: Tag) -> str:
    """The field of a task's data that a media shows."""
    field = field_of(media["value"])
    if field is not None and not re.search("[{}]", field):
        return field
    reason = (
        "which files are repeated for a list is not known; name one, as in $clips[0].url"
        if "{{" in media["value"]
        else 'it needs value="$field", with letters from a to z, digits and _ in the field\'s name, or a path such as '
        "$media.video or $clips[0].url"
    )
    raise LabelConfigError(
        f'<{media.written} name="{shortened(media["name"])}" value="{shortened(media["value"])}"> cannot be predicted: '
        f"{reason}."
    )


def _text_areas(tags: Sequence[Tag]) -> dict[str, str]:
    """The names of the TextAreas for regions, by the media they are on; the first for each."""
    found: dict[str, str] = {}
    for tag in tags:
        if tag.kind == "textarea" and tag["perregion"].lower() == "true" and tag["name"]:
            for name in tag.targets:
                found.setdefault(name, tag.exact("name"))
    return found


def _control(tag: Tag, media: Tag, field: str, text_area: str | None) -> Control:
    if not tag["name"]:
        raise LabelConfigError(f"The <{tag.written}> of the labeling config needs a name.")
    labels: dict[str, Label] = {}
    for child in tag.walk(not_into=_KINDS):
        if child.kind == "label" and (label := Label.from_tag(child)) is not None:
            labels.setdefault(label.value, label)
    if not labels:
        dynamic = tag["value"] and (
            f' (labels from the task\'s data, as in value="{shortened(tag["value"])}", cannot be read)'
        )
        raise LabelConfigError(
            f'<{tag.written} name="{shortened(tag["name"])}"> needs <Label value="…"> tags in it{dynamic}.'
        )
    for text in (tag["model_prompt"], *(words for label in labels.values() for words in (label.value, label.hint))):
        if token := CONTROL_TOKEN.search(text):
            raise LabelConfigError(
                f'<{tag.written} name="{shortened(tag["name"])}"> has {token[0]} in "{shortened(text)}", which a model '
                "takes for one of its control tokens; leave it out."
            )
    on = Media(media.exact("name"), field, media["framerate"])
    return _KINDS[tag.kind](tag.exact("name"), on, tuple(labels.values()), text_area)


def _default_label(tags: Sequence[Tag], controls: Sequence[Control]) -> str:
    every: dict[str, str] = {}
    for tag, control in zip(tags, controls, strict=True):
        keys = [(label_key(label.value), label.value) for label in control.labels]
        if wanted := tag["model_default_label"]:
            value = dict(reversed(keys)).get(label_key(wanted))
            if value is None:
                names = _named([label.value for label in control.labels])
                raise LabelConfigError(
                    f'model_default_label="{shortened(wanted)}" is none of the labels of '
                    f'<{tag.written} name="{shortened(tag["name"])}">: {names}.'
                )
            return value
        for key, value in keys:
            every.setdefault(key, value)
    return next((every[name] for name in GENERIC_LABELS if name in every), controls[0].labels[0].value)


def _found(tags: Iterable[Tag]) -> str:
    """The tags that a config has instead of a place for segments, for a message."""
    names = dict.fromkeys(
        f'<{tag.written} toName="{tag["toname"]}">' if tag["toname"] else f"<{tag.written}>"
        for tag in tags
        if tag.kind not in _LAYOUT
    )
    return _named(list(names)) or "neither"


def _named(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    few = [shortened(name) for name in names[:MAX_NAMED]]
    more = [f"{len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join(few + more)
