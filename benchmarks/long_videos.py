"""Long videos in windows of a fixed length, in windows that adapt, and whole, beside clips of 30 s: how good, how long.

    python benchmarks/long_videos.py                # 6 videos of 10 minutes of each kind: half an hour on two cores
    python benchmarks/long_videos.py --videos 1     # a quick look
    python benchmarks/long_videos.py --kind silent  # without sound only: a few minutes
    python benchmarks/long_videos.py --memory       # one video of an hour at 720p: memory above the loaded model

The long videos are scenes of 40 to 60 s one after the other, so that a window of 48 s holds as many events as the demo
world's clips do; "twice as dense" are scenes of 20 to 30 s, "four times" of 10 to 15 s, more than the demo checkpoint
has ever seen in 48 s. "Uneven" has 90 s of the last kind in 8.5 minutes of the first. Every video is drawn from a seed
that neither training nor the choice of the rules has used, encoded to H.264 and AAC, and read back as any other is, all
videos of a kind at a time, as `predict` does it. The seconds are those that the processors worked, the decoders'
counted, so that other work on the machine makes little difference. Prints a Markdown table; docs/windows.md shows it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import median

import psutil

from demo_clips import Sample, clips, long_video, table
from omni_timeline.metrics import Score, boundary_errors, event_f1, pool
from omni_timeline.model.isolated import models_on
from omni_timeline.model.qwen2_5_omni.model import OmniModel
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.pipeline import Pipeline
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.pipeline.scheduler import Scheduler
from omni_timeline.segments import Segment, iou
from omni_timeline.synthetic import LABELS, TONES
from usage import peak_bytes, processor_seconds

MINUTES = 10
FIRST_SEED = 7_200_000
ASKED = PredictOptions(labels=LABELS)
WAYS: dict[str, PredictOptions] = {
    "windows of 48 s": replace(ASKED, window_seconds=48.0),
    "windows of 25 s": replace(ASKED, window_seconds=25.0),
    "windows of 12 s": replace(ASKED, window_seconds=12.0),
    "auto": ASKED,
    "auto, --refine": replace(ASKED, refine=True),
    "whole": replace(ASKED, window_seconds=None),
}
KINDS = {"silent": False, "with sound": True}  # whether they have sound
FIXED_AND_AUTO = ("windows of 48 s", "windows of 25 s", "auto")
DENSITIES: dict[str, tuple[tuple[tuple[float, float], float], ...]] = {  # scene seconds, and for what part of the video
    "": (((40.0, 60.0), 1.0),),
    ", twice as dense": (((20.0, 30.0), 1.0),),
    ", four times as dense": (((10.0, 15.0), 1.0),),
    ", uneven": (((40.0, 60.0), 0.4), ((10.0, 15.0), 0.15), ((40.0, 60.0), 0.45)),
}
HEADER = [
    "videos", "way", "F1 at IoU 0.5", "precision", "recall", "median edge error of shapes", "of tones", "doubles",
    "time for a minute",
]  # fmt: skip
SAME_TWICE = 0.7  # IoU of two segments of one label that no output may hold


@dataclass
class Tally:
    """What came of one way so far."""

    scores: list[Score] = field(default_factory=list)
    errors: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})  # of shapes and of tones
    seconds: float = 0.0
    doubles: int = 0

    def add(self, sample: Sample, found: Sequence[Segment]) -> None:
        """Count a video."""
        self.scores.append(event_f1(sample.events, found))
        for sounding, those in self.errors.items():
            those += boundary_errors(_of_kind(sample.events, sounding), _of_kind(found, sounding))
        self.doubles += sum(
            one.label == other.label and iou(one, other) > SAME_TWICE for one, other in combinations(found, 2)
        )


def rows(scheduler: Scheduler, samples: Sequence[Sample], kind: str, ways: Sequence[str]) -> list[list[str]]:
    """A row for each way, all videos at a time."""
    minutes = sum(sample.duration for sample in samples) / 60
    paths = [sample.path for sample in samples]
    found = []
    for way in ways:
        print(f"{kind}, {way}", file=sys.stderr)
        tally, began = Tally(), processor_seconds()
        for sample, prediction in zip(samples, scheduler.predict_all(paths, WAYS[way]), strict=True):
            assert isinstance(prediction, Prediction), prediction
            tally.add(sample, prediction.segments)
        tally.seconds = processor_seconds() - began
        found.append(_row(kind, way, tally, minutes))
    return found


def _row(kind: str, way: str, tally: Tally, minutes: float) -> list[str]:
    score, (of_shapes, of_tones) = pool(tally.scores), tally.errors.values()
    return [
        kind,
        way,
        f"{score.f1:.3f}",
        f"{score.precision:.3f}",
        f"{score.recall:.3f}",
        *(f"{median(those):.3f} s" if those else "-" for those in (of_shapes, of_tones)),
        f"{tally.doubles}",
        f"{tally.seconds / minutes:.3f} s",
    ]


def _of_kind(events: Sequence[Segment], sounding: bool) -> list[Segment]:
    return [event for event in events if (event.label in TONES) == sounding]


def accuracy(name: str, count: int, kinds: Mapping[str, bool]) -> None:
    found: list[list[str]] = []
    with Scheduler(models_on(["cpu"], Load(name))) as scheduler:
        scheduler.wait()
        scheduler.predict(next(clips(1, sound=True)).path, ASKED)  # what is set up at the first video
        for kind, sound in kinds.items():
            short = list(clips(10 * count, sound=sound, shortest=29.0, longest=31.0, first_seed=FIRST_SEED))
            found += rows(scheduler, short, f"{kind}, {len(short)} x 30 s", ("auto", "auto, --refine"))
            for density, parts in DENSITIES.items():
                ways = list(FIXED_AND_AUTO)
                ways += {"": ["auto, --refine", "whole"], ", four times as dense": ["windows of 12 s"]}.get(density, [])
                seeds = range(FIRST_SEED, FIRST_SEED + count)
                long = [long_video(MINUTES * 60.0, sound=sound, seed=seed, parts=parts) for seed in seeds]
                found += rows(scheduler, long, f"{kind}, {count} x {MINUTES} min{density}", ways)
                print(table(HEADER, found), file=sys.stderr)
        print(f"{scheduler.description}\n")
    print(table(HEADER, found))


def memory(model: OmniModel) -> None:
    """The most that this process and its decoder took while it predicted, above what it had with the model loaded."""
    minute = long_video(60.0, sound=True, seed=FIRST_SEED, height=720, width=1280, fps=25)
    path = minute.path.with_name("hour-720p.mp4")
    if not path.exists():  # the same minute again and again
        command = ["ffmpeg", "-v", "error", "-y", "-stream_loop", "59", "-i", str(minute.path), "-c", "copy", str(path)]
        subprocess.run(command, check=True)
    pipeline = Pipeline(model)
    pipeline.predict(next(clips(1, sound=True)).path, ASKED)  # what is set up at the first video
    before, began = psutil.Process().memory_full_info().uss, time.perf_counter()  # without the decoder's process
    with peak_bytes() as peak:
        found = pipeline.predict(path, ASKED)
    spent = time.perf_counter() - began
    above = (peak[0] - before) / 2**20
    print(f"{found.duration:.0f} s, 1280 x 720, with sound: {above:.0f} MiB above the loaded model, {spent:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=6, help="long videos of each kind (default: %(default)s)")
    parser.add_argument("--kind", choices=KINDS, help="of one kind only (default: both)")
    parser.add_argument("--memory", action="store_true", help="the hour instead")
    parser.add_argument("--model", default="demo", help="another checkpoint of the same world (default demo)")
    arguments = parser.parse_args()
    if arguments.memory:
        memory(OmniModel.load(arguments.model))
    else:
        kinds = KINDS if arguments.kind is None else {arguments.kind: KINDS[arguments.kind]}
        accuracy(arguments.model, arguments.videos, kinds)


if __name__ == "__main__":
    main()
