"""The address and the type of a video, for a document about it."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from urllib.parse import quote


def link(video: Path, folder: Path) -> str:
    """The video's URL relative to a document in `folder`. It begins with a dot, so that no name looks like a scheme."""
    place = os.path.relpath(video.absolute(), folder.absolute())
    return "./" + quote(os.fsencode(place))


def mime_type(video: Path) -> str:
    """The MIME type for a file of this name; video/mp4 where it is unknown: players look for themselves."""
    guess, _ = mimetypes.guess_type(f"video{video.suffix}")
    return guess if guess and guess.startswith(("video/", "audio/")) else "video/mp4"
