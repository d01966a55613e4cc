"""Mixed traffic for an hour with a fault every minute: is anything lost, stored twice, or growing?

    .venv/bin/python benchmarks/soak.py --minutes 60

Starts a real Label Studio (from .venv-label-studio), the server under gunicorn with the demo checkpoint, and a proxy
between them that answers wrongly on demand: the helpers of tests/e2e. Each round uploads and creates tasks, retrieves
their predictions, and then something goes wrong. Prints a row for each round, and the counts at the end; the exit
status is 1 where a task was lost or predicted twice.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count, cycle
from pathlib import Path

import psutil
import requests

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from demo.servers import free_port
from e2e.backends import Server, different, serving, until
from e2e.health import Health
from e2e.label_studio import LabelStudio, label_studio
from e2e.proxy import Proxy, proxied
from small_disk import fill, run_again

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "backend" / "omni_timeline" / "demo" / "samples"
CONFIG = (ROOT / "label_config.xml").read_text(encoding="utf-8")
CACHE_MIB = 32  # of the disk that is filled
FULL_SECONDS = 15.0
LAST_SECONDS = 900.0  # s at the end for what is pending
LOCAL, UPLOADED = 4, 2  # tasks of a round, and one whose video is missing

Fault = Callable[["Soak"], None]


class Soak:
    """One run.

    Args:
        studio: the real Label Studio.
        proxy: the Label Studio that the server knows.
        folder: everything of the server; its `cache` is on a small disk.
    """

    def __init__(self, studio: LabelStudio, proxy: Proxy, folder: Path) -> None:
        self.studio = studio
        self.proxy = proxy
        self.folder = folder
        self.port = free_port()
        self.health = Health()
        self.fault = ""
        self.faults: Counter[str] = Counter()
        self.tasks: list[int] = []
        self.missing: list[int] = []
        self._numbers = count(1)
        self._running = ExitStack()
        (folder / "videos").mkdir(exist_ok=True)
        self.server = self.start()
        self.project = studio.create_project("soak", CONFIG)
        studio.connect(self.project, self.server.url)

    def start(self) -> Server:
        """The server, at the same address each time."""
        settings = {
            "LABEL_STUDIO_URL": self.proxy.url, "LOCAL_FILES_ROOT": str(self.folder / "videos"),
            "PREDICT_DEADLINE_SECONDS": "0.5", "MODEL_SILENCE_SECONDS": "20", "LOG_LEVEL": "WARNING",
        }  # fmt: skip
        self.server = self._running.enter_context(
            serving(self.studio, self.folder, port=self.port, ready=False, **settings)
        )
        return self.server

    def close(self) -> None:
        """End the server."""
        self._running.close()

    def ask(self) -> None:
        """New tasks of all kinds, and "Retrieve predictions" for them; what is asked for is in the journal then."""
        samples = sorted(SAMPLES.glob("*.mp4"))
        tasks = []
        for place in range(LOCAL + UPLOADED):
            number = next(self._numbers)
            video = different(samples[number % len(samples)], number, self.folder / "videos")
            if place < LOCAL:
                url = f"/data/local-files/?d={video.name}"
            else:
                url = self.studio.upload(self.project, video)
                video.unlink()
            tasks.append(self.studio.create_task(self.project, url))
        missing = self.studio.create_task(self.project, f"/data/local-files/?d=missing-{next(self._numbers)}.mp4")
        self.studio.retrieve_predictions(self.project, [*tasks, missing])
        self.tasks += tasks
        self.missing.append(missing)

    def row(self, minutes: float) -> str:
        """A row of the table: what the processes take up now."""
        processes = [psutil.Process(pid) for pid in self.server.processes() if psutil.pid_exists(pid)]
        [worker] = processes[0].children()
        model = sum(each.memory_info().rss for each in processes if "omni_timeline.model.worker" in each.cmdline())
        cache = sum(path.stat().st_size for path in (self.folder / "cache").rglob("*") if path.is_file())
        sizes = " | ".join(f"{size / 2**20:.0f}" for size in (worker.memory_info().rss, model, cache))
        counts = self.server.counts()
        return (
            f"| {minutes:.1f} | {self.fault or '–'} | {len(self.tasks)} | {counts['owed']} | {sizes} | "
            f"{worker.num_fds()} | {worker.num_threads()} | {len(processes)} |"
        )


# --- faults ----------------------------------------------------------------------------------------------------------
def stop_the_model(soak: Soak) -> None:
    with suppress(ValueError, ProcessLookupError):  # it is between two processes
        os.kill(soak.server.model(), signal.SIGSTOP)


def kill_the_model(soak: Soak) -> None:
    with suppress(ValueError, ProcessLookupError):
        os.kill(soak.server.model(), signal.SIGKILL)


def kill_a_decoder(soak: Soak) -> None:
    with suppress(IndexError, ProcessLookupError):  # nothing is decoded
        os.kill(soak.server.decoders()[-1], signal.SIGKILL)


def kill_the_server(soak: Soak) -> None:
    soak.server.kill()
    soak.start()


def restart_the_server(soak: Soak) -> None:
    soak.server.process.terminate()
    soak.server.process.wait()
    soak.start()


def answer_wrongly(*faults: str) -> Fault:
    def act(soak: Soak) -> None:
        soak.proxy.faults = list(faults)

    return act


def fill_the_disk(soak: Soak) -> None:
    fill(soak.folder / "cache", FULL_SECONDS)


FAULTS: dict[str, Fault] = {
    "kill -9 of the model": kill_the_model,
    "Label Studio: 500": answer_wrongly(*["500"] * 5),
    "kill -9 of a decoder": kill_a_decoder,
    "Label Studio: late answers": answer_wrongly("late 500", "", "late end", "late 500"),
    "full disk": fill_the_disk,
    "kill -9 of the server": kill_the_server,
    "SIGSTOP of the model": stop_the_model,
    "Label Studio: 401": answer_wrongly(*["401"] * 5),
    "SIGTERM of the server": restart_the_server,
    "Label Studio: 429 and HTML": answer_wrongly("429", "html", "429", "html"),
}


# --- traffic ---------------------------------------------------------------------------------------------------------
@contextmanager
def looked_at(soak: Soak) -> Iterator[None]:
    """What people and Prometheus ask for, all the time."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            for path in ("/", "/status.json", "/metrics", "/versions"):
                with suppress(requests.RequestException):
                    requests.get(soak.server.url + path, timeout=30)
            with suppress(requests.RequestException):
                requests.post(f"{soak.server.url}/setup", json={"schema": CONFIG, "project": "1.1"}, timeout=30)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        with soak.health.asked(lambda: soak.server.url, lambda: soak.fault):
            yield
    finally:
        over.set()
        thread.join()


