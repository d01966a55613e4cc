"""Which tracks of a file are watched and heard: those that a browser plays.

Knows libavformat's flags, and nothing of stamps or pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from av.stream import Disposition

from omni_timeline.errors import MediaError
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.container import open_media, packets_of
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits

_STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


@dataclass(frozen=True)
class Tracks:
    """The tracks of a file that can be played, by libavformat's numbers, in the order of the file.

    Attributes:
        picture: the one that is watched.
        moving: all pictures that move.
        sounds: all sound tracks that can be decoded; all sound tracks where none can.
        heard: which of `sounds` is heard by default; None where there is none.
    """

    picture: int
    moving: tuple[int, ...]
    sounds: tuple[int, ...]
    heard: int | None

    def chosen(self, audio_track: AudioTrack) -> tuple[int, ...]:
        """The sound tracks to hear: the browser's for None or where there is no track of that number."""
        if audio_track == "all":
            return self.sounds
        if audio_track is not None and audio_track <= len(self.sounds):
            return (self.sounds[audio_track - 1],)
        return () if self.heard is None else (self.heard,)

    def remarks(self, name: str, audio_track: AudioTrack, *, audio: bool) -> tuple[str, ...]:
        """Warnings about the choice among several tracks, a sentence each."""
        said = []
        if len(self.moving) > 1:
            number = self.moving.index(self.picture) + 1
            said.append(f"{name} has {len(self.moving)} video tracks; number {number} is watched, as browsers do.")
        count = len(self.sounds)
        if not audio or audio_track == "all" or not count:
            return tuple(said)
        default = self.sounds.index(self.chosen(None)[0]) + 1
        if audio_track is not None and audio_track > count:
            said.append(f"{name} has no audio track {audio_track}; number {default} of {count} is heard.")
        elif audio_track is None and count > 1:
            said.append(
                f"{name} has {count} audio tracks; number {default} is heard, as browsers do "
                "(--audio-track and AUDIO_TRACK choose another, or all)."
            )
        return tuple(said)


def choose_tracks(file: MediaFile, container: Any, limits: DecodeLimits) -> Tracks:
    """Of several tracks the first that is enabled; of pictures the first that moves, a still only where nothing moves.

    Chromium heeds the flag "enabled" of MP4 and does not heed Matroska's "default" (measured on 156).

    Raises:
        MediaError: there is no picture, or none that can be decoded.
    """
    pictures = [stream for stream in container.streams.video if stream.codec_context is not None]
    if not container.streams.video:
        raise MediaError(f"{file.name} has no video stream; give a file with pictures, not with sound alone.")
    if not pictures:
        raise MediaError(f"The video in {file.name} is in an unsupported codec; convert it to H.264.")
    alone = len(pictures) == 1
    moving = [stream for stream in pictures if alone or _moves(file, stream, limits)]
    stills = sorted(pictures, key=lambda stream: bool(stream.disposition & _STILL))  # a cover last
    picture = _first_enabled(container, moving or stills)
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    sounds = sounds or list(container.streams.audio)
    return Tracks(
        picture=picture.index,
        moving=tuple(stream.index for stream in moving),
        sounds=tuple(stream.index for stream in sounds),
        heard=_first_enabled(container, sounds).index if sounds else None,
    )


def has_player_clock(container: Any) -> bool:
    """Whether browsers play the format, so that the zero of its clock is theirs: MP4 and its kin, Matroska and WebM."""
    return bool(container.format.name.startswith(("mov,", "matroska,")))


def _first_enabled(container: Any, streams: list[Any]) -> Any:
    if container.format.name.startswith("mov,"):
        return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
    return streams[0]


def _moves(file: MediaFile, stream: Any, limits: DecodeLimits) -> bool:
    """Whether there is a second picture; looked up in the file where its index does not say."""
    if stream.disposition & _STILL or stream.frames == 1:
        return False
    if stream.frames:
        return True
    with open_media(file, limits) as container:
        packets = packets_of(container, container.streams[stream.index])
        return next(packets, None) is not None and next(packets, None) is not None
