"""Whether the scores mean anything: of the segments the demo checkpoint is sure of, are more right than of the others?

    python benchmarks/confidence.py               # about 4 minutes on 2 cores
    python benchmarks/confidence.py --clips 60    # a quick look

A segment is right when it overlaps a true event of its label by more than half (IoU > 0.5). The clips are made for
failing: up to 47 s seen through 16 to 50 frames, events cut short, shapes small and dim on grey noise, tones that
hardly rise over the hiss. "Hard" stays near what training showed; "beyond" goes far past it, where a model cannot
know what it does not know. Prints Markdown tables, draws docs/images/confidence.png; docs/confidence.md shows them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from demo_clips import OUTPUT, table
from omni_timeline.answers.confidence import score_segments
from omni_timeline.answers.grammar import Grammar
from omni_timeline.media.video import load_clip
from omni_timeline.metrics import event_f1, pool
from omni_timeline.model.qwen2_5_omni.inputs import RealTimeInputs
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment, iou
from omni_timeline.synthetic import LABELS, Scene, Shape, Tone, draw_scene, write_video

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "confidence.png"
FRAMES = (16, 24, 50)
BINS = 10
FEWEST_DRAWN = 5  # segments of a tenth, for it to be in the picture
SEED = 8  # the rule was chosen among others on the clips of seed 7
Event = TypeVar("Event", Shape, Tone)


@dataclass(frozen=True)
class Difficulty:
    """The ranges that are drawn from, evenly."""

    duration: tuple[float, float]  # s
    kept: tuple[float, float]  # of each event's duration
    brightness: tuple[float, float]  # factor on a shape's colour; 0.8 to 1.1 in training
    half_side: tuple[float, float]  # of the picture's shorter side; 0.20 to 0.36 in training
    picture_noise: tuple[float, float]  # grey levels; up to 6 in training
    background: tuple[float, float]  # grey levels; up to 45 in training
    loudness: tuple[float, float]  # of full scale, drawn by its logarithm; 0.08 to 0.6 in training
    hiss: tuple[float, float]  # of full scale; up to 0.01 in training


DIFFICULTIES = {
    "hard": Difficulty((15, 47), (0.3, 1), (0.5, 1.1), (0.12, 0.36), (0, 20), (0, 60), (0.01, 0.5), (0.0005, 0.012)),
    "beyond": Difficulty((15, 47), (0.25, 1), (0.4, 1.1), (0.08, 0.36), (0, 40), (0, 90), (0.003, 0.4), (0.0005, 0.03)),
}


@dataclass(frozen=True)
class Judged:
    """A segment's score by several rules, and whether it is right."""

    right: bool
    score: float  # of the prediction; of one look, what `confidence.score_segments` says
    looks: str  # whether several looks agree
    mean: float = 0.0  # the mean probability of a token of the line
    product: float = 0.0  # the probability of the line's times and label, each digit as written
    label: float = 0.0  # the probability of the label


def draw(rng: np.random.Generator, how: Difficulty, *, sound: bool) -> Scene:
    """A scene of the demo world, made harder."""

    def shortened(event: Event) -> Event:
        length = (event.end - event.start) * rng.uniform(*how.kept)
        start = rng.uniform(event.start, event.end - length)
        return replace(event, start=float(start), end=float(start + length))

    scene = draw_scene(rng, float(rng.uniform(*how.duration)), sound=sound)
    shapes = [
        replace(
            shortened(shape),
            brightness=float(rng.uniform(*how.brightness)),
            half_side=float(rng.uniform(*how.half_side)),
        )
        for shape in scene.shapes
    ]
    tones = [
        replace(shortened(tone), amplitude=float(np.exp(rng.uniform(*np.log(how.loudness))))) for tone in scene.tones
    ]
    red, green, blue = rng.uniform(*how.background, size=3)
    return replace(
        scene,
        shapes=tuple(shapes),
        tones=tuple(tones),
        background=(float(red), float(green), float(blue)),
        picture_noise=float(rng.uniform(*how.picture_noise)),
        sound_noise=float(rng.uniform(*how.hiss)),
    )


def judge(model: OmniModel, name: str, count: int) -> tuple[list[Judged], list[Judged], float]:
    """The segments of `count` clips as one look has them and as the pipeline has them, and the F1 of these."""
    inputs, pipeline = RealTimeInputs(model.processor, model.model), Pipeline(model)
    folder = OUTPUT / "confidence-clips"
    folder.mkdir(parents=True, exist_ok=True)
    judged: list[Judged] = []
    final: list[Judged] = []
    scores = []
    for number in range(count):
        rng = np.random.default_rng((SEED, list(DIFFICULTIES).index(name), number))
        scene = draw(rng, DIFFICULTIES[name], sound=bool(number % 2))
        path = folder / f"{SEED}-{name}-{number}.mp4"
        if not path.exists():
            write_video(scene, path.with_name(f"unfinished-{path.name}"), fps=10).replace(path)
        clip = load_clip(path, frames=FRAMES[number % len(FRAMES)], resize=inputs.resize)
        grammar = Grammar(LABELS, clip.duration)
        [output] = model.generate(inputs.build([clip]), grammars=[grammar.text])
        parsed = grammar.read(output.text)
        options = PredictOptions(labels=LABELS, frames=FRAMES[number % len(FRAMES)])
        found = pipeline.predict(path, options).segments
        scores.append(event_f1(scene.events, found))
        for segment in found:
            right = any(is_right(segment, event) for event in scene.events)
            final.append(Judged(right, segment.score or 0.0, segment.looks))
        for segment, (begin, end) in zip(score_segments(parsed, output), parsed.spans, strict=True):
            line = [
                (output.text[at : at + 1], log_probability, at - begin)
                for at, log_probability in zip(output.offsets, output.log_probabilities, strict=True)
                if begin <= at < end
            ]
            comma = output.text.index(",", begin) - begin
            label = [p for _, p, at in line if comma < at < end - begin - 1]
            digits = [p for character, p, at in line if at < comma and character.isdigit()]
            judged.append(
                Judged(
                    right=any(is_right(segment, event) for event in scene.events),
                    score=segment.score or 0.0,
                    looks="",
                    mean=math.exp(np.mean([p for _, p, _ in line])),
                    product=math.exp(sum(digits + label)),
                    label=math.exp(sum(label)),
                )
            )
    return judged, final, pool(scores).f1


