"""The choice among several sound tracks, as users write it. A plain value: needs neither libav nor numpy."""

from __future__ import annotations

from typing import Literal

AudioTrack = int | Literal["all"] | None  # a number from 1, all together, or the one that browsers play

MAX_AUDIO_TRACK = 10_000  # no file may have more tracks than that
AUDIO_TRACK_WORDS = f"a number from 1 to {MAX_AUDIO_TRACK:,}, or all"


def is_audio_track(value: object) -> bool:
    """Whether a value is an `AudioTrack`."""
    return value is None or value == "all" or (isinstance(value, int) and 1 <= value <= MAX_AUDIO_TRACK)


def read_audio_track(text: str) -> AudioTrack:
    """The value that "2" or "all" stands for.

    Raises:
        ValueError: the text is neither.
    """
    track: AudioTrack = "all" if text.strip().lower() == "all" else int(text)
    if not is_audio_track(track):
        raise ValueError(f"there is no track {text}")
    return track
