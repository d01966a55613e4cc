"""Long videos in windows, in windows with a second look, and whole, beside clips of 30 s: how good, at what cost.

    python benchmarks/long_videos.py                # 6 videos of 10 minutes with sound and 6 without: 15 minutes
    python benchmarks/long_videos.py --videos 1     # a quick look
    python benchmarks/long_videos.py --memory       # one video of an hour at 720p: memory above the loaded model

The long videos are scenes of 40 to 60 s one after the other, so that a window of 48 s holds as many events as the demo
world's clips do; "twice as dense" are scenes of 20 to 30 s, more than the demo checkpoint has ever seen in 48 s. Every
video is drawn from a seed that training never used, encoded to H.264 and AAC, and read back as any other is. The
seconds are those of predicting, in one run, one after the other. Prints a Markdown table; docs/windows.md shows it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from statistics import median

import psutil

from demo_clips import HELD_OUT, Sample, clips, long_video, table
from omni_timeline.metrics import boundary_errors, event_f1, pool
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.segments import Segment
from omni_timeline.synthetic import LABELS, TONES

MINUTES = 10
ASKED = PredictOptions(labels=LABELS)
WAYS: tuple[tuple[str, PredictOptions], ...] = (
    ("windows of 48 s", ASKED),
    ("windows of 25 s", PredictOptions(labels=LABELS, window_seconds=25)),
    ("windows of 48 s, --refine", PredictOptions(labels=LABELS, refine=True)),
    ("whole", PredictOptions(labels=LABELS, window_seconds=None)),
)


def row(pipeline: Pipeline, options: PredictOptions, samples: list[Sample], kind: str, way: str) -> list[str]:
    scores, spent = [], 0.0
    errors: dict[bool, list[float]] = {False: [], True: []}  # of shapes and of tones
    for number, sample in enumerate(samples, 1):
        if sys.stderr.isatty():
            print(f"\r{kind}, {way}: {number}/{len(samples)} ", end="", file=sys.stderr)
        began = time.perf_counter()
        found = pipeline.predict(sample.path, options).segments
        spent += time.perf_counter() - began
        scores.append(event_f1(sample.events, found))
        for sounding, those in errors.items():
            those += boundary_errors(_of_kind(sample.events, sounding), _of_kind(found, sounding))
    of_shapes, of_tones = errors.values()
    score, minutes = pool(scores), sum(sample.duration for sample in samples) / 60
    return [
        kind,
        way,
        f"{score.f1:.3f}",
        f"{score.precision:.3f}",
        f"{score.recall:.3f}",
        *(f"{median(those):.3f} s" if those else "-" for those in (of_shapes + of_tones, of_shapes, of_tones)),
        f"{spent / minutes:.2f} s",
    ]


def _of_kind(events: Sequence[Segment], sounding: bool) -> list[Segment]:
    return [event for event in events if (event.label in TONES) == sounding]


def accuracy(model: OmniModel, count: int) -> None:
    pipeline, rows = Pipeline(model), []
    for kind, sound in (("silent", False), ("with sound", True)):
        short = list(clips(10 * count, sound=sound, shortest=29.0, longest=31.0))
        for way, options in (("30 s clips", ASKED), ("30 s clips, --refine", WAYS[2][1])):
            rows.append(row(pipeline, options, short, f"{kind}, {len(short)} x 30 s", way))
        for density, scenes, ways in (("", (40.0, 60.0), WAYS), (", twice as dense", (20.0, 30.0), WAYS[:2])):
            seeds = range(HELD_OUT, HELD_OUT + count)
            long = [long_video(MINUTES * 60.0, sound=sound, seed=seed, scene_seconds=scenes) for seed in seeds]
            for way, options in ways:
                rows.append(row(pipeline, options, long, f"{kind}, {count} x {MINUTES} min{density}", way))
    header = [
        "videos", "way", "F1 at IoU 0.5", "precision", "recall", "median boundary error", "of shapes", "of tones",
        "time for a minute",
    ]  # fmt: skip
    print(f"{model.description}\n")
    print(table(header, rows))


def memory(model: OmniModel) -> None:
    """The most that this process and its decoder took while it predicted, above what it had with the model loaded."""
    minute = long_video(60.0, sound=True, seed=HELD_OUT, height=720, width=1280, fps=25)
    path = minute.path.with_name("hour-720p.mp4")
    if not path.exists():  # the same minute again and again
        command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "59", "-i", str(minute.path), "-c", "copy", str(path)]
        subprocess.run(command, check=True)
    pipeline = Pipeline(model)
    pipeline.predict(next(clips(1, sound=True)).path, ASKED)  # what is set up at the first video
    process, peak, ended = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            alive = [process, *process.children(recursive=True)]
            sizes = []
            for each in alive:
                try:
                    sizes.append(each.memory_full_info().uss)
                except psutil.Error:  # a worker that ended just now
                    continue
            peak[0] = max(peak[0], sum(sizes))

    before = process.memory_full_info().uss
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    found = pipeline.predict(path, ASKED)
    spent = time.perf_counter() - began
    ended.set()
    watcher.join()
    above = (peak[0] - before) / 2**20
    print(f"{found.duration:.0f} s, 1280 x 720, with sound: {above:.0f} MiB above the loaded model, {spent:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=6, help="long videos of each kind (default: %(default)s)")
    parser.add_argument("--memory", action="store_true", help="the hour instead")
    parser.add_argument("--model", default="demo", help="another checkpoint of the same world (default demo)")
    arguments = parser.parse_args()
    model = OmniModel.load(arguments.model)
    if arguments.memory:
        memory(model)
    else:
        accuracy(model, arguments.videos)


if __name__ == "__main__":
    main()
