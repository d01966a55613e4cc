"""Corrected projects on a web site as Label Studio, and learners of them; for tests of learning beside the server.

The people of a project call otherwise what the model calls "Speech": each of its videos has been corrected so.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.segments import Segment
from omni_timeline.service.learner import Learner, Limits
from omni_timeline.service.runs import Run
from omni_timeline.service.server import assignment
from omni_timeline.service.settings import Settings
from scripted_model import SPEECH, ScriptedModel
from sites import LEGACY_TOKEN, Site, answer

PROJECT, TASKS = 7, 12
SECONDS = 60.0  # s; only a test that fails waits so long
XML = """<View><Video name="video" value="$video" frameRate="25"/><TimelineLabels name="events" toName="video">
<Label value="crate"/><Label value="ball"/><Label value="barrel"/></TimelineLabels></View>"""
CONFIG = LabelConfig.from_xml(XML)
LIMITS = Limits(seconds=60.0, memory_bytes=1024**3, after=3, every=3600.0)


def task(project: int, number: int, marked: Segment, *, starred: bool = False) -> dict[str, object]:
    result = CONFIG.to_result([marked], duration=30.0, task_data={})
    annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": starred}
    data = {"video": f"/data/local-files/?d=videos/{number}.mp4"}
    return {"id": number, "project": project, "data": data, "annotations": [annotation], "predictions": []}


def tasks_page(tasks: Sequence[dict[str, object]]) -> bytes:
    return json.dumps({"tasks": tasks, "total": len(tasks)}).encode()


def corrected_projects(words: Mapping[int, str]) -> Site:
    """A site with these projects, by what their people call "Speech"; it is still to be served."""
    site = Site()

    def tasks(page: BaseHTTPRequestHandler) -> None:
        project = int(parse_qs(urlsplit(page.path).query)["project"][0])
        marked = replace(SPEECH, label=words[project], text="", score=None)
        answer(page, tasks_page([task(project, number, marked) for number in range(1, TASKS + 1)]))

    site.pages["/api/tasks"] = tasks
    for project in words:
        site.pages[f"/api/projects/{project}/"] = lambda page: answer(page, json.dumps({"label_config": XML}).encode())
    return site


def settings_of(studio: Site, folder: Path) -> Settings:
    """Those of a server of the site, with the videos and the cache in a folder."""
    (folder / "videos").mkdir()
    for number in range(1, TASKS + 1):
        (folder / "videos" / f"{number}.mp4").write_bytes(f"video {number}".encode())
    return Settings(
        label_studio_url=studio.url, label_studio_api_key=LEGACY_TOKEN, local_files_root=folder,
        cache_dir=folder / "cache",
    )  # fmt: skip


class Failures:
    """What a learner reports of failures."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __call__(self, task: str, project: str, sentence: str) -> None:
        assert (task, project) == ("", str(PROJECT))
        self.sentences.append(sentence)


@contextmanager
def learning(
    settings: Settings, model: ScriptedModel, failures: Failures | None = None, limits: Limits = LIMITS
) -> Iterator[Learner]:
    """A learner that has been started."""
    learner = learner_of(settings, model, failures, limits)
    learner.start()
    try:
        yield learner
    finally:
        learner.stop()
        model.gate.set()
        wait_until(lambda: not workers())


def learner_of(
    settings: Settings, model: ScriptedModel, failures: Failures | None = None, limits: Limits = LIMITS
) -> Learner:
    versions = LearnedVersions.in_cache(settings.cache_dir)
    return Learner(versions, model, partial(assignment, settings), limits, failures or Failures())


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def workers(server: int | None = None) -> list[int]:
    """The processes that learn, of this process or of another."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            is_worker = b"omni_timeline.learning.worker" in (process / "cmdline").read_bytes()
            if is_worker and parent == (server or os.getpid()):
                found.append(int(process.name))
    return found


def ended(learner: Learner, project: int = PROJECT) -> Run:
    """The run of a project when nothing is to be done any more."""
    wait_until(lambda: not learner.runs.get(project).is_pending)
    return learner.runs.get(project)
