"""Every token at its true time, for the model's own `get_rope_index`; and each way of getting that wrong, sprung."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BatchFeature,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLVideoProcessor,
)

from model_inputs import EPSILON, RATES, SHORT, STEP, Laid, Rate, half_gap, make_clip
from omni_timeline.errors import MediaError, ModelError, RequestError
from omni_timeline.media.clip import Clip
from omni_timeline.model.checkpoint import DEMO_FOLDER
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.family import (
    DEFAULT_MAX_PIXELS,
    FRAMES_PER_GRID,
    NOMINAL_SECOND_PER_GRID,
    QWEN2_5_OMNI,
    SYSTEM_PROMPT,
)
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs, keep_grids_whole
from omni_timeline.model.qwen2_5_omni.model import OmniModel


@pytest.fixture(scope="module")
def model(demo_model: OmniModel) -> Any:
    return demo_model.model


@pytest.fixture(scope="module")
def processor(demo_model: OmniModel) -> Any:
    return demo_model.processor


@pytest.fixture(scope="module")
def real(processor: Any, model: Any) -> RealTimeInputs:
    return RealTimeInputs(processor, model)


@pytest.fixture(scope="module")
def stock() -> Any:
    """The same weights as transformers loads them, with the stock interleaving."""
    return Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(DEMO_FOLDER)


def stock_inputs(processor: Any, clip: Clip, seconds_per_frame: float | None = None, **videos_kwargs: Any) -> Any:
    """What Qwen2.5-Omni's processor makes of a clip under transformers 5.23; told the frame spacing, or not."""
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
        {"role": "user", "content": [{"type": "video", "video": ""}, {"type": "text", "text": Prompt().user}]},
    ]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    sound = {} if clip.audio is None else {
        "audio": [clip.audio], "audio_from_video_indices": [0], "load_audio_from_video": True,
    }  # fmt: skip
    if seconds_per_frame is not None:
        videos_kwargs["fps"] = 1 / seconds_per_frame
    inputs = processor(
        text=[text],
        videos=[torch.from_numpy(clip.frames)],
        videos_kwargs={"do_sample_frames": False, "cap_pixels_per_frame": False, **videos_kwargs},
        return_tensors="pt",
        **sound,
    )
    inputs["use_audio_in_video"] = clip.audio is not None
    inputs["video_second_per_grid"] = torch.as_tensor(inputs["video_second_per_grid"])
    return inputs


def demo_size(processor: Any) -> dict[str, Any]:
    size = processor.video_processor.size
    return {"size": {"shortest_edge": size["shortest_edge"], "longest_edge": size["longest_edge"]}}


