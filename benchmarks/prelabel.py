"""`omni-timeline prelabel`: tasks a minute, how well decoding hides behind the model, memory, and the cost of a list.

    python benchmarks/prelabel.py                        # rates and overlap: 96 clips, 10 minutes on two idle cores
    python benchmarks/prelabel.py --memory 100 1000      # peak memory of the whole family of processes
    LABEL_STUDIO_URL=… LABEL_STUDIO_API_KEY=… python benchmarks/prelabel.py --listed 12   # a project with all done

Each row is the command in a process of its own, with the demo checkpoint, on a folder of clips that all differ, into a
file. The clock of a rate runs from the first finished task to the last, so that start-up is taken off; `wall` is all.
Several copies of the model and the decoders share this machine's cores: rates on few cores say what those can do.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from demo_clips import table
from omni_timeline.synthetic import draw_scene, write_video

CONFIG = Path(__file__).parents[1] / "label_config.xml"
MIB = 1024**2
DRAWN = 12  # scenes; the other clips are copies with other bytes
LOOK_SECONDS = 0.2  # s between two looks at the file and at the memory


@dataclass(frozen=True)
class Run:
    """One run of the command.

    Attributes:
        report: what it wrote with --report.
        wall: seconds from its start to its end.
        steady: seconds from the first finished task to the last.
        finished: how many tasks came after the first.
        peak_mib: of all its processes together, shared pages counted once.
    """

    report: dict[str, Any]
    wall: float
    steady: float
    finished: int
    peak_mib: float

    @property
    def rate(self) -> float:
        """Tasks a minute, without start-up."""
        return 60 * self.finished / max(self.steady, 1e-9)

    def stage(self, name: str) -> float:
        """Seconds of one stage, of all tasks together."""
        return float(self.report["seconds_by_stage"].get(name, 0.0))


def clips(folder: Path, count: int, seconds: float) -> Path:
    """A folder with so many clips that are all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(min(DRAWN, count)):
        scene = draw_scene(np.random.default_rng(number), seconds, sound=number % 2 == 1)
        drawn = write_video(scene, folder / f"{number:05}.mp4", fps=10, height=112, width=168).read_bytes()
        for other in range(number + DRAWN, count, DRAWN):
            words = f"{other:05}".encode()
            box = (8 + len(words)).to_bytes(4, "big") + b"free" + words
            (folder / f"{other:05}.mp4").write_bytes(drawn + box)
    return folder


def run(folder: Path, *arguments: str) -> Run:
    """The command on a folder of clips."""
    with tempfile.TemporaryDirectory() as kept:
        output, report = Path(kept, "out.jsonl"), Path(kept, "report.json")
        command = [
            *(sys.executable, "-m", "omni_timeline", "prelabel", "--export", str(output), "--videos", str(folder)),
            *("--label-config", str(CONFIG), "--report", str(report), "--device", "cpu", *arguments),
        ]
        began = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, "CACHE_DIR": kept}, stdout=subprocess.DEVNULL)
        first, last, finished, peak = 0.0, 0.0, 0, 0.0
        while process.poll() is None:
            lines = output.read_bytes().count(b"\n") if output.exists() else 0
            now = time.perf_counter()
            if lines and not first:
                first, before = now, lines
            if lines > finished:
                last, finished = now, lines
            peak = max(peak, memory_mib(process.pid))
            time.sleep(LOOK_SECONDS)
        wall = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{command} has ended with {process.returncode}")
        return Run(json.loads(report.read_text()), wall, last - first, finished - before, peak)


def memory_mib(pid: int) -> float:
    """Of a process and all that it has started; what they share is counted once."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_full_info().pss
    return total / MIB


def rates(folder: Path, count: int) -> None:
    """Tasks a minute, and how much of the shorter stage is hidden behind the longer one."""
    ways = {
        "the scheduler alone, 1 model": ("--engine", "local", "--num-workers", "1", "--num-decoders", "1"),
        "Ray, 1 actor": ("--engine", "ray", "--num-workers", "1", "--num-decoders", "1"),
        "Ray, 2 actors": ("--engine", "ray", "--num-workers", "2", "--num-decoders", "2"),
    }
    rows: list[Sequence[str]] = []
    for name, arguments in ways.items():
        found = run(folder, *arguments)
        workers = int(arguments[3])
        longer = max(found.stage("decode"), found.stage("generate")) / workers
        rows.append([
            name, f"{found.rate:.1f}", f"{found.wall:.0f}", f"{found.steady:.1f}", f"{found.stage('decode'):.1f}",
            f"{found.stage('generate'):.1f}", f"{found.steady / (longer * found.finished / count):.2f}",
            f"{found.peak_mib:.0f}",
        ])  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    head = ["", "tasks a minute", "wall, s", "steady, s", "decode, s", "generate, s", "steady / longer", "peak MiB"]
    print(table(head, rows))


def memory(counts: Sequence[int], seconds: float, engine: str) -> None:
    """Peak memory for these numbers of tasks."""
    rows: list[Sequence[str]] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            found = run(clips(Path(folder), count, seconds), "--engine", engine)
        rows.append([f"{count:,}", f"{found.peak_mib:.0f}", f"{found.rate:.1f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    print(table(["tasks", "peak MiB", "tasks a minute"], rows))


def listed(project: int) -> None:
    """How long a project takes of which all tasks are done."""
    with tempfile.TemporaryDirectory() as kept:
        report = Path(kept, "report.json")
        command = [sys.executable, "-m", "omni_timeline", "prelabel", "--project", str(project), "--engine", "local"]
        began = time.perf_counter()
        subprocess.run([*command, "--report", str(report)], env={**os.environ, "CACHE_DIR": kept}, check=True)
        wall = time.perf_counter() - began
        print(f"{json.loads(report.read_text())['already_there']:,} tasks listed and skipped in {wall:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=96, help="for the rates")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each clip")
    parser.add_argument("--memory", type=int, nargs="+", metavar="TASKS", help="measure peak memory instead")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="for --memory")
    parser.add_argument("--listed", type=int, metavar="PROJECT", help="a project of which all tasks are done, instead")
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory, arguments.seconds, arguments.engine)
    elif arguments.listed:
        listed(arguments.listed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            rates(clips(Path(folder), arguments.clips, arguments.seconds), arguments.clips)


if __name__ == "__main__":
    main()
