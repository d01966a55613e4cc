"""Windows cut out of corrected videos: the frames, the sound and the events of one stretch, at their true times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_inputs import make_clip
from omni_timeline.answers.parser import parse_segments
from omni_timeline.learning.lessons import SHORTEST, Classroom, Lesson, cut, seen_in
from omni_timeline.media.isolated import Decoder
from omni_timeline.model.family import ModelFacts
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.segments import Segment
from omni_timeline.timebase import samples_in

FACTS = ModelFacts("tiny", 56 * 56, 56 * 56, 4000)
LABELS = ("crate", "ball", "bell")
MARKED = (Segment(1.0, 4.0, "crate"), Segment(3.5, 7.5, "ball", "it rolls"))


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_a_run_of_a_strip_is_a_clip_of_the_same_video(seed: int, sound: bool):
    strip = make_clip(19.97, 29.97, 100, sound=sound, start=3.3)
    clip = cut(strip, np.random.default_rng(seed), 50, 2)
    first = strip.times.seconds.index(clip.times.seconds[0])
    assert first % 2 == 0, "two frames are merged into one: they keep their partners"
    assert len(clip.times) % 2 == 0
    assert 16 <= len(clip.times) <= 50
    assert clip.times.seconds == pytest.approx(strip.times.seconds[first : first + len(clip.times)])
    assert clip.shown == strip.shown[first : first + len(clip.times)]
    assert (clip.frames == strip.frames[first : first + len(clip.times)]).all()
    assert (clip.start, clip.end) == (clip.times.seconds[0], clip.times.seconds[-1])
    if sound:
        begin = int(np.flatnonzero(strip.audio == clip.audio[0])[0])
        assert abs(begin - samples_in(clip.start - strip.start)) <= 1
        assert (strip.audio[begin : begin + len(clip.audio)] == clip.audio).all()


def test_a_strip_of_few_frames_is_taken_whole():
    strip = make_clip(1.0, 5, 2, sound=True)
    assert cut(strip, np.random.default_rng(0), 50, 2).times == strip.times


def test_the_last_frames_of_a_video_have_its_end():
    strip = make_clip(10.0, 10, 50, sound=True)
    clips = [cut(strip, np.random.default_rng(seed), 50, 2) for seed in range(20)]
    whole = [clip for clip in clips if len(clip.times) == 50]
    assert len(whole) > 5
    assert all((clip.end, len(clip.audio)) == (strip.end, len(strip.audio)) for clip in whole)


def test_events_are_cut_off_at_the_edges_and_count_from_the_window():
    clip = make_clip(5.0, 10, 50, sound=False, start=2.0)
    assert seen_in(clip, MARKED, has_labels=True) == [
        Segment(0.0, 2.0, "crate"),
        Segment(1.5, 5.0, "ball", "it rolls"),
    ]
    slivers = [Segment(0.0, 2.1, "crate"), Segment(6.9, 9.0, "ball"), Segment(3.0, 3.1, "bell"), Segment(9.0, 9.5, "x")]
    [bell] = seen_in(clip, slivers, has_labels=True)
    assert (bell.start, bell.end, bell.label) == (1.0, pytest.approx(1.1), "bell")


def test_without_labels_the_words_are_what_people_wrote():
    clip = make_clip(9.0, 10, 50, sound=False)
    found = seen_in(clip, [Segment(1.0, 4.0, "event", "a crate falls", 0.7)], has_labels=False)
    assert found == [Segment(1.0, 4.0, "a crate falls")]


def classroom(path: Path, decoder: Decoder, seed: int = 0) -> Classroom:
    options = PredictOptions(labels=LABELS, descriptions=False)
    lessons = [Lesson(path, options, (MARKED, MARKED[:1])), Lesson(path, options, ((),))]
    return Classroom(lessons, QWEN2_5_OMNI, FACTS, seed, decoder)


def test_exercises_are_the_same_each_time_and_all_lessons_have_their_turn(sounding_video: Path):
    with Decoder() as decoder:
        room = classroom(sounding_video, decoder)
        drawn = [room.exercise(number) for number in range(24)]
        again = classroom(sounding_video, decoder).exercise(17)
        other = classroom(sounding_video, decoder, seed=1).exercise(17)
    assert (again.answer, again.row.prompt, again.row.clip.times) == (
        drawn[17].answer, drawn[17].row.prompt, drawn[17].row.clip.times,
    )  # fmt: skip
    assert (other.row.clip.times, other.answer) != (again.row.clip.times, again.answer)
    empty = [each.answer == "No events." for each in drawn]
    assert all(any(pair) for pair in zip(empty[::2], empty[1::2], strict=True)), "one of two in each turn is empty"
    assert len({len(each.row.clip.times) for each in drawn}) > 3
    assert len({each.row.second_per_grid for each in drawn}) > 3
    assert len({each.row.prompt for each in drawn}) > 1, "labels in several orders"
    for each in drawn:
        clip = each.row.clip
        assert clip.duration >= min(SHORTEST, 8.0) / 3.5
        assert clip.audio.shape == (samples_in(clip.duration),)
        assert each.row.second_per_grid == pytest.approx(2 * clip.times.second_per_frame)
        for segment in parse_segments(each.answer, clip.duration).segments:
            marked = next(each for each in MARKED if each.label == segment.label)
            assert segment.start == pytest.approx(max(0.0, marked.start - clip.start), abs=0.051)
            assert segment.end == pytest.approx(min(clip.end, marked.end) - clip.start, abs=0.051)
