"""What the real-time remap is worth: one checkpoint, the same clips, three ways of telling it the time.

    real      seconds per temporal grid from the frames' true times
    nominal   1.0 s per grid, as if every video were sampled at 2 frames a second: what the stock processor does
    rescale   nominal positions, and the answer's times multiplied by true over nominal duration; the command refuses
              to do this to clips with sound, here it is done all the same, to show why

    python benchmarks/remap.py                                    # the demo checkpoint, about 10 minutes on 2 cores
    python benchmarks/remap.py --model Qwen/Qwen2.5-Omni-3B       # the same table for a real checkpoint, on a GPU

Prints a Markdown table and, with --figure, draws it; docs/remap.md shows both.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import get_args

from demo_clips import Sample, clips, table
from omni_timeline.answers.parser import parse_segments
from omni_timeline.metrics import Score, boundary_errors, event_f1, pool
from omni_timeline.model.prompts import with_labels
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.options import PredictOptions, Remap
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS

BANDS = ((4.0, 12.0), (12.0, 24.0), (24.0, 48.1))  # s


def stretched(pipeline: Pipeline, nominal: PredictOptions, sample: Sample) -> list[Segment]:
    """What `nominal` answers, its times multiplied by true over nominal duration."""
    [clip] = pipeline.clips(sample.path, nominal)
    factor = Clock("real", pipeline.model.family).second_per_grid(clip) / pipeline.model.family.nominal_second_per_grid
    answer = pipeline.predict(sample.path, nominal).text
    said = parse_segments(answer, sample.duration / factor).segments
    return [replace(segment, start=segment.start * factor, end=segment.end * factor) for segment in said]


def measure(
    pipeline: Pipeline, options: PredictOptions, samples: list[Sample], *, rescale: bool
) -> tuple[Score, list[float]]:
    """The pooled score, and the boundary errors in seconds."""
    scores, errors = [], []
    for number, sample in enumerate(samples, 1):
        if sys.stderr.isatty():
            print(f"\r{options.remap}: {number}/{len(samples)} ", end="", file=sys.stderr)
        found = stretched(pipeline, options, sample) if rescale else pipeline.predict(sample.path, options).segments
        scores.append(event_f1(sample.events, found))
        errors += boundary_errors(sample.events, found)
    return pool(scores), errors


def draw(figure: Path, bars: dict[tuple[bool, str], list[float]]) -> None:
    """F1 by duration, silent clips beside those with sound."""
    import matplotlib.pyplot as plt

    colors = {"real": "#1b7837", "nominal": "#b2182b", "rescale": "#f4a582"}
    fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for axis, sounding in zip(axes, (False, True), strict=True):
        for place, remap in enumerate(get_args(Remap)):
            offsets = [band + (place - 1) * 0.27 for band in range(len(BANDS))]
            drawn = axis.bar(offsets, bars[sounding, remap], width=0.25, color=colors[remap], label=remap)
            axis.bar_label(drawn, fmt="%.2f", fontsize=8)
        axis.set_xticks(range(len(BANDS)), [f"{low:.0f} to {high:.0f} s" for low, high in BANDS])
        axis.set_title("clips with sound" if sounding else "silent clips", fontsize=10)
        axis.set_ylim(0, 1.1)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("event F1 at IoU 0.5")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    figure.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(figure, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="demo, a folder or a hub id (default demo)")
    parser.add_argument("--hub", default="huggingface", help="huggingface or modelscope")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--clips", type=int, default=100, help="silent clips, and as many with sound (default 100)")
    parser.add_argument("--figure", type=Path, help="draw the table to this PNG")
    arguments = parser.parse_args()
    model = OmniModel.load(arguments.model, hub=arguments.hub, device=arguments.device)
    pipeline = Pipeline(model)
    rows: list[list[str]] = []
    bars: dict[tuple[bool, str], list[float]] = {}
    for sounding in (False, True):
        samples = list(clips(arguments.clips, sound=sounding))
        for remap in get_args(Remap):
            rescale = remap == "rescale"
            # Unconstrained, and in one window: a grammar would not let the nominal clock say what it means.
            asked = PredictOptions(prompt=with_labels(LABELS), remap="nominal" if rescale else remap, constrained=False)
            asked = replace(asked, window_seconds=None)
            bars[sounding, remap] = []
            for low, high in BANDS:
                band = [sample for sample in samples if low <= sample.duration < high]
                score, errors = measure(pipeline, asked, band, rescale=rescale)
                bars[sounding, remap].append(score.f1)
                rows.append(
                    [
                        "with sound" if sounding else "silent",
                        remap,
                        f"{low:.0f} to {high:.0f} s, {len(band)} clips",
                        f"{score.f1:.3f}",
                        f"{score.mean_iou:.3f}",
                        f"{median(errors):.2f} s" if errors else "-",
                    ]
                )
    print(f"{model.description}\n")
    print(table(["clips", "--remap", "duration", "F1 at IoU 0.5", "mean IoU", "median boundary error"], rows))
    if arguments.figure:
        draw(arguments.figure, bars)


if __name__ == "__main__":
    main()
