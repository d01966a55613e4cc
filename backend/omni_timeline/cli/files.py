"""The files that a command writes: whether they can be written."""

from __future__ import annotations

from pathlib import Path

from omni_timeline.errors import RequestError


def write_text(file: Path, text: str) -> None:
    """Writes the text in UTF-8, its line ends unchanged."""
    file.write_text(text, encoding="utf-8", newline="")


def prepare(file: Path | None, suffix: str) -> None:
    """Makes the folder of a file that is written at the end, so that a wrong name is noticed before the work begins.

    Raises:
        RequestError: the name does not end in `suffix`, or its folder cannot be made.
    """
    if file is None:
        return
    if file.suffix.lower() != suffix:
        raise RequestError(f"{file} must end in {suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"cannot write {file}: {error.strerror}") from error
