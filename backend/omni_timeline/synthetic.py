"""Clips whose events are known exactly: coloured shapes and tones, as docs/demo-world.md describes them.

Tests, the demo checkpoint's training and the benchmarks draw scenes here. A `Scene` is continuous in time: it can be
looked at and listened to at any instant, at any frame rate and picture size. Nothing here knows a model, and nothing
reads a video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from omni_timeline.segments import Segment, common
from omni_timeline.timebase import SAMPLE_RATE, samples_in

COLORS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 230),
    "yellow": (230, 210, 50),
}
SHAPES = ("square", "circle")
TONES: Mapping[str, tuple[float, float]] = {"low tone": (220.0, 500.0), "high tone": (1200.0, 3000.0)}  # Hz
SHAPE_LABELS = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
LABELS = (*SHAPE_LABELS, *TONES)

BRIGHTNESS = (0.8, 1.1)  # factor on a shape's colour
HALF_SIDE = (0.20, 0.36)  # of the picture's shorter side; a circle's radius
BACKGROUND = (0, 45)  # per colour channel
PICTURE_NOISE = (0.0, 6.0)  # standard deviation in grey levels, the same in every frame
AMPLITUDE = (0.08, 0.6)  # of a tone; 1.0 is full scale
SOUND_NOISE = (0.0005, 0.01)  # standard deviation of the white noise under the tones
FADE = 0.010  # s, at both ends of a tone
MIN_EVENT = 0.07  # of the clip's duration
MIN_GAP = 0.05  # of the clip's duration, between two events of one track
EDGE_EVENT_PROBABILITY = 0.15  # that the first event begins with the clip, and that the last one ends with it
MAX_EVENTS = 4
EMPTY_PROBABILITY = 0.03


@dataclass(frozen=True)
class Shape:
    """A coloured shape on the screen from `start` to `end` seconds.

    Attributes:
        color: a key of COLORS.
        shape: one of SHAPES.
        brightness: factor on the colour.
        half_side: half a square's side or a circle's radius, in units of the picture's shorter side.
        path: centre at the start and at the end, each (x, y) from 0 to 1: the range in which the shape is
            wholly inside the picture.
    """

    start: float
    end: float
    color: str
    shape: str
    brightness: float
    half_side: float
    path: tuple[tuple[float, float], tuple[float, float]]

    @property
    def label(self) -> str:
        """The words the model answers with, such as "red square"."""
        return f"{self.color} {self.shape}"

    def center(self, second: float) -> tuple[float, float]:
        """Where its centre is at `second`, in the units of `path`."""
        progress = (second - self.start) / (self.end - self.start)
        (x0, y0), (x1, y1) = self.path
        return x0 + (x1 - x0) * progress, y0 + (y1 - y0) * progress


@dataclass(frozen=True)
class Tone:
    """A sine in the sound track from `start` to `end` seconds; `frequency` in Hz, `amplitude` of full scale."""

    start: float
    end: float
    label: str
    frequency: float
    amplitude: float


@dataclass(frozen=True)
class Scene:
    """A clip of the demo world.

    Attributes:
        duration: seconds.
        shapes: one at a time, in order.
        tones: one at a time, in order; independent of the shapes.
        has_sound: whether there is a sound track at all.
        background: RGB, 0 to 255.
        picture_noise: standard deviation in grey levels.
        sound_noise: standard deviation of white noise, 1.0 is full scale.
        noise_seed: makes both noises reproducible.
    """

    duration: float
    shapes: tuple[Shape, ...]
    tones: tuple[Tone, ...] = ()
    has_sound: bool = False
    background: tuple[float, float, float] = (20.0, 20.0, 20.0)
    picture_noise: float = 3.0
    sound_noise: float = 0.003
    noise_seed: int = 0
    events: tuple[Segment, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.tones and not self.has_sound:
            raise ValueError("a scene without a sound track cannot hold tones")
        things: tuple[Shape | Tone, ...] = (*self.shapes, *self.tones)
        events = sorted(Segment(thing.start, thing.end, thing.label) for thing in things)
        object.__setattr__(self, "events", tuple(events))

    def frames(
        self, seconds: Sequence[float], height: int, width: int, *, aspect: float | None = None
    ) -> npt.NDArray[np.uint8]:
        """The pictures at `seconds`: uint8 (N, 3, height, width).

        Args:
            seconds: instants of the clip.
            height: pixels.
            width: pixels.
            aspect: width over height of the picture as it is meant to be seen, if the pixels are not square.
        """
        aspect = aspect or width / height
        extent_x, extent_y = max(aspect, 1.0), max(1 / aspect, 1.0)  # in units of the shorter side
        xs = (np.arange(width, dtype=np.float32) + 0.5) / width * extent_x
        ys = (np.arange(height, dtype=np.float32) + 0.5) / height * extent_y
        softness = max(extent_x / width, extent_y / height)  # one pixel: an edge fades over it
        noise = np.random.default_rng(self.noise_seed).standard_normal((3, height, width), dtype=np.float32)
        empty = np.asarray(self.background, np.float32)[:, None, None] + self.picture_noise * noise
        pictures = np.broadcast_to(empty, (len(seconds), 3, height, width)).copy()
        instants = np.asarray(seconds, np.float64)
        for shape in self.shapes:
            shown = np.flatnonzero((instants >= shape.start) & (instants < shape.end))
            progress = (instants[shown] - shape.start) / (shape.end - shape.start)
            (x0, y0), (x1, y1) = shape.path
            x = shape.half_side + (x0 + (x1 - x0) * progress) * (extent_x - 2 * shape.half_side)
            y = shape.half_side + (y0 + (y1 - y0) * progress) * (extent_y - 2 * shape.half_side)
            dx = np.abs(xs[None, None, :] - x[:, None, None])
            dy = np.abs(ys[None, :, None] - y[:, None, None])
            outside = np.maximum(dx, dy) if shape.shape == "square" else np.hypot(dx, dy)
            cover = np.clip(0.5 - (outside - shape.half_side) / softness, 0, 1).astype(np.float32)[:, None]
            color = np.asarray(COLORS[shape.color], np.float32)[:, None, None] * shape.brightness
            pictures[shown] = pictures[shown] * (1 - cover) + (color + self.picture_noise * noise) * cover
        rounded: npt.NDArray[np.uint8] = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
        return rounded

    def sound(self, duration: float | None = None) -> npt.NDArray[np.float32] | None:
        """The sound track, float32 (S,) at SAMPLE_RATE, for `duration` seconds; None where there is none."""
        if not self.has_sound:
            return None
        rng = np.random.default_rng(self.noise_seed + 1)
        samples = samples_in(self.duration if duration is None else duration)
        wave = self.sound_noise * rng.standard_normal(samples, dtype=np.float32)
        for tone in self.tones:
            first, last = samples_in(tone.start), min(samples_in(tone.end), samples)
            clock = np.arange(last - first, dtype=np.float32) / SAMPLE_RATE
            fade = np.minimum(1, np.minimum(clock, clock[::-1]) / FADE)
            wave[first:last] += tone.amplitude * fade * np.sin(2 * np.pi * tone.frequency * clock)
        return np.clip(wave, -1, 1).astype(np.float32)

    def cut(self, start: float, end: float) -> Scene:
        """The stretch from `start` to `end` seconds as a scene of its own, whose time begins at 0.

        Events that cross an end are cut there; the picture's noise stays, the sound's is drawn again.
        """
        shapes, tones = [], []
        kept = Segment(start, end, "kept")
        for shape in self.shapes:
            if piece := common(shape, kept):
                path = (shape.center(piece[0]), shape.center(piece[1]))
                shapes.append(replace(shape, start=piece[0] - start, end=piece[1] - start, path=path))
        for tone in self.tones:
            if piece := common(tone, kept):
                tones.append(replace(tone, start=piece[0] - start, end=piece[1] - start))
        return replace(self, duration=end - start, shapes=tuple(shapes), tones=tuple(tones))


def _spans(rng: np.random.Generator, duration: float, events: int) -> list[tuple[float, float]]:
    """`events` spans of seconds with gaps between them, none shorter than the world allows."""
    gaps = np.full(events + 1, MIN_GAP)
    free = np.ones(2 * events + 1, bool)  # event, gap, event, ... with the outer gaps at both ends
    for outer in (0, -1):
        gaps[outer] = 0.0
        free[outer] = rng.random() >= EDGE_EVENT_PROBABILITY
    shares = np.zeros(2 * events + 1)
    shares[0::2], shares[1::2] = gaps, MIN_EVENT
    shares[free] += rng.dirichlet(np.full(int(free.sum()), 1.2)) * (1 - shares.sum())
    edges = np.cumsum(shares) * duration
    return [(float(edges[2 * index]), float(edges[2 * index + 1])) for index in range(events)]


def draw_scene(rng: np.random.Generator, duration: float, *, sound: bool) -> Scene:
    """A random scene of the demo world; `sound` gives it a sound track, in which half of its events are tones."""
    total = 0 if rng.random() < EMPTY_PROBABILITY else int(rng.integers(1, MAX_EVENTS + 1))
    tones = int(rng.binomial(total, 0.5)) if sound else 0
    drawn_shapes = []
    for start, end in _spans(rng, duration, total - tones):
        here, there = rng.random(2), rng.random(2)
        moves = rng.random() < 0.5
        drawn_shapes.append(
            Shape(
                start,
                end,
                color=str(rng.choice(list(COLORS))),
                shape=str(rng.choice(SHAPES)),
                brightness=float(rng.uniform(*BRIGHTNESS)),
                half_side=float(rng.uniform(*HALF_SIDE)),
                path=(
                    (float(here[0]), float(here[1])),
                    (float(there[0]), float(there[1])) if moves else (float(here[0]), float(here[1])),
                ),
            )
        )
    drawn_tones = []
    for start, end in _spans(rng, duration, tones):
        label = str(rng.choice(list(TONES)))
        drawn_tones.append(Tone(start, end, label, float(rng.uniform(*TONES[label])), float(rng.uniform(*AMPLITUDE))))
    red, green, blue = rng.uniform(*BACKGROUND, size=3)
    return Scene(
        duration,
        tuple(drawn_shapes),
        tuple(drawn_tones),
        has_sound=sound,
        background=(float(red), float(green), float(blue)),
        picture_noise=float(rng.uniform(*PICTURE_NOISE)),
        sound_noise=float(rng.uniform(*SOUND_NOISE)),
        noise_seed=int(rng.integers(2**31)),
    )


def draw_scenes(rng: np.random.Generator, duration: float, *, sound: bool, scene_seconds: tuple[float, float]) -> Scene:
    """One long scene: scenes of `draw_scene`, one after the other, each as long as `scene_seconds` allows.

    Args:
        rng: the source of randomness.
        duration: seconds of the whole.
        sound: whether there is a sound track.
        scene_seconds: shortest and longest of the scenes, in seconds; the last one takes what is left.
    """
    shortest, longest = scene_seconds
    shapes: list[Shape] = []
    tones: list[Tone] = []
    begin = 0.0
    while begin < duration:
        length = float(rng.uniform(shortest, longest))
        is_last = duration - begin - length < shortest
        scene = draw_scene(rng, duration - begin if is_last else length, sound=sound)
        shapes += [replace(shape, start=shape.start + begin, end=shape.end + begin) for shape in scene.shapes]
        tones += [replace(tone, start=tone.start + begin, end=tone.end + begin) for tone in scene.tones]
        begin = duration if is_last else begin + length
    return replace(scene, duration=duration, shapes=tuple(shapes), tones=tuple(tones))


def write_video(
    scene: Scene,
    path: Path,
    *,
    fps: float | Fraction = 25,
    height: int = 112,
    width: int = 112,
    codec: str = "libx264",
    audio_codec: str = "aac",
) -> Path:
    """Encodes `scene` to a real video file; the container follows from the suffix of `path`. Returns `path`.

    Args:
        scene: what to draw and sound.
        path: file to write, overwritten.
        fps: constant frame rate.
        height: pixels, even.
        width: pixels, even.
        codec: FFmpeg's name of the video encoder.
        audio_codec: FFmpeg's name of the audio encoder; unused for a scene without sound.
    """
    import av

    rate = Fraction(fps).limit_denominator(1001)
    frame_count = max(1, round(scene.duration * rate))
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = container.add_stream(audio_codec, rate=48_000, layout="mono") if scene.has_sound else None
        block = 64  # frames drawn at a time, to keep long clips out of memory
        for first in range(0, frame_count, block):
            indices = range(first, min(first + block, frame_count))
            pictures = scene.frames([float(index / rate) for index in indices], height, width)
            for index, picture in zip(indices, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), format="rgb24")
                frame.pts, frame.time_base = index, 1 / rate
                container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            wave = scene.sound(float(frame_count / rate))
            assert wave is not None
            sound = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = SAMPLE_RATE, 0
            resampler = av.AudioResampler(
                format="fltp", layout="mono", rate=48_000, frame_size=audio.frame_size or 1024
            )
            for resampled in (*resampler.resample(sound), *resampler.resample(None)):
                container.mux(audio.encode(resampled))
            container.mux(audio.encode(None))
    return path
