"""The server over a model that says what it is told to, for tests and for gunicorn: `gunicorn scripted_app:app()`."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

from omni_timeline.service.app import create_app
from omni_timeline.service.settings import Settings
from scripted_model import ScriptedModel

Serve = Callable[[Settings, ScriptedModel], FlaskClient]
"""Starts a server that ends with the test."""


def app() -> Flask:
    """With the settings in the environment."""
    return create_app(model=ScriptedModel(seconds=0.5))
