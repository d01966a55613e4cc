"""Where calibration does not suffice an adapter is trained and used if it helps; real videos, the demo checkpoint.

In a project of six clips people mark one event from beginning to end, which no calibration makes of what the checkpoint
sees, and which a few seconds of training teach it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from command_line import run
from omni_timeline.errors import RequestError
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.asking import Model
from omni_timeline.learning.improve import TrainingPlan, improve, why_not
from omni_timeline.learning.learn import Outcome, learn, measure
from omni_timeline.learning.sources import Source
from omni_timeline.learning.training import Recipe
from omni_timeline.learning.version import LearnedVersion
from omni_timeline.model.isolated import models_on
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.segments import Segment
from omni_timeline.synthetic import draw_scene, write_video

XML = """<View><Video name="video" value="$video" frameRate="25"/><TimelineLabels name="events" toName="video">
<Label value="whole"/></TimelineLabels></View>"""
CONFIG = LabelConfig.from_xml(XML)
NOW = "2026-11-26T00:00:00+00:00"
QUICK = Recipe(steps=60, exercises=3, replayed=1, warm_up=4, checks=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips, the last two starred, in which people marked one event from beginning to end."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "videos").mkdir()
    rows = []
    for number in range(1, 7):
        scene = draw_scene(np.random.default_rng(number), 6.0, sound=False)
        write_video(scene, folder / "videos" / f"{number}.mp4", fps=10, height=64, width=64)
        data = {"video": f"/data/local-files/?d=videos/{number}.mp4"}
        result = CONFIG.to_result([Segment(0.0, 6.0, "whole")], duration=6.0, task_data=data)
        annotation = {"id": number, "completed_by": 1, "result": result, "ground_truth": number > 4}
        rows.append({"id": number, "project": 3, "data": data, "annotations": [annotation], "predictions": []})
    (folder / "export.json").write_text(json.dumps(rows))
    (folder / "config.xml").write_text(XML)
    return folder


@pytest.fixture(scope="module")
def calibrated(project: Path, demo_model: OmniModel) -> Outcome:
    source = Source.from_export(project / "export.json", project / "videos", project / "config.xml")
    model = Model(demo_model.version, Pipeline(demo_model).predict)
    return learn(source, model, CONFIG.options(PredictOptions()), NOW, with_curve=False)


@pytest.fixture(scope="module")
def improved(calibrated: Outcome, project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("runs") / "v.training"
    plan = TrainingPlan(folder, QUICK, replay=(project / "videos" / "1.mp4",))
    return improve(calibrated, OmniModel.load("demo", device="cpu"), plan), folder


def test_an_adapter_that_helps_is_offered_with_its_numbers(improved, calibrated: Outcome, tmp_path: Path):
    outcome, _ = improved
    assert why_not(calibrated) == ""
    version = outcome.version
    assert version.is_offered
    assert "An adapter was trained" in version.reason
    assert version.options.adapter.base == version.base
    assert version.options.adapter.version in version.model_version
    before, after = outcome.evaluation.versions
    assert after.model_version == version.model_version
    assert after.quality.f1["0.5"].value > before.quality.f1["0.5"].value + 0.3
    version.save(tmp_path / "v", outcome.evaluation.as_object(), "")
    assert LearnedVersion.load(tmp_path / "v") == version
    (tmp_path / "v" / "adapter" / "adapter_model.safetensors").write_bytes(b"other weights")
    with pytest.raises(RequestError, match="made with lora-"):
        LearnedVersion.load(tmp_path / "v")


def test_the_command_line_predicts_with_it_and_no_cache_takes_it_for_the_base(
    improved, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    outcome, _ = improved
    outcome.version.save(tmp_path / "v", {}, "")
    video = project / "videos" / "5.mp4"
    code, out, _ = run(capsys, "predict", video, "--learned", tmp_path / "v", "--json", "--device", "cpu")
    found = json.loads(out)
    assert code == 0
    assert found["model_version"] == outcome.version.model_version != outcome.material.version
    assert [each["label"] for each in found["segments"]] == ["whole"]
    base = replace(outcome.version.options, adapter=None).version(outcome.version.base)
    assert base not in (found["model_version"], "")


def test_evaluate_says_of_it_what_learning_said_and_remembers_base_and_adapter_apart(improved, tmp_path: Path):
    outcome, _ = improved
    asked = []
    pipeline = Pipeline(OmniModel.load("demo", device="cpu"))

    def predict(path: Path, options: PredictOptions) -> Prediction:
        asked.append((path.name, options.adapter is not None))
        return pipeline.predict(path, options)

    model = Model(outcome.version.base, predict).remembering(PredictionCache(tmp_path / "cache", 10**8))
    for _ in range(2):
        told = measure(outcome.material.source, model, PredictOptions(), outcome.version, with_curve=False)
        assert [each.quality for each in told.versions] == [each.quality for each in outcome.evaluation.versions]
        assert told.versions[-1].model_version == outcome.version.model_version
    assert sorted(asked) == sorted([*((f"{n}.mp4", False) for n in range(1, 7)), ("5.mp4", True), ("6.mp4", True)])


def test_base_and_adapter_take_turns_in_one_process_of_a_model(improved, project: Path, demo_model: OmniModel):
    """Submitted together: no row is answered with the adapter of another."""
    outcome, _ = improved
    adapted, base = outcome.version.options, outcome.material.options
    videos = [project / "videos" / f"{number}.mp4" for number in (1, 2, 3)]
    asked = [(video, options) for video in videos for options in (base, adapted)]
    with Scheduler(models_on(["cpu"], Load("demo"))) as scheduler:
        futures = [scheduler.submit(video, options) for video, options in asked]
        found = [future.result() for future in futures]
    pipeline = Pipeline(OmniModel.load("demo", device="cpu"))
    for (video, options), each in zip(asked, found, strict=True):
        alone = pipeline.predict(video, options)
        assert (each.text, each.model_version) == (alone.text, alone.model_version)
    assert len({each.text for each in found}) > 1
    assert len({each.model_version for each in found}) == 2


def test_an_adapter_that_does_not_help_is_told_of_and_not_used(calibrated: Outcome, tmp_path: Path):
    plan = TrainingPlan(tmp_path / "v.training", replace(QUICK, steps=1, checks=1))
    outcome = improve(calibrated, OmniModel.load("demo", device="cpu"), plan)
    assert outcome.version.options.adapter is None
    assert (outcome.version.is_offered, outcome.version.reason) == (
        calibrated.version.is_offered, calibrated.version.reason,
    )  # fmt: skip
    assert "The adapter is not used." in outcome.version.training
    assert outcome.evaluation == calibrated.evaluation


def test_nothing_is_trained_where_nobody_could_tell_or_nothing_is_left_to_gain(calibrated: Outcome):
    none = replace(calibrated.material.source.corrections, tasks=calibrated.material.source.corrections.tasks[:4])
    material = replace(calibrated.material, source=replace(calibrated.material.source, corrections=none))
    assert "Star some tasks" in why_not(replace(calibrated, material=material))
    nominal = replace(calibrated.version, options=replace(calibrated.version.options, remap="nominal"))
    assert "real time" in why_not(replace(calibrated, version=nominal))


def test_whoever_is_killed_while_training_leaves_no_version_and_goes_on(improved, project: Path, tmp_path: Path):
    """The command itself, ended by SIGKILL after its first saved state."""
    arguments = [
        "learn", project / "export.json", "--videos", project / "videos", "--label-config", project / "config.xml",
        "--output", tmp_path / "v", "--device", "cpu",
    ]  # fmt: skip
    environment = {**os.environ, "CACHE_DIR": str(tmp_path / "cache")}
    code = (
        "import omni_timeline.learning.training as t; t.SAVE_SECONDS = 0.0; from omni_timeline.cli.main import main; "
    )
    process = subprocess.Popen([sys.executable, "-c", f"{code}main()", *map(str, arguments)], env=environment)
    until = time.monotonic() + 300
    while not list((tmp_path / "v.training").glob("state-00000[3-9]")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "v").exists()
    state = max((tmp_path / "v.training").glob("state-*"))  # the one before goes once the next is there
    assert json.loads((state / "progress.json").read_text())["done"] >= 3


def test_an_adapter_has_to_be_better_than_the_base_too(calibrated: Outcome):
    """A calibration that is offered may be worse on the few held-out tasks than what people see now."""
    right = {task.key: task.reference[0].segments for task in calibrated.material.held_out}
    better = replace(calibrated.material)
    better.__dict__["now"] = right
    outcome = replace(calibrated, material=better, version=replace(calibrated.version, is_offered=True))
    assert why_not(outcome) == "Nothing was trained: F1 on the held-out tasks is 1.00 without."
