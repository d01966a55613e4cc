from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import MediaError, OutOfMemoryError, RequestError
from omni_timeline.media.clip import Clip
from omni_timeline.media.video import load_clip
from omni_timeline.metrics import boundary_errors, event_f1
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import Failure, Prediction, Progress
from omni_timeline.pipeline.reading import Reading, read_answer
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, draw_scene, write_video

RAW = PredictOptions(constrained=False)  # answers in the words of the test


def answer(text: str, *, complete: bool = True) -> Answer:
    """As a model would give it that takes each character for a token, and is sure of it."""
    sure = (0.0,) * len(text)
    return Answer(
        text=text,
        token_ids=tuple(map(ord, text)),
        log_probabilities=sure,
        complete=complete,
        offsets=tuple(range(len(text))),
        numerals=((-math.inf,) * 11,) * len(text),
    )


def read(clip: Clip, given: Answer, options: PredictOptions = RAW) -> Reading:
    return read_answer(given, clip, options, Clock(options.remap, QWEN2_5_OMNI))


def spans(prediction: Prediction | Reading) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in prediction.segments]


@pytest.mark.parametrize("video", ["silent_video", "sounding_video"])
def test_whatever_the_checkpoint_says_becomes_segments_inside_the_video(
    demo_model: OmniModel, video: str, request: pytest.FixtureRequest
):
    path = request.getfixturevalue(video)
    prediction = Pipeline(demo_model).predict(path)
    assert prediction.path == path
    assert prediction.duration == pytest.approx(8.0, abs=0.15)
    assert all(0 <= start < end <= prediction.duration for start, end in spans(prediction))
    assert list(prediction.segments) == sorted(prediction.segments)


def test_the_same_video_gives_the_same_prediction_again(demo_model: OmniModel, sounding_video: Path):
    pipeline = Pipeline(demo_model)
    assert pipeline.predict(sounding_video) == pipeline.predict(sounding_video)


def test_the_answer_is_kept_word_for_word(silent_video: Path):
    prediction = read(load_clip(silent_video), answer("1. From 1.0 to 2.0, red square.\nGoodbye!"))
    assert prediction.text == "1. From 1.0 to 2.0, red square.\nGoodbye!"
    assert spans(prediction) == [(1.0, 2.0)]


def test_of_a_window_the_times_are_those_of_the_whole_video(silent_video: Path):
    # The model is never told where its window begins: its 1.0 is one second into the window.
    clip = load_clip(silent_video, start=3.0, end=6.0)
    reading = read(clip, answer("From 1.0 to 2.0, red square."))
    assert spans(reading) == [pytest.approx((clip.start + 1.0, clip.start + 2.0))]


def test_nominal_times_are_left_as_they_are_and_clamped(silent_video: Path):
    clip = load_clip(silent_video)
    nominal = replace(RAW, remap="nominal")
    assert spans(read(clip, answer("From 2.0 to 20.0, red square."), nominal)) == [(2.0, clip.end)]


def test_rescaled_times_are_nominal_ones_stretched_to_the_true_duration(silent_video: Path):
    # 50 frames are 25 grids of one nominal second: what the model calls 12 s is half way through the frames.
    clip = load_clip(silent_video)
    half = QWEN2_5_OMNI.second_per_grid(clip) * 12
    assert half == pytest.approx((clip.times.seconds[-1] - clip.times.seconds[0]) / 2, rel=0.03)
    prediction = read(clip, answer("From 12.0 to 30.0, red square."), replace(RAW, remap="rescale"))
    assert spans(prediction) == [pytest.approx((half, clip.end))]


def test_sound_cannot_be_rescaled(demo_model: OmniModel, sounding_video: Path):
    with pytest.raises(RequestError, match=r"sounding\.mp4 has sound"):
        Pipeline(demo_model).predict(sounding_video, PredictOptions(remap="rescale"))


def test_an_answer_that_was_cut_off_is_said_to_be(silent_video: Path):
    clip = load_clip(silent_video)
    assert read(clip, answer("From 1.0 to 2.0, red square.\n")).warnings == ()
    cut = read(clip, answer("From 1.0 to 2.0, red square.\nFrom 3", complete=False))
    assert spans(cut) == [(1.0, 2.0)]
    assert cut.warnings[-1].startswith("the answer was cut off")


def test_one_bad_video_does_not_cost_the_others(demo_model: OmniModel, silent_video: Path, tmp_path: Path):
    missing = tmp_path / "missing.mp4"
    first, second, third = Pipeline(demo_model).predict_all([silent_video, missing, silent_video])
    assert isinstance(first, Prediction)
    assert isinstance(second, Failure)
    assert second.path == missing
    assert isinstance(second.error, MediaError)
    assert first == third


