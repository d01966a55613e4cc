"""Videos in a folder on this machine, in the place of those that tasks name.

For teams that give a program no access to Label Studio: tasks come from its JSON export, or are made up from the
folder's files, and their videos are found by the names that tasks have for them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from omni_timeline.batch.outcomes import Task
from omni_timeline.errors import FetchError, RequestError

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv"})
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


class FolderVideos:
    """The videos in a folder and those below it.

    Args:
        folder: where they are.

    Raises:
        RequestError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise RequestError(f"there is no folder {folder} with the videos")
        self._folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                self._by_name[path.name].append(path)

    def tasks(self, data_with: Callable[[str], dict[str, Any]], prefix: str) -> list[Task]:
        """A task for each video, in the order of their names.

        Args:
            data_with: a task's data with this address of its video.
            prefix: what stands before the video's name there, such as "/data/local-files/?d=".
        """
        paths = sorted(path for paths in self._by_name.values() for path in paths)
        urls = [prefix + quote(path.relative_to(self._folder).as_posix()) for path in paths]
        return [Task(url, None, data_with(url)) for url in urls]

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        """The file that the address ends with, by its name and as much of its path as it takes to tell it.

        Raises:
            FetchError: there is none, or several.
        """
        wanted = _endings(url)
        for ending in wanted:
            found = [path for path in self._by_name[ending.name] if path.parts[-len(ending.parts) :] == ending.parts]
            if len(found) == 1:
                yield found[0]
                return
            if found:
                which = " or ".join(str(path.relative_to(self._folder)) for path in found[:3])
                raise FetchError(f"{ending} could be {which} in {self._folder}: keep one of them.")
        raise FetchError(f"There is no video {wanted[0].name} in {self._folder}.")


def _endings(url: str) -> list[PurePosixPath]:
    """Paths that the file of a task's video may end with, the longest first."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise FetchError("The address of the video is not valid.") from error
    path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
    pieces = [piece for piece in path.split("/") if piece not in ("", ".", "..")]
    if not pieces:
        raise FetchError("The address of the video names no file.")
    endings = [PurePosixPath(*pieces[start:]) for start in range(len(pieces))]
    uploaded = UPLOADED.match(pieces[-1])
    return [*endings, PurePosixPath(pieces[-1][uploaded.end() :])] if uploaded else endings
