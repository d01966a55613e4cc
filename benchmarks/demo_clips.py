"""Held-out clips of the demo world, encoded to real files, for the benchmarks beside this file.

Their seeds are none of the training's. They are drawn once and kept in benchmarks/output/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from omni_timeline.segments import Segment
from omni_timeline.synthetic import Scene, draw_scene, draw_scenes, write_video

OUTPUT = Path(__file__).parent / "output"
HELD_OUT = 1_000_000  # the first seed; training draws from sequences that no single number seeds
FRAME_RATES = tuple(
    Fraction(rate)
    for rate in (10, 12, 15, Fraction(24_000, 1001), 24, 25, Fraction(30_000, 1001), 30, 50, Fraction(60_000, 1001), 60)
)
SIZES = ((64, 64), (112, 112), (224, 224), (96, 128), (144, 192), (90, 160), (180, 320), (160, 90), (240, 136))


@dataclass(frozen=True)
class Sample:
    """A clip on disk and the truth about it."""

    path: Path
    duration: float
    sounding: bool
    events: tuple[Segment, ...]


def clips(
    count: int, *, sound: bool, shortest: float = 4.0, longest: float = 48.0, first_seed: int = HELD_OUT
) -> Iterator[Sample]:
    """`count` clips, durations log-uniform between `shortest` and `longest` seconds; rates and sizes at random."""
    folder = OUTPUT / "demo-clips"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        seed = first_seed + 2 * number + sound
        rng = np.random.default_rng(seed)
        fps = FRAME_RATES[rng.integers(len(FRAME_RATES))]
        height, width = SIZES[rng.integers(len(SIZES))]
        wanted = float(np.exp(rng.uniform(np.log(shortest), np.log(longest))))
        duration = float(round(wanted * fps) / fps)
        scene = draw_scene(rng, duration, sound=sound)
        path = folder / f"{seed}-{shortest:g}-{longest:g}.mp4"
        if not path.exists():
            unfinished = path.with_name(f"unfinished-{path.name}")
            write_video(scene, unfinished, fps=fps, height=height, width=width).replace(path)
        yield Sample(path, duration, sound, scene.events)


def mixed_clips(count: int, shortest: float, longest: float) -> list[Path]:
    """Files of clips, every other one with sound; `count` must be even."""
    silent = clips(count // 2, sound=False, shortest=shortest, longest=longest)
    sounding = clips(count // 2, sound=True, shortest=shortest, longest=longest)
    return [sample.path for pair in zip(silent, sounding, strict=True) for sample in pair]


def long_video(
    duration: float, *, sound: bool, seed: int,
    parts: Sequence[tuple[tuple[float, float], float]] = (((40.0, 60.0), 1.0),),
    height: int = 120, width: int = 160, fps: int = 10,
) -> Sample:  # fmt: skip
    """A video of many scenes one after the other, each with as many events as a clip of the demo world has.

    `parts` are the shortest and the longest scene in seconds, and for what part of the video.
    """
    name = "-".join(f"{part:g}x{shortest:g}-{longest:g}" for (shortest, longest), part in parts)
    path = OUTPUT / "demo-clips" / f"long-{seed}-{duration:g}-{name}-{height}-{sound:d}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, whole, begin = np.random.default_rng(seed), None, 0.0
    for scene_seconds, part in parts:
        scene = draw_scenes(rng, part * duration, sound=sound, scene_seconds=scene_seconds)
        whole = scene if whole is None else _one_after_the_other(whole, scene, begin)
        begin += part * duration
    assert whole is not None
    if not path.exists():
        unfinished = path.with_name(f"unfinished-{path.name}")
        write_video(whole, unfinished, fps=fps, height=height, width=width).replace(path)
    return Sample(path, duration, sound, whole.events)


def _one_after_the_other(first: Scene, second: Scene, begin: float) -> Scene:
    """A scene whose second part begins at `begin` seconds."""
    shapes = [replace(each, start=each.start + begin, end=each.end + begin) for each in second.shapes]
    tones = [replace(each, start=each.start + begin, end=each.end + begin) for each in second.tones]
    duration = begin + second.duration
    return replace(first, duration=duration, shapes=(*first.shapes, *shapes), tones=(*first.tones, *tones))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