class TestTrueTimes:
    @pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
    @pytest.mark.parametrize("frames", [50, 100])
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("duration", SHORT)
    def test_every_token_is_at_its_true_time(
        self, real: RealTimeInputs, model: Any, duration: float, rate: Rate, frames: int, sound: bool
    ) -> None:
        clip = make_clip(duration, rate, frames, sound=sound)
        Laid(model, real.build([clip])).check(clip, half_gap(duration, rate))

    @pytest.mark.parametrize("frames", [50, 100])
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("duration", [300, 1800])
    def test_so_it_is_in_long_silent_clips(
        self, real: RealTimeInputs, model: Any, duration: float, rate: Rate, frames: int
    ) -> None:
        clip = make_clip(duration, rate, frames, sound=False)
        Laid(model, real.build([clip])).check(clip, half_gap(duration, rate))

    @pytest.mark.parametrize(
        ("duration", "rate", "frames"),
        [(300, 5, 50), (300, 60, 50), (300, 29.97, 100), (300, "vfr", 100), (1800, 29.97, 50), (1800, "vfr", 100)],
    )
    def test_so_it_is_in_long_clips_with_sound(
        self, real: RealTimeInputs, model: Any, duration: float, rate: Rate, frames: int
    ) -> None:
        """1800 s of sound are 45,000 tokens; with 73 s from grid to grid most chunks of 2 s have no grid at all."""
        clip = make_clip(duration, rate, frames, sound=True)
        Laid(model, real.build([clip])).check(clip, half_gap(duration, rate))

    @pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
    def test_a_batch_of_all_durations_is_laid_out_as_each_clip_alone(
        self, real: RealTimeInputs, model: Any, sound: bool
    ) -> None:
        durations = (0.1, 60, 1, 25, 5, 300, 48, 10)
        cases = list(zip(durations, RATES * 2, (50, 100) * 4, strict=False))
        clips = [make_clip(duration, rate, frames, sound=sound) for duration, rate, frames in cases]
        batch = real.build(clips)
        assert len(batch["input_ids"]) == len(cases)
        for row, (clip, (duration, rate, _)) in enumerate(zip(clips, cases, strict=True)):
            laid, alone = Laid(model, batch, row), Laid(model, real.build([clip]))
            laid.check(clip, half_gap(duration, rate))
            assert laid.ids.equal(alone.ids)
            assert laid.positions.equal(alone.positions)
        assert (batch["input_ids"][:, -1] == batch["input_ids"][0, -1]).all(), "rows are padded on the left"

    def test_a_batch_carries_the_pictures_and_sounds_of_its_clips(self, real: RealTimeInputs) -> None:
        clips = [make_clip(2, sound=True), make_clip(7, sound=True, size=(56, 84))]
        batch, alone = real.build(clips), [real.build([clip]) for clip in clips]
        assert batch["pixel_values_videos"].equal(torch.cat([inputs["pixel_values_videos"] for inputs in alone]))
        assert batch["video_grid_thw"].equal(torch.cat([inputs["video_grid_thw"] for inputs in alone]))
        for row, inputs in enumerate(alone):
            columns = int(batch["feature_attention_mask"][row].sum())
            assert columns == inputs["feature_attention_mask"].sum() == inputs["input_features"].shape[-1]
            assert batch["input_features"][row, :, :columns].equal(inputs["input_features"][0])

    def test_a_window_within_a_video_starts_at_zero(self, real: RealTimeInputs, model: Any) -> None:
        clip = make_clip(20, 25, sound=True, start=3600.0)
        laid = Laid(model, real.build([clip]))
        laid.check(clip, 0.02)
        assert laid.grid_tokens[0, 0] == 0.0

    def test_a_picture_that_is_held_for_long_is_at_the_instants_it_was_sampled_for(
        self, real: RealTimeInputs, model: Any
    ) -> None:
        """A slide show: six pictures in a minute. The model is told even times, and sees what is on the screen then."""
        slides = np.array([0.0, 3.0, 11.0, 30.0, 31.0, 54.0])
        clip = make_clip(60, sound=False, seconds=slides)
        laid = Laid(model, real.build([clip]))
        for tokens, shown in zip(laid.grid_tokens, clip.shown[::FRAMES_PER_GRID], strict=True):
            on_screen = slides[slides <= tokens[0] + STEP][-1]
            assert shown == on_screen or tokens[0] == pytest.approx(30.6, abs=0.5)  # a second is no hold at that step

    @settings(max_examples=60)
    @given(duration=st.floats(0.1, 96), frames=st.integers(1, 60))
    def test_layout_and_model_agree_at_any_frame_spacing(
        self, real: RealTimeInputs, model: Any, duration: float, frames: int
    ) -> None:
        """Each computes a grid's chunk for itself; one rounding of difference would misplace a chunk of sound."""
        laid = Laid(model, real.build([make_clip(duration, 30, frames, sound=True)]))
        assert laid.steps_back == 0
        assert laid.audio_seconds == pytest.approx(STEP * np.arange(len(laid.audio_seconds)), abs=EPSILON)
        assert (laid.grid_tokens == laid.grid_tokens[:, :1]).all()

    @pytest.mark.parametrize("samples", [1, 160, 320, 321, 640])
    def test_a_clip_of_one_frame_has_a_token_of_sound(self, real: RealTimeInputs, model: Any, samples: int) -> None:
        """Up to 320 samples the encoder makes no token at all, and the positions of the text would have no start."""
        clip = make_clip(samples / 16_000, 16_000 / samples, sound=True)
        assert len(clip.audio if clip.audio is not None else ()) == samples
        inputs = real.build([clip])
        laid = Laid(model, inputs)
        assert laid.audio_seconds.tolist() == [0.0]
        assert laid.steps_back == 0
        model.generate(**inputs, max_new_tokens=1)


