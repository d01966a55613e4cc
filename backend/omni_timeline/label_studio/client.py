"""Label Studio's interface, as far as predictions are brought there: look, push, and what its refusals mean.

Knows addresses, statuses and what can be tried again. Knows nothing of queues or of when to try.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import requests

from omni_timeline.errors import DeliveryError, DeliveryKind, FetchError
from omni_timeline.label_studio.auth import LabelStudioAuth, reason

TIMEOUT = (5.0, 20.0)  # s: to connect, and between two bytes
MAX_RETRY_AFTER = 300.0  # s
SHOWN = 200  # characters of a refusal


class LabelStudioApi:
    """Label Studio at `host`, with a token. May be used by several threads."""

    def __init__(self, host: str, api_key: str) -> None:
        self._auth = LabelStudioAuth(host, api_key)
        self._local = threading.local()  # sessions are for one thread each

    def prediction_versions(self, task: int) -> list[str]:
        """The model versions of the predictions that a task has.

        Raises:
            DeliveryError: it cannot be known.
        """
        answer = self._call("GET", "/api/predictions/", params={"task": str(task)})
        rows = answer.get("results") if isinstance(answer, dict) else answer
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _odd("its list of predictions is no list")
        return [str(row.get("model_version")) for row in rows]

    def create_prediction(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store a prediction.

        Raises:
            DeliveryError: it was not stored, or nobody knows.
        """
        self._call("POST", "/api/predictions/", json={"task": task, **prediction})

    def label_config(self, project: int) -> str:
        """A project's labeling config.

        Raises:
            DeliveryError: it cannot be had.
        """
        answer = self._call("GET", f"/api/projects/{project}/")
        config = answer.get("label_config") if isinstance(answer, dict) else None
        if not isinstance(config, str):
            raise _odd("a project without a labeling config")
        return config

    def _call(self, method: str, path: str, *, params: dict[str, str] | None = None, json: Any = None) -> Any:
        for last in (False, True):
            response = self._request(method, path, params, json)
            if response.status_code == 401 and not last and self._auth.renew():
                continue  # an access token lives for 300 s, or less where somebody set it so
            break
        return self._read(response)

    def _request(self, method: str, path: str, params: dict[str, str] | None, json: Any) -> requests.Response:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        try:
            return self._local.session.request(  # type: ignore[no-any-return]
                method,
                self._auth.host + path,
                params=params,
                json=json,
                auth=self._auth,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except FetchError as error:  # the token could not be exchanged
            raise DeliveryError("token", str(error)) from error
        except requests.ConnectTimeout as error:
            raise DeliveryError("unreachable", self._cannot_reach(error)) from error
        except requests.RequestException as error:
            # It may have come there, and be worked on still.
            kind: DeliveryKind = "unclear" if method == "POST" else "unreachable"
            raise DeliveryError(kind, self._cannot_reach(error)) from error

    def _cannot_reach(self, error: requests.RequestException) -> str:
        return f"Label Studio at {self._auth.host} could not be reached: {reason(error)}. It is tried again."

    def _read(self, response: requests.Response) -> Any:
        status = response.status_code
        if status in (401, 403):
            raise DeliveryError(
                "token",
                f"Label Studio refuses LABEL_STUDIO_API_KEY ({status}): make a new personal access token of a user who "
                "can see the project, and start the backend with it. What is owed is kept.",
            )
        if status == 429 or status >= 500:
            wait = response.headers.get("retry-after", "")
            seconds = min(float(wait), MAX_RETRY_AFTER) if wait.isdigit() else 0.0
            raise DeliveryError("busy", f"Label Studio answers {status}. It is tried again.", seconds)
        if status == 404 or (status == 400 and _names_task(response)):
            raise DeliveryError("gone", "It is no longer in Label Studio.")
        if status >= 400:
            raise DeliveryError(
                "refused",
                f"Label Studio refuses the prediction ({status}): {response.text[:SHOWN]} Please report this.",
            )
        try:
            if status >= 300:
                raise ValueError
            return response.json()
        except ValueError as error:
            raise _odd(f"an answer ({status}) that is no JSON") from error


def _odd(what: str) -> DeliveryError:
    return DeliveryError(
        "busy", f"What answers at LABEL_STUDIO_URL does not speak as Label Studio does: {what}. It is tried again."
    )


def _names_task(response: requests.Response) -> bool:
    """Whether a 400 says that there is no such task."""
    try:
        answer = response.json()
    except ValueError:
        return False
    details = answer.get("validation_errors") or answer if isinstance(answer, dict) else {}
    return isinstance(details, dict) and "task" in details
