"""What a setting may be: how its text is read, which values are allowed, and the words that say so.

Knows numbers, switches, addresses and folders. Knows no setting by name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload
from urllib.parse import urlsplit

from omni_timeline.media.audio_track import AUDIO_TRACK_WORDS, AudioTrack, is_audio_track, read_audio_track

T = TypeVar("T")

SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
UNITS = {"PiB": 1024**5, "GiB": 1024**3, "MiB": 1024**2}

_DEVICE = re.compile(r"[a-z]+(:\d{1,3})?")
_HOST = re.compile(r"((\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9A-Fa-f:.]+\])\.?(:\d{1,5})?")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What a setting may be.

    Attributes:
        words: what is allowed, to be read after "must be".
        parse: the value of a text without blanks around it; raises ValueError for a text that has none.
        allows: whether a value is allowed.
    """

    words: str
    parse: Callable[[str], T]
    allows: Callable[[T], bool] = lambda _: True


text = Kind("text", str)
switch = Kind("1 or 0", lambda written: SWITCHES[written.lower()])
url = Kind(
    "an address such as http://label-studio:8080, without user, password or query",
    lambda written: written.rstrip("/"),
    lambda value: _is_url(value),
)
token = Kind(
    "a token as Label Studio shows it: one line without spaces",
    str,
    lambda value: value.isascii() and value.isprintable() and " " not in value,
)
header = Kind("plain ASCII, since it travels in a header", str, str.isascii)
user_name = Kind("a name without a colon, which basic auth cannot send", str, lambda value: ":" not in value)
folder = Kind("a folder", Path)
file = Kind("a file", Path)
mounted_folder = Kind(
    "the full path of a folder that is mounted here, and not /, which would hand out every file of this machine",
    Path,
    lambda value: value.is_absolute() and value.is_dir() and value.resolve() != Path("/"),
)
hosts = Kind(
    "hosts such as minio:9000, cdn.example.org or *.example.org, with commas between them; for all public hosts set "
    "ALLOW_PUBLIC_VIDEO_HOSTS=1",
    lambda written: tuple(entry.strip() for entry in written.split(",") if entry.strip()),
    lambda entries: all(_HOST.fullmatch(entry) for entry in entries),
)
devices = Kind(
    "devices such as cpu, cuda or cuda:0,cuda:1",
    lambda written: tuple(entry.strip() for entry in written.split(",")),
    lambda entries: all(_DEVICE.fullmatch(entry) for entry in entries),
)
device = Kind("a device such as cpu or cuda:1", str, lambda value: bool(_DEVICE.fullmatch(value)))
audio_track: Kind[AudioTrack] = Kind(AUDIO_TRACK_WORDS, read_audio_track, is_audio_track)
log_level = Kind("DEBUG, INFO, WARNING or ERROR", str.upper, lambda value: value in logging.getLevelNamesMapping())


def choice(*options: str) -> Kind[str]:
    """One of a few words."""
    return Kind(f"{', '.join(options[:-1])} or {options[-1]}", str, lambda value: value in options)


@overload
def whole(low: int, high: int) -> Kind[int]: ...
@overload
def whole(low: int, high: int, *, none: str) -> Kind[int | None]: ...
def whole(low: int, high: int, *, none: str | None = None) -> Kind[int] | Kind[int | None]:
    """A whole number within bounds; the word `none` stands for None."""
    return _number("a whole number", int, low, high, none)


@overload
def number(low: float, high: float) -> Kind[float]: ...
@overload
def number(low: float, high: float, *, none: str) -> Kind[float | None]: ...
def number(low: float, high: float, *, none: str | None = None) -> Kind[float] | Kind[float | None]:
    """A number within bounds; the word `none` stands for None."""
    return _number("a number", float, low, high, none)


def number_or_auto(low: float, high: float, *, none: str) -> Kind[float | Literal["auto"] | None]:
    """A number within bounds, "auto", or the word `none`, which stands for None."""
    plain = number(low, high, none=none)
    return Kind(
        plain.words.replace(", or ", ", auto or "),
        lambda written: "auto" if written.lower() == "auto" else plain.parse(written),
        lambda value: value == "auto" or plain.allows(value),
    )


def byte_count(low: int, high: int) -> Kind[int]:
    """A number of bytes within bounds."""
    return Kind(f"a number of bytes from {in_units(low)} to {in_units(high)}", int, lambda value: low <= value <= high)


def in_units(count: int) -> str:
    """A number of bytes as people write it: "20 GiB"."""
    return next((f"{count // size} {unit}" for unit, size in UNITS.items() if count and count % size == 0), str(count))


Number = TypeVar("Number", int, float)


def _number(
    noun: str, read: Callable[[str], Number], low: Number, high: Number, none: str | None
) -> Kind[Number] | Kind[Number | None]:
    words = f"{noun} from {_digits(low)} to {_digits(high)}"
    if none is None:
        return Kind(words, read, lambda value: low <= value <= high)  # NaN is not between them
    return Kind(
        f"{words}, or {none}",
        lambda written: None if written.lower() == none else read(written),
        lambda value: value is None or low <= value <= high,
    )


def _digits(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        return fine and not parts.query and not parts.fragment and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
