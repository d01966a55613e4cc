"""What the bodies of requests say, as values. Whatever else stands in them is not looked at.

Knows JSON and what Label Studio 1.23.2 sends. Knows no HTTP, and nothing of what is done with a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from omni_timeline.errors import RequestError

MAX_TASKS = 50_000  # of one request; those after them are left out
MAX_VALUE_BYTES = 2 * 1024 * 1024  # of the data of one task, or of the regions of a page

_USED = ("schema", "label_config", "project", "params", "action", "tasks", "annotation", "annotations")
_ANY = (msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)
# An array_like structure has one field for each element of a list. Elements beyond its last field are read over, which
# a list of MAX_TASKS at most does not do: it would be built first, and measured then.
_LIST = msgspec.json.Decoder(
    msgspec.defstruct("_List", [(f"task_{number}", *_ANY) for number in range(MAX_TASKS)], array_like=True)
)
_OBJECT = msgspec.json.Decoder(msgspec.defstruct("_Object", [(name, *_ANY) for name in _USED]))
_TASK = msgspec.json.Decoder(msgspec.defstruct("_Task", [("id", *_ANY), ("data", *_ANY)]))


@dataclass(frozen=True)
class SetupBody:
    """The body of a /setup request.

    Attributes:
        xml: the labeling config.
        project: the project's id, or "".
    """

    xml: str
    project: str

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> SetupBody:
        """Read one.

        Raises:
            RequestError: it has no labeling config.
        """
        return cls(_labeling_config(body, "schema"), project_number(body.get("project")))


@dataclass(frozen=True)
class PredictBody:
    """The body of a /predict request.

    Attributes:
        tasks: the tasks, as Label Studio sends them; anything may be among them.
        xml: the labeling config.
        project: the project's id, or "".
        interactive: whether a person waits for the answer in the labeling page, which is the only place it goes to.
        regions: the regions in that page; anything may be among them.
    """

    tasks: Sequence[Any]
    xml: str
    project: str
    interactive: bool = False
    regions: Any = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> PredictBody:
        """Read one.

        Raises:
            RequestError: it has no list of tasks, or no labeling config.
        """
        tasks, params = body.get("tasks"), body.get("params")
        if not isinstance(tasks, Sequence) or isinstance(tasks, str):
            raise RequestError('The request needs "tasks", a list.')
        context = params.get("context") if isinstance(params, dict) else None
        regions = context.get("result") if isinstance(context, dict) else None
        xml, project = _labeling_config(body, "label_config"), project_number(body.get("project"))
        return cls(tasks, xml, project, bool(context), regions)


@dataclass(frozen=True)
class WebhookBody:
    """The body of a /webhook request.

    Attributes:
        event: the name of the event; None where there is none.
        project: the project's id; None where there is none.
        tasks: the tasks that the event is about; empty where there are none.
        annotations: the numbers of the annotations that it is about; empty where there are none.
        wants_learning: whether the project has "Start model training on annotation submission" on.
        annotation_count: how many annotations the project has; None where the event does not say.
    """

    event: str | None
    project: int | None
    tasks: Sequence[Any]
    annotations: tuple[int, ...] = ()
    wants_learning: bool = False
    annotation_count: int | None = None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> WebhookBody:
        """Read one. Events differ in what they have, so nothing that is missing is an error."""
        event, project, tasks = body.get("action"), body.get("project"), body.get("tasks")
        number = project.get("id") if isinstance(project, dict) else project
        annotations = [body.get("annotation"), *_listed(body.get("annotations"))]
        numbers = [each.get("id") for each in annotations if isinstance(each, dict)]
        facts = project if isinstance(project, dict) else {}
        needed, count = facts.get("min_annotations_to_start_training"), facts.get("total_annotations_number")
        return cls(
            event if isinstance(event, str) else None,
            number if type(number) is int and 0 < number < 2**63 else None,
            _listed(tasks),
            tuple(found for found in numbers if type(found) is int),
            type(needed) is int and needed > 0,  # all that Label Studio 1.23.2 makes of the project's switch
            count if type(count) is int else None,
        )


def read_object(data: bytes) -> dict[str, Any]:
    """What is used of the JSON object in the bytes of a body. Nothing else in it is built.

    A batch of tasks comes with all their annotations, which may be tens of megabytes; and whatever Python builds of
    them, no other request is answered meanwhile. So values are cut out of the text and decoded one by one: tasks when
    they are looked at, of each its id and data, and nothing that is longer than MAX_VALUE_BYTES but text.

    Raises:
        RequestError: they are something else.
    """
    try:
        fields = _OBJECT.decode(data)
    except msgspec.ValidationError as error:
        raise RequestError("The request's body must be a JSON object.") from error
    except (msgspec.DecodeError, RecursionError) as error:
        return _read_loosely(data, error)
    raw = {name: value for name, value in msgspec.structs.asdict(fields).items() if value is not msgspec.UNSET}
    return {name: _READ.get(name, _value)(value) for name, value in raw.items()}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else []


def _tasks(raw: msgspec.Raw) -> Sequence[Any] | None:
    """The tasks in a list; None for anything else."""
    try:
        tasks = msgspec.structs.astuple(_LIST.decode(raw))
    except msgspec.DecodeError:
        return None
    return _Tasks([task for task in tasks if task is not msgspec.UNSET])


class _Tasks(Sequence[Any]):
    """The tasks of a body: of each its id and data, decoded when it is looked at; None for one that is no object."""

    def __init__(self, raw: list[msgspec.Raw]) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index: Any) -> Any:
        return _task(self._raw[index])


def _task(raw: msgspec.Raw) -> dict[str, Any] | None:
    """The id and the data of a task or an annotation; None for what is no object."""
    try:
        task = msgspec.structs.asdict(_TASK.decode(raw))
    except msgspec.DecodeError:
        return None
    return {name: _value(value) for name, value in task.items() if value is not msgspec.UNSET}


def _value(raw: msgspec.Raw) -> Any:
    """A value that was cut out of a body; None for a long one that is no text."""
    text = bytes(raw)
    if len(text) > MAX_VALUE_BYTES and not text.startswith(b'"'):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the text is not UTF-8
        return None


_READ: dict[str, Callable[[msgspec.Raw], Any]] = {"tasks": _tasks, "annotations": _tasks, "annotation": _task}


def _read_loosely(data: bytes, error: Exception) -> dict[str, Any]:
    """The same of a short body with what strict JSON does not have: NaN, or halves of characters."""
    try:
        body = json.loads(data) if len(data) <= MAX_VALUE_BYTES else None
    except (ValueError, RecursionError):
        body = None
    if body is None:
        raise RequestError("The request's body is not JSON.") from error
    if not isinstance(body, dict):
        raise RequestError("The request's body must be a JSON object.")
    return body


def project_number(given: Any) -> str:
    """The id in Label Studio's "3.1795401548" (the project, and when it was made); "" when it is something else."""
    found = re.match(r"\d{1,18}", str(given)) if isinstance(given, str | int) else None
    return found[0] if found else ""


def _labeling_config(body: Mapping[str, Any], name: str) -> str:
    xml = body.get(name)
    if not isinstance(xml, str) or not _is_text(xml):
        raise RequestError(f'The request needs "{name}", the labeling config as text.')
    return xml


def _is_text(value: str) -> bool:
    """Whether it can be encoded: JSON may hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
