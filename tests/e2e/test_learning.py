"""The whole loop with a real Label Studio: suggestions, corrections, Start Training, better suggestions, and back.

A project of a new kind: it calls the things of the demo world by names of its own, some of which stand for two of them,
and does not mark its tones. F1 is measured on tasks that nobody corrected.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.metrics import event_f1, pool
from omni_timeline.segments import Segment
from omni_timeline.service.auth import SECRET_HEADER
from omni_timeline.synthetic import COLORS, draw_scene, write_video

from .backends import Server, serving, until
from .label_studio import LabelStudio, local_environ

pytestmark = pytest.mark.e2e

CALLED = {f"{color} {shape}": {"square": f"{place} crate", "circle": "ball"}[shape]
          for color, place in zip(COLORS, ("left", "right", "upper", "lower"), strict=False)
          for shape in ("square", "circle")}  # fmt: skip
LABELS = tuple(dict.fromkeys(CALLED.values()))
XML = f"""<View><Video name="video" value="$video" frameRate="25"/><TimelineLabels name="events" toName="video">
{"".join(f'<Label value="{label}"/>' for label in LABELS)}</TimelineLabels></View>"""
CONFIG = LabelConfig.from_xml(XML)
CORRECTED, OTHERS = 10, 5
SEED = 5200
SECRET, LEARN_AFTER = "s3cret", 3
SETTINGS = {
    "BASIC_AUTH_USER": "ls", "BASIC_AUTH_PASSWORD": "word", "WEBHOOK_SECRET": SECRET,
    "LEARN_AFTER": str(LEARN_AFTER), "LEARN_EVERY_SECONDS": "0",
}  # fmt: skip
BETTER = 0.2  # of F1; a learned version that is worth its name brings much more


@dataclass(frozen=True)
class Task:
    """A task, what people would mark in its video, and how long that is."""

    number: int
    marked: tuple[Segment, ...]
    duration: float


@dataclass(frozen=True)
class Project:
    """A project, and the model that is connected to it."""

    number: int
    model: int
    corrected: tuple[Task, ...]
    others: tuple[Task, ...]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learning")


@pytest.fixture(scope="module")
def server(studio: LabelStudio, folder: Path) -> Iterator[Server]:
    with serving(studio, folder, **SETTINGS) as running:
        yield running


@pytest.fixture
def project(studio: LabelStudio, server: Server, folder: Path) -> Project:
    """With suggestions."""
    number = studio.create_project("A new kind", XML)
    tasks = []
    for index in range(CORRECTED + OTHERS):
        rng = np.random.default_rng(SEED + index)
        scene = draw_scene(rng, float(rng.uniform(8, 12)), sound=index % 3 == 0)
        path = write_video(scene, folder / f"{index}.mp4", fps=10, height=64, width=64)
        marked = tuple(
            Segment(event.start, event.end, CALLED[event.label]) for event in scene.events if event.label in CALLED
        )
        tasks.append(Task(studio.create_task(number, studio.upload(number, path)), marked, scene.duration))
    auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": "ls", "basic_auth_pass": "word"}
    body = {"project": number, "url": server.url, "title": "omni-timeline", **auth}
    connected = studio.call("POST", "/api/ml", expect=201, json=body)
    studio.retrieve_predictions(number)
    return Project(number, int(connected["id"]), tuple(tasks[:CORRECTED]), tuple(tasks[CORRECTED:]))


def newest(studio: LabelStudio, task: Task) -> dict[str, Any]:
    """The last prediction of a task."""
    return max(studio.predictions(task.number), key=lambda prediction: prediction["id"])


def answer(prediction: dict[str, Any]) -> list[Any]:
    """What the model said in it, to the last digit. In which order keys are stored depends on who stores it."""
    return [prediction[name] for name in ("model_version", "score", "result")]


def suggestions(studio: LabelStudio, project: Project) -> list[dict[str, Any]]:
    """New predictions for the tasks that nobody corrects, as "Retrieve predictions" makes them."""
    studio.retrieve_predictions(project.number, [task.number for task in project.others])
    return [newest(studio, task) for task in project.others]


def f1(project: Project, predictions: Sequence[dict[str, Any]]) -> float:
    """Of predictions of the tasks that nobody corrects."""
    pairs = zip(project.others, predictions, strict=True)
    return pool(
        event_f1(task.marked, CONFIG.from_result(prediction["result"], task_data={}, duration=task.duration))
        for task, prediction in pairs
    ).f1


def correct(studio: LabelStudio, task: Task) -> None:
    """Submit what a person makes of the suggestion, as the labeling page does."""
    suggestion = newest(studio, task)
    result = CONFIG.to_result(task.marked, duration=task.duration, task_data={})
    body = {"result": result, "lead_time": 12.5, "parent_prediction": suggestion["id"], "was_cancelled": False}
    studio.call("POST", f"/api/tasks/{task.number}/annotations/", json=body)


def learning(server: Server, project: Project) -> dict[str, Any]:
    """What the status page says of it."""
    rows = server.get("/status.json")["learning"]
    return next((row for row in rows if row["project"] == project.number), {"state": "idle"})


def test_corrections_become_better_suggestions_and_back_brings_the_old_ones(
    studio: LabelStudio, server: Server, project: Project, folder: Path
):
    before = [newest(studio, task) for task in project.others]
    for task in project.corrected:
        correct(studio, task)

    studio.call("POST", f"/api/ml/{project.model}/train", json={"use_ground_truth": False})
    studio.call("POST", f"/api/ml/{project.model}/train", json={"use_ground_truth": False})  # people click again
    assert "pressed again" in learning(server, project)["note"]
    assert until(lambda: learning(server, project)["state"] not in ("queued", "running"))
    row = learning(server, project)
    assert row["state"] == "in use", row
    assert row["numbers"].startswith(f"{CORRECTED} corrected tasks; F1 ")

    opened = studio.call("GET", f"/api/projects/{project.number}/next/")  # as "Label All Tasks" opens one
    assert opened["id"] in [task.number for task in project.others]
    assert opened["predictions"][0]["model_version"] == row["versions"][0]["model_version"]
    after = suggestions(studio, project)
    assert {each["model_version"] for each in after} == {row["versions"][0]["model_version"]}
    assert f1(project, after) >= f1(project, before) + BETTER, (f1(project, before), f1(project, after), row)
    assert len(studio.predictions(project.others[0].number)) == 2  # the old ones stay
    report = requests.get(
        f"{server.url}/learned/{project.number}/{row['version']}/report.html", auth=server.auth, timeout=30
    )
    assert report.status_code == 200
    assert row["version"] in report.text

    command = [sys.executable, "-m", "omni_timeline", "versions", "back", "--project", str(project.number)]
    environ = local_environ(CACHE_DIR=str(folder / "cache"))
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert "base" in said.stdout
    for task in project.others:  # so that Label Studio has to ask again
        for prediction in studio.predictions(task.number):
            studio.call("DELETE", f"/api/predictions/{prediction['id']}/")
    again = suggestions(studio, project)
    for now, then in zip(again, before, strict=True):
        assert answer(now) == answer(then)


def test_a_project_that_wants_it_is_learned_from_without_being_asked(
    studio: LabelStudio, server: Server, project: Project
):
    """With "Start model training on annotation submission", which Label Studio itself does nothing about."""
    [webhook] = studio.call("GET", "/api/webhooks/", params={"project": project.number})
    headers = {SECRET_HEADER: SECRET}  # annotations are reported without the password
    studio.call("PATCH", f"/api/webhooks/{webhook['id']}/", json={"headers": headers})
    for task in project.corrected[:-LEARN_AFTER]:
        correct(studio, task)
    body = {"start_training_on_annotation_update": True}
    studio.call("PATCH", f"/api/projects/{project.number}/", json=body)
    for task in project.corrected[-LEARN_AFTER:]:
        correct(studio, task)
    assert until(lambda: learning(server, project).get("why") == f"{LEARN_AFTER} new corrections")
    assert until(lambda: learning(server, project)["state"] not in ("queued", "running"))
    row = learning(server, project)
    assert row["state"] == "in use", (row, server.log.read_text()[-3000:])
    assert row["numbers"].startswith(f"{CORRECTED} corrected tasks; F1 ")
