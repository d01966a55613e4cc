"""Learning beside the server: the real process that learns, a web site as Label Studio, a script as the model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from learning_project import (
    LIMITS,
    PROJECT,
    Failures,
    corrected_projects,
    ended,
    learner_of,
    learning,
    settings_of,
    task,
    tasks_page,
    wait_until,
    workers,
)
from omni_timeline.errors import MediaError
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.pipeline.prediction import Priority
from omni_timeline.segments import Segment
from omni_timeline.service.learner import Learner, Limits
from omni_timeline.service.runs import FILE, MAX_ATTEMPTS, Runs
from omni_timeline.service.settings import Settings
from scripted_model import SPEECH, ScriptedModel
from sites import Site, answer, serving


@pytest.fixture
def studio() -> Iterator[Site]:
    site = corrected_projects({PROJECT: "ball"})
    with serving(site):
        yield site


@pytest.fixture
def settings(studio: Site, tmp_path: Path) -> Settings:
    return settings_of(studio, tmp_path)


def test_what_is_learned_is_in_use_afterwards(settings: Settings):
    model = ScriptedModel()
    with learning(settings, model) as learner:
        assert learner.request(PROJECT) == "Project 7 is queued for learning."
        run = ended(learner)
    assert (run.state, run.why, run.attempts) == ("in use", "Start Training", 1)
    assert run.words.startswith("On tasks that it was not learned from: F1 +1.00")
    assert run.numbers.startswith("12 corrected tasks; F1 now 0.00, learned 1.00; measured on ")
    version = LearnedVersions.in_cache(settings.cache_dir).in_use(PROJECT)
    assert version is not None
    assert version.name == run.version
    assert [segment.label for segment in version.calibration.apply([SPEECH], 30.0)] == ["ball"]
    assert set(model.priorities) == {Priority.BACKGROUND}  # whoever waits for a suggestion goes first


def test_the_same_corrections_again_change_nothing(settings: Settings):
    model = ScriptedModel()
    with learning(settings, model) as learner:
        learner.request(PROJECT)
        name, asked = ended(learner).version, len(model.asked)
        learner.request(PROJECT)
        run = ended(learner)
    assert (run.state, run.words) == ("not used", "These corrections teach what the version in use does already.")
    assert LearnedVersions.in_cache(settings.cache_dir).chosen(PROJECT) == name
    assert len(model.asked) == asked  # what the model said is remembered


def test_why_no_adapter_is_trained_is_said(settings: Settings):
    with learning(replace(settings, learning_device="cpu"), ScriptedModel()) as learner:
        learner.request(PROJECT)
        run = ended(learner)
    assert run.state == "in use"
    assert "Nothing was trained: without held-out tasks there is no way to tell whether it helps." in run.words


def test_training_where_it_cannot_be_is_given_up_before_anything_is_loaded(settings: Settings, studio: Site):
    """People mark what the model never says, so that an adapter is wanted; there are not that many GPUs."""
    marked = Segment(20.0, 25.0, "ball")
    tasks = [task(PROJECT, number, marked, starred=number % 2 == 0) for number in range(1, 13)]
    studio.pages["/api/tasks"] = lambda page: answer(page, tasks_page(tasks))
    with learning(replace(settings, learning_device="cuda:99"), ScriptedModel()) as learner:
        learner.request(PROJECT)
        run = ended(learner)
    assert run.state == "not used"
    assert "Training was given up. There is no device cuda:99" in run.words


def test_a_second_click_is_told_so_and_queues_nothing(settings: Settings):
    learner = learner_of(settings, ScriptedModel())
    learner.request(PROJECT)
    again = "Start Training was pressed again, and project 7 is queued already."
    assert learner.request(PROJECT) == again
    assert [(run.state, run.note) for run in learner.runs.all()] == [("queued", again)]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_server_that_is_killed_leaves_what_was_to_be_learned_to_the_next(state: str, settings: Settings):
    before = learner_of(settings, ScriptedModel())
    before.request(PROJECT)
    before.runs.change(PROJECT, state=state, attempts=1)
    before.runs.save()
    with learning(settings, ScriptedModel()) as learner:
        assert ended(learner).state == "in use"


def test_a_server_that_is_stopped_leaves_it_to_the_next_and_no_process(settings: Settings):
    model = ScriptedModel()
    model.gate.clear()
    with learning(settings, model) as learner:
        learner.request(PROJECT)
        wait_until(lambda: bool(model.asked))
        learner.stop()
        wait_until(lambda: not workers())
        wait_until(lambda: Runs(LearnedVersions.in_cache(settings.cache_dir)).get(PROJECT).attempts == 0)
    assert learner.runs.get(PROJECT).state == "queued"


def test_what_ends_before_its_time_again_and_again_is_given_up(settings: Settings):
    before = learner_of(settings, ScriptedModel())
    before.request(PROJECT)
    before.runs.change(PROJECT, state="running", attempts=MAX_ATTEMPTS)
    before.runs.save()
    run = Runs(LearnedVersions.in_cache(settings.cache_dir)).get(PROJECT)
    assert run.state == "failed"
    assert "begun 3 times" in run.words


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (replace(LIMITS, seconds=0.5), "LEARNING_MAX_SECONDS"),
        (replace(LIMITS, memory_bytes=1024**2), "LEARNING_MEMORY_BYTES"),
    ],
)
def test_learning_that_takes_too_much_is_ended_and_the_setting_named(limits: Limits, named: str, settings: Settings):
    model, failures = ScriptedModel(), Failures()
    model.gate.clear()
    with learning(settings, model, failures, limits) as learner:
        learner.request(PROJECT)
        run = ended(learner)
        assert not workers()
    assert run.state == "failed"
    assert named in run.words
    assert failures.sentences == [f"Nothing was learned: {run.words}"]


def test_a_video_that_cannot_be_predicted_costs_its_task_only(settings: Settings):
    model = ScriptedModel(answers={"3.mp4": MediaError("3.mp4 is no video.")})
    with learning(settings, model) as learner:
        learner.request(PROJECT)
        run = ended(learner)
    assert run.state == "in use"
    report = json.loads(
        (LearnedVersions.in_cache(settings.cache_dir).project(PROJECT) / run.version / "report.json").read_text()
    )
    assert report["failures"] == {"3": "3.mp4 is no video."}


def test_a_project_that_nobody_corrected_says_so(settings: Settings, studio: Site):
    studio.pages["/api/tasks"] = lambda page: answer(page, b'{"tasks": [], "total": 0}')
    with learning(settings, ScriptedModel()) as learner:
        learner.request(PROJECT)
        run = ended(learner)
    assert (run.state, run.words) == ("failed", "Nobody has corrected anything in project 7 yet.")


def test_a_label_studio_that_is_away_is_asked_again(settings: Settings, studio: Site):
    studio.pages["/api/tasks"] = lambda page: answer(page, b"", status=503)
    with learning(settings, ScriptedModel()) as learner:
        learner.request(PROJECT)
        wait_until(lambda: learner.runs.get(PROJECT).not_before > time.time() + 1)
        run = learner.runs.get(PROJECT)
    assert run.state == "queued"
    assert "503" in run.words


def test_without_label_studios_address_start_training_says_what_to_set():
    failures = Failures()
    learner = Learner(LearnedVersions(Path("/nowhere")), ScriptedModel(), None, LIMITS, failures)
    assert "LABEL_STUDIO_URL" in learner.request(PROJECT)
    assert len(failures.sentences) == 1
    assert learner.runs.all() == []


def test_two_servers_with_one_folder_learn_one_after_the_other(settings: Settings):
    one, other = learner_of(settings, ScriptedModel()), learner_of(settings, ScriptedModel())
    with one._alone() as first, other._alone() as second:
        assert (first, second) == (True, False)
    with other._alone() as alone:
        assert alone


# --- without being asked ---------------------------------------------------------------------------------------------
def due(learner: Learner, every: float = 3600.0) -> list[int]:
    return [run.project for run in learner.runs.due(time.time() - every, LIMITS.after)]


def test_a_project_that_wants_it_is_due_after_enough_different_annotations(settings: Settings):
    learner = learner_of(settings, ScriptedModel())
    for annotation in (1, 2, 2, 1):  # somebody changes the same ones again
        learner.corrected(PROJECT, [annotation], wants_learning=True)
        assert due(learner) == []
    learner.corrected(PROJECT, [3, 4], wants_learning=True)
    assert due(learner) == [PROJECT]
    learner.corrected(PROJECT, [5], wants_learning=False)  # the switch was turned off
    assert due(learner) == []


def test_a_project_is_not_due_again_before_its_time(settings: Settings):
    learner = learner_of(settings, ScriptedModel())
    learner.corrected(PROJECT, [1, 2, 3], wants_learning=True)
    learner.runs.change(PROJECT, began=time.time() - 100)
    assert due(learner) == []
    assert due(learner, every=60.0) == [PROJECT]
    learner.runs.change(PROJECT, state="queued")
    assert due(learner, every=60.0) == []


def test_start_training_that_comes_with_an_annotation_is_no_press(settings: Settings):
    """Label Studio sends it for each annotation of such a project, and reports the annotation then."""
    learner = learner_of(settings, ScriptedModel())
    for number in (1, 2):
        learner.request(PROJECT, wants_learning=True, annotation_count=10)  # an annotation was changed
        learner.corrected(PROJECT, [number], wants_learning=True)
    assert learner.runs.pressed(time.time()) == []
    assert due(learner) == []


def test_start_training_without_an_annotation_is_a_press(settings: Settings):
    learner = learner_of(settings, ScriptedModel())
    learner.request(PROJECT, wants_learning=True, annotation_count=10)
    assert [run.project for run in learner.runs.pressed(time.time())] == [PROJECT]
    learner.request(PROJECT)
    assert learner.runs.pressed(time.time()) == []
    assert learner.runs.get(PROJECT).why == "Start Training"


def test_annotations_are_counted_where_they_are_not_reported(settings: Settings):
    """Without WEBHOOK_SECRET, a server with a password gets no annotations; Start Training says how many there are."""
    learner = learner_of(settings, ScriptedModel())
    learner.request(PROJECT, wants_learning=True, annotation_count=10)
    learner.runs.change(PROJECT, count_before=10)
    for count in (11, 12, 13):
        assert due(learner) == []
        learner.request(PROJECT, wants_learning=True, annotation_count=count)
    assert learner.runs.pressed(time.time()) == []
    assert due(learner) == [PROJECT]


def test_a_project_without_the_switch_leaves_no_trace(settings: Settings):
    learner = learner_of(settings, ScriptedModel())
    learner.corrected(PROJECT, [1, 2, 3], wants_learning=False)
    learner.runs.save()
    assert not LearnedVersions.in_cache(settings.cache_dir).folder.exists()


def test_a_project_that_is_due_is_learned_and_counted_from_zero(settings: Settings):
    with learning(settings, ScriptedModel()) as learner:
        learner.corrected(PROJECT, [1, 2, 3], wants_learning=True)
        wait_until(lambda: learner.runs.get(PROJECT).state == "in use")
        run = learner.runs.get(PROJECT)
    assert (run.why, run.new) == ("3 new corrections", ())


@pytest.mark.parametrize("broken", ["", "{", "[]", "7", '{"project": 7}', '{"project": 8, "new": []}'])
def test_a_note_that_cannot_be_read_costs_itself_only(broken: str, settings: Settings):
    versions = LearnedVersions.in_cache(settings.cache_dir)
    versions.project(PROJECT).mkdir(parents=True)
    (versions.project(PROJECT) / FILE).write_text(broken)
    learner = learner_of(settings, ScriptedModel())
    assert learner.runs.all() == []
    learner.request(PROJECT)
    assert Runs(versions).get(PROJECT).state == "queued"


def test_a_folder_that_cannot_be_written_is_trouble_that_passes(settings: Settings):
    settings.cache_dir.mkdir()
    (settings.cache_dir / "learned").write_text("a file where the folder should be")
    learner = learner_of(settings, ScriptedModel())
    learner.request(PROJECT)
    assert "CACHE_DIR" in str(learner.runs.trouble)
    (settings.cache_dir / "learned").unlink()
    learner.runs.save()
    assert learner.runs.trouble is None
    assert Runs(LearnedVersions.in_cache(settings.cache_dir)).get(PROJECT).state == "queued"
