"""Numbers and paths as Label Studio's JavaScript reads them, and values from outside as messages show them.

Projects, tasks and annotations are written by people and other programs: all functions but `nested` take any JSON value
and raise nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from omni_timeline.errors import printable

MAX_WHOLE_NUMBER = 2**53  # beyond it a number no longer counts single frames
MAX_SHOWN = 200  # characters of a value in a message

# `parseValue` of the editor (1.23.2): a value that is wholly this is looked up in the task's data.
_FIELD = re.compile(r"\$([\w\[\].{}]+)", re.ASCII)


def number(value: Any) -> float:
    """`Number(value)` of JavaScript for plain decimal numbers; NaN for everything else."""
    if isinstance(value, str) and re.fullmatch(
        r"[+-]?(?:[0-9]{1,300}\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", value.strip(), re.I
    ):
        return float(value)
    if isinstance(value, int | float) and abs(value) < MAX_WHOLE_NUMBER:
        return float(value)
    return math.nan


def score(value: Any) -> float | None:
    """A score from 0 to 1; None for everything else."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if usable else None


def field_of(value: str) -> str | None:
    """The path in a task's data that a tag's attribute refers to, such as "meta.fps" for "$meta.fps"; None if none."""
    found = _FIELD.fullmatch(value)
    return found[1] if found else None


def nested(path: str, value: Any) -> Any:
    """Data in which `look_up` finds the value under the path, and nothing else: {"a": [{"url": value}]} for "a[0].url".

    Raises:
        ValueError: the path leads far into a list.
    """
    for part in reversed(_parts(path)):
        if not part.isdecimal():
            value = {part: value}
        elif len(part) > 3:
            raise ValueError(f"{shortened(path)} leads far into a list")
        else:
            value = [None] * int(part) + [value]
    return value


def look_up(data: Any, path: str) -> Any:
    """The value that the editor finds in a task's data under a path such as "meta.fps" or "rates[0]"; None for none."""
    if isinstance(data, Mapping) and path in data:
        return data[path]
    parts = _parts(path)
    for part in parts:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and re.fullmatch("0|[1-9][0-9]{0,8}", part) and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data if parts else None


def _parts(path: str) -> list[str]:
    return re.findall(r"[^.\[\]]+", path)


def member(value: Any, key: str) -> Any:
    """The value under a key; None where there is none, or `value` has no keys."""
    return value.get(key) if isinstance(value, Mapping) else None


def strings(value: Any) -> list[str]:
    """The strings in a list, or the one string that there is instead of a list."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def shortened(value: object) -> str:
    """A value for a message: on one line, its first 200 characters."""
    text = value if isinstance(value, str) else repr(value)
    return printable(text[:MAX_SHOWN]) + ("…" if len(text) > MAX_SHOWN else "")
