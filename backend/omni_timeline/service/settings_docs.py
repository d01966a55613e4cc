"""The settings as text for people: the tables in docs/operations.md and the lines in .env.example.

    python -m omni_timeline.service.settings_docs    rewrites both, in the checkout that is the current folder

Knows Markdown and the markers between which the text stands. Knows no setting by name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omni_timeline.service.setting_kinds import in_units
from omni_timeline.service.settings import Row, rows

BEGIN = "written by `python -m omni_timeline.service.settings_docs`"
END = "end of what is written by it"
COLUMNS = 120
# What docker-compose.yml and the Dockerfile decide: it follows from how the containers are put together.
SET_BY_DOCKER = ("LABEL_STUDIO_URL", "LOCAL_FILES_ROOT", "CACHE_DIR", "BIND", "PORT")


def tables() -> str:
    """The tables of docs/operations.md: a heading and a table for each section."""
    lines = []
    for row in rows():
        if row.section:
            lines += ["", f"### {row.section}", "", "| variable | default | must be | |", "|---|---|---|---|"]
        lines.append(f"| `{row.variable}` | {_default(row)} | {row.kind.words} | {row.about} |")
    return "\n".join(lines[1:])


def example() -> str:
    """The lines of .env.example: what is left to decide with Docker, commented out, each with its default."""
    lines = []
    for row in rows():
        if row.section:
            lines += ["", f"# --- {row.section} ---"]
        if row.variable not in SET_BY_DOCKER:
            lines += textwrap.wrap(
                _plain(row.about), COLUMNS, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
            )
            lines.append(f"#{row.variable}={_written(row.default)}")
    return "\n".join(lines[1:])


TEXTS: dict[str, Callable[[], str]] = {"docs/operations.md": tables, ".env.example": example}


def with_text(page: str, new: str) -> str:
    """A page with another text between its markers.

    Raises:
        ValueError: the page does not have one pair of markers.
    """
    changed, count = re.subn(
        rf"(^[^\n]*{re.escape(BEGIN)}[^\n]*\n).*?(^[^\n]*{re.escape(END)}[^\n]*$)",
        lambda found: f"{found[1]}{new}\n{found[2]}",
        page,
        flags=re.DOTALL | re.MULTILINE,
    )
    if count != 1:
        raise ValueError("there must be one pair of markers")
    return changed


def rewrite(folder: Path) -> None:
    """Bring both files of a checkout up to date."""
    for name, text in TEXTS.items():
        file = folder / name
        file.write_text(with_text(file.read_text(encoding="utf-8"), text()), encoding="utf-8")


def _default(row: Row) -> str:
    """A default as people read it."""
    if row.default is None or row.default == ():
        return row.default_words
    if row.variable.endswith("_BYTES"):
        return in_units(row.default)
    if isinstance(row.default, int) and row.default >= 100_000:
        return f"{row.default:,}"
    return f"`{_written(row.default)}`"


def _written(value: Any) -> str:
    """A value as it is written in the environment; "" for None."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _plain(markdown: str) -> str:
    """A sentence without Markdown."""
    return re.sub(r"`|\*(?=\w)|(?<=\w)\*", "", re.sub(r", see \[[^]]*\]\([^)]*\)", "", markdown))


if __name__ == "__main__":
    rewrite(Path.cwd())
