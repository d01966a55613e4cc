"""Projects whose corrections are known: clips on disk, and what the people of a project would mark in them.

    names        the demo world's objects under a project's own names, 8 labels for 10 kinds of object
    sparse       only one kind of shape and one kind of tone are of interest; all else is not to be marked
    boundaries   the same labels; people begin 0.7 s early and end 0.5 s late
    some names   three of the ten kinds have another name, the others have their own
    unchanged    people mark what the model was trained to say
    looks        colours, shapes, backgrounds and sounds that the demo checkpoint has never met

`noisy` makes of what people mark what people do: edges up to half a second off, one label in ten wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from demo_clips import OUTPUT, SIZES
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, SHAPE_LABELS, TONES, Scene, draw_scene, write_video
from omni_timeline.timebase import samples_in

SHORTEST, LONGEST = 6.0, 45.0  # s; log-uniform
NOISE_SECONDS, NOISE_LABELS = 0.5, 0.1
RATES = (10, 15, 24, 25, 30)

Marks = Callable[[Sequence[Segment], float], tuple[Segment, ...]]


@dataclass(frozen=True)
class CorrectedClip:
    """A clip on disk and all that happens in it, in the words of the demo world where it has any."""

    path: Path
    duration: float
    events: tuple[Segment, ...]


@dataclass(frozen=True)
class Project:
    """What the people of one project mark.

    Attributes:
        kind: one of those above.
        labels: the project's labels.
        marks: what they mark of the events of a clip of so many seconds.
    """

    kind: str
    labels: tuple[str, ...]
    marks: Marks


def clips(count: int, first_seed: int, *, looks: bool = False) -> list[CorrectedClip]:
    """`count` clips of the demo world or of new looks, every other one with sound; drawn once and kept."""
    folder = OUTPUT / "corrected-clips"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        rate = int(rng.choice(RATES))
        height, width = SIZES[rng.integers(len(SIZES))]
        wanted = float(np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST))))
        duration = float(round(wanted * rate) / rate)
        draw = draw_new_looks if looks else draw_scene
        scene = draw(rng, duration, sound=bool(seed % 2))
        path = folder / f"{'looks' if looks else 'clip'}-{seed}.mp4"
        if not path.exists():
            unfinished = path.with_name(f"unfinished-{path.name}")
            write_video(scene, unfinished, fps=rate, height=height, width=width).replace(path)
        found.append(CorrectedClip(path, duration, scene.events))
    return found


def project(kind: str, seed: int) -> Project:
    """A project of a kind; which names and which objects it is about is drawn by `seed`."""
    rng = np.random.default_rng([seed, sum(kind.encode())])
    match kind:
        case "names":
            words = [
                "pallet jack", "warning lamp", "door open", "forklift", "worker", "parcel", "machine hum", "alarm",
            ]  # fmt: skip
            kinds = rng.permutation(LABELS)
            called = dict(zip(kinds, [*words, *rng.choice(words, size=2, replace=False)], strict=True))
            return Project(kind, tuple(words), _renamed(called))
        case "sparse":
            shape, tone = str(rng.choice(SHAPE_LABELS)), str(rng.choice(list(TONES)))
            return Project(kind, ("defect", "alarm"), _renamed({shape: "defect", tone: "alarm"}))
        case "boundaries":
            return Project(kind, LABELS, _moved(-0.7, 0.5))
        case "some names":
            chosen = rng.choice(LABELS, size=3, replace=False)
            called = {label: label for label in LABELS} | dict(zip(chosen, ["pallet", "crane", "bell"], strict=True))
            return Project(kind, tuple(called[label] for label in LABELS), _renamed(called))
        case "unchanged":
            return Project(kind, LABELS, lambda events, _: tuple(events))
        case "looks":
            return Project(kind, NEW_LABELS, lambda events, _: tuple(events))
    raise ValueError(f"there is no kind {kind!r}")


def noisy(marks: Marks, labels: Sequence[str], seed: int | Sequence[int]) -> Marks:
    """What people make of it: each edge up to half a second off, one label in ten another one of the project."""
    rng = np.random.default_rng(seed)

    def mark(events: Sequence[Segment], duration: float) -> tuple[Segment, ...]:
        marked = []
        for segment in marks(events, duration):
            start, end = (float(rng.uniform(-NOISE_SECONDS, NOISE_SECONDS)) for _ in "se")
            wrong = [label for label in labels if label != segment.label]
            label = str(rng.choice(wrong)) if wrong and rng.random() < NOISE_LABELS else segment.label
            marked.append(_shifted(replace(segment, label=label), start, end, duration))
        return tuple(sorted(marked))

    return mark


def _renamed(called: Mapping[str, str]) -> Marks:
    return lambda events, _: tuple(
        replace(event, label=called[event.label]) for event in events if event.label in called
    )


def _moved(start: float, end: float) -> Marks:
    return lambda events, duration: tuple(_shifted(event, start, end, duration) for event in events)


def _shifted(segment: Segment, start: float, end: float, duration: float) -> Segment:
    begin, stop = max(0.0, segment.start + start), min(duration, segment.end + end)
    return replace(segment, start=begin, end=stop) if begin < stop else segment


# --- Looks that the demo checkpoint has never met -------------------------------------------------------------------

NEW_COLORS: Mapping[str, tuple[int, int, int]] = {
    "magenta": (200, 30, 190),
    "cyan": (20, 190, 205),
    "orange": (240, 120, 15),
}
NEW_SHAPES = ("square", "circle", "triangle", "ring")
NEW_SOUNDS = ("buzz", "noise burst")
NEW_LABELS = (*(f"{color} {shape}" for color in NEW_COLORS for shape in NEW_SHAPES), *NEW_SOUNDS)
NEW_BACKGROUND = (150.0, 235.0)  # per channel; the demo world has 0 to 45
BUZZ = (90.0, 180.0)  # Hz, a square wave
RING = 0.55  # of a ring's radius is empty


@dataclass(frozen=True)
class NewLooks(Scene):
    """A scene whose shapes and tones are drawn in other ways; its events have their names.

    Attributes:
        looks: colour and shape for each of `shapes`.
        sounds: one of NEW_SOUNDS for each of `tones`.
    """

    looks: tuple[tuple[str, str], ...] = ()
    sounds: tuple[str, ...] = ()
    events: tuple[Segment, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = [
            *(Segment(s.start, s.end, f"{c} {f}") for s, (c, f) in zip(self.shapes, self.looks, strict=True)),
            *(Segment(tone.start, tone.end, sound) for tone, sound in zip(self.tones, self.sounds, strict=True)),
        ]
        object.__setattr__(self, "events", tuple(sorted(named)))

    def frames(
        self, seconds: Sequence[float], height: int, width: int, *, aspect: float | None = None
    ) -> npt.NDArray[np.uint8]:
        """The pictures at `seconds`, as `Scene.frames`."""
        rng = np.random.default_rng(self.noise_seed)
        extent = min(height, width)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
        noise = self.picture_noise * rng.standard_normal((3, height, width), dtype=np.float32)
        empty = np.asarray(self.background, np.float32)[:, None, None] + noise
        pictures = []
        for second in seconds:
            picture = empty.copy()
            for shape, (color, form) in zip(self.shapes, self.looks, strict=True):
                if shape.start <= second < shape.end:
                    x, y = shape.center(second)
                    half = shape.half_side * extent
                    across = (xs - half - x * (width - 2 * half)) / half, (ys - half - y * (height - 2 * half)) / half
                    inside = _inside(form, *across)
                    picture[:, inside] = (np.asarray(NEW_COLORS[color])[:, None, None] * shape.brightness + noise)[
                        :, inside
                    ]
            pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
        return np.stack(pictures)

    def sound(self, duration: float | None = None) -> npt.NDArray[np.float32] | None:
        """The sound track, as `Scene.sound`."""
        silent = replace(self, tones=(), sounds=())
        wave = Scene.sound(silent, duration)
        if wave is None:
            return None
        rng = np.random.default_rng(self.noise_seed + 2)
        for tone, sound in zip(self.tones, self.sounds, strict=True):
            first, last = samples_in(tone.start), min(samples_in(tone.end), len(wave))
            clock = np.arange(last - first, dtype=np.float32) / 16_000
            buzz = np.sign(np.sin(2 * np.pi * tone.frequency * clock))
            burst = rng.standard_normal(last - first, dtype=np.float32) * 0.5
            wave[first:last] += tone.amplitude * 0.5 * (buzz if sound == "buzz" else burst)
        clipped: npt.NDArray[np.float32] = np.clip(wave, -1, 1).astype(np.float32)
        return clipped


def _inside(form: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which pixels a shape covers; `x` and `y` from its centre, 1 at its edge."""
    inside: npt.NDArray[np.bool_]
    match form:
        case "square":
            inside = (abs(x) < 1) & (abs(y) < 1)
        case "circle":
            inside = np.hypot(x, y) < 1
        case "ring":
            inside = (np.hypot(x, y) < 1) & (np.hypot(x, y) > RING)
        case _:
            inside = (y < 1) & (y > -1) & (abs(x) < (y + 1) / 2)
    return inside


def draw_new_looks(rng: np.random.Generator, duration: float, *, sound: bool) -> NewLooks:
    """A random scene as in the demo world, of other colours, shapes, backgrounds and sounds."""
    base = draw_scene(rng, duration, sound=sound)
    sounds = tuple(str(rng.choice(NEW_SOUNDS)) for _ in base.tones)
    tones = tuple(replace(tone, frequency=float(rng.uniform(*BUZZ))) for tone in base.tones)
    red, green, blue = rng.uniform(*NEW_BACKGROUND, size=3)
    return NewLooks(
        duration, base.shapes, tones, has_sound=sound, background=(float(red), float(green), float(blue)),
        picture_noise=base.picture_noise, sound_noise=base.sound_noise, noise_seed=base.noise_seed,
        looks=tuple((str(rng.choice(list(NEW_COLORS))), str(rng.choice(NEW_SHAPES))) for _ in base.shapes),
        sounds=sounds,
    )  # fmt: skip
