"""The backend as a class of label-studio-ml 2, for teams that host all their backends with that library.

    from label_studio_ml.api import init_app
    from omni_timeline.service.label_studio_ml_adapter import OmniTimeline

    app = init_app(OmniTimeline)  # WSGI; set by the environment variables of docs/operations.md

Knows that library's base class, which it makes anew for every request: so what lasts, the server's own `Service`, is
held here, one for the process. Knows nothing of how a prediction is made.
"""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from omni_timeline.service.server import VERSION_SECONDS, Service, start_engine
from omni_timeline.service.settings import Settings

_starting = threading.Lock()


class OmniTimeline(LabelStudioMLBase):  # type: ignore[misc]  # the library has no types
    """One request's view of the service."""

    def setup(self) -> None:
        """Say which version predicts for this project.

        Raises:
            LabelConfigError: the labeling config has no place for segments.
            ModelError: the version is not known yet; with the library's own default Label Studio would store copies.
        """
        _, _, version = service().version(self.label_config, self.project_id, VERSION_SECONDS)
        self.set("model_version", version)

    def set_extra_params(self, extra_params: Any) -> None:
        """Keep what an admin wrote there, which this backend does not use: the library would refuse all but text."""
        super().set_extra_params(extra_params if isinstance(extra_params, str) else json.dumps(extra_params))

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Any = None, **kwargs: Any) -> list[Any]:
        """One entry for each task, in order: its prediction, or an empty one where there is none (yet)."""
        params = {"context": context}
        body = {"tasks": tasks, "project": self.project_id, "label_config": self.label_config, "params": params}
        return service().predict(body)


def service() -> Service:
    """The one of this process; the first request starts it."""
    with _starting:
        return _service()


@lru_cache(maxsize=1)
def _service() -> Service:
    settings = Settings.from_env()
    started = Service(settings, start_engine(settings))
    atexit.register(started.close)
    return started
