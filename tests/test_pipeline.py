from __future__ import annotations

from pathlib import Path

import pytest

from omni_timeline.errors import MediaError, RequestError
from omni_timeline.media import load_clip
from omni_timeline.model import OmniModel, Output
from omni_timeline.pipeline import Failure, Pipeline, Prediction
from omni_timeline.prompts import Prompt
from omni_timeline.segments import Segment


def answer(text: str, *, complete: bool = True) -> Output:
    return Output(text=text, token_ids=(), log_probabilities=(), complete=complete)


def spans(prediction: Prediction) -> list[tuple[float, float]]:
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


def test_the_answer_is_kept_word_for_word(demo_model: OmniModel, silent_video: Path):
    pipeline = Pipeline(demo_model)
    prediction = pipeline.read(pipeline.load(silent_video), answer("1. From 1.0 to 2.0, red square.\nGoodbye!"))
    assert prediction.text == "1. From 1.0 to 2.0, red square.\nGoodbye!"
    assert spans(prediction) == [(1.0, 2.0)]


def test_of_a_window_the_times_are_those_of_the_whole_video(demo_model: OmniModel, silent_video: Path):
    # The model is never told where its window begins: its 1.0 is one second into the window.
    clip = load_clip(silent_video, start=3.0, end=6.0)
    prediction = Pipeline(demo_model).read(clip, answer("From 1.0 to 2.0, red square."))
    assert spans(prediction) == [pytest.approx((clip.start + 1.0, clip.start + 2.0))]
    assert prediction.duration == pytest.approx(8.0, abs=0.15)


def test_nominal_times_are_left_as_they_are_and_clamped(demo_model: OmniModel, silent_video: Path):
    pipeline = Pipeline(demo_model, remap="nominal")
    prediction = pipeline.read(pipeline.load(silent_video), answer("From 2.0 to 20.0, red square."))
    assert spans(prediction) == [(2.0, prediction.duration)]


def test_rescaled_times_are_nominal_ones_stretched_to_the_true_duration(demo_model: OmniModel, silent_video: Path):
    # 50 frames are 25 grids of one nominal second: what the model calls 12 s is half way through the frames.
    pipeline = Pipeline(demo_model, remap="rescale")
    clip = pipeline.load(silent_video)
    half = clip.times.second_per_grid * 12
    assert half == pytest.approx((clip.times.seconds[-1] - clip.times.seconds[0]) / 2, rel=0.03)
    prediction = pipeline.read(clip, answer("From 12.0 to 30.0, red square."))
    assert spans(prediction) == [pytest.approx((half, clip.end))]


def test_sound_cannot_be_rescaled(demo_model: OmniModel, sounding_video: Path):
    with pytest.raises(RequestError, match=r"sounding\.mp4 has sound"):
        Pipeline(demo_model, remap="rescale").predict(sounding_video)


def test_an_answer_that_was_cut_off_is_said_to_be(demo_model: OmniModel, silent_video: Path):
    pipeline = Pipeline(demo_model)
    clip = pipeline.load(silent_video)
    assert pipeline.read(clip, answer("From 1.0 to 2.0, red square.\n")).warnings == ()
    cut = pipeline.read(clip, answer("From 1.0 to 2.0, red square.\nFrom 3", complete=False))
    assert cut.segments == (Segment(1.0, 2.0, "red square"),)
    assert cut.warnings[-1].startswith("the answer was cut off")


def test_one_bad_video_does_not_cost_the_others(demo_model: OmniModel, silent_video: Path, tmp_path: Path):
    missing = tmp_path / "missing.mp4"
    first, second, third = Pipeline(demo_model).predict_all([silent_video, missing, silent_video])
    assert isinstance(first, Prediction)
    assert isinstance(second, Failure)
    assert second.path == missing
    assert isinstance(second.error, MediaError)
    assert first == third


def test_every_setting_that_changes_the_prediction_changes_the_version(demo_model: OmniModel):
    def version(**settings: object) -> str:
        return Pipeline(demo_model, **settings).model_version  # type: ignore[arg-type]

    assert version() == version()
    assert version().startswith(f"{demo_model.version}-")
    changed = [
        version(frames=24),
        version(max_pixels=2 * 784),
        version(prompt=Prompt(user="What happens?")),
        version(prompt=Prompt(system="")),
        version(remap="nominal"),
        version(remap="rescale"),
        version(max_new_tokens=64),
    ]
    assert len({version(), *changed}) == len(changed) + 1


def test_an_odd_number_of_frames_is_rounded_as_the_models_own_sampler_does(demo_model: OmniModel):
    assert Pipeline(demo_model, frames=49).model_version == Pipeline(demo_model, frames=48).model_version


@pytest.mark.parametrize("settings", [{"frames": 0}, {"remap": "guess"}, {"max_new_tokens": 0}, {"max_pixels": 1}])
def test_settings_that_cannot_be_are_refused(demo_model: OmniModel, settings: dict[str, object]):
    with pytest.raises(RequestError):
        Pipeline(demo_model, **settings)  # type: ignore[arg-type]


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
    [window] = Pipeline(demo_model, remap="nominal").inspect(silent_video)["windows"]
    assert window["second_per_grid"] == 1.0
    assert window["grid_seconds"] == [float(second) for second in range(25)]  # of a video of 8 s
    assert window["audio_tokens"] == 0
