"""The server over a model that says what it is told to, for gunicorn: `gunicorn scripted_app:app()`."""

from __future__ import annotations

from flask import Flask

from omni_timeline.service.server import create_app
from scripted_model import ScriptedModel


def app() -> Flask:
    """With the settings in the environment."""
    return create_app(engine=ScriptedModel(seconds=0.5))
