"""A project without Label Studio: its JSON export, and a folder with its videos.

For people who give a program no access to Label Studio. Videos are found by the names that tasks have for them.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from omni_timeline.errors import FetchError, RequestError
from omni_timeline.text_files import read_text

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv"})
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


def read_export(file: Path) -> list[dict[str, Any]]:
    """The tasks in the file that Label Studio's "Export" writes with the format JSON.

    Raises:
        RequestError: the file is something else.
    """
    try:
        rows = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{file} is not JSON ({error}); in Label Studio, export the project as JSON") from error
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("data"), dict) for row in rows
    ):
        raise RequestError(f"{file} is not a list of tasks; in Label Studio, export the project as JSON")
    return rows


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

    def urls(self, prefix: str) -> list[str]:
        """An address for each video, in the order of their paths: `prefix`, then the path below the folder."""
        paths = sorted(path for paths in self._by_name.values() for path in paths)
        return [prefix + quote(path.relative_to(self._folder).as_posix()) for path in paths]

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
