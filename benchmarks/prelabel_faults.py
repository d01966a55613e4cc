"""A project is prelabelled while everything breaks, until nothing is left to do; then report and database are compared.

    .venv/bin/python benchmarks/prelabel_faults.py                    # 300 tasks on this machine alone
    .venv/bin/python benchmarks/prelabel_faults.py --engine ray       # the same on Ray

Starts a real Label Studio (from .venv-label-studio), a proxy before it that answers wrongly on demand, and the command
`omni-timeline prelabel` with the demo checkpoint. Some twenty tasks are bad: no video, a damaged one, one that is too
large, no address, a host that is dead. `PLAN` has what goes wrong and how each run ends; the last run must have nothing
to ask of the model. Prints a row for each run. The exit status is 1 where a task was lost or predicted twice, or where
report and database disagree.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from demo.servers import free_port
from demo_clips import table
from e2e.backends import different, family, until
from e2e.label_studio import LabelStudio, label_studio
from e2e.prelabeling import DECODER, LOCAL, MODEL, PREDICTED, SOME_FAILED, Database, Studio, parent, prelabel, those
from e2e.proxy import Proxy, proxied
from omni_timeline.synthetic import draw_scene, write_video
from small_disk import fill, run_again

ROOT = Path(__file__).parents[1]
CACHE_MIB = 16  # of the disk that is filled
FULL_SECONDS = 10.0
MAX_VIDEO_BYTES = 64 * 1024**2
SCENES = 6
UPLOADS, TWICE = 12, 6  # good tasks whose video Label Studio keeps, and whose video another task has too
MAX_RUNS = 12
RUN_SECONDS = 1800.0  # s for a run that is left alone: hosts that are dead are tried for 400 s
DEAD = "http://127.0.0.1:9/"

Process = subprocess.Popen[str]
Fault = Callable[["Trial", Process], None]


@dataclass
class Trial:
    """A project, and what is known of it.

    Attributes:
        studio: the real Label Studio.
        proxy: the Label Studio that the command knows.
        database: that of Label Studio.
        folder: everything of the command.
        engine: the command's.
    """

    studio: Studio
    proxy: Proxy
    database: Database
    folder: Path
    engine: str
    project: int = 0
    good: frozenset[int] = frozenset()

    @property
    def predicted(self) -> int:
        """How many predictions the project has."""
        return sum(self.database.copies(self.project).values())

    def start(self) -> Any:
        """The command, running."""
        (self.folder / "report.json").unlink(missing_ok=True)
        known = LabelStudio(self.proxy.url, self.studio.now.token)
        arguments = ("--project", self.project, "--engine", self.engine, "--report", self.folder / "report.json")
        return prelabel(
            known, self.folder / "videos", self.folder, *arguments, MAX_VIDEO_BYTES=str(MAX_VIDEO_BYTES),
            ALLOWED_VIDEO_HOSTS="127.0.0.1:9", DECODE_SECONDS="20", MODEL_SILENCE_SECONDS="120",
        )  # fmt: skip

    def report(self) -> dict[str, Any] | None:
        """What the last run has reported; None where it was killed."""
        file = self.folder / "report.json"
        return json.loads(file.read_text()) if file.exists() else None


def fill_project(trial: Trial, count: int, dead: int) -> None:
    """A project with so many tasks, so many of which name a host that is dead."""
    videos = trial.folder / "videos"
    videos.mkdir()
    (videos / "text.mp4").write_bytes(b"this is no video" * 100)
    (videos / "empty.mp4").touch()
    with (videos / "huge.mp4").open("wb") as huge:
        huge.truncate(2 * MAX_VIDEO_BYTES)
    drawn = []
    for seed in range(SCENES):
        scene = draw_scene(np.random.default_rng(seed), 4.0 + seed % 3, sound=seed % 2 == 1)
        drawn.append(write_video(scene, trial.folder / f"drawn{seed}.mp4", fps=10, height=56, width=84))
    whole = drawn[0].read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    names = ["text", "text", "empty", "empty", "huge", "cut", "cut", *(f"missing{number}" for number in range(4))]
    addresses = ["", "", "file:///etc/passwd", "https://127.0.0.1:1/x.mp4", f"{LOCAL}../x.mp4"]
    addresses += [f"{DEAD}{number}.mp4" for number in range(dead)]
    bad: list[Any] = [*(f"{LOCAL}{name}.mp4" for name in names), *addresses]
    good: list[Any] = [
        LOCAL + different(drawn[number % SCENES], number, videos).name
        for number in range(count - len(bad) - UPLOADS - TWICE)
    ]
    trial.project = trial.studio.project()
    for number in range(UPLOADS):
        video = different(drawn[number % SCENES], count + number, trial.folder)
        good.append(trial.studio.now.upload(trial.project, video))
    good += good[:TWICE]
    rows = [{"data": {"video": video}} for _, video in sorted(enumerate([*good, *bad]), key=lambda each: each[0] % 17)]
    trial.studio.now.call("POST", f"/api/projects/{trial.project}/import", json=rows)
    tasks = trial.database.tasks(trial.project)
    trial.good = frozenset(number for number, video in tasks.items() if video in good)
    assert (len(tasks), len(trial.good)) == (count, len(good)), tasks


# --- faults ----------------------------------------------------------------------------------------------------------
def signalled(what: bytes, number: signal.Signals, place: int = -1) -> Fault:
    """A process of the command gets a signal."""

    def act(trial: Trial, process: Process) -> None:
        until(lambda: bool(those(process, what)) or process.poll() is not None, 60)
        with suppress(IndexError, ProcessLookupError):
            os.kill(those(process, what)[place], number)

    return act


def kill_the_actor(trial: Trial, process: Process) -> None:
    """Of Ray: the process whose child has the model. Without Ray: the model."""
    until(lambda: bool(those(process, MODEL)) or process.poll() is not None, 60)
    with suppress(IndexError, ProcessLookupError):
        model = those(process, MODEL)[0]
        os.kill(parent(model) if trial.engine == "ray" else model, signal.SIGKILL)


def answered(*faults: str) -> Fault:
    """Label Studio answers wrongly, whatever is asked."""

    def act(trial: Trial, process: Process) -> None:
        trial.proxy.faults = list(faults)

    return act


def restart_label_studio(trial: Trial, process: Process) -> None:
    trial.studio.stop()
    trial.studio.start()


def fill_the_disk(trial: Trial, process: Process) -> None:
    fill(trial.folder / "cache", FULL_SECONDS)


# --- how a run ends --------------------------------------------------------------------------------------------------
def killed(process: Process) -> None:
    members = family(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members), 120)


def interrupted(process: Process) -> None:
    os.killpg(process.pid, signal.SIGINT)
    process.wait(RUN_SECONDS)


def interrupted_twice(process: Process) -> None:
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    process.wait(30)


def left_alone(process: Process) -> None:
    process.wait(RUN_SECONDS)


PLAN: list[tuple[dict[str, Fault], str, Callable[[Process], None]]] = [
    (
        {
            "kill -9 of a decoder": signalled(DECODER, signal.SIGKILL),
            "Label Studio: 500, 429, HTML": answered("500", "429", "html", "500", "429"),
            "kill -9 of the model": signalled(MODEL, signal.SIGKILL),
        },
        "kill -9 of the command",
        killed,
    ),
    (
        {
            "SIGSTOP of a decoder": signalled(DECODER, signal.SIGSTOP),
            "answers lost after storing": answered("late 500", "", "late end"),
            "restart of Label Studio": restart_label_studio,
        },
        "Ctrl-C",
        interrupted,
    ),
    (
        {
            "full disk": fill_the_disk,
            "kill -9 of an actor (Ray) or the model": kill_the_actor,
            "kill -9 of the process that starts decoders": signalled(DECODER, signal.SIGKILL, 0),
        },
        "Ctrl-C twice",
        interrupted_twice,
    ),
    ({"token refused": answered(*["401"] * 6)}, "by itself", left_alone),
    ({"SIGSTOP of the model": signalled(MODEL, signal.SIGSTOP)}, "by itself", left_alone),
]


def run(trial: Trial, faults: dict[str, Fault], ended: str, end: Callable[[Process], None], share: float) -> list[str]:
    """One run of the command with these faults, each after some more tasks; a row of the table."""
    before = trial.predicted
    step = max(1, int(share * len(trial.good) / (len(faults) + 1)))
    injected = []
    with trial.start() as process:
        for number, (name, act) in enumerate(faults.items(), start=1):
            goal = before + step * number
            until(lambda goal=goal: trial.predicted >= goal or process.poll() is not None, RUN_SECONDS)
            if process.poll() is None:
                injected.append(name)
                act(trial, process)
        if faults:
            until(lambda: trial.predicted >= before + step or process.poll() is not None, RUN_SECONDS)
        if process.poll() is None:
            end(process)
        else:
            ended = f"by itself, not {ended}"
        code = process.returncode
    trial.proxy.faults = []
    report = trial.report() or {}
    row = [
        ", ".join(injected) or "–", ended, str(code), *(str(report.get(name, "–")) for name in (
            "predicted", "already_there", "failed")), f"{before} → {trial.predicted}",
    ]  # fmt: skip
    print(row, *(trial.folder / "log").read_text().splitlines()[-3:], sep="\n    ", file=sys.stderr, flush=True)
    if report and trial.predicted - before != report["predicted"]:
        row[-1] += " (the report says otherwise)"
    return row


def runs(trial: Trial) -> list[list[str]]:
    """As planned, then until nothing is left to do, then once more."""
    rows = [run(trial, faults, ended, end, 1 / len(PLAN)) for faults, ended, end in PLAN]
    while trial.predicted < len(trial.good) and len(rows) < MAX_RUNS:
        rows.append(run(trial, {}, "by itself", left_alone, 1.0))
    rows.append(run(trial, {}, "by itself, the last", left_alone, 1.0))
    return rows


def disagreements(trial: Trial) -> list[str]:
    """A sentence for each thing that is not as it should be, by the last report and the database."""
    report, copies, tasks = trial.report(), trial.database.copies(trial.project), trial.database.tasks(trial.project)
    if report is None:
        return ["The last run has written no report."]
    version, failed = report["model_version"], {int(each["task"]): each["reason"] for each in report["failures"]}
    found = [f"task {number} has {count} predictions" for (number, _), count in copies.items() if count != 1]
    found += [f"task {number} has one of {other}" for number, other in copies if other != version]
    for number, video in tasks.items():
        is_there, reason = (number, version) in copies, failed.get(number, "")
        if is_there != (number in trial.good) or is_there == bool(reason):
            found.append(f"task {number} ({video}): predicted: {is_there}, reason: {reason!r}")
    sums = (report["predicted"], report["already_there"], report["failed"])
    if sums != (0, len(trial.good), len(tasks) - len(trial.good)):
        found.append(f"the last report says {sums}")
    if "generate" in report["seconds_by_stage"]:
        found.append("the model was asked in the last run")
    return found


def check(folder: Path, count: int, dead: int, engine: str) -> bool:
    """Whether nothing was lost, nothing is there twice, and the report says so."""
    venv = Path(os.environ.get("LABEL_STUDIO_VENV", ROOT / ".venv-label-studio"))
    os.environ.setdefault("SECRET_KEY", secrets.token_hex())  # else its first restart makes all tokens invalid
    port, kept = free_port(), folder / "label-studio"
    studio = Studio(lambda: label_studio(venv, kept, port))
    studio.start()
    try:
        with proxied(studio.now.url) as proxy:
            proxy.paths = ("/api/",)
            trial = Trial(studio, proxy, Database(kept / "data" / "label_studio.sqlite3"), folder, engine)
            fill_project(trial, count, dead)
            rows = runs(trial)
            wrong = disagreements(trial)
            report = trial.report() or {}
            print(f"\n{proxy.injected.total()} wrong answers: {dict(proxy.injected)}", file=sys.stderr)
    finally:
        studio.stop()
    head = ["goes wrong", "ended", "exit code", "predicted", "already there", "failed", "predictions stored"]
    print(table(head, rows))
    print(f"\n{engine}: {count} tasks, {len(trial.good)} of them good; {len(wrong)} disagreements")
    print(*(f"{each['tasks']} x {each['reason']}" for each in report.get("reasons", [])), *wrong, sep="\n")
    return not wrong and rows[-1][2] == str(SOME_FAILED if len(trial.good) < count else PREDICTED)


def main(arguments: Sequence[str] = sys.argv[1:]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--dead-hosts", type=int, default=2, help="tasks of them; the last runs take 400 s for these")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the process with a small disk
    given = parser.parse_args(arguments)
    if given.folder is not None:
        sys.exit(not check(given.folder, given.tasks, given.dead_hosts, given.engine))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "cache").mkdir()
        code = run_again(folder / "cache", CACHE_MIB, *arguments, "--folder", str(folder))
        if code is None:
            sys.exit("This machine lets nobody mount a file system in a name space, so that no disk can be filled.")
        sys.exit(code)


if __name__ == "__main__":
    main()
