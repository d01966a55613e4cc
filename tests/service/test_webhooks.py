"""Events of Label Studio, and what new tasks lead to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from label_studio_requests import WEBHOOKS, config, recorded
from omni_timeline.errors import DeliveryError
from omni_timeline.label_studio.request import TaskRequest
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.service.bodies import WebhookBody, read_object
from omni_timeline.service.projects import Projects
from omni_timeline.service.prometheus import Metrics
from omni_timeline.service.webhooks import Webhooks
from scripted_model import ScriptedModel


@pytest.mark.parametrize("name", WEBHOOKS)
def test_every_recorded_webhook_is_taken(name: str, client: FlaskClient):
    assert client.post("/webhook?", json=recorded(name)).status_code == 200


def test_an_unknown_event_is_taken_and_counted_without_its_name(client: FlaskClient):
    assert client.post("/webhook", json={"action": "SOMETHING_NEW"}).status_code == 200
    assert client.post("/webhook", json={"action": ["odd"]}).status_code == 200
    text = client.get("/metrics").text
    assert 'omni_timeline_webhooks_total{event="other"} 2.0' in text
    assert "SOMETHING_NEW" not in text


class Pupil:
    """Whoever learns, and what it was told."""

    def __init__(self) -> None:
        self.requested: list[int] = []
        self.noted: list[tuple[int, tuple[int, ...], bool]] = []

    def request(self, project: int, *, wants_learning: bool, annotation_count: int | None) -> str:
        assert (wants_learning, annotation_count) == (False, 0)
        self.requested.append(project)
        return "It is queued."

    def corrected(self, project: int, annotations: Sequence[int], *, wants_learning: bool) -> None:
        self.noted.append((project, tuple(annotations), wants_learning))


# --- learning --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("webhook_annotation_created", [(3, (2,), False)]),
        ("webhook_annotation_updated", [(3, (2,), False)]),
        ("webhook_annotations_deleted", []),
        ("webhook_project_updated", []),
        ("webhook_tasks_created", []),
        ("train_webhook_request", []),
    ],
)
def test_recorded_events_are_noted_as_corrections_where_they_are_some(name: str, noted: list[Any]):
    pupil = Pupil()
    said = taking(pupil).take(WebhookBody.read(read_object(json.dumps(recorded(name)).encode())))
    assert pupil.noted == noted
    is_button = name == "train_webhook_request"
    assert (pupil.requested, said) == (([3], "It is queued.") if is_button else ([], None))


@pytest.mark.parametrize(
    ("needed", "wants"), [(1, True), (0, False), (None, False), ("1", False), (True, False), ([1], False)]
)
def test_the_switch_of_a_project_is_a_number_in_its_events(needed: Any, wants: bool):
    project = {"id": 3, "min_annotations_to_start_training": needed}
    body = {"action": "ANNOTATIONS_CREATED", "project": project, "annotations": [{"id": 1}, {"id": "x"}, 7, {"id": 2}]}
    pupil = Pupil()
    taking(pupil).take(WebhookBody.read(read_object(json.dumps(body).encode())))
    assert pupil.noted == [(3, (1, 2), wants)]


@pytest.mark.parametrize("project", [None, True, "3", 0, -3, 2**70, {"id": -1}, {}, [3]])
def test_an_event_of_no_project_leads_to_no_learning(project: Any):
    pupil = Pupil()
    for event in ("START_TRAINING", "ANNOTATION_CREATED"):
        body = {"action": event, "project": project, "annotation": {"id": 1}}
        assert taking(pupil).take(WebhookBody.read(body)) is None
    assert (pupil.requested, pupil.noted) == ([], [])


def taking(pupil: Pupil) -> Webhooks:
    """Webhooks that tell `pupil`; nothing else comes of them."""

    def ignore(*_: Any) -> None:
        pass

    projects = Projects(ScriptedModel(), PredictOptions(), LearnedVersions(Path("/nowhere")), ignore)
    return Webhooks(projects, None, ignore, pupil, ignore, Metrics(), version_seconds=0.0)


# --- new tasks -------------------------------------------------------------------------------------------------------
class Studio:
    """A Label Studio that gives a project's config, or errors before it does."""

    def __init__(self, *errors: DeliveryError, xml: str = "") -> None:
        self.errors = list(errors)
        self.xml = xml or config()
        self.asked: list[int] = []

    def label_config(self, project: int) -> str:
        self.asked.append(project)
        if self.errors:
            raise self.errors.pop(0)
        return self.xml


