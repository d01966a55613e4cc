"""What a model is trained on: windows cut out of corrected videos, each with the answer that would have been right.

    Lesson      a video, how the model is asked about it, and what people marked in it
    strip       a stretch of the video that was decoded at one distance between frames
    Exercise    a run of a strip's frames, at their true times, with the events in it

A strip is decoded once and cut many times: which events are in a window, and when, is another question each time. The
frames keep their partners, two of which the model merges into one step of time, so that what its towers make of them
can be kept, too.

Knows videos and segments. Knows no torch, and nothing of how a model learns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omni_timeline.answers.lines import format_segments
from omni_timeline.media.clip import Clip
from omni_timeline.media.isolated import Decoder, Video
from omni_timeline.model.family import Exercise, ModelFacts, ModelFamily
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.reading import row_for
from omni_timeline.segments import Segment, common
from omni_timeline.timebase import FrameTimes, samples_in, sampling_instants

STRIPS = 8  # of each video
SHORT_WINDOWS = 0.65  # of all: 3 to 12 s, in which edges are seen closely
SHORTEST, SHORT, LONGEST = 3.0, 12.0, 60.0  # s, of windows
ALL_FRAMES = 0.6  # of windows have as many frames as `predict` gives the model; the others have fewer
FEWEST_FRAMES = 1 / 3  # of them
STRIP_WINDOWS = 2.0  # windows that a strip is as long as, where the video is
SHORTEST_PIECE = 0.15  # s, of an event at a window's edge that is worth a line
KEPT_BYTES = 1024**3  # of decoded strips
ONE_PROJECT = "lessons"  # the group of all videos here


@dataclass(frozen=True)
class Lesson:
    """A video that is trained on.

    Attributes:
        path: the file.
        options: how the model is asked about it; without a calibration.
        people: what each person marked in it, at least one.
    """

    path: Path
    options: PredictOptions
    people: tuple[tuple[Segment, ...], ...]


class Classroom:
    """Draws exercises from lessons; holds what was decoded. Use it as a context.

    Args:
        lessons: the videos.
        family: the model's family.
        facts: what the loaded model says of itself.
        seed: of everything that is drawn.
        decoder: reads the videos.
    """

    def __init__(
        self, lessons: Sequence[Lesson], family: ModelFamily, facts: ModelFacts, seed: int, decoder: Decoder
    ) -> None:
        self._lessons = lessons
        self._family = family
        self._facts = facts
        self._seed = seed
        self._decoder = decoder
        self._strips: OrderedDict[tuple[int, int], Clip] = OrderedDict()
        self._kept_bytes = 0

    def exercise(self, draw: int) -> Exercise:
        """The exercise with this number, always the same. Each lesson has its turn once in as many as there are.

        Raises:
            MediaError: its video cannot be decoded.
        """
        turn, place = divmod(draw, len(self._lessons))
        number = int(np.random.default_rng([self._seed, 0, turn]).permutation(len(self._lessons))[place])
        rng = np.random.default_rng([self._seed, 1, draw])
        lesson = self._lessons[number]
        family = self._family
        strip = self._strip(number, int(rng.integers(STRIPS)))
        clip = cut(strip, rng, family.whole_grids(lesson.options.frames), family.frames_per_grid)
        people = lesson.people[rng.integers(len(lesson.people))]
        options = _asked(lesson.options, rng)
        row = replace(row_for(clip, options, Clock("real", family)), grammar=None)
        return Exercise(row, format_segments(seen_in(clip, people, has_labels=bool(options.closed_labels))))

    def has_sound(self, number: int) -> bool:
        """Whether the video of a lesson has a sound track."""
        return self._strip(number, 0).audio is not None

    def _strip(self, number: int, which: int) -> Clip:
        if (number, which) not in self._strips:
            with self._decoder.open(self._lessons[number].path, ONE_PROJECT) as video:
                strip = self._decode(video, number, which)
            self._strips[number, which] = strip
            self._kept_bytes += _bytes(strip)
            while self._kept_bytes > KEPT_BYTES and len(self._strips) > 1:
                self._kept_bytes -= _bytes(self._strips.popitem(last=False)[1])
        self._strips.move_to_end((number, which))
        return self._strips[number, which]

    def _decode(self, video: Video, number: int, which: int) -> Clip:
        """A stretch of the video at a distance of frames that makes windows of a drawn length."""
        rng = np.random.default_rng([self._seed, 2, number, which])
        options, duration = self._lessons[number].options, video.info.duration
        whole = min(duration, options.longest_window or LONGEST)
        longest = min(whole, SHORT) if rng.random() < SHORT_WINDOWS else whole
        window = float(np.exp(rng.uniform(np.log(min(SHORTEST, longest)), np.log(longest))))
        length = min(duration, STRIP_WINDOWS * window)
        start = float(rng.uniform(0, duration - length))
        end = start + length
        pixels = options.max_pixels or self._facts.max_pixels
        size = self._family.frame_size(video.info.height, video.info.width, min(self._facts.min_pixels, pixels), pixels)
        frames = self._family.whole_grids(round(options.frames * length / window))
        stop = end if end < duration else None
        return video.clip(start=start, end=stop, frames=frames, size=size, audio_track=options.audio_track)


def cut(strip: Clip, rng: np.random.Generator, most: int, grid: int) -> Clip:
    """A run of a strip's frames, as many as `predict` would give the model or fewer, and the sound beside them."""
    count = len(strip.times)
    wanted = most if rng.random() < ALL_FRAMES else int(rng.integers(round(most * FEWEST_FRAMES), most + 1))
    wanted = min(count, wanted // grid * grid)
    if wanted < 2:
        return strip
    first = int(rng.integers((count - wanted) // grid + 1)) * grid
    last = first + wanted
    start, end = strip.times.seconds[first], strip.times.seconds[last - 1]
    audio = None
    if strip.audio is not None:
        samples = samples_in(end - start)
        begin = min(samples_in(start - strip.start), len(strip.audio) - samples)  # both are rounded
        audio = strip.audio[begin : begin + samples]
    return replace(
        strip,
        start=start,
        end=end,
        frames=strip.frames[first:last],
        times=FrameTimes(tuple(sampling_instants(start, end, wanted))),
        shown=strip.shown[first:last],
        audio=audio,
    )


def seen_in(clip: Clip, segments: Sequence[Segment], *, has_labels: bool) -> list[Segment]:
    """The events of a video in a clip of it, in seconds of the clip; without labels the text is the words."""
    found = []
    for segment in segments:
        piece = common(segment, clip)
        if piece is None or piece[1] - piece[0] < min(SHORTEST_PIECE, segment.duration):
            continue
        words = segment if has_labels or not segment.text else replace(segment, label=segment.text, text="")
        found.append(replace(words, start=piece[0] - clip.start, end=piece[1] - clip.start, score=None))
    return sorted(found)


def _asked(options: PredictOptions, rng: np.random.Generator) -> PredictOptions:
    """The labels in another order half of the time: what they are must not hang on where they stand."""
    if len(options.labels) < 2 or rng.random() < 0.5:
        return options
    return replace(options, labels=tuple(str(label) for label in rng.permutation(options.labels)))


def _bytes(clip: Clip) -> int:
    return clip.frames.nbytes + (0 if clip.audio is None else clip.audio.nbytes)
