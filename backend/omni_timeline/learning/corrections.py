"""What people made of the suggestions of a project, read from Label Studio's tasks.

    a task of Label Studio   its annotations, each beside the prediction it began from, and its stored predictions
    CorrectedTask            the same as segments, without what was skipped, cancelled or done twice by one person

Which tasks are held out from learning is decided here, by what the task is and never by what is in it. Knows the shape
of Label Studio's tasks, and no network, no video and no model.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from omni_timeline.errors import RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.segments import Segment

HELD_OUT = 4  # one task in so many is held out where none is starred
FEW_TASKS = 20  # from which tasks are held out without stars: of fewer, none can be spared, and five tell nothing


@dataclass(frozen=True)
class Region:
    """A segment, and the id that it has in Label Studio, which stays when a person changes it."""

    id: str
    segment: Segment


@dataclass(frozen=True)
class Suggestion:
    """A stored prediction: its model version and regions."""

    version: str
    regions: tuple[Region, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, sorted."""
        return tuple(sorted(region.segment for region in self.regions))


@dataclass(frozen=True)
class Correction:
    """What one person says happens in a video.

    Attributes:
        annotation: its id in Label Studio; None where the export has none.
        person: tells people apart, such as "user 3".
        regions: what the person marked.
        began_from: the suggestion that was shown; None where there was none, or the export does not have it.
        is_from_scratch: whether there was none.
        seconds: how long it took; None where it is unknown.
        is_starred: whether it is marked as ground truth.
        updated: when it was last changed, as Label Studio writes it.
    """

    annotation: int | None
    person: str
    regions: tuple[Region, ...]
    began_from: Suggestion | None = None
    is_from_scratch: bool = False
    seconds: float | None = None
    is_starred: bool = False
    updated: str = ""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, sorted."""
        return tuple(sorted(region.segment for region in self.regions))


@dataclass(frozen=True)
class CorrectedTask:
    """A task with at least one correction.

    Attributes:
        task: its number in Label Studio.
        video: the address of its video, as the task has it.
        data: the task's data.
        corrections: one for each person, in the order of the people's names.
        suggestions: the stored predictions, oldest first.
        project: the number of its project; None where the export does not say.
    """

    task: int
    video: str
    data: Mapping[str, Any]
    corrections: tuple[Correction, ...]
    suggestions: tuple[Suggestion, ...] = ()
    project: int | None = None

    @property
    def key(self) -> str:
        """Names the video. Two tasks with one video have one key, so that they are never parted."""
        return hashlib.sha256(self.video.encode(errors="replace")).hexdigest()[:16]

    @property
    def is_starred(self) -> bool:
        """Whether a correction of it is marked as ground truth."""
        return any(correction.is_starred for correction in self.corrections)

    @property
    def reference(self) -> tuple[Correction, ...]:
        """What counts as right: the corrections marked as ground truth where there are any, else all of them."""
        return tuple(each for each in self.corrections if each.is_starred) or self.corrections


@dataclass(frozen=True)
class Split:
    """Which tasks are learned from, and which only tell how well that went.

    Attributes:
        rule: "starred" tasks are held out; or every fourth by "hash" of its video's address; or "none".
        held_out: the keys of those that are.
    """

    rule: Literal["starred", "hash", "none"]
    held_out: frozenset[str]

    @property
    def sentence(self) -> str:
        """The rule, for people."""
        match self.rule:
            case "starred":
                return "The tasks with a starred annotation (ground truth) are held out."
            case "hash":
                return f"One task in {HELD_OUT} is held out, by a hash of its video's address: always the same ones."
        return f"No task is held out: none is starred, and fewer than {FEW_TASKS} are corrected."


@dataclass(frozen=True)
class Corrections:
    """All that people corrected in a project.

    Attributes:
        tasks: in the order of their numbers.
        left_out: how many annotations and tasks were not taken, by reason.
    """

    tasks: tuple[CorrectedTask, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def split(self) -> Split:
        """The starred tasks; without any, a quarter, as soon as there are enough."""
        starred = frozenset(task.key for task in self.tasks if task.is_starred)
        if starred:
            return Split("starred", starred)
        if len(self.tasks) < FEW_TASKS:
            return Split("none", frozenset())
        return Split("hash", frozenset(task.key for task in self.tasks if int(task.key, 16) % HELD_OUT == 0))

    @property
    def labels_of_suggestions(self) -> tuple[str, ...]:
        """The labels that stored predictions have, the most frequent first."""
        counts = Counter(
            segment.label for task in self.tasks for suggestion in task.suggestions for segment in suggestion.segments
        )
        return tuple(label for label, _ in counts.most_common())


def read_tasks(rows: Iterable[Any], config: LabelConfig) -> Corrections:
    """The corrections in Label Studio's tasks, as its export and its interface write them.

    Annotations that were skipped or cancelled are left out, and of several by one person all but the newest.

    Raises:
        RequestError: a row is not a task with its annotations.
    """
    tasks: dict[int, CorrectedTask] = {}
    left_out = Counter[str]()
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not isinstance(row.get("annotations"), list):
            raise RequestError(
                f"Entry {number} is not a task with its annotations. Export the project as JSON; JSON-MIN, CSV and "
                "others leave out what the suggestions were."
            )
        data = row["data"] if isinstance(row.get("data"), Mapping) else {}
        try:
            video = config.video_url(data)
        except RequestError:
            left_out[f"tasks without a text {config.video_field!r} in their data"] += 1
            continue
        suggestions = _suggestions(row.get("predictions"), data, config)
        corrections = _corrections(row["annotations"], suggestions, data, config, left_out)
        if corrections:
            task = _number(row.get("id")) or number
            found = tuple(suggestions[key] for key in sorted(suggestions))
            tasks[task] = CorrectedTask(task, video, data, corrections, found, _number(row.get("project")))
        else:
            left_out["tasks without a correction"] += 1
    return Corrections(tuple(tasks[task] for task in sorted(tasks)), dict(left_out))


def _corrections(
    annotations: Iterable[Any],
    suggestions: Mapping[int, Suggestion],
    data: Mapping[str, Any],
    config: LabelConfig,
    left_out: Counter[str],
) -> tuple[Correction, ...]:
    """Those of one task: the newest of each person, but a starred one before all others."""
    newest: dict[str, Correction] = {}
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
            left_out["unreadable annotations"] += 1
            continue
        if annotation.get("was_cancelled") is True:
            left_out["skipped or cancelled annotations"] += 1
            continue
        correction = _correction(annotation, suggestions, data, config)
        earlier = newest.get(correction.person)
        if earlier is not None:
            left_out["earlier annotations of the same person"] += 1
        newest[correction.person] = max(
            (each for each in (earlier, correction) if each is not None),
            key=lambda each: (each.is_starred, each.updated, each.annotation or 0),
        )
    return tuple(newest[person] for person in sorted(newest))


def _correction(
    annotation: Mapping[str, Any],
    suggestions: Mapping[int, Suggestion],
    data: Mapping[str, Any],
    config: LabelConfig,
) -> Correction:
    person = annotation.get("completed_by")
    person = person.get("id") if isinstance(person, Mapping) else person
    shown = annotation.get("prediction")  # a copy of what was shown; {} where Label Studio kept none
    began_from = suggestions.get(_number(annotation.get("parent_prediction")) or -1)
    if isinstance(shown, Mapping) and isinstance(shown.get("result"), list):
        began_from = _suggestion(shown, data, config)
    number = _number(annotation.get("id"))
    return Correction(
        annotation=number,
        person=f"annotation {number}" if person is None else f"user {person}",
        regions=_regions(annotation["result"], data, config),
        began_from=began_from,
        is_from_scratch=began_from is None and annotation.get("parent_prediction") is None,
        seconds=_seconds(annotation.get("lead_time")),
        is_starred=annotation.get("ground_truth") is True,
        updated=str(annotation.get("updated_at") or annotation.get("created_at") or ""),
    )


def _suggestions(predictions: Any, data: Mapping[str, Any], config: LabelConfig) -> dict[int, Suggestion]:
    """The stored predictions by number. An export has their numbers only."""
    rows = predictions if isinstance(predictions, list) else []
    return {
        number: _suggestion(row, data, config)
        for row in rows
        if isinstance(row, Mapping) and isinstance(row.get("result"), list) and (number := _number(row.get("id")))
    }


def _suggestion(prediction: Mapping[str, Any], data: Mapping[str, Any], config: LabelConfig) -> Suggestion:
    return Suggestion(str(prediction.get("model_version") or ""), _regions(prediction["result"], data, config))


def _regions(result: Any, data: Mapping[str, Any], config: LabelConfig) -> tuple[Region, ...]:
    """The regions of an annotation or a prediction. One with several spans or labels gives several of one id."""
    items = [item for item in result if isinstance(item, Mapping)] if isinstance(result, list) else []
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for number, item in enumerate(items):
        by_id.setdefault(str(item.get("id") or f"#{number}"), []).append(item)
    return tuple(
        Region(name, segment) for name, group in by_id.items() for segment in config.from_result(group, task_data=data)
    )


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
