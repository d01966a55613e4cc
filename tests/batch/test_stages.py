"""The stages of a cluster's pipeline, one after the other in this process, say what one machine says."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from omni_timeline.batch.cluster import frame_rules
from omni_timeline.batch.local import LocalEngine
from omni_timeline.batch.nodes import Parts, code_version
from omni_timeline.batch.outcomes import Failed, Outcome, Plan, Predicted, Task
from omni_timeline.batch.ray_engine import ROW, Predicting, Preparing
from omni_timeline.label_studio.exports import FolderVideos
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.isolated import models_on
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.synthetic import draw_scene, write_video

LOAD = Load("demo", device="cpu")
TWO_CAMERAS = """<View>
  <Video name="left" value="$left"/><Video name="right" value="$right"/>
  <TimelineLabels name="a" toName="left"><Label value="red circle"/><Label value="blue square"/></TimelineLabels>
  <TimelineLabels name="b" toName="right"><Label value="green circle"/><Label value="yellow square"/></TimelineLabels>
</View>"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(3):
        scene = draw_scene(np.random.default_rng(seed), 5.0, sound=seed == 1)
        write_video(scene, folder / f"{seed}.mp4", fps=10, height=56, width=84)
    (folder / "text.mp4").write_text("this is no video")
    return folder


def tasks() -> list[Task]:
    return [
        Task("1", 1, {"left": "0.mp4", "right": "1.mp4"}),
        Task("2", 2, {"left": "0.mp4", "right": "0.mp4"}),
        Task("3", 3, {"right": "2.mp4"}),  # a camera is missing
        Task("4", 4, {"left": "1.mp4", "right": "text.mp4"}),
        Task("5", 5, {"left": "missing.mp4"}),
        Task("6", 6, {}),
    ]


def plan() -> Plan:
    config = LabelConfig.from_xml(TWO_CAMERAS)
    options = config.options(PredictOptions(window_seconds=3.0, frames=20, refine=True))
    return Plan("3", TWO_CAMERAS, config, options, options.version(Checkpoint.find("demo").version))


def parts(videos: Path, cache: Path) -> Parts:
    return Parts(FolderVideos(videos), PredictionCache(cache, 10**9), DecodeLimits())


def on_a_cluster(videos: Path, cache: Path) -> dict[str, Outcome]:
    preparing = Preparing(lambda: parts(videos, cache), plan(), frame_rules(LOAD), code_version())
    version = Checkpoint.find("demo").version
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")  # it is set by what follows, and is to be put back
        predicting = Predicting(lambda: parts(videos, cache), plan(), LOAD, 1, version, code_version())
    rows = [predicting(preparing({ROW: pickle.dumps(task)})) for task in tasks()]
    return {outcome.task.key: outcome for outcome in (pickle.loads(row[ROW]) for row in rows)}


def on_one_machine(videos: Path, cache: Path) -> dict[str, Outcome]:
    here = parts(videos, cache)
    with Scheduler(models_on(["cpu"], LOAD)) as scheduler:
        engine = LocalEngine(scheduler, here.files, here.cache, plan())
        return {outcome.task.key: outcome for outcome in engine.outcomes(iter(tasks()))}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def apart(videos: Path, cache: Path) -> dict[str, Outcome]:
    return on_a_cluster(videos, cache)


def test_a_cluster_and_one_machine_say_the_same(apart: dict[str, Outcome], videos: Path, tmp_path: Path):
    here = on_one_machine(videos, tmp_path)
    assert apart.keys() == here.keys() == {"1", "2", "3", "4", "5", "6"}
    for key, outcome in apart.items():
        other = here[key]
        if isinstance(outcome, Failed):
            assert other == outcome
            continue
        assert isinstance(outcome, Predicted)
        assert isinstance(other, Predicted)
        assert [row["value"] for row in outcome.entry["result"]] == [row["value"] for row in other.entry["result"]]
        assert outcome.entry["model_version"] == plan().version
    assert [key for key, outcome in sorted(apart.items()) if isinstance(outcome, Failed)] == ["4", "5", "6"]


def test_what_was_predicted_before_is_not_asked_again(apart: dict[str, Outcome], videos: Path, cache: Path):
    again = on_a_cluster(videos, cache)
    for key in ("1", "2", "3"):
        one, other = apart[key], again[key]
        assert isinstance(one, Predicted)
        assert isinstance(other, Predicted)
        assert (other.is_kept, other.entry) == (True, one.entry)
        assert "generate" not in other.seconds
