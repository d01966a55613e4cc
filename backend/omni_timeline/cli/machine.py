"""What the settings of a machine say about predicting there; called on each machine of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from omni_timeline.batch.nodes import FewAtATime, Parts
from omni_timeline.label_studio.exports import FolderVideos
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.host_slots import SLOTS
from omni_timeline.label_studio.hosts import AllowedHosts
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.service.server import limits_of
from omni_timeline.service.settings import Settings


@dataclass(frozen=True)
class ThisMachine:
    """Makes what predicting needs on the machine where it is called, by its own environment variables.

    Attributes:
        label_studio_url: where Label Studio is reached.
        label_studio_api_key: a token for it.
        videos: a folder with the videos, which then come from there alone.
    """

    label_studio_url: str | None
    label_studio_api_key: str | None = field(repr=False)
    videos: Path | None = None

    def __call__(self) -> Parts:
        """The parts.

        Raises:
            RequestError: a setting of this machine is invalid, or it has no such folder.
        """
        settings = Settings.from_env()
        folder = settings.cache_dir.expanduser()
        files = VideoFiles(
            self.label_studio_url,
            self.label_studio_api_key,
            folder / "videos",
            settings.local_files_root,
            hosts=AllowedHosts(settings.allowed_video_hosts, public=settings.allow_public_video_hosts),
            max_bytes=settings.max_video_bytes,
            cache_bytes=settings.cache_bytes,
        )
        return Parts(
            FewAtATime(files, SLOTS) if self.videos is None else FolderVideos(self.videos),
            PredictionCache(folder / "predictions", settings.prediction_cache_bytes),
            limits_of(settings),
            settings.model_silence_seconds,
            settings.clip_memory_bytes,
        )
