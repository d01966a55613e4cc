"""Where corrections come from: a live project of Label Studio, or a JSON export of one beside a folder with its videos.

Knows how each is read and where its videos are. Knows nothing of what is learned from them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.exports import FolderVideos, read_export
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.corrections import CorrectedTask, Corrections, read_tasks
from omni_timeline.text_files import read_text


class Videos(Protocol):
    """Where the videos of tasks are."""

    def local(self, url: str, *, task_id: int | None = None) -> AbstractContextManager[Path]:
        """The file of a video, which is there within the context.

        Raises:
            FetchError: it cannot be had.
        """


@dataclass(frozen=True)
class Source:
    """A project with corrections in it.

    Attributes:
        name: what people call it.
        config: its labeling config.
        corrections: all that people corrected.
        videos: where its videos are.
        label_studio: the address of its Label Studio, for links; None where it is unknown.
    """

    name: str
    config: LabelConfig
    corrections: Corrections
    videos: Videos
    label_studio: str | None = None

    @classmethod
    def from_export(cls, export: Path, videos: Path, label_config: Path) -> Source:
        """A project from its JSON export.

        Args:
            export: the file that Label Studio's "Export" writes with the format JSON.
            videos: the folder with the videos, by their names.
            label_config: the project's labeling config, which an export does not have in it.

        Raises:
            RequestError: one of them cannot be read.
            LabelConfigError: the labeling config has no place for a segment.
        """
        config = LabelConfig.from_xml(read_text(label_config))
        return cls(export.name, config, read_tasks(read_export(export), config), FolderVideos(videos))

    @classmethod
    def from_project(cls, api: LabelStudioApi, project: int, videos: Videos, label_studio: str) -> Source:
        """A live project.

        Raises:
            DeliveryError: Label Studio does not hand it out.
            LabelConfigError: its labeling config has no place for a segment.
        """
        config = LabelConfig.from_xml(api.label_config(project))
        corrections = read_tasks(api.corrected_tasks(project), config)
        return cls(f"project {project}", config, corrections, videos, label_studio)

    def link(self, task: CorrectedTask) -> str | None:
        """The address of a task's page in Label Studio; None where it is not known."""
        if self.label_studio is None or task.project is None:
            return None
        return f"{self.label_studio}/projects/{task.project}/data?task={task.task}"
