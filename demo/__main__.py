"""`make demo`: a real Label Studio with the backend connected, three projects with clips, and predictions for all.

    python -m demo              starts everything, prints the address and stays until Ctrl-C
    python -m demo --detach     the same, and leaves it running
    python -m demo down         stops the one that runs

Safe to run again: what a run before has made is used and nothing of it is made twice. Knows the order of the steps and
what the person is told; how each server is started is in servers.py and label_studio.py.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np
import requests

from demo import learning
from demo.label_studio import EMAIL, PASSWORD, LabelStudio, LabelStudioError, label_studio
from demo.servers import ServerError, check_running, free_port, is_free, local_environ, running
from omni_timeline.errors import OmniTimelineError
from omni_timeline.media.video import probe
from omni_timeline.service.settings import Settings
from omni_timeline.synthetic import draw_scene, write_video

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "backend" / "omni_timeline" / "demo" / "samples"
PROJECT = "omni-timeline demo"
WAVEFORM_PROJECT = "omni-timeline demo, with the waveform"
LONG_CLIP, LONG_SECONDS, LONG_SEED = "long-180s.mp4", 180.0, 41
LABEL_STUDIO_PORT, BACKEND_PORT = 8080, 9090  # or the next ones that are free
TICK_SECONDS = 5.0  # between two signs of life of a slow step
LOADING_SECONDS = 600.0  # the demo checkpoint takes 6 s on an idle machine
PREDICTING_SECONDS = 600.0  # all clips; half a minute on two idle cores
STOPPING_SECONDS = 60.0


class Stopped(BaseException):
    """SIGINT, SIGTERM or SIGHUP came."""


def main() -> int:
    """Reads the command line and runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="A demo with a real Label Studio.")
    parser.add_argument("command", choices=("up", "down"), nargs="?", default="up")
    parser.add_argument("--detach", action="store_true", help="leave it running in the background")
    parser.add_argument("--folder", type=Path, default=ROOT / "demo-output", help="where everything is kept")
    parser.add_argument("--label-studio-venv", type=Path, default=ROOT / ".venv-label-studio")
    parser.add_argument("--label-studio-port", type=int, help="default: 8080, or the next one that is free")
    parser.add_argument("--backend-port", type=int, help="default: 9090, or the next one that is free")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.command == "down":
            return _down(folder)
        if arguments.detach:
            return _detached(folder)
        return _up(arguments, folder)
    except (ServerError, LabelStudioError, OmniTimelineError, requests.RequestException) as error:
        say(f"The demo stops: {error}")
        return 1


def say(line: str) -> None:
    """Print a line at once, to a file too."""
    print(line, flush=True)


@contextmanager
def step(what: str) -> Iterator[Callable[..., None]]:
    """A slow step: says that it begins, how long it took, and, whenever the yielded function is called, how it goes."""
    began = said = time.monotonic()
    say(f"{what} …")

    def tick(progress: str = "") -> None:
        nonlocal said
        if time.monotonic() - said >= TICK_SECONDS:
            said = time.monotonic()
            say(f"  … {said - began:.0f} s {progress}".rstrip())

    yield tick
    say(f"  done in {time.monotonic() - began:.1f} s")


# ---- one at a time ---------------------------------------------------------------------------------------------------


@contextmanager
def _only_one(folder: Path) -> Iterator[IO[str] | None]:
    """The file that says who runs, locked as long as the block lasts; None if another demo holds it."""
    with (folder / "demo.json").open("a+") as state:
        try:
            fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        state.truncate(0)
        yield state


def _note(state: IO[str], **facts: Any) -> None:
    """What another `make demo` or `make demo-down` is told of this one."""
    state.truncate(0)
    json.dump(facts, state)
    state.flush()


