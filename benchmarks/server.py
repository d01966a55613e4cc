"""How quick the server's answers are whatever the model does, what the server costs, and whether its memory grows.

    .venv/bin/python benchmarks/server.py
    .venv/bin/python benchmarks/server.py --only clients    # eight clients, beside the command line's way

Starts the server under gunicorn as in production, with the demo checkpoint, and asks /health and /setup as Label
Studio does before everything: on a new connection each time. All of it on one machine, so the model and the asking
compete with the server for its cores. Prints Markdown tables; eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from demo.servers import free_port, local_environ, running
from demo_clips import mixed_clips
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.pipeline.options import PredictOptions
from omni_timeline.pipeline.scheduler import ONE_CALL
from omni_timeline.service.server import scheduler_of
from omni_timeline.service.settings import Settings
from usage import processor_seconds

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "backend" / "omni_timeline" / "demo" / "samples"
CONFIG = (ROOT / "label_config.xml").read_text(encoding="utf-8")
PAUSE = 0.02  # s between two requests of the one who asks
CALLERS = 8
BATCH = 300  # tasks that keep the background busy

SETUP = {"schema": CONFIG, "project": "1.1", "hostname": "", "access_token": "", "extra_params": None}
SELECTIONS = "8 clients, a selection of tasks each"
ONE_BY_ONE = "8 clients, one task after the other"
THOUGHT = 0.5  # s between an answer and the next question
CLIPS = 64  # of 4 to 15 s, half of them with sound; a multiple of CALLERS

# A region from second 1 to 4 whose text asks where exactly the event is, as Label Studio's page sends it.
RANGE = {"ranges": [{"start": 11, "end": 40}]}
QUESTION = [
    {"id": "q", "from_name": "events", "to_name": "video", "type": "timelinelabels", "origin": "manual",
     "value": RANGE | {"timelinelabels": ["red square"]}},
    {"id": "q", "from_name": "description", "to_name": "video", "type": "textarea", "origin": "manual",
     "value": RANGE | {"text": ["?"]}},
]  # fmt: skip

numbers = count(1)


class Asker:
    """Asks one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
        """Status, answer and seconds, on a new connection."""
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        seconds = time.perf_counter() - began
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else None, seconds

    def predict(self, videos: Sequence[Path], regions: Any = None) -> list[Any]:
        """The results for these videos, each as a task of its own; for a question with the page's regions."""
        tasks = [{"id": next(numbers), "data": {"video": f"/data/local-files/?d={video.name}"}} for video in videos]
        params = {"login": None, "password": None, "context": None if regions is None else {"result": regions}}
        body = {"tasks": tasks, "label_config": CONFIG, "project": "1.1", "params": params}
        status, answer, _ = self("POST", "/predict", body)
        assert status == 200, answer
        return list(answer["results"])

    def select(self, videos: Sequence[Path]) -> None:
        """Retrieve the predictions of a selection of tasks, as Label Studio does: all of them in one request."""
        self("GET", "/health")
        self("POST", "/setup", SETUP)
        assert all(self.predict(videos)), "slower than the deadline"

    def open_each(self, videos: Sequence[Path]) -> None:
        """Open one task after the other, each when the one before is there."""
        for video in videos:
            self.select([video])


def another(folder: Path, video: Path = SAMPLES / "silent-12s.mp4") -> Path:
    """A video that no server has seen: the same pictures, other bytes."""
    words = str(next(numbers)).encode()
    path = folder / f"{words.decode()}.mp4"
    path.write_bytes(video.read_bytes() + (8 + len(words)).to_bytes(4, "big") + b"free" + words)
    return path


@contextmanager
def server(
    folder: Path, name: str, deadline: float = 60.0, *, label_studio: str = ""
) -> Iterator[tuple[Asker, psutil.Process]]:
    port = free_port()
    environ = local_environ(
        MODEL="demo", DEVICE="cpu", PORT=str(port), LOCAL_FILES_ROOT=str(folder), CACHE_DIR=str(folder / name),
        PREDICT_DEADLINE_SECONDS=str(deadline), LOG_LEVEL="ERROR", LABEL_STUDIO_URL=label_studio,
        LABEL_STUDIO_API_KEY="secret",
    )  # fmt: skip
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "backend" / "gunicorn.conf.py")]
    log = folder / f"{name}.log"
    with running("The server", command, environ, log, port, "/versions") as process:
        [worker] = psutil.Process(process.pid).children()
        yield Asker(port), worker


