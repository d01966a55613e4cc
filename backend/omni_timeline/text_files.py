"""Text files that people name: their text, or one error."""

from __future__ import annotations

from pathlib import Path

from omni_timeline.errors import RequestError


def read_text(file: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        RequestError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 text") from error
