"""The backend as a class of label-studio-ml 2, for teams that host all their backends with that library.

    from label_studio_ml.api import init_app
    from omni_timeline.label_studio_ml_adapter import OmniTimeline

    app = init_app(OmniTimeline)  # WSGI; set by the environment variables of docs/operations.md

Knows that library's base class, which it makes anew for every request: so the model and the fetched videos are held
here, once for the process. What is done with a task is the server's own code. Of what `server` has beside that, only
the deadline is here: there is no status page, no background work and no pushing of late predictions.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from omni_timeline.addresses import AllowedHosts
from omni_timeline.config import Settings
from omni_timeline.engine import Engine, Load
from omni_timeline.errors import ModelError, OmniTimelineError, RequestError
from omni_timeline.fetch import Fetcher
from omni_timeline.query import Query
from omni_timeline.regions import LabelConfig

SETUP_SECONDS = 2.5  # Label Studio waits 3 s for /setup

log = logging.getLogger(__name__)


class OmniTimeline(LabelStudioMLBase):  # type: ignore[misc]  # the library has no types
    """Set by the environment variables of `config.Settings`."""

    def setup(self) -> None:
        """Say which version predicts for this project.

        Raises:
            LabelConfigError: the labelling config has no place for segments.
            ModelError: the version is not known yet; with the library's own default Label Studio would store copies.
        """
        self._settings, self._engine, self._fetcher = _parts()
        self._config = LabelConfig.from_xml(self.label_config)
        asked = Query(
            frames=self._settings.frames,
            max_pixels=self._settings.max_pixels,
            max_new_tokens=self._settings.max_new_tokens,
        )
        self._query = asked.for_project(self._config)
        checkpoint = self._engine.wait_for_version(SETUP_SECONDS)
        if checkpoint is None:
            raise self._engine.error or ModelError("The model is still loading; try again in a moment.")
        self.set("model_version", self._query.version(checkpoint))

    def set_extra_params(self, extra_params: Any) -> None:
        """Keep what an admin wrote there, which this backend does not use: the library would refuse all but text."""
        super().set_extra_params(extra_params if isinstance(extra_params, str) else json.dumps(extra_params))

    def predict(self, tasks: Sequence[Mapping[str, Any]], context: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """One entry for each task, in order: its prediction, or {} where there is none, and the log says why."""
        deadline = time.monotonic() + self._settings.predict_deadline_seconds
        return [self._entry(task, deadline) for task in tasks]

    def _entry(self, task: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        try:
            return self._prediction(task["id"], task["data"], deadline)
        except Exception as error:  # whatever happens to one task must not cost the others
            ours = isinstance(error, OmniTimelineError)
            reason = error if ours else repr(error)
            log.warning("Task %s has no prediction: %s", task.get("id"), reason, exc_info=not ours)
            return {}

    def _prediction(self, task_id: int, data: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        url = data.get(self._config.video_field)
        if not isinstance(url, str):
            raise RequestError(f"its data has no text {self._config.video_field!r}, which the labelling config shows.")
        if time.monotonic() >= deadline:
            raise RequestError("its turn comes after the deadline; Label Studio asks again.")
        found = self._engine.predict(self._fetcher.local_path(url, task_id=task_id), self._query)
        prediction = self._config.prediction(
            found.segments, duration=found.duration, task_data=data, model_version=found.model_version
        )
        self._config.check(prediction, duration=found.duration, task_data=data)
        return prediction


@lru_cache(maxsize=1)
def _parts() -> tuple[Settings, Engine, Fetcher]:
    """The settings, the model and the videos of this process; made by the first request."""
    settings = Settings.from_env()
    engine = Engine(Load(settings.model, settings.hub, settings.device, settings.dtype))
    fetcher = Fetcher(
        settings.label_studio_url,
        settings.label_studio_api_key,
        settings.cache_dir,
        settings.local_files_root,
        hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
        max_bytes=settings.max_video_bytes,
        cache_bytes=settings.cache_bytes,
    )
    return settings, engine, fetcher
