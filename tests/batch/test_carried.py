"""Clips that were decoded on another machine are the same as those that are decoded here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from omni_timeline.batch.carried import Carried, CarriedVideos, carry
from omni_timeline.errors import MediaError, RetryableError
from omni_timeline.media.clip import Clip
from omni_timeline.media.isolated import Decoder
from omni_timeline.model.family import ModelFacts
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.run import OpenVideo, VideoRun

FACTS = ModelFacts("", 28 * 28, 84 * 84, batch_tokens=0)


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


def run_of(path: Path, window_seconds: float = 3.0) -> VideoRun:
    return VideoRun(path, PredictOptions(frames=8, window_seconds=window_seconds), QWEN2_5_OMNI, FACTS)


def clips(run: VideoRun, video: OpenVideo) -> list[Clip]:
    run.begin(video.info)
    found = []
    while (turn := run.next_window()) is not None:
        found.append(run.load(video, turn[1]))
    return found


def carried_of(decoder: Decoder, path: Path, max_bytes: int) -> Carried:
    with decoder.open(path) as video:
        return carry(video, run_of(path), "a.mp4", "a name", "digest", max_bytes=max_bytes)


@pytest.mark.parametrize(("max_bytes", "carried_clips"), [(10**9, 3), (1, 1)])
def test_carried_or_decoded_here_the_clips_are_the_same(
    decoder: Decoder, sounding_video: Path, max_bytes: int, carried_clips: int
):
    carried = carried_of(decoder, sounding_video, max_bytes)
    assert len(carried.clips) == carried_clips
    with decoder.open(sounding_video) as video:
        expected = clips(run_of(sounding_video), video)
    fetched = 0

    @contextmanager
    def fetch() -> Iterator[Path]:
        nonlocal fetched
        fetched += 1
        yield sounding_video

    videos, stands_for = CarriedVideos(decoder), Path("7", "a name")
    videos.add(stands_for, carried, fetch, lambda _: "digest")
    with videos.open(stands_for, None) as video:
        found = clips(run_of(stands_for), video)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.frames, theirs.frames)
        assert ours.times == theirs.times
        assert ours.audio is not None
        assert theirs.audio is not None
        assert np.array_equal(ours.audio, theirs.audio)
    assert fetched == (carried_clips < 3)  # once, and only where something is missing


def test_a_video_that_was_changed_meanwhile_is_predicted_again(decoder: Decoder, silent_video: Path):
    @contextmanager
    def fetch() -> Iterator[Path]:
        yield silent_video

    videos = CarriedVideos(decoder)
    videos.add(Path("7"), carried_of(decoder, silent_video, 1), fetch, lambda _: "another digest")
    with videos.open(Path("7"), None) as video, pytest.raises(RetryableError, match="a name was changed"):
        clips(run_of(Path("7")), video)


def test_errors_name_the_video_as_people_know_it(decoder: Decoder, silent_video: Path, tmp_path: Path):
    broken = tmp_path / "0a1b2c.mp4"
    broken.write_text("this is no video")

    @contextmanager
    def fetch() -> Iterator[Path]:
        yield broken

    videos = CarriedVideos(decoder)
    videos.add(Path("7"), carried_of(decoder, silent_video, 1), fetch, lambda _: "digest")
    with videos.open(Path("7"), None) as video, pytest.raises(MediaError, match=r"^a name "):
        clips(run_of(Path("7")), video)
