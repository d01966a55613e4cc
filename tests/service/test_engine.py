"""The real model in its own process: what it answers, and what is left when it is killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_timeline.errors import MediaError, ModelError
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import Progress
from omni_timeline.processes import environment_without_secrets
from omni_timeline.service.engine import Engine, Load
from omni_timeline.synthetic import LABELS

LOADING = 120.0  # s, on a busy machine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(Load("demo", device="cpu"))
    yield engine
    engine.close()


def test_the_version_is_known_before_the_model_is_loaded_and_torch_stays_outside(demo_model: OmniModel):
    engine = Engine(Load("demo", device="cpu"))
    assert engine.wait_for_version(LOADING) == demo_model.version
    assert engine.state == "loading"
    engine.close()
    code = "import sys, omni_timeline.service.engine; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_it_predicts_what_the_pipeline_does(engine: Engine, demo_model: OmniModel, sounding_video: Path):
    assert engine.wait(LOADING)
    options, steps = PredictOptions(labels=LABELS), list[Progress]()
    found = engine.predict(sounding_video, options, steps.append)
    expected = Pipeline(demo_model).predict(sounding_video, options)
    assert [(s.start, s.end, s.label) for s in found.segments] == [(s.start, s.end, s.label) for s in expected.segments]
    assert found.model_version == options.version(engine.checkpoint_version or "") == expected.model_version
    assert set(found.seconds) == {"decode", "generate", "read"}
    assert steps[-1] == Progress("windows", 1, 1)
    assert engine.description
    assert engine.description.startswith(demo_model.version)


def test_an_error_comes_over_as_it_was_raised(engine: Engine, tmp_path: Path):
    with pytest.raises(MediaError, match=r"missing\.mp4"):
        engine.predict(tmp_path / "missing.mp4", PredictOptions())


def test_a_video_that_is_being_predicted_when_the_process_dies_is_predicted_by_the_next(
    engine: Engine, sounding_video: Path
):
    engine.wait(LOADING)
    expected = engine.predict(sounding_video, PredictOptions())
    first, loads, killed = engine.process_id, engine.loads, threading.Event()

    def kill(_: Progress) -> None:
        if not killed.is_set():
            killed.set()
            assert first is not None
            os.kill(first, signal.SIGKILL)

    assert engine.predict(sounding_video, PredictOptions(), kill) == expected
    assert killed.is_set()
    assert engine.process_id != first
    assert engine.loads == loads + 1


def test_a_video_that_kills_the_process_each_time_is_told_of(engine: Engine, sounding_video: Path):
    engine.wait(LOADING)

    def kill(_: Progress) -> None:
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGKILL)

    with pytest.raises(ModelError, match="ended 2 times at this video"):
        engine.predict(sounding_video, PredictOptions(), kill)
    assert engine.predict(sounding_video, PredictOptions()).segments


def test_a_process_that_dies_while_it_loads_is_started_again():
    engine = Engine(Load("demo", device="cpu"))
    engine.wait_for_version(LOADING)
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)
    assert engine.wait(LOADING)
    assert engine.loads == 1
    engine.close()


def test_a_checkpoint_that_is_none_is_said_to_be_none():
    engine = Engine(Load("/nowhere/at/all"))
    with pytest.raises(ModelError, match="There is no folder /nowhere/at/all"):
        engine.wait(LOADING)
    assert engine.state == "failed"
    engine.close()


def test_closing_ends_the_process():
    engine = Engine(Load("demo", device="cpu"))
    engine.wait_for_version(LOADING)
    process = engine.process_id
    engine.close()
    assert process is not None
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{process}").exists()


def test_secrets_do_not_go_along():
    given = {"LABEL_STUDIO_API_KEY": "a", "BASIC_AUTH_PASSWORD": "b", "WEBHOOK_SECRET": "c", "HF_HOME": "/d"}
    passed = environment_without_secrets(given)
    assert passed["HF_HOME"] == "/d"
    assert not set(passed) & set(list(given)[:3])