class TestTheSameAsTheProcessor:
    """Where none of the traps is sprung, the tensors are those of Qwen2_5OmniProcessor itself."""

    @pytest.mark.parametrize("duration", [0.4, 1, 5.3, 25, 48])
    @pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
    def test_tokens_pictures_and_sounds_are_equal(
        self, real: RealTimeInputs, processor: Any, stock: Any, duration: float, sound: bool
    ) -> None:
        clip = make_clip(duration, 29.97, sound=sound)
        ours = real.build([clip])
        theirs = stock_inputs(processor, clip, clip.times.second_per_frame, **demo_size(processor))
        assert ours["input_ids"].equal(theirs["input_ids"])
        assert ours["attention_mask"].equal(theirs["attention_mask"])
        assert ours["pixel_values_videos"].equal(theirs["pixel_values_videos"])
        assert ours["video_grid_thw"].equal(theirs["video_grid_thw"])
        assert ours["video_second_per_grid"] == pytest.approx(theirs["video_second_per_grid"])
        assert Laid(stock, ours).positions.equal(Laid(stock, theirs).positions), "with the stock chunks, too"
        if sound:
            columns = ours["input_features"].shape[-1]
            assert theirs["feature_attention_mask"].sum() == columns == ours["feature_attention_mask"].sum()
            torch.testing.assert_close(ours["input_features"], theirs["input_features"][..., :columns])
            assert theirs["input_features"].shape[-1] == 30_000, "300 s of it, whatever the clip"

    def test_the_nominal_clock_is_the_processors_own(self, processor: Any, model: Any, stock: Any) -> None:
        """What the comparison in docs/remap.md calls nominal is what everybody gets who does not say otherwise."""
        clip = make_clip(10, sound=True)
        ours = RealTimeInputs(processor, model).build([clip], second_per_grid=[NOMINAL_SECOND_PER_GRID])
        theirs = stock_inputs(processor, clip, **demo_size(processor))
        assert ours["input_ids"].equal(theirs["input_ids"])
        assert ours["video_second_per_grid"].tolist() == theirs["video_second_per_grid"].tolist() == [1.0]


class FiftyFrames(Qwen2VLVideoProcessor):  # type: ignore[misc]
    def sample_frames(self, metadata: Any, **_: Any) -> torch.Tensor:
        return torch.linspace(0, metadata.total_num_frames - 1, steps=50).long()


