"""Many videos at a time with the real model: each answered as if it were alone, and what goes wrong costs its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from omni_timeline.errors import DecoderLostError, MediaError, ModelError, OmniTimelineError
from omni_timeline.media.isolated import Decoder
from omni_timeline.media.workers import Worker
from omni_timeline.model.isolated import IsolatedModel, models_on
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.backlog import Backlog
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import ANSWERING, OPENING, Failure, Prediction, Priority, Progress
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.synthetic import LABELS, draw_scene, write_video

DEMO = Load("demo", device="cpu")
OPTIONS = PredictOptions(labels=LABELS, window_seconds=20.0)


def drawn(folder: Path, seed: int, duration: float) -> Path:
    """A clip of the demo world; every other one has sound."""
    scene = draw_scene(np.random.default_rng(seed), duration, sound=seed % 2 == 1)
    return write_video(scene, folder / f"{seed}.mp4", fps=10, height=56, width=84)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short ones and, in their midst, one of several windows."""
    folder = tmp_path_factory.mktemp("videos")
    return [drawn(folder, seed, 90.0 if seed == 3 else 3.0 + seed) for seed in range(10)]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Scheduler]:
    with Scheduler([IsolatedModel(DEMO)], decoders=2) as started:
        yield started


def spans(found: Prediction | Failure) -> list[tuple[float, float, str]]:
    assert isinstance(found, Prediction), found
    return [(segment.start, segment.end, segment.label) for segment in found.segments]


def test_each_video_is_predicted_as_if_it_were_alone_and_in_its_order(
    scheduler: Scheduler, demo_model: OmniModel, videos: list[Path]
):
    alone = list(Pipeline(demo_model).predict_all(videos, OPTIONS))
    together = list(scheduler.predict_all(videos, OPTIONS))
    assert [found.path for found in together] == videos
    assert [spans(found) for found in together] == [spans(found) for found in alone]
    for ours, theirs in zip(together, alone, strict=True):
        assert isinstance(ours, Prediction)
        assert isinstance(theirs, Prediction)
        assert (ours.model_version, ours.duration, ours.text) == (theirs.model_version, theirs.duration, theirs.text)
    assert scheduler.statistics.lately()["windows_in_a_batch"] > 1.0


def test_options_may_differ_within_a_batch(scheduler: Scheduler, demo_model: OmniModel, videos: list[Path]):
    asked = [OPTIONS, PredictOptions(), PredictOptions(constrained=False), PredictOptions(max_new_tokens=20, frames=24)]
    futures = [scheduler.submit(videos[number], options) for number, options in enumerate(asked)]
    for number, (future, options) in enumerate(zip(futures, asked, strict=True)):
        assert spans(future.result()) == spans(Pipeline(demo_model).predict(videos[number], options))


def test_a_closer_look_is_a_round_of_its_own(scheduler: Scheduler, demo_model: OmniModel, videos, monkeypatch):
    monkeypatch.setattr("omni_timeline.pipeline.refine.SURE_DIGITS", 1.1)  # every edge is worth a look
    options = PredictOptions(labels=LABELS, window_seconds=40.0, refine=True)
    steps: list[Progress] = []
    found = scheduler.predict(videos[3], options, steps.append)
    assert spans(found) == spans(Pipeline(demo_model).predict(videos[3], options))
    assert {step.stage for step in steps} == {OPENING, ANSWERING, "windows", "refining"}
    assert all(step.done == step.total for step in steps if step.stage == "refining" and step is steps[-1])