def _noted(folder: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts


def _is_ready(folder: Path, pid: int) -> bool:
    facts = _noted(folder)
    return facts.get("pid") == pid and "page" in facts


def _down(folder: Path) -> int:
    """Stop the demo that runs, and wait until it is gone."""
    with _only_one(folder) as state:
        if state is not None:
            say("No demo is running.")
            return 0
    pid = _noted(folder).get("pid")
    if pid is None:
        raise ServerError("it is just starting; try again in a moment.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOPPING_SECONDS
    while time.monotonic() < deadline:
        with _only_one(folder) as state:
            if state is not None:
                say("The demo is stopped; `make demo` starts it again with everything in it.")
                return 0
        time.sleep(0.2)
    raise ServerError(f"process {pid} does not end; see {folder}/demo.log")


def _detached(folder: Path) -> int:
    """Start the same command in the background, show what it says until it is ready, and leave it."""
    log = folder / "demo.log"
    command = [sys.executable, "-m", "demo", *(argument for argument in sys.argv[1:] if argument != "--detach")]
    with log.open("w") as output, log.open() as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None and not _is_ready(folder, process.pid):
                print(said.read(), end="", flush=True)
                time.sleep(0.2)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 130
        print(said.read(), end="", flush=True)
    if process.returncode is None:
        say("It runs in the background now; `make demo-down` stops it.")
    return process.returncode or 0


# ---- the demo --------------------------------------------------------------------------------------------------------


def _up(arguments: argparse.Namespace, folder: Path) -> int:
    with _only_one(folder) as state, ExitStack() as servers:
        if state is None:
            page = _noted(folder).get("page", "it is still starting")
            say(f"The demo is running already: {page}\n`make demo-down` stops it.")
            return 0
        _note(state, pid=os.getpid())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        try:
            _run(arguments, folder, state, servers)
        except Stopped:
            say("\nStopping …")
            servers.close()
            say("Stopped. What you did is kept; `make demo` goes on from there.")
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # once is enough: stopping takes some seconds and must not be cut short
    raise Stopped


def _run(arguments: argparse.Namespace, folder: Path, state: IO[str], servers: ExitStack) -> None:
    """All steps, then wait for a signal.

    Raises:
        ServerError: a server does not start or ends.
        Stopped: the person has seen enough.
    """
    label_studio_port = _port("Label Studio", "LABEL_STUDIO_PORT", arguments.label_studio_port, LABEL_STUDIO_PORT)
    backend_port = _port("the backend", "BACKEND_PORT", arguments.backend_port, BACKEND_PORT)
    clips = [*sorted(SAMPLES.glob("*.mp4")), _long_clip(folder)]
    to_learn_from = learning.clips(folder)
    first = not (folder / "label-studio" / "data").exists()
    with step("Starting Label Studio" + "; the first time it makes its database: up to a minute" * first) as tick:
        studio = servers.enter_context(
            label_studio(arguments.label_studio_venv, folder / "label-studio", label_studio_port, waiting=tick)
        )
    backend_log = folder / "backend.log"
    backend_url = f"http://127.0.0.1:{backend_port}"
    with step("Starting the backend") as tick:
        backend = servers.enter_context(_backend(studio, folder, backend_port, backend_log, tick))
        _wait_until_loaded(backend_url, backend, backend_log, tick)
    with_sound = [clip for clip in clips if _has_sound(clip)]
    with step("Setting up the projects"):
        projects = [
            _project(studio, backend_url, PROJECT, "label_config.xml", clips),
            # The same labels, so that nothing is predicted twice.
            _project(studio, backend_url, WAVEFORM_PROJECT, "label_config_waveform.xml", with_sound),
            _project(studio, backend_url, learning.TITLE, learning.LABEL_CONFIG, to_learn_from),
        ]
    for project, tasks in projects:
        _predict_all(studio, project, tasks, backend, backend_log)
    learning.correct(studio, projects[-1][1], (ROOT / learning.LABEL_CONFIG).read_text(encoding="utf-8"))
    page, waveform_page, learning_page = (f"{studio.url}/projects/{project}/data" for project, _ in projects)
    say(
        f"""
Label Studio:  {page}
  login        {EMAIL}
  password     {PASSWORD}
The same with
a waveform:    {waveform_page}
To learn from: {learning_page}
               People have corrected {learning.CORRECTED} of its clips, in words of their own. Press "Start Training"
               (Settings > Model, the card's menu), watch {backend_url}, and retrieve
               predictions for the other {learning.OTHERS}.
The backend:   {backend_url}
Logs:          {studio.log}
               {backend_log}
A project of thousands: LABEL_STUDIO_API_KEY=$(cat {folder}/label-studio/token) \\
                 omni-timeline prelabel --url {studio.url} --project {projects[0][0]}
Everything it keeps is in {folder}.
"""
    )
    _note(state, pid=os.getpid(), page=page, backend=backend_url)
    if sys.stdout.isatty():
        say("Ctrl-C stops it.")
    while True:
        check_running("Label Studio", studio.process, studio.log)
        check_running("The backend", backend, backend_log)
        time.sleep(1)


def _port(who: str, variable: str, wanted: int | None, default: int) -> int:
    """A free port for `who`: the one asked for, or the first free one from `default` on."""
    if wanted is None:
        port = free_port(default)
        if port != default:
            say(f"Port {default} is in use; {who} gets {port}.")
        return port
    if not 1 <= wanted <= 65535:
        raise ServerError(f"{variable} must be a port from 1 to 65535; got {wanted}.")
    if not is_free(wanted):
        raise ServerError(f"port {wanted} is in use; end what listens there, or give {who} another: {variable}=…")
    return wanted


def _long_clip(folder: Path) -> Path:
    """Three minutes with sound, drawn once."""
    path = folder / "clips" / LONG_CLIP
    if path.exists():
        return path
    path.parent.mkdir(exist_ok=True)
    with step(f"Drawing {path.name}, a clip of three minutes"):
        scene = draw_scene(np.random.default_rng(LONG_SEED), LONG_SECONDS, sound=True)
        drawn = write_video(scene, path.with_suffix(".part.mp4"), fps=5, height=144, width=144)
        drawn.rename(path)
    return path


@contextmanager
def _backend(
    studio: LabelStudio, folder: Path, port: int, log: Path, waiting: Callable[[], None]
) -> Iterator[subprocess.Popen[bytes]]:
    settings = dict.fromkeys((field.name.upper() for field in fields(Settings)), "")  # the defaults, whatever is set
    settings |= {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": studio.token,
        "DEVICE": "cpu",  # the demo checkpoint is quick everywhere
        "CACHE_DIR": str(folder / "cache"),
    }
    environ = local_environ(**settings)
    command = [sys.executable, "-m", "omni_timeline", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with running("The backend", command, environ, log, port, "/versions", waiting=waiting) as process:
        yield process


def _wait_until_loaded(url: str, process: subprocess.Popen[bytes], log: Path, tick: Callable[..., None]) -> None:
    deadline = time.monotonic() + LOADING_SECONDS
    while (state := requests.get(f"{url}/health", timeout=30).json()["state"]) == "loading":
        check_running("The backend", process, log)
        if time.monotonic() > deadline:
            raise ServerError(f"the backend is still loading its model after {LOADING_SECONDS:.0f} s; see {log}")
        tick("loading the model")
        time.sleep(0.2)
    if state != "ready":
        raise ServerError(f"the backend could not load its model; see {log}")


def _has_sound(clip: Path) -> bool:
    """Whether a clip has a sound track: Label Studio shows an error in place of a waveform where there is none."""
    return probe(clip).has_audio


def _project(
    studio: LabelStudio, backend_url: str, title: str, label_config: str, clips: Sequence[Path]
) -> tuple[int, dict[str, int]]:
    """A demo's project and its tasks by the clips' names, with what was missing added, and the backend connected."""
    found = studio.call("GET", "/api/projects/", params={"page_size": 1000})["results"]
    numbers = [int(project["id"]) for project in found if project["title"] == title]
    config = (ROOT / label_config).read_text(encoding="utf-8")
    project = min(numbers) if numbers else studio.create_project(title, config)
    listed = studio.call("GET", "/api/tasks", params={"project": project, "page_size": 1000})["tasks"]
    tasks = {str(task["data"].get("clip")): int(task["id"]) for task in listed}
    for clip in clips:
        if clip.name not in tasks:
            tasks[clip.name] = studio.create_task(project, studio.upload(project, clip), clip=clip.name)
    connected = studio.call("GET", "/api/ml", params={"project": project})
    if not connected:
        studio.connect(project, backend_url)
    elif connected[0]["url"] != backend_url:  # it had another port then
        studio.call("PATCH", f"/api/ml/{connected[0]['id']}", json={"project": project, "url": backend_url})
    return project, {clip.name: tasks[clip.name] for clip in clips}


def _predict_all(
    studio: LabelStudio,
    project: int,
    tasks: dict[str, int],
    backend: subprocess.Popen[bytes],
    backend_log: Path,
) -> None:
    """Predictions for all tasks, clip by clip so that one can see how it goes."""
    [connected] = studio.call("GET", "/api/ml", params={"project": project})
    version = connected["model_version"]

    def missing() -> dict[str, int]:
        return {
            clip: task
            for clip, task in tasks.items()
            if not any(prediction["model_version"] == version for prediction in studio.predictions(task))
        }

    if not (left := missing()):
        say("Every clip has its prediction.")
        return
    with step("Predicting what happens in the clips") as tick:
        for clip, task in left.items():
            began = time.monotonic()
            studio.retrieve_predictions(project, [task])
            say(f"  {clip}: {time.monotonic() - began:.1f} s")
        deadline = time.monotonic() + PREDICTING_SECONDS
        while (left := missing()) and time.monotonic() < deadline:  # those that the backend finishes after its deadline
            check_running("The backend", backend, backend_log)
            tick(f"waiting for {', '.join(left)}")
            time.sleep(1)
    if left:
        say(f"Without a prediction: {', '.join(left)}. {backend_log} says why.")


if __name__ == "__main__":
    sys.exit(main())
