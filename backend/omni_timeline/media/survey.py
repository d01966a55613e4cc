"""All packets of a file, read once without being decoded: the times of its tracks, and the player's clock.

    container   what the packets' stamps say, mended where they contradict themselves (`stamps`)
    player      seconds since the instant at which a browser's currentTime is 0. Of MP4 and Matroska that is the
                container's own zero: libavformat applies edit lists as Chromium does, since Chromium uses it too. Of
                formats that no browser plays it is the first instant at which one of the tracks is presented.

Knows nothing of pixels, samples or windows.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.container import decoded, packets_of
from omni_timeline.media.display import Display
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.stamps import NO_TIME, Mended, Stamps, mend
from omni_timeline.media.tracks import Tracks, has_player_clock

_NUMBERS = 6  # kept of a packet
_MPEG_PERIOD = 2**33  # ticks after which the clock of MPEG-TS and of program streams is at 0 again
_MAX_REORDERED = 32  # frames that are shown before one that precedes them in the file; codecs allow 16
_DISCONTINUOUS = {"mpegts": 10.0, "mpeg": 10.0}  # s; formats whose clock may jump, from what step on (ffmpeg's own)


@dataclass(frozen=True)
class Survey:
    """The times and properties that the packets of a file state.

    Attributes:
        tracks: the tracks that are played.
        stamps: the stamps of each track that is played, by its number, as the file has them.
        mended: the stamps of these tracks on one clock.
        keys: whether each packet of the picture is a keyframe.
        display: how the first frame of the picture that decodes is shown.
        pixel_aspect: width over height of the picture's pixels.
        coded_aspect: the same as the decoder alone states it; the container's may be better.
        is_interlaced: whether the first frame consists of two fields.
        first_pts: the (mended) presentation time of the first frame in ticks; None where it has no plausible one.
        has_player_clock: whether the file is in a format that browsers play.
        zero: seconds of the (mended) container's clock at which the player's is 0.
        ends: when each track ends, in seconds of the player.
    """

    tracks: Tracks
    stamps: dict[int, Stamps]
    mended: Mended
    keys: NDArray[np.bool_]
    display: Display
    pixel_aspect: Fraction | None
    coded_aspect: Fraction | None
    is_interlaced: bool
    first_pts: int | None
    has_player_clock: bool
    zero: float
    ends: dict[int, float]

    @property
    def picture(self) -> Stamps:
        """The stamps of the track that is watched."""
        return self.stamps[self.tracks.picture]

    def new_stamps(self, track: int) -> NDArray[np.int64] | None:
        """The presentation times for the packets of a track, where they are not those of the file."""
        return self.mended.pts[track] if track in self.mended.changed else None


def survey(file: MediaFile, container: Any, tracks: Tracks, limits: DecodeLimits) -> Survey:
    """Reads all packets, and decodes the first frame.

    Raises:
        MediaError: no frame decodes, or there are more than the limit allows.
    """
    played = sorted({tracks.picture, *tracks.moving, *tracks.sounds})
    tables = {number: array("q") for number in played}
    picture = container.streams[tracks.picture]
    hides = {number for number in played if _may_hide(container.streams[number])}
    count, first = 0, None
    for place, packet in enumerate(packets_of(container, *(container.streams[number] for number in played))):
        stream = packet.stream
        if stream.index == tracks.picture:
            check_count(file, count, limits)
            count += 1
            if first is None:
                first = next(iter(decoded(stream, packet)), None)
        pts, dts = packet.pts, packet.dts
        tables[stream.index].extend(
            (
                place,
                NO_TIME if pts is None else pts,
                NO_TIME if dts is None else dts,
                packet.duration or 0,
                not packet.is_discard and not (stream.index in hides and _is_hidden(packet)),
                packet.is_keyframe,
            )
        )
    first = first or next(iter(decoded(picture, None)), None)
    if first is None:
        raise MediaError(
            f"No frame of {file.name} can be decoded ({picture.name}); the file is damaged: copy or upload it again."
        )
    has_own_dts = not container.format.name.startswith("matroska,")
    stamps = {number: _stamps(container.streams[number], table, has_own_dts) for number, table in tables.items()}
    if container.format.name in _DISCONTINUOUS:
        stamps = {number: track.unwrapped(_MPEG_PERIOD) for number, track in stamps.items()}
    keys = np.frombuffer(tables[tracks.picture], dtype=np.int64).reshape(-1, _NUMBERS)[:, 5] == 1
    return _on_player_clock(container, tracks, stamps, keys, first)


def check_count(file: MediaFile, number: int, limits: DecodeLimits) -> None:
    """Raises a MediaError for frame `number`, counted from 0, if the limit does not allow as many."""
    if number >= limits.frames:
        raise MediaError(f"{file.name} has more frames than MAX_VIDEO_FRAMES ({limits.frames}) allows.")


def _stamps(stream: Any, table: array[int], has_own_dts: bool) -> Stamps:
    place, pts, dts, lasting, shown, _ = np.frombuffer(table, dtype=np.int64).reshape(-1, _NUMBERS).T
    return Stamps(stream.time_base, place, pts, dts, np.maximum(lasting, 0), shown == 1, has_own_dts)


def _on_player_clock(
    container: Any, tracks: Tracks, stamps: dict[int, Stamps], keys: NDArray[np.bool_], first: Any
) -> Survey:
    mended = mend(stamps, _DISCONTINUOUS.get(container.format.name, np.inf))
    first_pts = _first_pts(stamps[tracks.picture], mended.pts[tracks.picture], first.pts)
    begins, ends = {}, {}
    for number, track in stamps.items():
        pts = mended.pts[number]
        presented = track.shown & (pts != NO_TIME)
        if number == tracks.picture and first_pts is not None:
            presented &= pts >= first_pts
        if presented.any():
            begins[number] = track.seconds(pts[presented].min())
            last = np.flatnonzero(presented)[np.argmax((pts + track.lasting)[presented])]
            ends[number] = track.seconds(pts[last] + track.lasting[last])
            edited = _end_of_edits(container, container.streams[number])
            if 0 < ends[number] - edited < track.seconds(track.lasting[last]):
                ends[number] = edited
    is_played, picture = has_player_clock(container), container.streams[tracks.picture]
    zero = 0.0 if is_played or not begins else min(begins.values())
    return Survey(
        tracks=tracks,
        stamps=stamps,
        mended=mended,
        keys=keys,
        display=Display.of(first, picture.sample_aspect_ratio),
        pixel_aspect=picture.sample_aspect_ratio,
        coded_aspect=picture.codec_context.sample_aspect_ratio,
        is_interlaced=first.interlaced_frame,
        first_pts=first_pts,
        has_player_clock=is_played,
        zero=zero,
        ends={number: end - zero for number, end in ends.items()},
    )


def _first_pts(track: Stamps, pts: NDArray[np.int64], first: int | None) -> int | None:
    """The mended stamp of the first frame that decodes; None where far too many come before it."""
    if first is None or first not in track.pts:
        return None
    packet = int(np.argmax(track.pts == first))
    is_early = track.shown[packet:] & (pts[packet:] < pts[packet])
    return int(pts[packet]) if np.sum(is_early) <= _MAX_REORDERED else None


def _end_of_edits(container: Any, stream: Any) -> float:
    """Where an MP4's edit list ends a track: the last packet may reach beyond."""
    if container.format.name.startswith("mov,") and stream.duration and stream.start_time is not None:
        return float((stream.start_time + stream.duration) * stream.time_base)
    return np.inf


def _may_hide(stream: Any) -> bool:
    """VP8 keeps frames that are only referred to in packets of their own."""
    return stream.codec_context is not None and stream.codec_context.name == "vp8"


def _is_hidden(packet: Any) -> bool:
    """Whether a packet of VP8 is only referred to: bit 4 of the frame tag (RFC 6386, 9.1)."""
    return not memoryview(packet)[0] & 0x10