def test_frames_of_a_size_that_cannot_be_are_refused(demo_model: OmniModel, silent_video: Path):
    with pytest.raises(RequestError):
        Pipeline(demo_model).predict(silent_video, PredictOptions(max_pixels=1))


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Segment, ...]]:
    """100 s with events all over it, two of them across the borders of windows of 20 s."""
    scene = draw_scene(np.random.default_rng(8), 100.0, sound=True)
    return write_video(scene, tmp_path_factory.mktemp("videos") / "long.mp4", fps=10), scene.events


def test_a_long_video_is_seen_in_windows_and_told_of_in_its_own_seconds(
    demo_model: OmniModel, long_video: tuple[Path, tuple[Segment, ...]]
):
    path, events = long_video
    steps: list[Progress] = []
    prediction = Pipeline(demo_model).predict(path, PredictOptions(window_seconds=40, labels=LABELS), steps.append)
    assert event_f1(events, prediction.segments).f1 >= 0.8
    assert prediction.duration == pytest.approx(100.0, abs=0.2)
    assert [(step.stage, step.total) for step in steps] == [("windows", 3)] * len(steps)
    assert steps[-1].done == 3


def test_refining_moves_edges_and_nothing_else(demo_model: OmniModel, long_video: tuple[Path, tuple[Segment, ...]]):
    path, events = long_video
    options = PredictOptions(window_seconds=40, labels=LABELS)
    once, twice = (Pipeline(demo_model).predict(path, asked) for asked in (options, replace(options, refine=True)))
    assert [segment.label for segment in twice.segments] == [segment.label for segment in once.segments]
    errors = [np.median(boundary_errors(events, found.segments)) for found in (once, twice)]
    assert errors[1] < errors[0]


def test_segments_below_the_threshold_are_left_out(demo_model: OmniModel, sounding_video: Path):
    everything = Pipeline(demo_model).predict(sounding_video, PredictOptions()).segments
    assert everything
    scores = sorted(segment.score or 0.0 for segment in everything)
    kept = Pipeline(demo_model).predict(sounding_video, PredictOptions(score_threshold=scores[-1])).segments
    assert [segment.score for segment in kept] == [scores[-1]]


def test_a_batch_that_does_not_fit_into_memory_is_halved(demo_model: OmniModel, long_video, monkeypatch):
    """The model here has room for one clip at a time, as a small GPU has."""
    path, _ = long_video
    options = PredictOptions(window_seconds=40, labels=LABELS)
    expected = Pipeline(demo_model).predict(path, options)
    roomy = OmniModel.generate

    def generate(self: OmniModel, inputs: Any, **options: Any) -> list[Answer]:
        if len(inputs["input_ids"]) > 1:
            raise OutOfMemoryError("too much")
        return roomy(self, inputs, **options)

    monkeypatch.setattr(OmniModel, "generate", generate)
    assert [s.label for s in Pipeline(demo_model).predict(path, options).segments] == [
        s.label for s in expected.segments
    ]


def test_a_clip_that_does_not_fit_into_memory_is_shown_in_smaller_frames(demo_model, silent_video, monkeypatch):
    roomy, sizes = OmniModel.generate, []

    def generate(self: OmniModel, inputs: Any, **options: Any) -> list[Answer]:
        sizes.append(inputs["pixel_values_videos"].shape[0])
        if len(sizes) == 1:
            raise OutOfMemoryError("too much")
        return roomy(self, inputs, **options)

    monkeypatch.setattr(OmniModel, "generate", generate)
    prediction = Pipeline(demo_model).predict(silent_video, PredictOptions(max_pixels=6 * 784))
    assert prediction.model_version == PredictOptions(max_pixels=6 * 784).version(demo_model.version)
    assert sizes[1] < sizes[0]
    assert any("do not fit into memory" in warning for warning in prediction.warnings)
    assert prediction.is_degraded


def test_inspect_shows_where_the_models_own_clock_puts_the_frames(demo_model: OmniModel, sounding_video: Path):
    report = Pipeline(demo_model).inspect(sounding_video)
    [window] = report["windows"]
    assert len(window["frame_seconds"]) == 50
    assert len(window["grid_seconds"]) == 25
    half_a_frame = 0.5 / 10
    for claimed, true in zip(window["grid_seconds"], window["frame_seconds"][::2], strict=True):
        assert claimed == pytest.approx(true, abs=0.04 + half_a_frame)
    assert window["audio_tokens"] == pytest.approx(25 * (window["end"] - window["start"]), abs=1)
    assert window["video_tokens"] % 25 == 0
    assert window["prompt_tokens"] > window["video_tokens"] + window["audio_tokens"]


def test_inspect_of_nominal_time_shows_what_goes_wrong(demo_model: OmniModel, silent_video: Path):
    [window] = Pipeline(demo_model).inspect(silent_video, PredictOptions(remap="nominal"))["windows"]
    assert window["second_per_grid"] == 1.0
    assert window["grid_seconds"] == [float(second) for second in range(25)]  # of a video of 8 s
    assert window["audio_tokens"] == 0
