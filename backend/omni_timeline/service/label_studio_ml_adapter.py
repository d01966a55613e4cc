"""The backend as a class of label-studio-ml 2, for teams that host all their backends with that library.

    from label_studio_ml.api import init_app
    from omni_timeline.service.label_studio_ml_adapter import OmniTimeline

    app = init_app(OmniTimeline)  # WSGI; set by the environment variables of docs/operations.md

Knows that library's base class, of which it makes a new object for each request: what lasts, our own `Server`, is held
here, one for the process. Knows nothing of how a prediction is made.
"""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from omni_timeline.service.bodies import PredictBody, SetupBody, project_number
from omni_timeline.service.server import Server, scheduler_of
from omni_timeline.service.settings import Settings

_starting = threading.Lock()


class OmniTimeline(LabelStudioMLBase):  # type: ignore[misc]  # the library has no types
    """One request's view of the server."""

    def setup(self) -> None:
        """Say which version predicts for this project.

        Raises:
            LabelConfigError: the labeling config has no place for segments.
            ModelError: the version is not known yet; with the library's own default Label Studio would store copies.
        """
        version = server().setup(SetupBody(self.label_config, project_number(self.project_id)))
        self.set("model_version", version)

    def set_extra_params(self, extra_params: Any) -> None:
        """Keep what an admin entered as extra parameters, as text: the library refuses anything else. Not used here."""
        super().set_extra_params(extra_params if isinstance(extra_params, str) else json.dumps(extra_params))

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Any = None, **kwargs: Any) -> list[Any]:
        """One entry for each task, in order: its prediction, or an empty one where there is none (yet)."""
        body = PredictBody(list(tasks), self.label_config, project_number(self.project_id), bool(context))
        return server().predict(body)


def server() -> Server:
    """The one of this process; the first request starts it."""
    with _starting:
        return _server()


@lru_cache(maxsize=1)
def _server() -> Server:
    settings = Settings.from_env()
    started = Server(settings, scheduler_of(settings))
    started.start()
    atexit.register(started.close)
    return started