def predicted(studio: Studio, body: dict[str, Any]) -> tuple[list[TaskRequest], list[tuple[str, str, str]]]:
    """What an event leads to: tasks to predict, and failures."""
    requests: list[TaskRequest] = []
    failures: list[tuple[str, str, str]] = []

    def predict(new: Sequence[TaskRequest]) -> None:
        requests.extend(new)

    def fail(task: str, project: str, sentence: str) -> None:
        failures.append((task, project, sentence))

    projects = Projects(ScriptedModel(), PredictOptions(), LearnedVersions(Path("/nowhere")), fail)
    webhooks = Webhooks(projects, studio, predict, Pupil(), fail, Metrics(), version_seconds=0.0, pauses=(0.0, 0.0))
    webhooks.predict_created(WebhookBody.read(body))
    return requests, failures


def created(*tasks: Any) -> dict[str, Any]:
    return {"action": "TASKS_CREATED", "project": {"id": 3}, "tasks": list(tasks)}


def task(number: int) -> dict[str, Any]:
    return {"id": number, "data": {"video": f"{number}.mp4"}}


def test_new_tasks_are_predicted_with_their_projects_config():
    studio = Studio()
    requests, failures = predicted(studio, created(task(1), task(2)))
    assert [(request.task, request.project, request.xml) for request in requests] == [
        (1, "3", config()),
        (2, "3", config()),
    ]
    assert studio.asked == [3]
    assert failures == []


def test_a_new_task_without_a_video_costs_the_others_nothing():
    requests, failures = predicted(Studio(), created(task(1), {"id": 2, "data": {}}, "odd", task(3)))
    assert [request.task for request in requests] == [1, 3]
    [(number, _, sentence)] = failures
    assert number == "2"
    assert "The request has 2 such tasks." in sentence


def test_the_recorded_event_names_its_project_and_tasks():
    body = WebhookBody.read(recorded("webhook_tasks_created"))
    assert body.event == "TASKS_CREATED"
    assert isinstance(body.project, int)
    assert [set(task) & {"id", "data"} for task in body.tasks] == [{"id", "data"}] * len(body.tasks) != []


def test_a_label_studio_that_is_away_for_a_moment_is_asked_again():
    studio = Studio(DeliveryError("unreachable", "It is away."), DeliveryError("busy", "It is busy."))
    requests, failures = predicted(studio, created(task(1)))
    assert [request.task for request in requests] == [1]
    assert len(studio.asked) == 3
    assert failures == []


def test_a_label_studio_that_stays_away_is_reported():
    studio = Studio(*[DeliveryError("unreachable", "It is away.")] * 3)
    assert predicted(studio, created(task(1))) == ([], [("", "3", "New tasks are not predicted: It is away.")])


def test_a_project_that_is_gone_is_not_asked_for_again():
    """20 such events in a row held up the next one for minutes."""
    studio = Studio(DeliveryError("gone", "It is gone."))
    _, failures = predicted(studio, created(task(1)))
    assert len(studio.asked) == 1
    assert len(failures) == 1


def test_a_project_that_cannot_be_served_is_not_asked_for_again():
    studio = Studio(xml="<View/>")
    requests, failures = predicted(studio, created(task(1)))
    assert requests == []
    assert len(studio.asked) == 1
    assert all("TimelineLabels" in sentence for _, _, sentence in failures)


@pytest.mark.parametrize(
    "body", [{}, {"project": 3}, {"project": "3", "tasks": [1]}, {"project": {"id": True}, "tasks": [1]}, created()]
)
def test_an_event_without_a_project_or_tasks_leads_to_nothing(body: dict[str, Any]):
    studio = Studio()
    assert predicted(studio, body) == ([], [])
    assert studio.asked == []
