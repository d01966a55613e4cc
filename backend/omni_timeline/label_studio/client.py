"""The part of Label Studio's REST interface that is needed: tasks, predictions, corrections, what a refusal means.

Knows addresses, statuses and which failures pass. Knows nothing of queues or of when to try again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from omni_timeline.errors import DeliveryError, DeliveryKind, FetchError, TokenError
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.values import member, shortened
from omni_timeline.label_studio.web import parse_json, read_body, reason, session, shown

TIMEOUT = (5.0, 20.0)  # s: to connect, and between two bytes
ANSWER_SECONDS = 60.0  # s: for the body of an answer
MAX_ANSWER_BYTES = 32 * 1024 * 1024  # of a task's predictions, decompressed: thousands of regions each
MAX_RETRY_AFTER = 300.0  # s
TASKS_PER_PAGE = 20  # with all their annotations and predictions
NO_CONTENT = 204
GATEWAY_TIMEOUT = 504  # Label Studio may work on it still


@dataclass(frozen=True)
class _Answer:
    """An answer of Label Studio, or of another server at its address.

    Attributes:
        status: the HTTP status.
        retry_after: seconds that it asks to wait.
        body: its body.
    """

    status: int
    retry_after: float
    body: bytes

    def json(self) -> Any:
        """Its body as a JSON value; None where it is none."""
        try:
            return parse_json(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class TaskPage:
    """One page of a list of tasks.

    Attributes:
        tasks: as Label Studio describes them; `id` is a whole number and `data` an object.
        total: how many tasks the whole list has.
    """

    tasks: tuple[dict[str, Any], ...]
    total: int


@dataclass(frozen=True)
class StoredPrediction:
    """A prediction that a task has.

    Attributes:
        id: its number.
        version: its model version.
    """

    id: int
    version: str


class LabelStudioApi:
    """Label Studio at `host`, with a token. May be used by several threads."""

    def __init__(self, host: str, api_key: str) -> None:
        self._auth = LabelStudioAuth(host, api_key)

    def prediction_versions(self, task: int) -> list[str]:
        """The model versions of the predictions that a task has.

        Raises:
            DeliveryError: the list cannot be read.
        """
        return [str(row.get("model_version")) for row in self._predictions(task)]

    def stored_predictions(self, task: int) -> list[StoredPrediction]:
        """The predictions that a task has.

        Raises:
            DeliveryError: Label Studio does not say.
        """
        rows = self._predictions(task)
        if not all(type(row.get("id")) is int for row in rows):
            raise _odd("a prediction without a number")
        return [StoredPrediction(row["id"], str(row.get("model_version"))) for row in rows]

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction.

        Raises:
            DeliveryError: it was not stored, or the outcome is unknown.
        """
        self._call("POST", "/api/predictions/", json={"task": task, **prediction})

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store many predictions at once, each with its `task`; how many were stored.

        Label Studio skips a prediction that it takes for invalid without saying which, and stores none where one names
        a task that the project does not have (1.23.2).

        Raises:
            DeliveryError: none was stored, or nobody knows.
        """
        path = f"/api/projects/{project}/import/predictions"
        created = member(self._call("POST", path, json=list(predictions)), "created")
        if type(created) is not int:
            raise DeliveryError("unclear", "Label Studio does not say how many predictions it has stored.")
        return created

    def delete_prediction(self, prediction: int) -> None:
        """Remove a prediction; one that is gone already is no error.

        Raises:
            DeliveryError: it was not removed, or nobody knows.
        """
        try:
            self._call("DELETE", f"/api/predictions/{prediction}/")
        except DeliveryError as error:
            if error.kind != "gone":
                raise

    def task_page(
        self, project: int, query: Mapping[str, Any], *, page: int = 1, page_size: int, view: int | None = None
    ) -> TaskPage:
        """A page of a project's tasks.

        Args:
            project: its number.
            query: the data manager's `filters`, `ordering` and `selectedItems`; ignored where there is a view.
            page: from 1.
            page_size: how many tasks it has at most.
            view: the number of a tab of the data manager; its filters and its order are taken.

        Raises:
            DeliveryError: Label Studio does not give it; "gone" for a page after the last, or where there is no such
                project or view.
        """
        params = {"project": str(project), "page": str(page), "page_size": str(page_size)}
        params |= {"query": json.dumps(query)} if view is None else {"view": str(view)}
        # The addresses of videos unsigned, as the tasks have them. And without "review" Label Studio asks the model
        # that is connected to the project for each task of the page, where the project is set to do so.
        params |= {"resolve_uri": "false", "review": "true"}
        answer = self._call("GET", "/api/tasks", params=params)
        tasks, total = member(answer, "tasks"), member(answer, "total")
        if not isinstance(tasks, list) or type(total) is not int:
            raise _odd("its list of tasks is not a list")
        for task in tasks:
            if not (isinstance(task, dict) and type(task.get("id")) is int and isinstance(task.get("data"), dict)):
                raise _odd("a task without a number or without data")
        return TaskPage(tuple(tasks), total)

    def model_versions(self, project: int) -> list[str]:
        """The model versions of all predictions in a project.

        Raises:
            DeliveryError: Label Studio does not say.
        """
        versions = self._call("GET", f"/api/projects/{project}/model-versions/")
        if not isinstance(versions, dict):
            raise _odd("its list of model versions is not a list")
        return [str(version) for version in versions]

    def label_config(self, project: int) -> str:
        """A project's labeling config.

        Raises:
            DeliveryError: it cannot be read.
        """
        config = member(self._call("GET", f"/api/projects/{project}/"), "label_config")
        if not isinstance(config, str):
            raise _odd("a project without a labeling config")
        return config

    def corrected_tasks(self, project: int) -> Iterator[dict[str, Any]]:
        """The tasks of a project that have annotations, with these and their predictions; page by page.

        Raises:
            DeliveryError: they cannot be read.
        """
        annotated = {"filter": "filter:tasks:total_annotations", "operator": "greater", "type": "Number", "value": 0}
        query = json.dumps({"filters": {"conjunction": "and", "items": [annotated]}})
        # The addresses of videos as the tasks have them, not signed ones.
        params = {"project": str(project), "fields": "all", "resolve_uri": "false", "query": query}
        seen: set[Any] = set()
        page, is_last = 1, False
        while not is_last:
            paged = {**params, "page": str(page), "page_size": str(TASKS_PER_PAGE)}
            try:
                answer = self._call("GET", "/api/tasks", params=paged)
            except DeliveryError as error:
                if error.kind == "gone" and seen:
                    return  # there is no such page: tasks were deleted meanwhile
                raise
            tasks = member(answer, "tasks")
            if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
                raise _odd("its list of tasks is not a list")
            found = [task for task in tasks if task.get("id") not in seen]
            yield from found
            seen |= {task.get("id") for task in found}
            page, is_last = page + 1, not found or len(seen) == member(answer, "total")

    def _predictions(self, task: int) -> list[dict[str, Any]]:
        answer = self._call("GET", "/api/predictions/", params={"task": str(task)})
        rows = answer.get("results") if isinstance(answer, dict) else answer
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _odd("its list of predictions is not a list")
        return rows

    def _call(self, method: str, path: str, *, params: dict[str, str] | None = None, json: Any = None) -> Any:
        """The JSON value that Label Studio answers; None where it has nothing to say."""
        answer = self._request(method, path, params, json)
        if answer.status == 401 and self._auth.renew():
            answer = self._request(method, path, params, json)  # an access token lives for 300 s, or less where set so
        _check(answer, method)
        if answer.status == NO_CONTENT:
            return None
        value = answer.json()
        if answer.status >= 300 or value is None:
            raise _odd(f"an answer ({answer.status}) that is not JSON")
        return value

    def _request(self, method: str, path: str, params: dict[str, str] | None, json: Any) -> _Answer:
        try:
            with (  # a session for each call: a kept connection may be closed while it is used
                session() as asking,
                asking.request(
                    method,
                    self._auth.host + path,
                    params=params,
                    json=json,
                    auth=self._auth,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                wait = response.headers.get("retry-after", "")
                seconds = min(float(wait), MAX_RETRY_AFTER) if wait.isascii() and wait.isdigit() else 0.0
                body = read_body(response, max_bytes=MAX_ANSWER_BYTES, seconds=ANSWER_SECONDS)
                return _Answer(response.status_code, seconds, body)
        except TokenError as error:
            raise DeliveryError("token", str(error)) from error
        except FetchError as error:  # the token could not be exchanged now
            raise DeliveryError("unreachable", str(error)) from error
        except requests.ConnectTimeout as error:
            raise DeliveryError("unreachable", self._cannot_reach(error)) from error
        except requests.RequestException as error:
            # The request may have arrived, and be worked on still.
            kind: DeliveryKind = "unclear" if method == "POST" else "unreachable"
            raise DeliveryError(kind, self._cannot_reach(error)) from error
        except ValueError as error:
            raise _odd(f"an answer of {error}") from error

    def _cannot_reach(self, error: requests.RequestException) -> str:
        return f"Label Studio at {shown(self._auth.host)} could not be reached: {reason(error)}. It is tried again."


def _check(answer: _Answer, method: str) -> None:
    """Raises DeliveryError for an answer that refuses."""
    status = answer.status
    if status in (401, 403):
        raise DeliveryError(
            "token",
            f"Label Studio refuses LABEL_STUDIO_API_KEY ({status}): make a new personal access token of a user who "
            "can see the project, and start the backend with it. Predictions that are not delivered yet are kept.",
        )
    if status == GATEWAY_TIMEOUT and method == "POST":
        raise DeliveryError("unclear", "A proxy before Label Studio got no answer in time (504). It is tried again.")
    if status == 429 or status >= 500:
        raise DeliveryError("busy", f"Label Studio answers {status}. It is tried again.", answer.retry_after)
    if status == 404 or (status == 400 and _names_task(answer.json())):
        raise DeliveryError("gone", "The task is no longer in Label Studio.")
    if status >= 400:
        said = shortened(answer.body.decode(errors="replace"))
        raise DeliveryError("refused", f"Label Studio refuses the prediction ({status}): {said} Please report this.")


def _names_task(answer: Any) -> bool:
    """Whether a 400 says that there is no such task."""
    details = member(answer, "validation_errors") or answer
    return isinstance(details, dict) and "task" in details


def _odd(what: str) -> DeliveryError:
    return DeliveryError("busy", f"LABEL_STUDIO_URL does not answer as Label Studio does: {what}. It is tried again.")
