"""What the status page shows: how the server is, what runs, and what went wrong.

Knows what people want to see. Knows nothing of Flask: templates/status.html is the page.
"""

from __future__ import annotations

import time
from typing import Any

from omni_timeline import __version__
from omni_timeline.service.projects import Project
from omni_timeline.service.server import Server
from omni_timeline.service.settings import Settings

LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")
MAX_PROMPT = 2000  # characters; a config may have as many labels and words as it likes
MAX_LABELS = 100


def status(server: Server) -> dict[str, Any]:
    """All that the page shows, as plain values for JSON."""
    model, settings, jobs, history = server.model, server.settings, server.jobs, server.history
    troubles = (server.delivery and server.delivery.trouble, server.journal.trouble, server.cache.trouble)
    return {
        "version": __version__,
        "state": model.state,
        "error": str(model.error) if model.error else None,
        "model": settings.model,
        "checkpoint": model.checkpoint_version,
        "device": model.description,
        "label_studio_url": settings.label_studio_url,
        "up_seconds": round(time.time() - server.started),
        "notes": [trouble for trouble in troubles if trouble] + advice(settings),
        "counts": jobs.counts(),
        "running": [vars(each) for each in jobs.running()],
        "predictions": [vars(each) for each in history.predictions()],
        "failures": [vars(each) for each in history.failures()],
        "projects": [_project(each) for each in server.projects.recent()],
    }


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
    }
