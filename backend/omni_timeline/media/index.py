"""Every frame of a file's picture: when it is shown, and where decoding starts to reach it.

There are two ways to know. By demuxing: the packets' timestamps tell which frames there are, and only the first is
decoded. By decoding: every frame is decoded and counted, which is always right and takes as long as the video is. The
first is used for as long as the decoded frames agree with the timestamps. Both give the same frames.

Knows nothing of windows, sampling or models. Times are seconds of the player.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.container import decode_everything, open_media
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.stamps import NO_TIME, increasing
from omni_timeline.media.survey import Survey, check_count, survey
from omni_timeline.media.tracks import choose_tracks

_DEFAULT_RATE = Fraction(25)  # frames per second of a stream that says nothing of its rate
_SAFE_TO_SKIP = frozenset({"h264"})  # in HEVC a "non-reference" frame may be one to higher temporal layers
_SAY_NOTHING = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})  # formats without a duration of their own


@dataclass(frozen=True)
class Starts:
    """Where decoding can start; positions count the stream's packets in the order of the file.

    Attributes:
        packet: position of the packet of every shown frame.
        position: positions of the keyframes, ascending.
        pts: their presentation times in ticks.
        dts: their decoding times in ticks.
    """

    packet: NDArray[np.int64]
    position: NDArray[np.int64]
    pts: NDArray[np.int64]
    dts: NDArray[np.int64]


@dataclass(frozen=True)
class FrameIndex:
    """Every frame of a file's picture in the order of showing.

    Attributes:
        stream: the stream's number in the file.
        codec: the decoder's name.
        survey: the times that all packets of the file state.
        seconds: when each frame is shown, ascending.
        end: when the last one ends.
        duration: when the last track ends.
        promised: until when the container says the picture lasts; None where it says nothing.
        promise_is_shared: whether the promise is made for the longest of all streams, which may be the sound.
        pts: presentation time of each frame in ticks; its number where packets are numbered.
        starts: where decoding can start; None when the frames are to be fetched by counting.
        numbers: of each packet the number of its frame, negative for none; None where timestamps are the file's own.
        limits: the limits on the file.
        skippable: whether frames that no other refers to can be left out.
        warnings: sentences for the user about the file.
    """

    file: MediaFile
    stream: int
    codec: str
    survey: Survey
    seconds: NDArray[np.float64]
    end: float
    duration: float
    promised: float | None
    promise_is_shared: bool
    pts: NDArray[np.int64]
    starts: Starts | None
    numbers: NDArray[np.int64] | None
    limits: DecodeLimits
    skippable: bool = False
    warnings: tuple[str, ...] = ()


def index_by_demuxing(file: MediaFile, limits: DecodeLimits) -> FrameIndex:
    """The index from the packets' timestamps; by decoding where these cannot be trusted.

    Only the first frame is decoded.
    """
    with open_media(file, limits) as container:
        tracks = choose_tracks(file, container, limits)
        found = survey(file, container, tracks, limits)
        index = _index_of_packets(file, container, found, limits)
    return index or _index_by_decoding(file, found, limits)


def index_by_decoding(index: FrameIndex) -> FrameIndex:
    """The index from decoding everything, in place of one that was wrong."""
    return _index_by_decoding(index.file, index.survey, index.limits)


def _index_by_decoding(file: MediaFile, found: Survey, limits: DecodeLimits) -> FrameIndex:
    with open_media(file, limits) as container:
        stream = container.streams[found.tracks.picture]
        ticks: list[int | None] = []
        for frame in decode_everything(container, stream, found.new_stamps(stream.index)):
            check_count(file, len(ticks), limits)
            ticks.append(frame.pts)
        if not ticks:
            raise MediaError(
                f"No frame of {file.name} can be decoded ({stream.name}); the file is damaged: copy or upload it again."
            )
        stamps = np.array([np.nan if tick is None else tick for tick in ticks], dtype=np.float64)
        pts, warnings = _mended_frames(file, container, stream, found, stamps)
        seconds = pts * float(stream.time_base) - found.zero
        return _index(file, container, found, seconds, end=None, limits=limits, warnings=warnings)


def _mended_frames(
    file: MediaFile, container: Any, stream: Any, found: Survey, stamps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """When each frame is shown, in ticks; by the rate of the stream where its stamps are of no use."""
    is_avi = container.format.name == "avi"
    try:
        pts, bad = increasing(stamps)
        # AVI keeps no presentation times; those libavformat makes up are wrong where frames are reordered.
        is_usable = not (is_avi and (bad or np.isnan(stamps).any()))
    except ValueError:
        is_usable = False
    if is_usable:
        return pts, _said_of_stamps(file, found, bad)
    first = 0.0 if np.isnan(stamps[0]) else float(stamps[0])
    pts = first + np.arange(len(stamps)) / float(_rate(stream) * stream.time_base)
    if is_avi or len(stamps) == 1:  # whose frames are evenly spaced by definition; a cover
        return pts, ()
    return pts, (f"{file.name} has no usable timestamps: its frames are taken as evenly spaced.",)


def _index_of_packets(file: MediaFile, container: Any, found: Survey, limits: DecodeLimits) -> FrameIndex | None:
    """The index from the packets; None if their timestamps contradict themselves or the first frame decoded."""
    stream, track = container.streams[found.tracks.picture], found.picture
    pts, dts = found.mended.pts[stream.index], track.dts
    is_made_up = container.format.name == "avi" and stream.codec_context.has_b_frames
    if found.first_pts is None or np.any(pts == NO_TIME) or is_made_up:
        return None
    is_numbered = stream.index in found.mended.changed
    # Frames before the first that decodes lack what they refer to: the file was cut there.
    shown_at = np.flatnonzero(track.shown & (pts >= found.first_pts))
    packet = shown_at[np.argsort(pts[shown_at], kind="stable")]
    ordered = pts[packet]
    if not len(ordered) or ordered[0] != found.first_pts:
        return None
    if not is_numbered and track.has_own_dts and np.any(np.diff(dts[dts != NO_TIME]) < 0):
        return None
    bad = 0
    exact = ordered.astype(np.float64)
    if np.any(np.diff(ordered) == 0):
        is_numbered = True
        try:
            exact, bad = increasing(exact)
        except ValueError:
            return None
    position = np.flatnonzero(found.keys)
    numbers = None
    if is_numbered:
        numbers = -1 - np.arange(len(pts))
        numbers[packet] = np.arange(len(packet))
        ordered, pts, dts = np.arange(len(packet)), numbers, numbers
    starts = Starts(packet, position, pts=pts[position], dts=np.where(dts == NO_TIME, pts, dts)[position])
    base = track.base
    return _index(
        file,
        container,
        found,
        exact * base.numerator / base.denominator - found.zero,
        end=found.ends[stream.index] if track.lasting[packet[-1]] else None,
        pts=ordered,
        starts=starts,
        numbers=numbers,
        limits=limits,
        warnings=_said_of_stamps(file, found, bad),
    )


def _said_of_stamps(file: MediaFile, found: Survey, bad: int) -> tuple[str, ...]:
    """One sentence for each kind of change."""
    said = []
    if bad := bad + found.mended.bad:
        said.append(
            f"Timestamps of {file.name} that are doubled or out of order were mended: {bad}. No others were changed."
        )
    if restarts := found.mended.restarts:
        when = ", ".join(f"{second - found.zero:.1f}" for second in restarts[:5])
        browsers = " Browsers play only the first part." if found.has_player_clock else ""
        said.append(f"The clock of {file.name} jumps at {when} s; the parts are joined without a gap.{browsers}")
    return tuple(said)


def _index(
    file: MediaFile,
    container: Any,
    found: Survey,
    seconds: NDArray[np.float64],
    *,
    end: float | None,
    limits: DecodeLimits,
    warnings: tuple[str, ...],
    pts: NDArray[np.int64] | None = None,
    starts: Starts | None = None,
    numbers: NDArray[np.int64] | None = None,
) -> FrameIndex:
    stream = container.streams[found.tracks.picture]
    if end is None or end <= seconds[-1]:  # the last frame is shown for as long as most are
        end = float(seconds[-1] + (np.median(np.diff(seconds)) if len(seconds) > 1 else float(1 / _rate(stream))))
    duration = max(end, *(other for number, other in found.ends.items() if number != stream.index), 0.0)
    if len(seconds) == 1:
        end = duration
    display = found.display
    if duration > limits.duration:
        raise MediaError(f"{file.name} lasts {duration:.0f} s, longer than MAX_VIDEO_SECONDS ({limits.duration:g}).")
    if display.width * display.height > limits.pixels:
        raise MediaError(
            f"{file.name} is shown at {display.width} x {display.height} pixels, more than MAX_VIDEO_PIXELS "
            f"({limits.pixels}) allows."
        )
    promised, is_shared = _promise(container, stream, found)
    return FrameIndex(
        file=file,
        stream=stream.index,
        codec=stream.name,
        survey=found,
        seconds=seconds,
        end=end,
        duration=duration,
        promised=promised,
        promise_is_shared=is_shared,
        pts=np.arange(len(seconds)) if pts is None else pts,
        starts=starts,
        numbers=numbers,
        limits=limits,
        skippable=stream.name in _SAFE_TO_SKIP and not found.is_interlaced,
        warnings=warnings,
    )


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)


def _promise(container: Any, stream: Any, found: Survey) -> tuple[float | None, bool]:
    """Until when the container says the picture lasts, and whether it says so of all its streams together."""
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate), False  # libavformat fits the duration to what is there
    if container.format.name in _SAY_NOTHING or found.mended.restarts:
        return None, False
    if stream.duration:
        return float(stream.duration * stream.time_base), False
    tag = stream.metadata.get("DURATION", "")  # Matroska: when the stream ends, "00:00:30.033000000"
    if re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tag, re.ASCII):
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
        return 3600 * hours + 60 * minutes + seconds - found.zero, False
    if container.duration:
        return (container.duration + (container.start_time or 0)) / av.time_base - found.zero, True
    return None, False
