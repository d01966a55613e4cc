"""Where corrections come from: a live project of Label Studio, or a JSON export of one beside a folder with its videos.

Knows how each is read and where its videos are. Knows nothing of what is learned from them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from omni_timeline.errors import FetchError, RequestError
from omni_timeline.label_studio.client import LabelStudioApi
from omni_timeline.label_studio.labeling_config import LabelConfig
from omni_timeline.learning.corrections import CorrectedTask, Corrections, read_tasks

UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


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
        config = LabelConfig.from_xml(_text_of(label_config))
        try:
            rows = json.loads(_text_of(export))
        except ValueError as error:
            raise RequestError(f"{export} is not JSON: {error}. Export the project as JSON.") from error
        if not isinstance(rows, list):
            raise RequestError(f"{export} is not a list of tasks. Export the project as JSON.")
        return cls(export.name, config, read_tasks(rows, config), FolderVideos(videos))

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


class FolderVideos:
    """Videos in a folder and those below it, found by the names that tasks have for them.

    Raises:
        RequestError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise RequestError(f"There is no folder {folder} with the videos.")
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self._by_name[path.name].append(path)

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        """The file that has the name at the end of the address, or as much of its path as it takes to tell it."""
        names = _names(url)
        for wanted in names:
            found = [path for path in self._by_name[wanted.name] if path.parts[-len(wanted.parts) :] == wanted.parts]
            if len(found) == 1:
                yield found[0]
                return
            if found:
                raise FetchError(
                    f"Task {task_id}: {wanted} could be {' or '.join(map(str, found[:3]))}; keep one of them."
                )
        raise FetchError(f"Task {task_id}: there is no video {names[-1].name} in {self._folder}.")


def _names(url: str) -> list[PurePosixPath]:
    """Paths that the file of a task's video may end with, the longest first."""
    try:
        parts = urlsplit(url)
        path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
    except ValueError:  # it is no address
        path = url
    pieces = [piece for piece in path.split("/") if piece not in ("", ".", "..")] or [url]
    endings = [PurePosixPath(*pieces[start:]) for start in range(len(pieces))]
    uploaded = UPLOADED.match(pieces[-1])
    return [*endings, PurePosixPath(pieces[-1][uploaded.end() :])] if uploaded else endings


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 text") from error
