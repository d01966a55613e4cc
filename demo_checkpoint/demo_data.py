"""Batches for training the demo checkpoint, drawn without end and reproducibly: step k of seed s is always the same.

Silent clips are rendered once in relative time and used again and again with another duration: the same pixels ask for
other answers, so the model has no choice but to read the rotary time. The answer is what the sampled frames can tell:
an event begins half-way between the last frame without it and the first one with it.

Windows, which the later stages add, are stretches cut out of scenes that follow each other: they hold events that began
before them and go on after them, and more events than one scene has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from demo_prompts import draw_prompt
from omni_timeline.answers.lines import format_segments
from omni_timeline.model.prompts import Prompt
from omni_timeline.model.qwen2_5_omni.family import POSITIONS_PER_SECOND
from omni_timeline.segments import Segment
from omni_timeline.synthetic import SHAPE_LABELS, TONES, Scene, Shape, draw_scene, draw_scenes
from omni_timeline.timebase import SAMPLE_RATE, samples_in, sampling_instants

FRAMES = 50
SHORTEST, LONGEST = 2.0, 60.0  # s, of a window
WINDOW_SHARE = 0.65  # of the clips of a source that has windows
SCENE_IN_WINDOWS = (0.45, 3.0)  # how long the scenes are that a window is cut from, in windows; log-uniform
SCENE_SPREAD = 1.5  # the longest of such scenes over the shortest
MIN_TONE = 0.1  # s, of a piece of a tone, cut off by a window, that is worth a line
POOL = 1200  # silent clips kept rendered
FRESH_PER_STEP = 4  # of them replaced at each step
TOKENS_PER_BATCH = 6500  # about; of the language model
# Height, width, range of the true aspect ratio (width over height), share: what the pixel budget makes of real sizes.
SIZES = (
    (56, 56, (0.80, 1.25), 0.45),
    (56, 84, (1.20, 1.95), 0.26),
    (84, 56, (0.50, 0.83), 0.19),
    (56, 112, (1.80, 2.40), 0.05),
    (112, 56, (0.42, 0.55), 0.05),
)
MEL_HOP = SAMPLE_RATE // 100  # samples to a mel frame
TONE_LABELS = tuple(TONES)


@dataclass(frozen=True)
class Batch:
    """Clips of one size, one frame count and, when they sound, one duration; under one prompt.

    Attributes:
        frames: uint8 (B, N, 3, H, W).
        seconds: float64 (B, N), each frame's time.
        waves: float32 (B, S), or None for silent clips.
        prompt: the words.
        answers: B texts.
        frame_classes: int64 (B, N); 0 is none, else 1 + the index in SHAPE_LABELS.
        sound_classes: int64 (B, A) for each audio token, or None; 0 is none, else 1 + the index in TONES.
        starts: for each clip the seconds at which its answer's events begin, in order.
    """

    frames: torch.Tensor
    seconds: NDArray[np.float64]
    waves: NDArray[np.float32] | None
    prompt: Prompt
    answers: list[str]
    frame_classes: torch.Tensor
    sound_classes: torch.Tensor | None
    starts: list[NDArray[np.float64]]


def audio_tokens(samples: int) -> int:
    """How many tokens the audio encoder makes of `samples`."""
    mel_frames = -(-samples // MEL_HOP)
    return ((mel_frames - 1) // 2 + 1 - 2) // 2 + 1


def _window(rng: np.random.Generator, even: float) -> float:
    if rng.random() >= even:
        return float(np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST))))
    return float(rng.uniform(SHORTEST, LONGEST))


def _drawn(rng: np.random.Generator, duration: float, *, sound: bool, windows: bool) -> Scene:
    """A scene, or, for a source of windows and most of the time, a window over scenes one after the other."""
    if not windows or rng.random() >= WINDOW_SHARE:
        return draw_scene(rng, duration, sound=sound)
    shortest = duration * float(np.exp(rng.uniform(*np.log(SCENE_IN_WINDOWS))))
    longest = SCENE_SPREAD * shortest
    start = rng.uniform(0, longest)
    scenes = draw_scenes(rng, start + duration + 2 * longest, sound=sound, scene_seconds=(shortest, longest))
    return scenes.cut(start, start + duration)


def _visible(shape: Shape, seconds: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.flatnonzero((seconds >= shape.start) & (seconds < shape.end))


def _known(shape: Shape, shown: NDArray[np.intp], seconds: NDArray[np.float64]) -> Segment:
    """What the frames tell of `shape`, given the indices at which it is shown."""
    first, last = shown[0], shown[-1]
    start = seconds[0] if first == 0 else (seconds[first - 1] + seconds[first]) / 2
    end = seconds[-1] if last == len(seconds) - 1 else (seconds[last] + seconds[last + 1]) / 2
    return Segment(float(start), float(max(end, start + 0.1)), shape.label)


def _describe(
    scene: Scene, drawn_at: NDArray[np.float64], seconds: NDArray[np.float64], tones: tuple[Segment, ...] = ()
) -> tuple[str, NDArray[np.int64], NDArray[np.float64]]:
    """Answer, frames' classes and events' starts, when frames drawn at `drawn_at` are said to be at `seconds`."""
    classes = np.zeros(len(seconds), np.int64)
    segments = list(tones)
    for shape in scene.shapes:
        shown = _visible(shape, drawn_at)
        if len(shown):
            classes[shown] = 1 + SHAPE_LABELS.index(shape.label)
            segments.append(_known(shape, shown, seconds))
    return format_segments(segments), classes, np.sort([segment.start for segment in segments])


class BatchSource:
    """Draws batches; holds the pool of rendered silent clips.

    Args:
        seed: of everything that is drawn.
        step: the first one that will be asked for.
        windows: most clips are windows over longer videos.
    """

    def __init__(self, seed: int, step: int = 0, *, windows: bool = False):
        self.seed = seed
        self.windows = windows
        shares = np.cumsum([share for *_, share in SIZES])
        self._slot_sizes = np.searchsorted(shares, (np.arange(POOL) + 0.5) / POOL)
        self._scenes: list[Scene] = [None] * POOL  # type: ignore[list-item]
        self._pictures: list[torch.Tensor] = [None] * POOL  # type: ignore[list-item]
        newest = POOL + step * FRESH_PER_STEP
        for number in range(newest - POOL, newest):
            self._render(number)

    def _render(self, number: int) -> None:
        rng = np.random.default_rng((self.seed, 3 if self.windows else 1, number))
        slot = (number * 7919) % POOL  # 7919 is coprime to POOL: fresh clips reach all sizes
        height, width, aspects, _ = SIZES[self._slot_sizes[slot]]
        scene = _drawn(rng, 1.0, sound=False, windows=self.windows)
        self._scenes[slot] = scene
        self._pictures[slot] = torch.from_numpy(
            scene.frames(_relative_instants(), height, width, aspect=rng.uniform(*aspects))
        )

    def batch(self, step: int, *, sounding: float = 0.4, polish: bool = False, even: float = 0.4) -> Batch:
        """The batch of step `step`; to be called for every step in turn.

        Args:
            step: its number.
            sounding: the share of batches with sound.
            polish: asks under any system prompt.
            even: the share of durations that are uniform from SHORTEST to LONGEST; the others are log-uniform.
        """
        for fresh in range(FRESH_PER_STEP):
            self._render(POOL + step * FRESH_PER_STEP + fresh)
        rng = np.random.default_rng((self.seed, 4 if self.windows else 2, step))
        size = int(rng.choice(len(SIZES), p=[share for *_, share in SIZES]))
        if rng.random() < sounding:
            return self._sounding(rng, size, polish, even)
        return self._silent(rng, size, polish, even)

    def _silent(self, rng: np.random.Generator, size: int, polish: bool, even: float) -> Batch:
        stride = int(rng.choice([1, 2, 3, 4, 5], p=[0.70, 0.20, 0.05, 0.03, 0.02]))
        kept: NDArray[np.int64] = np.arange(int(rng.integers(stride)), FRAMES, stride)
        if rng.random() < 0.2:
            kept = kept[: int(rng.integers(max(8, len(kept) // 3), len(kept) + 1))]
        tokens = -(-len(kept) // 2) * (SIZES[size][0] // 28) * (SIZES[size][1] // 28)
        count = int(np.clip(TOKENS_PER_BATCH // (tokens + 110), 16, 40))
        slots = rng.choice(np.flatnonzero(self._slot_sizes == size), size=count, replace=False)
        drawn_at = np.asarray(_relative_instants())[kept]
        answers, classes, times, starts = [], [], [], []
        for slot in slots:
            seconds = np.asarray(sampling_instants(0.0, _window(rng, even), len(kept)))
            answer, frame_classes, begun = _describe(self._scenes[slot], drawn_at, seconds)
            answers.append(answer)
            starts.append(begun)
            classes.append(frame_classes)
            times.append(seconds)
        frames = torch.stack([self._pictures[slot][torch.from_numpy(kept)] for slot in slots])
        return Batch(
            frames,
            np.stack(times),
            None,
            draw_prompt(rng, any_system=polish),
            answers,
            torch.from_numpy(np.stack(classes)),
            None,
            starts,
        )

    def _sounding(self, rng: np.random.Generator, size: int, polish: bool, even: float) -> Batch:
        height, width, aspects, _ = SIZES[size]
        frame_count = FRAMES if rng.random() < 0.8 else int(rng.integers(8, FRAMES))
        samples = samples_in(_window(rng, even)) // MEL_HOP * MEL_HOP
        duration = samples / SAMPLE_RATE
        last = duration - rng.uniform(1 / 60, 1 / 10)
        seconds = np.asarray(sampling_instants(0.0, last, frame_count))
        tokens = audio_tokens(samples)
        count = int(np.clip(1.3 * TOKENS_PER_BATCH // (tokens + 250), 6, 24))
        token_seconds = np.arange(tokens) / POSITIONS_PER_SECOND
        frames, waves, answers, classes, sound_classes, starts = [], [], [], [], [], []
        for _ in range(count):
            scene = _drawn(rng, duration, sound=True, windows=self.windows)
            frames.append(scene.frames(list(seconds), height, width, aspect=rng.uniform(*aspects)))
            wave = scene.sound(duration)
            assert wave is not None
            waves.append(wave if rng.random() < 0.85 else _only_tones(scene, wave))
            tones = tuple(event for event in scene.events if event.label in TONES and event.duration >= MIN_TONE)
            answer, frame_classes, begun = _describe(scene, seconds, seconds, tones)
            answers.append(answer)
            starts.append(begun)
            classes.append(frame_classes)
            heard = np.zeros(tokens, np.int64)
            for tone in tones:
                inside = (token_seconds + 0.02 >= tone.start) & (token_seconds + 0.02 < tone.end)
                heard[inside] = 1 + TONE_LABELS.index(tone.label)
            sound_classes.append(heard)
        return Batch(
            torch.from_numpy(np.stack(frames)),
            np.broadcast_to(seconds, (count, frame_count)),
            np.stack(waves),
            draw_prompt(rng, any_system=polish),
            answers,
            torch.from_numpy(np.stack(classes)),
            torch.from_numpy(np.stack(sound_classes)),
            starts,
        )


def _only_tones(scene: Scene, wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sound track with true silence between the tones, as an editor or a codec leaves it."""
    clock = np.arange(len(wave)) / SAMPLE_RATE
    heard = np.zeros(len(wave), bool)
    for tone in scene.tones:
        heard |= (clock >= tone.start) & (clock < tone.end)
    return np.where(heard, wave, 0).astype(np.float32)


def _relative_instants() -> list[float]:
    """Where a pooled clip of duration 1 is looked at: its last frame begins shortly before its end."""
    return sampling_instants(0.0, 0.996, FRAMES)
