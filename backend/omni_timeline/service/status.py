"""What the status page shows: how the server is, what runs, and what went wrong.

Knows what people want to see. Knows nothing of Flask: templates/status.html is the page.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from omni_timeline import __version__
from omni_timeline.errors import RequestError
from omni_timeline.learning.versions import LearnedVersions
from omni_timeline.service.projects import Project
from omni_timeline.service.runs import Run
from omni_timeline.service.server import Server
from omni_timeline.service.settings import Settings

LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")
MAX_PROMPT = 2000  # characters; a config may have as many labels and words as it likes
MAX_LABELS = 100
MAX_PROJECTS = 50  # in the tables of the queue and of learning
MAX_VERSIONS = 5  # of a project


def status(server: Server) -> dict[str, Any]:
    """All that the page shows, as plain values for JSON."""
    model, settings, jobs, history = server.model, server.settings, server.jobs, server.history
    return {
        "version": __version__,
        "state": model.state,
        "error": str(model.error) if model.error else None,
        "model": settings.model,
        "checkpoint": model.checkpoint_version,
        "device": model.description,
        "doing": model.doing,
        "label_studio_url": settings.label_studio_url,
        "up_seconds": round(time.time() - server.started),
        "troubles": [vars(each) for each in server.troubles.now()],
        "advice": advice(settings),
        "counts": jobs.counts(),
        "lately": {name: round(value, 2) for name, value in model.lately().items()},
        "queue": queue(jobs.waiting_by_project(), model.lately()["videos_a_minute"]),
        "running": [vars(each) for each in jobs.running()],
        "predictions": [vars(each) for each in history.predictions()],
        "failures": [vars(each) for each in history.failures()],
        "projects": [_project(each) for each in server.projects.recent()],
        "learning": learning(server),
        "may_choose": settings.basic_auth_user is not None,
    }


def queue(waiting: Mapping[str, int], videos_a_minute: float) -> list[dict[str, Any]]:
    """How many tasks of each project wait, and for how many seconds at the present rate; None where there is no rate.

    Projects take turns, so a project waits for as many tasks of each other one as it has itself.
    """
    rows = []
    for project, count in sorted(waiting.items(), key=lambda item: item[1])[:MAX_PROJECTS]:
        before = sum(min(count, other) for other in waiting.values())
        seconds = round(60 * before / videos_a_minute) if videos_a_minute else None
        rows.append({"project": project, "waiting": count, "seconds_left": seconds})
    return rows


def learning(server: Server) -> list[dict[str, Any]]:
    """Where learning of each project stands, and its versions; the project with the newest state comes first."""
    runs, versions = server.learner.runs, server.versions
    numbers = [run.project for run in runs.all()]
    numbers += [number for number in versions.projects() if number not in numbers]
    rows = []
    for run in map(runs.get, numbers[:MAX_PROJECTS]):
        found = [_version(versions, run.project, name) for name in versions.names(run.project)[:MAX_VERSIONS]]
        try:
            chosen = versions.chosen(run.project)
        except RequestError as error:
            chosen = str(error)
        if run.state != "idle" or found:
            rows.append({**_run(run), "chosen": chosen, "versions": found})
    return rows


def _run(run: Run) -> dict[str, Any]:
    """Where learning of a project stands, without what only the server needs."""
    shown = ("project", "state", "at", "why", "words", "note", "version", "numbers", "attempts", "wants_learning")
    return {**{name: getattr(run, name) for name in shown}, "corrections": run.corrections}


def _version(versions: LearnedVersions, project: int, name: str) -> dict[str, Any]:
    """A learned version; an unreadable one is not offered, and the reason says why."""
    try:
        version = versions.load(project, name)
    except RequestError as error:
        return {"name": name, "model_version": "", "is_offered": False, "reason": str(error)}
    return {
        "name": name,
        "model_version": version.model_version,
        "is_offered": version.is_offered,
        "reason": version.reason,
    }


def duration(seconds: float) -> str:
    """A duration as the page shows it: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def advice(settings: Settings) -> list[str]:
    """What the operator may want to change, a sentence each."""
    sentences = []
    if not (settings.label_studio_url and settings.label_studio_api_key):
        sentences.append(
            "A prediction that is not ready when /predict answers is kept here until Label Studio asks for it again. "
            "To have it stored in Label Studio, set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
        )
        if settings.prelabel_new_tasks:
            sentences.append("PRELABEL_NEW_TASKS has no effect without LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY.")
    if settings.basic_auth_user is None and settings.bind not in LOCAL_ADDRESSES:
        sentences.append(
            "Everybody who can reach this address may use the server. To ask for a password, set BASIC_AUTH_USER and "
            "BASIC_AUTH_PASSWORD."
        )
    return sentences


def clock(at: float) -> str:
    """A time as the page shows it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _project(project: Project) -> dict[str, Any]:
    options = project.options
    prompt = options.words.user
    return {
        "project": project.number,
        "model_version": project.version,
        "prompt": prompt if len(prompt) <= MAX_PROMPT else f"{prompt[:MAX_PROMPT]} …",
        "frames": options.frames,
        "window_seconds": options.window_seconds,
        "score_threshold": options.score_threshold,
        "labels": list(options.labels[:MAX_LABELS]),
        "learned": project.learned,
    }
