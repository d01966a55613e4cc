"""Which of several sound tracks is heard, as people say it. A plain value: needs neither libav nor numpy."""

from __future__ import annotations

from typing import Literal

AudioTrack = int | Literal["all"] | None  # a number from 1, all together, or the one that browsers play


def read_audio_track(text: str) -> AudioTrack:
    """The value that "2" or "all" stands for.

    Raises:
        ValueError: it is neither a number from 1 nor "all".
    """
    if text.strip().lower() == "all":
        return "all"
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"must be a number from 1, or all; got {text!r}")
    return int(text)