def is_right(segment: Segment, event: Segment) -> bool:
    return segment.label == event.label and iou(segment, event) > 0.5


def auroc(judged: Sequence[Judged], rule: Callable[[Judged], float]) -> float:
    """How often a right segment has a higher score than a wrong one; a tie is half."""
    right = np.array([rule(one) for one in judged if one.right])
    wrong = np.array([rule(one) for one in judged if not one.right])
    higher, equal = right[:, None] > wrong, right[:, None] == wrong
    return float((higher + equal / 2).mean())


def reliability(judged: Sequence[Judged]) -> list[tuple[int, float, float]]:
    """For each tenth of the scores: how many segments, their mean score, the share that is right."""
    tenths = [min(int(one.score * BINS), BINS - 1) for one in judged]
    bins = [[one for one, tenth in zip(judged, tenths, strict=True) if tenth == wanted] for wanted in range(BINS)]
    return [
        (len(b), float(np.mean([o.score for o in b])), float(np.mean([o.right for o in b]))) if b else (0, 0.0, 0.0)
        for b in bins
    ]


def calibration_error(judged: Sequence[Judged]) -> float:
    """The mean distance between score and share of right segments over the bins (ECE)."""
    return sum(count * abs(score - right) for count, score, right in reliability(judged)) / len(judged)


def draw_picture(results: dict[str, list[Judged]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(5, 6), sharex=True, height_ratios=(3, 1), layout="constrained")
    above.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="score = share")
    for (name, judged), color, shift in zip(results.items(), ("#1f77b4", "#d62728"), (0, 1), strict=True):
        filled = [(count, score, right) for count, score, right in reliability(judged) if count >= FEWEST_DRAWN]
        label = f"{name}: {len(judged)} segments, AUROC {auroc(judged, lambda one: one.score):.2f}"
        above.plot([s for _, s, _ in filled], [r for _, _, r in filled], "o-", color=color, label=label)
        edges = [(tenth + 0.25 + 0.5 * shift) / BINS for tenth in range(BINS)]
        below.bar(edges, [count for count, _, _ in reliability(judged)], width=0.5 / BINS, color=color)
    above.set(ylabel="share that is right (IoU > 0.5)", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left", frameon=False)
    below.set(xlabel="score", ylabel="segments")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=150, help="of each difficulty, every other with sound")
    count = parser.parse_args().clips
    model = OmniModel.load("demo")
    results, rows = {}, []
    rules: dict[str, Callable[[Judged], float]] = {
        "one look": lambda one: one.score,
        "mean of the line": lambda one: one.mean,
        "times and label, every digit": lambda one: one.product,
        "label alone": lambda one: one.label,
    }
    for name in DIFFICULTIES:
        one_look, final, f1 = judge(model, name, count)
        results[name] = final
        rows.append([
            f"{name}, {count} clips", len(final), f"{f1:.2f}", f"{np.mean([one.right for one in final]):.0%}",
            f"{auroc(final, rules['one look']):.3f}", f"{calibration_error(final):.3f}",
            *(f"{auroc(one_look, rule):.3f}" for rule in rules.values()), f"{calibration_error(one_look):.3f}",
        ])  # fmt: skip
    header = ["", "segments", "F1", "right", "AUROC: **score**", "calibration error"]
    header += [*(f"AUROC: {name}" for name in rules), "calibration error of one look"]
    print(table(header, rows))
    print()
    groups = [
        [how or "one look", *(f"{np.mean(right):.0%} of {len(right)}" if right else "-" for right in column)]
        for how in ("", "agree", "differ")
        for column in [[[one.right for one in final if one.looks == how] for final in results.values()]]
    ]
    print(table(["looks", *(f"right, {name}" for name in results)], groups))
    print()
    bins = [
        [f"{tenth / BINS:.1f} to {(tenth + 1) / BINS:.1f}"]
        + [f"{right:.0%} of {number}" if number else "-" for number, _, right in column]
        for tenth, column in enumerate(zip(*(reliability(judged) for judged in results.values()), strict=True))
    ]
    print(table(["score", *(f"right, {name}" for name in results)], bins))
    draw_picture(results)


if __name__ == "__main__":
    main()