class TestTraps:
    """Each one is silent: nothing fails, the times are wrong."""

    def test_nominal_time_is_wrong_by_the_ratio_of_the_frame_rates(
        self, processor: Any, model: Any, real: RealTimeInputs
    ) -> None:
        clip = make_clip(60, sound=False)
        nominal = Laid(model, RealTimeInputs(processor, model).build([clip], second_per_grid=[NOMINAL_SECOND_PER_GRID]))
        assert nominal.grid_tokens[-1, 0] == 24.0
        assert clip.times.grid_seconds(FRAMES_PER_GRID)[-1] == pytest.approx(58.78, abs=0.02)
        assert Laid(model, real.build([clip])).grid_tokens[-1, 0] == pytest.approx(58.78, abs=STEP)

    def test_a_sampler_of_ones_own_is_not_asked_and_when_it_is_the_clock_does_not_follow(self, processor: Any) -> None:
        """The usual script's: 50 frames of whatever comes. What comes is a minute decoded at 2 fps."""
        minute = torch.zeros(120, 3, 56, 56, dtype=torch.uint8)
        theirs = Qwen2_5OmniProcessor.from_pretrained(DEMO_FOLDER)
        theirs.video_processor = FiftyFrames.from_pretrained(DEMO_FOLDER)
        size = demo_size(processor)
        grids = {}
        for sampling in (False, True):
            inputs = theirs(
                text=["<|vision_bos|><|VIDEO|><|vision_eos|>"],
                videos=[minute],
                videos_kwargs={"do_sample_frames": sampling, "cap_pixels_per_frame": False, **size},
                return_tensors="pt",
            )
            grids[sampling] = int(inputs["video_grid_thw"][0, 0])
            assert float(inputs["video_second_per_grid"][0]) == 1.0
        assert grids == {False: 60, True: 25}, "60 s in 60 grids of 1.0 s, or in 25"

    @pytest.mark.parametrize(
        ("duration", "worst_grid", "worst_sound", "sounds_off"),
        [(27.5, 1.92, 0.16, 50), (28, 0.16, 1.96, 150), (58, 1.84, 0.16, 50)],
    )
    def test_a_cast_to_bfloat16_moves_tokens_unless_the_clock_is_kept_out_of_it(
        self, real: RealTimeInputs, model: Any, duration: float, worst_grid: float, worst_sound: float, sounds_off: int
    ) -> None:
        """`inputs.to(model.device).to(model.dtype)` stands in the usual script.

        A grid that slips over the border of a chunk changes places with the sound there, as the tokens do not.
        """
        clip = make_clip(duration, sound=True)
        inputs = real.build([clip])
        exact, cast = Laid(model, inputs), Laid(model, BatchFeature(dict(inputs)).to("cpu").to(torch.bfloat16))
        assert np.abs(cast.grid_tokens - exact.grid_tokens).max() == pytest.approx(worst_grid)
        assert np.abs(cast.audio_seconds - exact.audio_seconds).max() == pytest.approx(worst_sound)
        assert (cast.audio_seconds != exact.audio_seconds).sum() == sounds_off

        ours = inputs.to("cpu").to(torch.bfloat16)
        assert ours is inputs
        assert ours["pixel_values_videos"].dtype == torch.bfloat16
        assert ours["video_second_per_grid"].dtype == torch.float32
        Laid(model, ours).check(clip, 1 / 60)
        Laid(model, inputs.to("cpu", torch.float16)).check(clip, 1 / 60)
        Laid(model, inputs.to(dtype=torch.bfloat16)).check(clip, 1 / 60)

    def test_a_model_that_is_not_told_of_the_sound_gets_nearly_all_positions_wrong(
        self, real: RealTimeInputs, model: Any
    ) -> None:
        inputs = dict(real.build([make_clip(10, sound=True)]))
        told = Laid(model, inputs)
        inputs.pop("use_audio_in_video")
        untold = Laid(model, inputs)
        media = told.is_video | told.is_audio
        assert (told.positions != untold.positions)[media].float().mean() > 0.9

    @pytest.mark.parametrize("sound", [False, True], ids=["silent", "sounding"])
    def test_generate_is_told_of_the_sound_exactly_when_there_is_some(
        self, real: RealTimeInputs, model: Any, sound: bool
    ) -> None:
        inputs = real.build([make_clip(10, sound=sound)]).to("cpu")
        assert inputs["use_audio_in_video"] is sound
        model.generate(**inputs, max_new_tokens=1)
        laid = Laid(model, inputs)
        assert int(model.model.rope_deltas) == int(laid.positions.max()) + 1 - len(laid.ids)

    def test_silent_and_sounding_clips_do_not_share_a_batch(self, real: RealTimeInputs, model: Any) -> None:
        """A silent video counted as sounding would get the positions of plain text: a minute seems 4 s long."""
        silent = make_clip(60, sound=False)
        mislabelled = {**real.build([silent]), "use_audio_in_video": True}
        assert Laid(model, mislabelled).grid_tokens[-1, 0] < 4.1

        with pytest.raises(RequestError, match="build them separately"):
            real.build([silent, make_clip(10, sound=True)])

    def test_seconds_per_grid_put_right_after_the_processor_come_too_late(self, processor: Any, stock: Any) -> None:
        """The processor has laid the tokens out for 2 fps by then."""
        clip = make_clip(40, sound=True)
        inputs = stock_inputs(processor, clip, **demo_size(processor))
        inputs["video_second_per_grid"] = torch.tensor([QWEN2_5_OMNI.second_per_grid(clip)])
        wrong = np.abs(Laid(stock, inputs).audio_seconds - STEP * np.arange(1000)) > STEP / 2
        assert wrong.mean() > 0.8

    def test_the_processor_overrides_the_saved_frame_size(self, processor: Any, real: RealTimeInputs) -> None:
        """Its class has a `size` of its own, 128 to 768 tokens a grid, that wins over the checkpoint's 4 to 8."""
        clip = make_clip(5, sound=False)
        assert stock_inputs(processor, clip)["video_grid_thw"][0, 1:].prod() // 4 >= 128
        assert real.build([clip])["video_grid_thw"].tolist() == [[25, 4, 4]]

    def test_the_processor_cuts_sound_at_300_seconds(self, processor: Any, real: RealTimeInputs, stock: Any) -> None:
        clip = make_clip(310, 5, sound=True)
        kinds = {"stock": stock_inputs(processor, clip, clip.times.second_per_frame, **demo_size(processor))}
        kinds["ours"] = real.build([clip])
        heard = {
            kind: int((inputs["input_ids"] == stock.config.audio_token_id).sum()) for kind, inputs in kinds.items()
        }
        assert heard == {"stock": 7500, "ours": 7750}

    def test_sound_is_not_padded_to_300_seconds(self, real: RealTimeInputs) -> None:
        assert real.build([make_clip(5, sound=True)])["input_features"].shape == (1, 128, 500)

    @pytest.mark.parametrize("duration", [60, 120])
    def test_grids_more_than_two_seconds_apart_are_torn_by_the_stock_chunks(
        self, processor: Any, stock: Any, real: RealTimeInputs, model: Any, duration: float
    ) -> None:
        clip = make_clip(duration, sound=True)
        theirs = Laid(stock, stock_inputs(processor, clip, clip.times.second_per_frame, **demo_size(processor)))
        assert theirs.steps_back >= 5
        assert Laid(model, real.build([clip])).steps_back == 0

    def test_mending_a_model_twice_is_mending_it_once(self, processor: Any, stock: Any) -> None:
        inputs = RealTimeInputs(processor, stock).build([clip := make_clip(120, 5, sound=True)])
        before = Laid(stock, inputs)
        keep_grids_whole(stock)
        RealTimeInputs(processor, stock)
        before.check(clip, 0.1)
        assert Laid(stock, inputs).positions.equal(before.positions)
        for part in (stock, stock.model):
            vars(part).pop("get_chunked_index")  # as it was: the fixture is shared
        assert not Laid(stock, inputs).positions.equal(before.positions)


