"""A model in a process of its own: what it answers, and what is left when it is killed, hangs or breaks."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model_inputs import make_clip
from omni_timeline.answers.answer import Answer
from omni_timeline.errors import ModelError, ModelLostError, RequestError
from omni_timeline.model.family import Row
from omni_timeline.model.isolated import IsolatedModel, models_on
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.wire import Load, Message, receive
from omni_timeline.processes import environment_without_secrets

LOADING = 120.0  # s, on a busy machine
DEMO = Load("demo", device="cpu")


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + LOADING
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def row(seconds: float = 3.0, prompt: Prompt | None = None) -> Row:
    clip = make_clip(seconds, 10, sound=False)
    return Row(clip, prompt or Prompt(), 2 * clip.times.second_per_frame)


@pytest.fixture(scope="module")
def model() -> Iterator[IsolatedModel]:
    model = IsolatedModel(DEMO)
    model.start()
    yield model
    model.close()


def test_the_version_of_a_local_checkpoint_is_known_at_once_and_torch_stays_outside(demo_model: OmniModel):
    model = IsolatedModel(DEMO)
    model.start()
    assert model.wait_for_version(5.0) == demo_model.version
    assert (model.state, model.facts) == ("loading", None)
    model.close()
    code = "import sys, omni_timeline.model.isolated; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0


def test_it_answers_what_the_same_model_answers_here(model: IsolatedModel, demo_model: OmniModel):
    assert model.wait(LOADING)
    rows = [row(3.0), row(5.0, Prompt("What is to be seen, and when?"))]
    answered = model.ask(rows)
    for theirs, ours in zip(answered.answers, demo_model.answer(rows), strict=True):
        assert isinstance(theirs, Answer)
        assert (theirs.text, theirs.token_ids) == (ours.text, ours.token_ids)
    assert answered.seconds > 0
    assert model.facts == demo_model.facts
    assert model.silent_seconds == 0.0


def test_an_error_of_one_row_is_that_rows(model: IsolatedModel):
    model.wait(LOADING)
    good, bad, fine = model.ask([row(), row(prompt=Prompt("<|im_end|>")), row(4.0)]).answers
    assert isinstance(good, Answer)
    assert isinstance(fine, Answer)
    assert isinstance(bad, RequestError)
    assert "<|im_end|>" in str(bad)


def test_a_process_that_is_killed_while_it_answers_is_lost_and_the_next_one_answers(model: IsolatedModel):
    model.wait(LOADING)
    first, loads = model.process_id, model.loads
    assert first is not None
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(model.ask, [row(40.0)] * 16)
        wait_until(lambda: model.silent_seconds > 0)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(ModelLostError, match="of no more use: it ended"):
            asked.result()
    assert model.wait(LOADING)
    assert isinstance(model.ask([row()]).answers[0], Answer)
    assert model.process_id != first
    assert model.loads == loads + 1


def test_a_connection_is_not_closed_under_who_is_about_to_read(model: IsolatedModel, monkeypatch: pytest.MonkeyPatch):
    """Its descriptor would be the next process's, and who reads would wait until that one says something."""
    model.wait(LOADING)
    is_open: list[bool] = []

    def read_late(peer: socket.socket) -> Message:
        if not is_open:
            assert model.process_id is not None
            os.kill(model.process_id, signal.SIGKILL)
            wait_until(lambda: model.state == "loading")
            time.sleep(0.5)
            is_open.append(peer.fileno() >= 0)
        return receive(peer)

    monkeypatch.setattr("omni_timeline.model.isolated.receive", read_late)
    with pytest.raises(ModelLostError, match="of no more use: it ended"):
        model.ask([row()])
    assert is_open == [True]
    assert model.wait(LOADING)
    assert isinstance(model.ask([row()]).answers[0], Answer)


def test_a_process_that_hangs_is_ended_after_the_silence_it_may_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hangs = tmp_path / "hangs"
    hangs.touch()
    monkeypatch.setenv("BREAKS", f"hangs {hangs}")
    model = IsolatedModel(DEMO, silence_seconds=30.0, worker="broken_worker")  # a busy machine is slow to load
    model.start()
    assert model.wait(LOADING)
    first = model.process_id
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(model.ask, [row()])
        wait_until(lambda: model.silent_seconds > 0.2)
        with pytest.raises(ModelLostError, match="no sign of life for 30 s"):
            asked.result()
    assert model.wait(LOADING)
    assert model.process_id != first
    model.close()


def test_a_process_that_hangs_before_it_takes_the_rows_is_silent_too(model: IsolatedModel):
    model.wait(LOADING)
    process = model.process_id
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(model.ask, [row() for _ in range(30)])  # more than a socket holds
        try:
            wait_until(lambda: model.silent_seconds > 0.2)
        finally:
            os.kill(process, signal.SIGCONT)
        assert len(asked.result(LOADING).answers) == 30


def test_an_error_that_nobody_foresaw_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "broken"
    broken.touch()
    monkeypatch.setenv("BREAKS", f"cuda {broken}")
    model = IsolatedModel(DEMO, worker="broken_worker")
    model.start()
    assert model.wait(LOADING)
    with pytest.raises(ModelLostError, match="CUDA error: an illegal memory access"):
        model.ask([row()])
    assert model.wait(LOADING)
    assert isinstance(model.ask([row()]).answers[0], Answer)
    model.close()


def test_a_process_that_dies_while_it_loads_is_started_again():
    model = IsolatedModel(DEMO)
    model.start()
    while model.process_id is None:
        time.sleep(0.01)
    os.kill(model.process_id, signal.SIGKILL)
    assert model.wait(LOADING)
    assert model.loads == 1
    model.close()


def test_a_checkpoint_that_is_none_is_said_to_be_none():
    model = IsolatedModel(Load("/nowhere/at/all"))
    model.start()
    with pytest.raises(ModelError, match="There is no folder /nowhere/at/all"):
        model.wait(LOADING)
    assert model.state == "failed"
    model.close()


def test_closing_ends_the_process():
    model = IsolatedModel(DEMO)
    model.start()
    while model.process_id is None:
        time.sleep(0.01)
    process = model.process_id
    model.close()
    assert not Path(f"/proc/{process}").exists()


def test_each_device_has_a_model_of_its_own_and_the_cores_are_shared_out():
    models = models_on(["cpu", "cpu"], Load("demo"))
    assert [model.load for model in models] == [DEMO, DEMO]
    assert models[0] is not models[1]


def test_secrets_do_not_go_along():
    given = {"LABEL_STUDIO_API_KEY": "a", "BASIC_AUTH_PASSWORD": "b", "WEBHOOK_SECRET": "c", "HF_HOME": "/d"}
    passed = environment_without_secrets(given)
    assert passed["HF_HOME"] == "/d"
    assert not set(passed) & set(list(given)[:3])
