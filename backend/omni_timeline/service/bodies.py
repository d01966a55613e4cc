"""What the bodies of requests say, as values. Whatever else stands in them is not looked at.

Knows JSON and what Label Studio 1.23.2 sends. Knows no HTTP, and nothing of what is done with a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omni_timeline.errors import RequestError


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
        interactive: whether somebody waits for the answer in the labeling page, which is the only place it goes to.
        regions: the regions in that page; anything may be among them.
    """

    tasks: list[Any]
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
        if not isinstance(tasks, list):
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
    """

    event: str | None
    project: int | None
    tasks: list[Any]

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> WebhookBody:
        """Read one. Events differ in what they have, so nothing that is missing is an error."""
        event, project, tasks = body.get("action"), body.get("project"), body.get("tasks")
        number = project.get("id") if isinstance(project, dict) else project
        return cls(
            event if isinstance(event, str) else None,
            number if type(number) is int else None,
            tasks if isinstance(tasks, list) else [],
        )


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object in the bytes of a body.

    Raises:
        RequestError: they are something else.
    """
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
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