class TestFrames:
    def test_frames_decoded_at_the_models_size_are_not_resized_again(
        self, real: RealTimeInputs, processor: Any
    ) -> None:
        """28 × 140 would grow a second time: it has fewer pixels than the checkpoint asks for."""
        original, wanted = (60, 300), real.resize(60, 300)
        clip = make_clip(2, sound=False, size=wanted)
        clip = replace(clip, info=replace(clip.info, height=original[0], width=original[1]))
        untouched = processor.video_processor(
            videos=[torch.from_numpy(clip.frames)], do_resize=False, cap_pixels_per_frame=False, return_tensors="pt"
        )
        assert real.build([clip])["pixel_values_videos"].equal(untouched["pixel_values_videos"])

    def test_other_frames_are_resized_to_the_same_budget(self, real: RealTimeInputs) -> None:
        assert real.resize(360, 640) == (56, 84)
        inputs = real.build([make_clip(1, sound=False, size=(360, 640))])
        assert inputs["video_grid_thw"].tolist() == [[25, 4, 6]]

    def test_a_real_checkpoint_gets_252_tokens_a_grid_by_default(self, model: Any) -> None:
        """Its own bound is 12.8 million pixels: 50 frames of full HD would be 51,000 tokens."""
        theirs = Qwen2_5OmniProcessor.from_pretrained(DEMO_FOLDER)
        theirs.video_processor.size = {"shortest_edge": 3136, "longest_edge": 12_845_056}
        height, width = RealTimeInputs(theirs, model).resize(1080, 1920)
        assert height * width // 784 == 252
        assert height * width <= DEFAULT_MAX_PIXELS
        assert RealTimeInputs(theirs, model).resize(40, 60) == (56, 84), "and small ones the checkpoint's own minimum"
        assert RealTimeInputs(theirs, model, max_pixels=1_003_520).resize(1080, 1920) == (728, 1316)
        assert RealTimeInputs(theirs, model, min_pixels=100_352).resize(40, 60) == (280, 392)

    def test_max_pixels_below_the_checkpoints_minimum_wins(self, processor: Any, model: Any) -> None:
        assert RealTimeInputs(processor, model, max_pixels=1568).resize(300, 300) == (28, 28)

    @pytest.mark.parametrize("bounds", [(None, 783), (3136, 1568), (0, 3136), (None, -1)])
    def test_impossible_bounds_are_refused(
        self, processor: Any, model: Any, bounds: tuple[int | None, int | None]
    ) -> None:
        with pytest.raises(RequestError, match="max_pixels must be at least 784"):
            RealTimeInputs(processor, model, min_pixels=bounds[0], max_pixels=bounds[1])

    def test_a_picture_narrower_than_the_model_takes_is_refused(self, real: RealTimeInputs) -> None:
        with pytest.raises(MediaError, match="4020 × 20 pixels is too narrow"):
            real.resize(20, 4020)


