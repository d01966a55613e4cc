"""Learning that is killed, finds no room on the disk, or is asked for by several projects: nothing is lost or mixed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from learning_project import PROJECT, corrected_projects, ended, learning, settings_of, wait_until, workers
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.service.runs import FILE
from omni_timeline.service.settings import Settings
from scripted_model import SPEECH, ScriptedModel
from sites import LEGACY_TOKEN, Site, serving

OTHER = 8
WORDS = {PROJECT: "ball", OTHER: "barrel"}


@pytest.fixture
def studio() -> Iterator[Site]:
    site = corrected_projects(WORDS)
    with serving(site):
        yield site


@pytest.fixture
def settings(studio: Site, tmp_path: Path) -> Settings:
    return settings_of(studio, tmp_path)


def test_two_projects_at_once_are_learned_one_after_the_other_each_in_its_own_words(settings: Settings):
    model = ScriptedModel()
    model.gate.clear()
    with learning(settings, model) as learner:
        for project in WORDS:
            assert learner.request(project) == f"Project {project} is queued for learning."
        wait_until(lambda: bool(model.asked))
        assert {project: learner.runs.get(project).state for project in WORDS} == {PROJECT: "running", OTHER: "queued"}
        assert len(workers()) == 1
        model.gate.set()
        runs = {project: ended(learner, project) for project in WORDS}
    versions = LearnedVersions.in_cache(settings.cache_dir)
    for project, word in WORDS.items():
        version = versions.in_use(project)
        assert version is not None
        assert (runs[project].state, runs[project].version) == ("in use", version.name)
        assert versions.names(project) == [version.name]
        assert [segment.label for segment in version.calibration.apply([SPEECH], 30.0)] == [word]


def test_a_process_that_is_killed_is_begun_again_and_leaves_no_half_version(settings: Settings):
    model = ScriptedModel()
    model.gate.clear()
    with learning(settings, model) as learner:
        learner.request(PROJECT)
        wait_until(lambda: bool(model.asked))
        [process] = workers()
        os.kill(process, signal.SIGKILL)
        wait_until(lambda: learner.runs.get(PROJECT).state == "queued")
        assert "SIGKILL" in learner.runs.get(PROJECT).words
        model.gate.set()
        learner.runs.change(PROJECT, not_before=0.0)
        run = ended(learner)
    assert (run.state, run.attempts) == ("in use", 2)
    versions = LearnedVersions.in_cache(settings.cache_dir)
    folders = [path.name for path in versions.project(PROJECT).iterdir() if path.is_dir()]
    assert folders == [run.version]


def test_what_a_killed_process_left_is_no_version_and_is_removed(settings: Settings):
    versions = LearnedVersions.in_cache(settings.cache_dir)
    half = versions.project(PROJECT) / ".part-half"
    half.mkdir(parents=True)
    (half / "version.json").write_text("{")
    assert versions.names(PROJECT) == []
    with learning(settings, ScriptedModel()) as learner:
        learner.request(PROJECT)
        assert ended(learner).state == "in use"
    assert not half.exists()


@contextmanager
def server_process(settings: Settings, log: Path, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own, see `learner_process`; killed at the end."""
    environment = os.environ | {
        "LABEL_STUDIO_URL": str(settings.label_studio_url), "LABEL_STUDIO_API_KEY": LEGACY_TOKEN,
        "LOCAL_FILES_ROOT": str(settings.local_files_root), "CACHE_DIR": str(settings.cache_dir),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [*before, sys.executable, "-m", "learner_process"]
    with log.open("w") as opened:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=opened, text=True, bufsize=1)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def say(server: subprocess.Popen[str], line: str | int) -> None:
    assert server.stdin is not None
    server.stdin.write(f"{line}\n")


def noted(cache: Path) -> dict[str, Any]:
    """Where learning stands, as it is noted on disk."""
    file = LearnedVersions.in_cache(cache).project(PROJECT) / FILE
    return json.loads(file.read_text()) if file.exists() else {"state": "", "words": ""}


def test_kill_9_in_the_middle_loses_nothing_and_leaves_no_process(settings: Settings, tmp_path: Path):
    with server_process(settings, tmp_path / "log") as server:
        say(server, PROJECT)
        wait_until(lambda: "predicting" in noted(settings.cache_dir)["words"])
        [process] = workers(server.pid)
    wait_until(lambda: not Path(f"/proc/{process}").exists())
    assert LearnedVersions.in_cache(settings.cache_dir).names(PROJECT) == []
    with learning(settings, ScriptedModel()) as learner:
        run = ended(learner)
    assert (run.state, run.attempts) == ("in use", 2)


def test_a_full_disk_leaves_no_half_version_and_says_to_make_room(settings: Settings, tmp_path: Path):
    """A disk of 512 KB in a name space of the server's own, filled before the version is written."""
    settings.cache_dir.mkdir()
    mount = f"mount -t tmpfs -o size=512k none {settings.cache_dir}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system in a name space: unshare -rm")
    log = tmp_path / "log"
    with server_process(settings, log, [unshare, "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]) as server:
        cache = Path(f"/proc/{server.pid}/root{settings.cache_dir}")  # as the server sees it
        versions = LearnedVersions.in_cache(cache)
        say(server, PROJECT)
        wait_until(lambda: "predicting" in noted(cache)["words"])
        fill = subprocess.run(["dd", "if=/dev/zero", f"of={cache}/filler", "bs=1k"], capture_output=True, text=True)
        assert "No space" in fill.stderr
        say(server, "answer")
        wait_until(lambda: "is not learned" in log.read_text())
        assert noted(cache)["state"] == "running"  # there is no room for more; whoever starts now begins it again
        assert [path.name for path in versions.project(PROJECT).iterdir()] == [FILE]
        (cache / "filler").unlink()
        wait_until(lambda: noted(cache)["state"] == "failed")
        assert "No space left on device" in noted(cache)["words"]
        assert "Make room in CACHE_DIR" in noted(cache)["words"]
        say(server, PROJECT)
        wait_until(lambda: noted(cache)["state"] == "in use")
        assert versions.names(PROJECT) == [noted(cache)["version"]]
