"""How a project is predicted, and under which model version."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from label_studio_requests import LABELS, config, local, tasks, version_of
from omni_timeline.errors import LabelConfigError, ModelError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.service.projects import RECENT_PROJECTS, Projects
from omni_timeline.service.server import options_of
from omni_timeline.service.settings import Settings
from scripted_app import Serve
from scripted_model import CHECKPOINT, ScriptedModel


# --- the model version -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [
        config('model_frames="20"'),
        config('model_window_seconds="10"'),
        config('model_window_seconds="whole"'),
        config('model_score_threshold="0.5"'),
        config('model_prompt="What happens?"'),
        config(inside=LABELS + '<Label value="Music"/>'),
        config(rest=""),  # no place for descriptions
    ],
)
def test_the_version_changes_with_what_a_project_decides(change: str, client: FlaskClient):
    assert version_of(client, change) != version_of(client, config())
    request = tasks(local("a")) | {"label_config": change}
    [prediction] = client.post("/predict", json=request).json["results"]
    assert prediction["model_version"] == version_of(client, change)


@pytest.mark.parametrize(
    "change", [config('strokeWidth="3"'), config(inside=LABELS.replace("/>", ' background="red"/>')), "\n" + config()]
)
def test_the_version_stays_when_the_config_changes_in_nothing_that_matters(change: str, client: FlaskClient):
    assert version_of(client, change) == version_of(client, config())


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 20}, {"window_seconds": None}, {"window_seconds": 10.0}, {"refine": True}, {"constrained": False},
        {"score_threshold": 0.5}, {"max_pixels": 100_000}, {"audio_track": 2}, {"max_new_tokens": 100},
    ],
)  # fmt: skip
def test_the_version_changes_with_what_the_operator_decides(
    change: dict[str, Any], client: FlaskClient, settings: Settings, serve: Serve
):
    changed = serve(replace(settings, **change), ScriptedModel())
    assert version_of(changed, config()) != version_of(client, config())


def test_words_from_a_file_are_what_the_model_is_asked(settings: Settings, tmp_path: Path):
    (tmp_path / "prompt.txt").write_text("Name what you see.")
    assert options_of(replace(settings, prompt_file=tmp_path / "prompt.txt")).prompt.user == "Name what you see."


def test_without_settings_the_service_asks_what_the_command_line_asks():
    assert options_of(Settings()) == PredictOptions()


def test_a_project_wins_over_the_operator(settings: Settings):
    service = options_of(replace(settings, frames=30, score_threshold=0.2))
    options = LabelConfig.from_xml(config('model_frames="20"')).options(service)
    assert (options.frames, options.score_threshold, options.labels) == (20, 0.2, ("Speech", "Action"))


NOTHING_LEARNED = LearnedVersions(Path("/nowhere"))


# --- without HTTP ----------------------------------------------------------------------------------------------------
class Told:
    """What a Projects reports of failures."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str, str]] = []

    def __call__(self, task: str, project: str, sentence: str) -> None:
        self.failures.append((task, project, sentence))


def test_a_config_without_a_place_for_segments_is_reported_with_its_project():
    told = Told()
    with pytest.raises(LabelConfigError):
        Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, told).find("<View/>", "7", 0.0)
    [(task, project, sentence)] = told.failures
    assert (task, project) == ("", "7")
    assert "TimelineLabels" in sentence


def test_without_the_checkpoints_version_there_is_no_project():
    loading = Projects(
        ScriptedModel(state="loading", checkpoint_version=None), PredictOptions(), NOTHING_LEARNED, Told()
    )
    with pytest.raises(ModelError, match="still loading"):
        loading.find(config(), "1", 0.0)
    assert loading.recent() == []
    failed = Projects(ScriptedModel(error=ModelError("no such checkpoint")), PredictOptions(), NOTHING_LEARNED, Told())
    with pytest.raises(ModelError, match="no such checkpoint"):
        failed.find(config(), "1", 0.0)


def test_the_projects_that_asked_last_are_remembered_newest_first():
    projects = Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, Told())
    for number in [*range(RECENT_PROJECTS + 5), 10]:
        projects.find(config(), str(number), 0.0)
    recent = [project.number for project in projects.recent()]
    assert recent[:2] == ["10", "24"]
    assert len(recent) == RECENT_PROJECTS


def test_a_task_becomes_a_request_under_the_projects_version():
    projects = Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, Told())
    project = projects.find(config(), "3", 0.0)
    task = {"id": 5, "data": {"video": "a.mp4", "name": "of no use"}, "annotations": [1]}
    [request] = projects.requests([task], config(), project)
    assert request is not None
    assert (request.task, request.project, request.data) == (5, "3", {"video": "a.mp4"})
    assert request.version == project.options.version(CHECKPOINT)


@pytest.mark.parametrize(
    ("task", "number"),
    [
        (None, ""), (7, ""), ("task", ""), ([], ""), ({}, ""), ({"id": 1}, "1"), ({"id": 1, "data": None}, "1"),
        ({"id": 1, "data": {}}, "1"), ({"id": 2**63, "data": {"video": 7}}, ""), ({"id": True}, ""), ({"id": "1"}, ""),
    ],
)  # fmt: skip
def test_a_task_without_a_video_is_reported_by_its_number(task: Any, number: str):
    told = Told()
    projects = Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, told)
    assert projects.requests([task], config(), projects.find(config(), "3", 0.0)) == [None]
    [(reported, project, sentence)] = told.failures
    assert (reported, project) == (number, "3")
    assert "data" in sentence


def test_a_video_may_be_anywhere_in_the_tasks_data():
    xml = config().replace("$video", "$files[1].url")
    projects = Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, Told())
    task = {"id": 1, "data": {"files": [{}, {"url": "a.mp4"}]}}
    assert projects.requests([task], xml, projects.find(xml, "3", 0.0)) != [None]


def test_a_field_with_a_long_name_makes_no_long_message(caplog: pytest.LogCaptureFixture):
    told = Told()
    projects = Projects(ScriptedModel(), PredictOptions(), NOTHING_LEARNED, told)
    xml = config().replace("$video", "$" + "a" * 1_000_000)
    projects.requests([{"id": 1, "data": {}}], xml, projects.find(xml, "3", 0.0))
    assert len(told.failures[0][2]) < 300
    assert len(caplog.text) < 500