class TestPrompts:
    def test_the_prompt_stands_around_the_video(self, real: RealTimeInputs, processor: Any) -> None:
        inputs = real.build([make_clip(1, sound=True)], Prompt(user="What happens when?", system="You watch."))
        text = processor.tokenizer.decode(inputs["input_ids"][0])
        assert text.startswith(
            "<|im_start|>system\nYou watch.<|im_end|>\n<|im_start|>user\n<|vision_bos|><|audio_bos|>"
        )
        assert text.endswith("<|audio_eos|><|vision_eos|>What happens when?<|im_end|>\n<|im_start|>assistant\n")

    def test_a_string_is_what_the_user_says(self, real: RealTimeInputs) -> None:
        clips = [make_clip(1, sound=False)]
        assert real.build(clips, "When?")["input_ids"].equal(real.build(clips, Prompt(user="When?"))["input_ids"])

    @pytest.mark.parametrize("token", ["<|VIDEO|>", "<|AUDIO|>", "<|vision_bos|>", "<|im_end|>"])
    def test_control_tokens_in_the_prompt_are_refused(self, real: RealTimeInputs, token: str) -> None:
        """One more <|AUDIO|> and every position behind it is another one."""
        with pytest.raises(RequestError, match=r"control token"):
            real.build([make_clip(1, sound=False)], f"What does {token} mean?")

    def test_no_clips_are_refused(self, real: RealTimeInputs) -> None:
        with pytest.raises(RequestError, match="no clips"):
            real.build([])


def test_a_few_lines_take_a_transformers_script_to_correct_tensors(processor: Any, stock: Any) -> None:
    """The README's example, with the stock classes."""
    real = RealTimeInputs(processor, stock)
    clips = [make_clip(duration, sound=True) for duration in (3, 90)]
    inputs = real.build(clips, "What happens when?").to(stock.device)
    text_ids = stock.generate(**inputs, max_new_tokens=3)
    assert len(text_ids) == 2
    assert text_ids.shape[1] > inputs["input_ids"].shape[1]
    for part in (stock, stock.model):
        vars(part).pop("get_chunked_index")


def test_another_kind_of_model_is_refused(processor: Any) -> None:
    class Llama(torch.nn.Module):
        config = object()

    with pytest.raises(ModelError, match=r"made for Qwen2\.5-Omni, and this is a Llama"):
        RealTimeInputs(processor, Llama())