def test_a_video_that_fails_does_not_cost_the_others(scheduler: Scheduler, videos: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video at all")
    missing = tmp_path / "missing.mp4"
    found = list(scheduler.predict_all([videos[0], broken, missing, videos[1]], OPTIONS))
    assert [type(each) for each in found] == [Prediction, Failure, Failure, Prediction]
    assert isinstance(found[1], Failure)
    assert isinstance(found[1].error, MediaError)


class Killed(Decoder):
    """A decoder whose processes are killed, the first so many of them."""

    def __init__(self, kills: int) -> None:
        super().__init__()
        self.left = kills
        self.start = self._workers._start
        self._workers._start = self.start_and_kill  # type: ignore[method-assign]

    def start_and_kill(self, group: str | None) -> Worker:
        worker = self.start(group)
        if self.left:
            self.left -= 1
            os.kill(worker.process, signal.SIGKILL)
        return worker


@pytest.mark.parametrize("kills", [1, 2])
def test_a_video_whose_decoder_is_killed_is_decoded_once_more(kills: int, videos: list[Path]):
    """By hand, or by a kernel short of memory: one video at a time, so that it is that one's process."""
    with Scheduler([IsolatedModel(DEMO)], decoders=1, opener=Killed(kills)) as scheduler:
        first, second = scheduler.predict_all(videos[:2], OPTIONS)
    if kills == 1:
        assert isinstance(first, Prediction)
    else:
        assert isinstance(first, Failure)
        assert isinstance(first.error, DecoderLostError)
    assert isinstance(second, Prediction)


def workers_of(process: int) -> list[int]:
    """The processes of this one that decode videos, the newest last; without those that have just ended."""
    found = []
    for each in psutil.Process(process).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "omni_timeline.media.worker" in each.cmdline():
                found.append(each.pid)
    return sorted(found)


def test_a_question_is_answered_while_a_long_video_is_at_work(
    scheduler: Scheduler, videos: list[Path], tmp_path_factory: pytest.TempPathFactory
):
    long = drawn(tmp_path_factory.mktemp("long"), 21, 600.0)
    begun = threading.Event()
    background = scheduler.submit(
        long, OPTIONS, priority=Priority.BACKGROUND, on_progress=lambda step: begun.set() if step.done else None
    )
    assert begun.wait(60)
    assert spans(scheduler.predict(videos[0], OPTIONS, priority=Priority.INTERACTIVE))
    assert not background.done()
    assert spans(background.result())


def test_with_room_for_one_clip_all_videos_are_answered_and_a_question_too(scheduler: Scheduler, videos: list[Path]):
    with Scheduler([IsolatedModel(DEMO)], decoders=2, memory_bytes=1) as small:
        waiting = [small.submit(video, OPTIONS) for video in videos[:5]]
        question = small.submit(videos[5], OPTIONS, priority=Priority.INTERACTIVE)
        expected = list(scheduler.predict_all(videos[:6], OPTIONS))
        assert [spans(each.result()) for each in (*waiting, question)] == [spans(each) for each in expected]


def test_a_mistake_between_decoding_and_the_model_fails_what_it_was_about_and_no_more(
    scheduler: Scheduler, videos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    def mistaken(step: Progress) -> None:
        if step.stage == ANSWERING:
            raise ZeroDivisionError

    with pytest.raises(OmniTimelineError, match="Unexpected ZeroDivisionError; the log says more"):
        scheduler.predict(videos[0], OPTIONS, mistaken)
    next_batch, mistakes = Backlog.next_batch, [ZeroDivisionError()]

    def mistaken_once(backlog: Backlog, budget: int, now: float) -> Any:
        if backlog.ready and mistakes:
            raise mistakes.pop()
        return next_batch(backlog, budget, now)

    monkeypatch.setattr(Backlog, "next_batch", mistaken_once)
    with pytest.raises(OmniTimelineError, match="Unexpected ZeroDivisionError; the log says more"):
        scheduler.predict(videos[0], OPTIONS)
    assert spans(scheduler.predict(videos[0], OPTIONS))


def test_without_a_model_every_video_says_why():
    with Scheduler([IsolatedModel(Load("/nowhere/at/all"))]) as started:
        early = started.submit(Path("a.mp4"))
        with pytest.raises(ModelError, match="no folder /nowhere"):
            early.result(60)
        with pytest.raises(ModelError, match="no folder /nowhere"):
            started.predict(Path("b.mp4"))


def test_what_is_not_done_at_the_end_is_cancelled(videos: list[Path]):
    started = Scheduler([IsolatedModel(DEMO)])
    started.start()
    future = started.submit(videos[3], OPTIONS)
    started.close()
    assert future.cancelled()
    assert started.submit(videos[0]).cancelled()


# --- several devices, and processes that die -------------------------------------------------------------------------
def test_two_devices_share_the_work_and_either_may_die(videos: list[Path]):
    with Scheduler(models_on(["cpu", "cpu"], Load("demo")), decoders=2) as started:
        for model in started.models:
            assert model.wait(120)
        expected = [spans(found) for found in started.predict_all(videos, OPTIONS)]
        futures = [started.submit(path, OPTIONS) for path in videos * 2]
        first = started.models[0].process_id
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert [spans(future.result(300)) for future in futures] == expected * 2
        assert started.models[0].wait(120)
        assert started.models[0].loads == 2


def test_a_device_that_hangs_is_replaced_and_its_videos_are_answered(videos: list[Path]):
    with Scheduler(models_on(["cpu", "cpu"], Load("demo"), silence_seconds=30.0), decoders=2) as started:
        for model in started.models:
            assert model.wait(120)
        expected = [spans(found) for found in started.predict_all(videos, OPTIONS)]
        stopped = started.models[0].process_id
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        assert [spans(found) for found in started.predict_all(videos, OPTIONS)] == expected


def test_after_an_error_that_breaks_a_gpu_the_videos_are_tried_elsewhere(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = tmp_path / "broken"
    broken.touch()
    monkeypatch.setenv("BREAKS", f"cuda {broken}")
    with Scheduler([IsolatedModel(DEMO, worker="broken_worker")]) as started:
        found = list(started.predict_all(videos[:4], OPTIONS))
        assert all(isinstance(each, Prediction) for each in found), found
        assert started.models[0].loads == 2


def test_a_video_that_brings_the_process_down_each_time_costs_itself_only(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BREAKS", f"culprit {videos[2].name}")
    with Scheduler([IsolatedModel(DEMO, worker="broken_worker")]) as started:
        found = list(started.predict_all(videos[:5], OPTIONS))
        assert [type(each) for each in found] == [Prediction, Prediction, Failure, Prediction, Prediction]
        assert isinstance(found[2], Failure)
        assert "lost 2 times at this video" in str(found[2].error)


def test_batches_that_do_not_fit_into_memory_are_halved_and_stay_small(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BREAKS", "memory 1")
    with Scheduler([IsolatedModel(DEMO, worker="broken_worker")]) as started:
        found = list(started.predict_all(videos, OPTIONS))
        assert all(isinstance(each, Prediction) and not each.is_degraded for each in found), found
        assert started.statistics.lately()["windows_in_a_batch"] < 2.0


def test_a_window_that_does_not_fit_alone_is_looked_at_in_smaller_frames(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("BREAKS", "pixels 2000")
    options = PredictOptions(labels=LABELS, max_pixels=6 * 784)
    with Scheduler([IsolatedModel(DEMO, worker="broken_worker")]) as started:
        found = started.predict(videos[0], options)
        assert found.is_degraded
        assert started.checkpoint_version is not None
        assert found.model_version == options.version(started.checkpoint_version)
        assert any("do not fit into memory" in warning for warning in found.warnings)