def asked_while(ask: Asker, busy: Callable[[], bool]) -> dict[str, list[float]]:
    """Seconds of /health and /setup, asked in turns as long as something is going on."""
    seconds: dict[str, list[float]] = {"/health": [], "/setup": []}
    while busy():
        seconds["/health"].append(ask("GET", "/health")[2])
        time.sleep(PAUSE)
        seconds["/setup"].append(ask("POST", "/setup", SETUP)[2])
        time.sleep(PAUSE)
    return seconds


def row(what: str, path: str, seconds: list[float]) -> str:
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98]
    return f"| {what} | {path} | {len(seconds)} | {1e3 * p50:.0f} | {1e3 * p99:.0f} | {1e3 * max(seconds):.0f} |"


def latency(folder: Path) -> None:
    print("| while | | requests | p50 ms | p99 ms | max ms |\n|---|---|---:|---:|---:|---:|")
    with server(folder, "latency", 1.0) as (ask, _):
        for path, seconds in asked_while(ask, lambda: ask("GET", "/health")[1]["state"] == "loading").items():
            print(row("the model loads", f"`{path}`", seconds), flush=True)
        idle = time.monotonic() + 5.0
        for path, seconds in asked_while(ask, lambda: time.monotonic() < idle).items():
            print(row("nothing is done", f"`{path}`", seconds), flush=True)
        until = time.monotonic() + 30.0

        def call() -> None:
            while time.monotonic() < until:
                ask.predict([another(folder)])

        callers = [threading.Thread(target=call) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        for path, seconds in asked_while(ask, lambda: time.monotonic() < until).items():
            print(row(f"{CALLERS} `/predict` run", f"`{path}`", seconds), flush=True)
        for caller in callers:
            caller.join()
        ask.predict([another(folder) for _ in range(BATCH)])
        until = time.monotonic() + 30.0
        found = asked_while(ask, lambda: time.monotonic() < until and is_busy(ask))
        for path, seconds in found.items():
            print(row("a batch is finished in the background", f"`{path}`", seconds), flush=True)


def wait_until_loaded(ask: Asker) -> None:
    while ask("GET", "/health")[1]["state"] == "loading":
        time.sleep(0.2)


def is_busy(ask: Asker) -> bool:
    counts = ask("GET", "/status.json")[1]["counts"]
    return bool(counts["running"])


def overhead(folder: Path, rounds: int) -> None:
    """Videos by the scheduler alone and by the server, in turns, and in turns which of them is first."""
    options = LabelConfig.from_xml(CONFIG).options(PredictOptions())
    bare, served = [], []
    with scheduler_of(Settings(device=("cpu",))) as scheduler:
        scheduler.wait()
        with server(folder, "overhead") as (ask, _):
            wait_until_loaded(ask)

            def by_scheduler() -> float:
                video = another(folder)
                began = time.perf_counter()
                scheduler.predict(video, options)
                return time.perf_counter() - began

            def by_server() -> float:
                video = another(folder)
                began = time.perf_counter()
                [entry] = ask.predict([video])
                assert entry, "slower than the deadline"
                return time.perf_counter() - began

            by_scheduler(), by_server()  # the first ones are slower
            for number in range(rounds):
                if number % 2:
                    bare.append(by_scheduler())
                    served.append(by_server())
                else:
                    served.append(by_server())
                    bare.append(by_scheduler())
    more = 100 * (statistics.median(s / b for b, s in zip(bare, served, strict=True)) - 1)
    print(
        f"\n| a clip of 12 s, {rounds} times | s |\n|---|---:|\n| the scheduler alone | {statistics.median(bare):.3f} |"
        f"\n| `/predict` | {statistics.median(served):.3f} |\n| overhead, median of pairs | {more:+.1f} % |"
    )


def clients(folder: Path, rounds: int) -> None:
    """The same clips with the command line's way and by eight clients of the server, in turns."""
    options = LabelConfig.from_xml(CONFIG).options(PredictOptions())
    clips = mixed_clips(CLIPS, 4, 15)
    # Nobody listens there: predictions are written to the journal as always, and none is pushed.
    label_studio = f"http://127.0.0.1:{free_port()}"
    with server(folder, "clients", 110.0, label_studio=label_studio) as (ask, _):
        wait_until_loaded(ask)
        with scheduler_of(Settings(device=("cpu",))) as scheduler:
            scheduler.wait()

            def predict_each(videos: Sequence[Path]) -> None:
                for video in videos:
                    scheduler.predict(video, options, group=ONE_CALL)

            ways: dict[str, Callable[[list[Path]], object]] = {
                "the command line's way": lambda videos: list(scheduler.predict_all(videos, options)),
                SELECTIONS: partial(at_once, ask.select),
                "the scheduler alone, 8 videos at a time": partial(at_once, predict_each),
                ONE_BY_ONE: partial(at_once, ask.open_each),
            }
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for turn in range(-1, rounds):
                for name, way in ways.items():
                    videos = [another(folder, clip) for clip in clips]
                    began, worked = time.perf_counter(), processor_seconds()
                    way(videos)
                    if turn >= 0:  # the first ones are slower
                        found[name].append((time.perf_counter() - began, processor_seconds() - worked))
        compare(f"{CLIPS} clips of 4 to 15 s, {rounds} times", found)
        print("\n| while | | requests | p50 ms | p99 ms | max ms |\n|---|---|---:|---:|---:|---:|")
        meanwhile(folder, ask, SELECTIONS, clips * 2, ask.select)
        meanwhile(folder, ask, ONE_BY_ONE, clips * 2, ask.open_each)


def compare(what: str, found: dict[str, list[tuple[float, float]]]) -> None:
    """A table of (seconds, processor seconds), with the median of each beside that of the first row."""
    print(f"\n| {what} | videos a minute | of the first | processor seconds | of the first |\n|---|" + "---:|" * 4)
    first = next(iter(found.values()))
    for name, rounds in found.items():
        parts = [[one[n] / other[n] for one, other in zip(first, rounds, strict=True)] for n in (0, 1)]
        wall, work = (statistics.median(each[n] for each in rounds) for n in (0, 1))
        faster, less = map(statistics.median, parts)
        print(f"| {name} | {60 * CLIPS / wall:.0f} | {faster:.2f} | {work:.1f} | {less:.2f} |", flush=True)


def at_once(act: Callable[[Sequence[Path]], object], videos: Sequence[Path]) -> None:
    """Eight clients at the same time, each with its part of the videos."""
    with ThreadPoolExecutor(CALLERS) as callers:
        for done in [callers.submit(act, videos[number::CALLERS]) for number in range(CALLERS)]:
            done.result()


def meanwhile(
    folder: Path, ask: Asker, what: str, clips: Sequence[Path], act: Callable[[Sequence[Path]], object]
) -> None:
    """/health, /setup and the questions of a person in the labeling page, while eight clients are served."""
    videos = [another(folder, clip) for clip in clips]
    questions: list[float] = []
    with ThreadPoolExecutor(2) as threads:
        served = threads.submit(at_once, act, videos)

        def question() -> None:
            while not served.done():
                video = another(folder, clips[len(questions) % len(clips)])
                began = time.perf_counter()
                [entry] = ask.predict([video], QUESTION)
                assert entry, "no answer to a question"
                questions.append(time.perf_counter() - began)
                time.sleep(THOUGHT)

        asking = threads.submit(question)
        for path, seconds in asked_while(ask, lambda: not served.done()).items():
            print(row(what, f"`{path}`", seconds), flush=True)
        for done in (served, asking):
            done.result()
    print(row(what, "a question in the page", questions), flush=True)


def memory(folder: Path, requests: int) -> None:
    """Of the server's process, while it answers all kinds of requests."""
    with server(folder, "memory") as (ask, worker):
        wait_until_loaded(ask)
        video = another(folder)
        sizes = []
        for number in range(requests + 1):
            if number % 1000 == 0:
                sizes.append((number, worker.memory_info().rss / 2**20))
            kind = number % 5
            if kind == 0:
                ask.predict([video, folder / "missing.mp4"])
            elif kind == 1:
                ask("POST", "/setup", SETUP)
            elif kind == 2:
                ask("POST", "/webhook", {"action": "TASKS_CREATED", "tasks": [{"id": number}]})
            else:
                ask("GET", ("/", "/metrics", "/health", "/status.json")[number // 5 % 4])
    print("\n| requests | server's memory, MiB |\n|---:|---:|")
    for number, size in sizes:
        print(f"| {number} | {size:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="videos to measure the overhead with")
    parser.add_argument("--only", choices=("latency", "clients", "overhead", "memory"), help="one of the four")
    parser.add_argument("--requests", type=int, default=5000, help="requests to watch the memory over")
    parser.add_argument("--repeats", type=int, default=4, help="medians of so many, for the clients")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the small model gains nothing from more
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        if arguments.only in (None, "latency"):
            latency(folder)
        if arguments.only in (None, "clients"):
            clients(folder, arguments.repeats)
        if arguments.only in (None, "overhead"):
            overhead(folder, arguments.rounds)
        if arguments.only in (None, "memory"):
            memory(folder, arguments.requests)


if __name__ == "__main__":
    main()