def rounds(soak: Soak, minutes: float, pause: float, faults: dict[str, Fault]) -> None:
    """A fault after another, until the time is over."""
    print(
        "| minute | fault | tasks | pending | server MiB | model MiB | CACHE_DIR MiB | files | threads | processes |\n"
        "|---:|---|" + "---:|" * 8
    )
    began = time.monotonic()
    soak.ask()
    until(lambda: soak.server.counts()["owed"] == 0)
    print(soak.row(0.0), flush=True)
    names = cycle(faults)
    while time.monotonic() < began + 60 * minutes:
        next_round = time.monotonic() + pause
        until(lambda: soak.server.get("/health")["state"] == "ready")
        soak.ask()
        soak.fault = next(names)
        soak.faults[soak.fault] += 1
        faults[soak.fault](soak)
        time.sleep(max(0.0, next_round - time.monotonic()))
        print(soak.row((time.monotonic() - began) / 60), flush=True)
    soak.fault, soak.proxy.faults = "", []
    until(lambda: soak.server.counts()["owed"] == 0, LAST_SECONDS)
    print(soak.row((time.monotonic() - began) / 60), flush=True)


def run(folder: Path, minutes: float, pause: float, faults: dict[str, Fault]) -> bool:
    """Whether nothing was lost and nothing is there twice."""
    venv = Path(os.environ.get("LABEL_STUDIO_VENV", ROOT / ".venv-label-studio"))
    with label_studio(venv, folder / "label-studio") as studio, proxied(studio.url) as proxy:
        soak = Soak(studio, proxy, folder)
        try:
            until(lambda: soak.server.get("/health")["state"] == "ready")
            with looked_at(soak):
                rounds(soak, minutes, pause, faults)
            stored = [len(studio.predictions(task)) for task in soak.tasks]
            unexpected = sum(len(studio.predictions(task)) for task in soak.missing)
            lost = [task for task, number in zip(soak.tasks, stored, strict=True) if number == 0]
            said = soak.server.failures()
        finally:
            soak.close()
    twice = sum(number > 1 for number in stored)
    print(f"\n{soak.faults.total()} faults: {', '.join(f'{number} x {name}' for name, number in soak.faults.items())}")
    print(
        f"{len(stored)} tasks, {len(lost)} lost, {twice} predicted twice; {len(soak.missing)} without a video, ", end=""
    )
    print(f"{unexpected} of them predicted\n\n{soak.health.table()}")
    for task in lost:
        print(f"lost: task {task}: {said.get(str(task), 'nothing is said of it')}")
    return not lost and not twice and not unexpected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--pause", type=float, default=60.0, help="seconds from one fault to the next")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the process with a small disk
    arguments = parser.parse_args()
    if arguments.folder is not None:
        sys.exit(not run(arguments.folder, arguments.minutes, arguments.pause, FAULTS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        (folder / "cache").mkdir()
        code = run_again(folder / "cache", CACHE_MIB, *sys.argv[1:], "--folder", str(folder))
        if code is not None:
            sys.exit(code)
        print("This machine lets nobody mount a file system in a name space: no disk is filled.")
        faults = {name: act for name, act in FAULTS.items() if act is not fill_the_disk}
        sys.exit(not run(folder, arguments.minutes, arguments.pause, faults))


if __name__ == "__main__":
    main()
