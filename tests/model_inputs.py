"""Clips as `load_clip` makes them, without a file; and the model's own view of the inputs built from them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.media.sampling import count_instants, pictures_at
from omni_timeline.model.qwen2_5_omni.family import FRAMES_PER_GRID, QWEN2_5_OMNI
from omni_timeline.timebase import FrameTimes, samples_in, sampling_instants

STEP = 0.04  # s: one position of the model
EPSILON = 1e-6  # s

RATES = (5, 23.976, 29.97, 60, "vfr")
SHORT = (0.1, 1, 5, 10, 25, 48, 60)
Rate = float | str


def frame_seconds(duration: float, rate: Rate) -> np.ndarray:
    """When the frames of a file are shown; variable ones hold for 1/60 to 1/5 s."""
    if rate == "vfr":
        gaps = np.random.default_rng(7).uniform(1 / 60, 1 / 5, size=int(duration * 60) + 2)
        times = np.concatenate([[0.0], np.cumsum(gaps)])
        return times[times < max(duration - 1 / 60, 1e-9)]
    return np.arange(max(1, round(duration * float(rate)))) / float(rate)


def make_clip(
    duration: float,
    rate: Rate = 30,
    frames: int = 50,
    *,
    sound: bool,
    start: float = 0.0,
    size: tuple[int, int] = (56, 56),
    seconds: np.ndarray | None = None,
) -> Clip:
    """The clip that `load_clip` makes of such a file: the frames nearest to even instants; noise to hear."""
    appear = start + (frame_seconds(duration, rate) if seconds is None else seconds)
    end = start + (duration if rate == "vfr" or seconds is not None else len(appear) / float(rate))
    count = count_instants(appear, start, end, QWEN2_5_OMNI.whole_grids(frames))
    instants = np.array(sampling_instants(start, end, count))
    noise = np.random.default_rng(3)
    height, width = size
    return Clip(
        info=VideoInfo(
            path=Path("clip.mp4"), duration=end, fps=len(appear) / (end - start), frame_count=len(appear), width=width,
            height=height, start_time=0.0, has_audio=sound,
        ),
        start=start,
        end=end,
        frames=noise.integers(0, 256, size=(count, 3, height, width), dtype=np.uint8),
        times=FrameTimes(tuple(instants.tolist())),
        shown=tuple(appear[pictures_at(appear, instants)].tolist()),
        audio=noise.normal(0, 0.1, samples_in(end - start)).astype(np.float32) if sound else None,
        warnings=(),
    )  # fmt: skip


def half_gap(duration: float, rate: Rate) -> float:
    """How far the frame nearest to an instant can be from it."""
    return float(np.diff(frame_seconds(duration, rate), append=duration).max()) / 2


class Laid:
    """One row of inputs as the model sees it: which token stands where, and when the model takes it to be."""

    def __init__(self, model: Any, inputs: Mapping[str, Any], row: int = 0) -> None:
        sound = inputs.get("feature_attention_mask")
        positions, _ = model.get_rope_index(
            inputs["input_ids"],
            video_grid_thw=inputs["video_grid_thw"],
            attention_mask=inputs["attention_mask"],
            use_audio_in_video=inputs.get("use_audio_in_video", False),
            audio_seqlens=None if sound is None else sound.sum(-1),
            second_per_grids=inputs["video_second_per_grid"],
        )
        real = inputs["attention_mask"][row] == 1
        self.ids = inputs["input_ids"][row][real]
        self.positions = positions[0, row][real]
        self.is_video = self.ids == model.config.video_token_id
        self.is_audio = self.ids == model.config.audio_token_id
        self.origin = int(self.positions[self.is_video][0])
        grids = int(inputs["video_grid_thw"][row][0])
        self.grid_tokens = self.seconds(self.is_video).reshape(grids, -1)  # grids × tokens of each

    def seconds(self, which: torch.Tensor) -> np.ndarray:
        return (self.positions[which] - self.origin).numpy() / 25

    @property
    def audio_seconds(self) -> np.ndarray:
        return self.seconds(self.is_audio)

    @property
    def steps_back(self) -> int:
        """How often a token of the video stands behind one of a later chunk of 2 s."""
        media = self.is_video | self.is_audio
        chunks = ((self.positions[media] - self.origin) // 50).tolist()
        return sum(later < earlier for earlier, later in pairwise(chunks))

    def check(self, clip: Clip, gap: float) -> None:
        """All times are the true ones, and no token stands before its time."""
        for tokens, true in zip(self.grid_tokens, clip.times.grid_seconds(FRAMES_PER_GRID), strict=True):
            assert (tokens == tokens[0]).all()
            assert abs(tokens[0] - (true - clip.start)) <= STEP + EPSILON
        for instant, appears in zip(clip.times.seconds, clip.shown, strict=True):
            assert abs(appears - instant) <= gap + EPSILON or appears == clip.shown[-1]  # which stays to the end
        if clip.audio is None:
            assert not self.is_audio.any()
        else:
            assert self.audio_seconds == pytest.approx(STEP * np.arange(len(self.audio_seconds)), abs=EPSILON)
            assert len(self.audio_seconds) * STEP == pytest.approx(clip.duration, abs=STEP + EPSILON)
        assert self.steps_back == 0
        last_of_media = int(np.flatnonzero((self.is_video | self.is_audio).numpy())[-1])
        after = self.positions[last_of_media + 1 :]
        assert after.min() > self.positions[: last_of_media + 1].max()
        assert (after.diff() >= 0).all()
