"""Scenes are what docs/demo-world.md says, to the eye, to the ear, and in a real file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_timeline.media.video import load_clip
from omni_timeline.synthetic import (
    LABELS,
    SHAPE_LABELS,
    TONES,
    Scene,
    Shape,
    Tone,
    draw_scene,
    draw_scenes,
    write_video,
)

CENTRE = ((0.5, 0.5), (0.5, 0.5))
RED_SQUARE = Shape(1.0, 2.0, "red", "square", 1.0, 0.25, CENTRE)
LOW_TONE = Tone(0.5, 1.5, "low tone", 400.0, 0.5)


def dominant_frequency(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave))
    return float(np.fft.rfftfreq(len(wave), 1 / 16_000)[spectrum.argmax()])


@given(seed=st.integers(0, 10_000), duration=st.floats(2, 60), sound=st.booleans())
@settings(max_examples=200)
def test_a_drawn_scene_keeps_to_the_world(seed: int, duration: float, sound: bool):
    scene = draw_scene(np.random.default_rng(seed), duration, sound=sound)
    assert len(scene.events) <= 4
    assert scene.has_sound == sound
    assert sound or not scene.tones
    assert {event.label for event in scene.events} <= set(LABELS)
    for track in (scene.shapes, scene.tones):
        for event in track:
            assert 0 <= event.start < event.end <= duration * 1.000001
            assert event.end - event.start >= 0.069 * duration
        assert all(later.start - earlier.end >= 0.049 * duration for earlier, later in pairwise(track))
    assert list(scene.events) == sorted(scene.events)


def test_the_same_seed_draws_the_same_scene():
    first, second = (draw_scene(np.random.default_rng(5), 10.0, sound=True) for _ in range(2))
    assert first == second
    assert np.array_equal(first.frames([3.0], 56, 56), second.frames([3.0], 56, 56))


def test_all_labels_are_drawn():
    scenes = [draw_scene(np.random.default_rng(seed), 10.0, sound=True) for seed in range(200)]
    assert {event.label for scene in scenes for event in scene.events} == {*SHAPE_LABELS, *TONES}


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), start=st.floats(0, 80), length=st.floats(1, 40))
def test_a_stretch_cut_out_shows_and_names_what_happens_in_it(seed: int, start: float, length: float):
    whole = draw_scenes(np.random.default_rng(seed), 120.0, sound=True, scene_seconds=(20.0, 30.0))
    end = start + length
    cut = whole.cut(start, end)
    assert cut.duration == pytest.approx(length)
    clipped = [(max(event.start - start, 0.0), min(event.end, end) - start, event.label) for event in whole.events]
    assert [(event.start, event.end, event.label) for event in cut.events] == sorted(
        piece for piece in clipped if piece[0] < piece[1]
    )
    moments = np.linspace(0, length, 9)[1:-1]
    assert (
        np.abs(whole.frames(list(start + moments), 28, 28).astype(int) - cut.frames(list(moments), 28, 28)).max() <= 1
    )
    assert abs(len(cut.sound()) - length * 16_000) <= 1


def test_scenes_follow_each_other_to_the_end():
    scene = draw_scenes(np.random.default_rng(0), 600.0, sound=False, scene_seconds=(40.0, 60.0))
    starts = [event.start for event in scene.events]
    assert starts == sorted(starts)
    assert 10 <= len(starts) <= 4 * 15
    assert scene.events[-1].end <= 600.0
    assert all(earlier.end <= later.start for earlier, later in pairwise(scene.events))


def test_a_shape_is_seen_from_its_start_to_just_before_its_end():
    scene = Scene(3.0, (RED_SQUARE,), picture_noise=0.0, background=(10.0, 10.0, 10.0))
    middle = scene.frames([0.99, 1.0, 1.99, 2.0], 64, 64)[:, :, 32, 32]
    assert middle.tolist() == [[10, 10, 10], [220, 40, 40], [220, 40, 40], [10, 10, 10]]


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 120), (120, 60)])
def test_a_shape_has_its_size_in_units_of_the_shorter_side(height: int, width: int):
    scene = Scene(3.0, (RED_SQUARE,), picture_noise=0.0)
    red = scene.frames([1.5], height, width)[0, 0] > 120
    assert red.sum() == pytest.approx(30 * 30, rel=0.1)  # half side 0.25 of 60 pixels


def test_a_circle_stays_a_circle_when_pixels_are_not_square():
    circle = Shape(1.0, 2.0, "blue", "circle", 1.0, 0.3, CENTRE)
    blue = Scene(3.0, (circle,), picture_noise=0.0).frames([1.5], 60, 60, aspect=2.0)[0, 2] > 120
    assert blue.any(axis=1).sum() == pytest.approx(2 * blue.any(axis=0).sum(), abs=2)  # twice as high as wide here


def test_a_moving_shape_goes_from_one_place_to_the_other():
    moving = Shape(0.0, 2.0, "green", "square", 1.0, 0.2, ((0.0, 0.0), (1.0, 1.0)))
    green = Scene(2.0, (moving,), picture_noise=0.0).frames([0.0, 1.0, 1.99], 80, 80)[:, 1] > 100
    centres = [np.argwhere(picture).mean(0) for picture in green]
    assert np.allclose(centres, [[15.5, 15.5], [39.5, 39.5], [63.5, 63.5]], atol=1.5)


def test_a_tone_sounds_from_its_start_to_its_end_at_its_frequency():
    scene = Scene(2.0, (), (LOW_TONE,), has_sound=True, sound_noise=0.001)
    wave = scene.sound()
    assert wave.shape == (32_000,)
    assert np.abs(wave[:7900]).max() < 0.01
    assert np.abs(wave[8400:23_600]).max() == pytest.approx(0.5, abs=0.02)
    assert np.abs(wave[24_100:]).max() < 0.01
    assert dominant_frequency(wave[8000:24_000]) == pytest.approx(400, abs=2)


def test_a_scene_without_a_sound_track_has_no_sound_and_no_tones():
    assert Scene(2.0, ()).sound() is None
    with pytest.raises(ValueError, match="sound track"):
        Scene(2.0, (), (LOW_TONE,))


def test_a_written_file_shows_and_sounds_what_the_scene_does(tmp_path: Path):
    scene = Scene(3.0, (RED_SQUARE,), (LOW_TONE,), has_sound=True, picture_noise=0.0, sound_noise=0.0005)
    clip = load_clip(write_video(scene, tmp_path / "scene.mp4", fps=20, height=64, width=64), frames=60)
    assert clip.duration == pytest.approx(3.0, abs=0.001)
    red = clip.frames[:, 0, 32, 32] > 120
    seconds = np.asarray(clip.shown)
    assert seconds[red].tolist() == [second for second in seconds if 1.0 <= second + 1e-6 < 2.0]
    loud = np.flatnonzero(np.abs(clip.audio) > 0.2) / 16_000
    assert loud[0] == pytest.approx(0.5, abs=0.02)
    assert loud[-1] == pytest.approx(1.5, abs=0.02)
    assert dominant_frequency(clip.audio[9000:23_000]) == pytest.approx(400, abs=2)
