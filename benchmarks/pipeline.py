"""Where the seconds go from a video file to regions, stage by stage, with the demo checkpoint on one clip.

    python benchmarks/pipeline.py [--duration 30] [--repeats 9] [--device cpu]

The clip is drawn and encoded here, with sound. Each stage is timed around the real function; medians over the repeats,
the first of which is thrown away. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.clock import Clock
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.reading import read_answer, row_for
from omni_timeline.synthetic import draw_scene, write_video

LABEL_CONFIG = Path(__file__).parent.parent / "label_config.xml"
FPS, HEIGHT, WIDTH = 25, 240, 320
AIM = 0.15  # of the whole, for everything but generation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=30.0, help="seconds of the clip (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="how often each stage is timed (default: %(default)s)")
    parser.add_argument("--height", type=int, default=HEIGHT, help="pixels (default: %(default)s)")
    parser.add_argument("--width", type=int, default=WIDTH, help="pixels (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    arguments = parser.parse_args()

    config = LabelConfig.from_xml(LABEL_CONFIG.read_text(encoding="utf-8"))
    model = OmniModel.load("demo", device=arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        scene = draw_scene(np.random.default_rng(2), arguments.duration, sound=True)
        write_video(scene, video, fps=FPS, height=arguments.height, width=arguments.width)
        pipeline = Pipeline(model)
        runs = [stages(pipeline, model, config, video) for _ in range(arguments.repeats + 1)][1:]

    medians = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    total = sum(medians.values())
    kind = f"{arguments.duration:g} s, {arguments.width} x {arguments.height}, {FPS} fps, with sound"
    print(f"One clip of {kind}; {model.description}; median of {arguments.repeats}.\n")
    print("| stage | ms | share |\n|---|---:|---:|")
    for stage, seconds in medians.items():
        print(f"| {stage} | {seconds * 1000:.1f} | {seconds / total:.1%} |")
    print(f"| **file to regions** | **{total * 1000:.1f}** | |")
    rest = 1 - medians["generate"] / total
    print(f"\nEverything but generation: {rest:.1%} (aim: at most {AIM:.0%}).")


def stages(pipeline: Pipeline, model: OmniModel, config: LabelConfig, video: Path) -> dict[str, float]:
    """Seconds of each stage, in order, for one prediction."""
    spent: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        spent[stage] = time.perf_counter() - begin

    options = config.options(PredictOptions())
    clock = Clock(options.remap, model.family)
    with timed("open"), pipeline.decoder.open(video) as opened:
        pass
    with timed("frames and sound"):
        [clip] = pipeline.clips(video, options)
    spent["frames and sound"] -= spent["open"]  # it opens the video too
    row = row_for(clip, options, clock)
    with timed("inputs"):
        inputs = model.inputs.build([clip], row.prompt, [row.second_per_grid])
    with timed("generate"):
        [answer] = model.generate(inputs, max_new_tokens=row.max_new_tokens, grammars=[row.grammar])
    with timed("read"):
        reading = read_answer(answer, clip, options, clock)
    with timed("regions"):
        config.to_result(reading.segments, duration=opened.info.duration, task_data={})
    return spent


if __name__ == "__main__":
    main()
