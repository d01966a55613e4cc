"""How many videos a minute: decoding ahead of the model and batches across videos, against one video at a time.

    python benchmarks/throughput.py                          # all tables, some minutes
    python benchmarks/throughput.py --before OLD_CHECKOUT    # and the same clips with another checkout's code
    python benchmarks/throughput.py --memory                 # peak memory for 64 and for 640 clips

Start-up is taken off everywhere: a first video is predicted before the clock starts. Clips are drawn and encoded once,
into benchmarks/output. Ratios hold on any machine; seconds are those of the one it runs on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from demo_clips import mixed_clips, table
from omni_timeline.media.isolated import Decoder
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.isolated import IsolatedModel, models_on
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.batches import RowCost, choose_batch
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.pipeline.run import VideoRun
from omni_timeline.pipeline.scheduler import ONE_CALL, Scheduler
from omni_timeline.synthetic import LABELS
from usage import own_bytes, peak_bytes

OPTIONS = PredictOptions(labels=LABELS)
REPEATS = 3

# What the code did before there was a scheduler: in its own checkout, one video after the other in one process.
BEFORE = """
import json, sys, time
from pathlib import Path
from omni_timeline.model import OmniModel
from omni_timeline.pipeline import Pipeline
from omni_timeline.query import Query
from omni_timeline.synthetic import LABELS
pipeline = Pipeline(OmniModel.load(sys.argv[1], device="cpu"), Query(labels=LABELS))
first, *paths = map(Path, json.load(sys.stdin))
list(pipeline.predict_all([first]))
began = time.perf_counter()
found = list(pipeline.predict_all(paths))
spent = time.perf_counter() - began
segments = [[[s.start, s.end, s.label] for s in each.segments] for each in found]
print(json.dumps({"seconds": spent, "segments": segments}))
"""


def before(checkout: Path, model: str, paths: Sequence[Path]) -> tuple[float, list[object]]:
    """Seconds and segments of the code in another checkout."""
    environ = {**os.environ, "PYTHONPATH": str(checkout / "backend")}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE, model], input=json.dumps([str(paths[0]), *map(str, paths)]),
        capture_output=True, text=True, env=environ, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout.splitlines()[-1])
    return said["seconds"], said["segments"]


@contextmanager
def scheduler(model: str, devices: Sequence[str]) -> Iterator[Scheduler]:
    """One that has predicted a video already."""
    with Scheduler(models_on(devices, Load(model))) as started:
        for each in started.models:
            each.wait()
        yield started


def after(started: Scheduler, paths: Sequence[Path]) -> tuple[float, list[object]]:
    """Seconds and segments with the scheduler."""
    began = time.perf_counter()
    found = list(started.predict_all(paths, OPTIONS))
    spent = time.perf_counter() - began
    assert all(isinstance(each, Prediction) for each in found)
    return spent, [[[s.start, s.end, s.label] for s in each.segments] for each in found if isinstance(each, Prediction)]


def speed(checkout: Path | None, model: str, devices: Sequence[str], repeats: int) -> None:
    """Videos a minute, before and after, in turns."""
    rows = []
    with scheduler(model, devices) as started:
        for name, paths in (
            ("64 clips of 4 to 15 s", mixed_clips(64, 4, 15)),
            ("32 clips of 30 s", mixed_clips(32, 29, 31)),
        ):
            after(started, paths[:2])
            new, old, same = [], [], None
            for _ in range(repeats):
                spent, segments = after(started, paths)
                new.append(spent)
                if checkout is not None:
                    spent, theirs = before(checkout, model, paths)
                    old.append(spent)
                    same = sum(a == b for a, b in zip(segments, theirs, strict=True))
            rate = 60 * len(paths) / statistics.median(new)
            row = [name, f"{rate:.0f}"]
            if old:
                ratio = statistics.median(b / a for a, b in zip(new, old, strict=True))
                row += [f"{60 * len(paths) / statistics.median(old):.0f}", f"{ratio:.2f}", f"{same} of {len(paths)}"]
            rows.append(row)
    header = ["half of them with sound", "videos a minute"]
    print(table(header + (["before", "ratio", "same segments"] if checkout else []), rows))


def overlap(models: Sequence[tuple[str, str]], devices: Sequence[str], repeats: int) -> None:
    """Wall time beside decoding alone and generating alone."""
    rows = []
    paths = mixed_clips(64, 4, 15)
    for name, model in models:
        with scheduler(model, devices) as started:
            after(started, paths[:2])
            walls, singles, decodes, generates = [], [], [], []
            for _ in range(repeats):
                walls.append(after(started, paths)[0])
                singles.append(decode_alone(started, paths, 1)[0])
                spent, prepared = decode_alone(started, paths, started.decoders)
                decodes.append(spent)
                generates.append(generate_alone(started.models[0], prepared))
        wall, single, decode, generate = map(statistics.median, (walls, singles, decodes, generates))
        seconds = [f"{each:.2f} s" for each in (single, decode, generate, wall)]
        rows.append([name, *seconds, f"{wall / max(single, generate):.2f}", f"{wall / max(decode, generate):.2f}"])
    header = ["64 clips", "decoding, one at a time", "decoding on all cores", "generating", "all of it"]
    print(table([*header, "of the larger, one at a time", "of the larger, on all cores"], rows))


def decode_alone(started: Scheduler, paths: Sequence[Path], at_a_time: int) -> tuple[float, list[VideoRun]]:
    """Seconds to decode all, so many at a time; and the decoded clips in their runs."""
    facts = started.models[0].facts
    assert facts is not None
    waiting, runs, lock = list(paths), [], threading.Lock()
    decoder = Decoder()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                path = waiting.pop()
            run = VideoRun(path, OPTIONS, started.models[0].family, facts)
            with decoder.open(path, ONE_CALL) as video:
                run.begin(video.info)
                clips = []
                while (turn := run.next_window()) is not None:
                    clips.append(run.load(video, turn[1]))
            run.decoded = clips  # type: ignore[attr-defined]
            with lock:
                runs.append(run)

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(at_a_time)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - began
    decoder.close()
    return spent, runs


def generate_alone(model: IsolatedModel, runs: Sequence[VideoRun]) -> float:
    """Seconds to answer all decoded clips in the batches that the scheduler would make of them."""
    assert model.facts is not None
    rows = [run.row(clip) for run in runs for clip in run.decoded]  # type: ignore[attr-defined]
    waiting = [
        (RowCost(float(number), model.family.clip_tokens(row.clip) + 150, row.clip.audio is not None), row)
        for number, row in enumerate(rows)
    ]
    spent = 0.0
    while waiting:
        batch = choose_batch(waiting, model.facts.batch_tokens)
        waiting = [each for each in waiting if all(each[1] is not row for row in batch)]
        spent += model.ask(batch).seconds
    return spent


def memory(model: str, devices: Sequence[str], repeats: int) -> None:
    """The most that a process and all its children take, beside what they take when idle; each time a new process."""
    rows = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for count in (64, 640):
            found = [fresh.submit(memory_for, count, model, devices).result() for _ in range(repeats)]
            peaks = [peak for _, peak in found]
            idle, most = (statistics.median(each) / 2**20 for each in zip(*found, strict=True))
            spread = f"{min(peaks) / 2**20:.0f} to {max(peaks) / 2**20:.0f}"
            rows.append([count, f"{idle:.0f} MiB", f"{most:.0f} MiB", spread])
    print(table(["clips", "idle", "peak", "peaks"], rows))


def memory_for(count: int, model: str, devices: Sequence[str]) -> tuple[int, int]:
    """Bytes when idle, and at most while so many clips are predicted."""
    short = mixed_clips(64, 4, 15)
    with scheduler(model, devices) as started:
        after(started, short[:2])
        idle = own_bytes()
        with peak_bytes() as peak:
            after(started, (short * 10)[:count])
    return idle, peak[0]


def random_checkpoint(folder: Path) -> str:
    """A checkpoint of about 60 million parameters with random weights: what it generates takes its time."""
    import torch
    from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    demo = Checkpoint.find("demo").folder
    config = Qwen2_5OmniThinkerConfig.from_pretrained(demo)
    config.text_config.hidden_size, config.text_config.intermediate_size = 512, 2048
    config.text_config.num_hidden_layers, config.text_config.num_attention_heads = 14, 16
    config.text_config.num_key_value_heads = 4
    config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
    config.vision_config.out_hidden_size = config.audio_config.output_dim = 512
    torch.manual_seed(0)
    Qwen2_5OmniThinkerForConditionalGeneration(config).save_pretrained(folder)
    Qwen2_5OmniProcessor.from_pretrained(demo).save_pretrained(folder)
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="a checkout of the code before the scheduler")
    parser.add_argument("--model", default="demo", help="a checkpoint (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, or several with commas (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="medians of so many (default: %(default)s)")
    parser.add_argument("--memory", action="store_true", help="peak memory instead")
    arguments = parser.parse_args()
    devices = arguments.device.split(",")
    if arguments.memory:
        memory(arguments.model, devices, arguments.repeats)
        return
    speed(arguments.before, arguments.model, devices, arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        print()
        overlap(
            [("demo checkpoint", "demo"), ("random weights, 60 M", random_checkpoint(Path(folder)))],
            devices,
            arguments.repeats,
        )


if __name__ == "__main__":
    main()
