"""The frames of one video file: when each is shown, and the cheapest exact way to a few of them.

There are two ways in. By demuxing: the packets' timestamps tell which frames there are and where decoding can start,
so that a few frames of an hour cost a few seeks. By decoding: every frame is decoded and counted, which is always
right and takes as long as the video is. The first is used for as long as what decodes agrees with the timestamps;
where it does not, `FrameLostError` says so and the caller takes the second. Both give the same frames, bit for bit.

Knows nothing of windows, sampling or models. Times are seconds after the first frame.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.container import decoded, open_media, packets_of
from omni_timeline.media.limits import DecodeLimits

_DEFAULT_RATE = Fraction(25)  # frames per second of a stream that says nothing of its rate
_SAFE_TO_SKIP = frozenset({"h264"})  # in HEVC a "non-reference" frame may be one to higher temporal layers
_SAY_NOTHING = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc"})  # formats without a duration of their own
_NO_TIME = -(2**63)  # libavformat's AV_NOPTS_VALUE
_TRIES = 4  # seeks before giving up; MPEG-TS is known to land behind the keyframe that was asked for


class FrameLostError(Exception):
    """A frame the timestamps promised did not come out of the decoder, or came out in another order."""


@dataclass(frozen=True)
class Display:
    """How a stream's frames are shown: `width` × `height` pixels after the mirroring and turning below.

    Attributes:
        width: pixels across, pixels that are not square made square.
        height: pixels down.
        transpose: rows become columns, before the flips.
        flip_x: left and right are exchanged.
        flip_y: top and bottom are exchanged.
    """

    width: int
    height: int
    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def turn(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The stored `picture` (H, W, 3) as it is shown; a view."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


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
    """Every frame of a file's video stream in the order of showing.

    Attributes:
        stream: the stream's number in the file.
        codec: the decoder's name.
        seconds: when each frame is shown, ascending, the first at 0.0.
        duration: seconds from the first frame to the end of the last.
        start_time: seconds of the first frame on the container's clock, which the sound shares.
        display: how frames are shown.
        has_audio: whether the file has a sound track as well, decodable or not.
        promised: seconds of video the container says it has; None where it says nothing.
        promise_is_shared: whether the promise is made for the longest of all streams, which may be the sound.
        pts: presentation time of each frame in ticks.
        starts: where decoding can start; None when the frames are to be fetched by counting.
        limits: how much the file may ask for.
        warnings: what a person should know about the file.
    """

    path: Path
    stream: int
    codec: str
    seconds: NDArray[np.float64]
    duration: float
    start_time: float
    display: Display
    has_audio: bool
    promised: float | None
    promise_is_shared: bool
    pts: NDArray[np.int64]
    starts: Starts | None
    limits: DecodeLimits
    skippable: bool = False
    warnings: tuple[str, ...] = ()


def index_by_demuxing(path: Path, limits: DecodeLimits) -> FrameIndex:
    """The frames the packets' timestamps tell of; by decoding where these cannot be trusted.

    Only the first frame is decoded.
    """
    with open_media(path, limits) as container:
        stream = _video_stream(path, container)
        table = array("q")  # pts, dts, key, duration, shown; five numbers a packet
        first: Any = None
        trusted = True
        for number, packet in enumerate(packets_of(container, stream)):
            _check_count(path, number, limits)
            if first is None:
                first = next(iter(decoded(stream, packet)), None)
            if packet.pts is None:
                trusted = False
                if first is not None:
                    break
                continue
            dts = _NO_TIME if packet.dts is None else packet.dts
            shown = not packet.is_discard and not _is_hidden(stream, packet)
            table.extend((packet.pts, dts, packet.is_keyframe, packet.duration or 0, shown))
        first = first or next(iter(decoded(stream, None)), None)
        if first is None:
            raise MediaError(
                f"No frame of {path.name} can be decoded ({stream.name}); the file is damaged: copy or upload it again."
            )
        # AVI keeps no presentation times; those libavformat makes up are wrong where frames are reordered.
        if container.format.name == "avi" and stream.codec_context.has_b_frames:
            trusted = False
        if trusted and first.pts is not None:
            index = _index_of_packets(path, container, stream, first, np.array(table).reshape(-1, 5), limits)
            if index is not None:
                return index
    return index_by_decoding(path, limits)


def index_by_decoding(path: Path, limits: DecodeLimits) -> FrameIndex:
    """The frames that come out when everything is decoded."""
    with open_media(path, limits) as container:
        stream = _video_stream(path, container)
        first: Any = None
        ticks: list[int | None] = []
        for frame in _decode_everything(container, stream):
            first = first or frame
            ticks.append(frame.pts)
            _check_count(path, len(ticks) - 1, limits)
        if first is None:
            raise MediaError(
                f"No frame of {path.name} can be decoded ({stream.name}); the file is damaged: copy or upload it again."
            )
        pts = np.array([tick for tick in ticks if tick is not None], dtype=np.int64)
        warnings: tuple[str, ...] = ()
        if len(pts) != len(ticks) or np.any(np.diff(pts) <= 0):
            gap = 1 / (Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE) * stream.time_base)
            pts = np.array([(first.pts or 0) + round(number * gap) for number in range(len(ticks))], dtype=np.int64)
            if container.format.name != "avi":  # whose frames are evenly spaced by definition
                warnings = (f"{path.name} has no usable timestamps: its frames are taken as evenly spaced.",)
        return _index(path, container, stream, first, pts, end=None, starts=None, limits=limits, warnings=warnings)


def read_frames(index: FrameIndex, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """(number, frame) for the frames numbered `wanted`: ascending, no number twice.

    Raises:
        FrameLostError: a frame did not decode as the index said; `index_by_decoding` will be right.
    """
    with open_media(index.path, index.limits) as container:
        stream = container.streams[index.stream]
        if index.starts is None:
            frames: Iterable[tuple[int, Any]] = enumerate(_decode_everything(container, stream))
        else:
            numbers = {int(index.pts[number]): number for number in wanted}
            found = _decode_at(index, index.starts, container, stream, wanted)
            frames = ((numbers.get(frame.pts, -1), frame) for frame in found)
        remaining = set(wanted)
        for number, frame in frames:
            if number in remaining:
                yield number, frame
                remaining.remove(number)
                if not remaining:
                    return
    raise FrameLostError(f"{len(remaining)} of {len(wanted)} frames of {index.path.name}")


def _decode_everything(container: Any, stream: Any) -> Iterator[Any]:
    for packet in packets_of(container, stream):
        yield from decoded(stream, packet)
    yield from decoded(stream, None)


def _decode_at(index: FrameIndex, starts: Starts, container: Any, stream: Any, wanted: Sequence[int]) -> Iterator[Any]:
    """The frames on the way to those wanted, walk by walk."""
    for start, numbers in _walks(index.pts, starts, wanted):
        packets = packets_of(container, stream) if start <= 0 else _packets_from(container, stream, starts, start)
        ticks = {int(index.pts[number]) for number in numbers}
        last = None
        for frame in _walk(stream, packets, ticks, skip=index.skippable):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise FrameLostError(f"frames of {index.path.name} are not in the order of their timestamps")
            last = frame.pts
            yield frame


def _walks(pts: NDArray[np.int64], starts: Starts, wanted: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """(keyframe to start from, frames to be met): a new walk wherever a keyframe lies between two wanted frames."""
    reach, start, numbers = -1, -1, list[int]()
    for number in wanted:
        packet = int(starts.packet[number])
        keyframe = int(np.searchsorted(starts.position, packet, side="right")) - 1
        # Frames shown before a keyframe that follow it in the file need the one before: open GOP.
        while keyframe >= 0 and starts.pts[keyframe] > pts[number]:
            keyframe -= 1
        if numbers and keyframe >= 0 and starts.position[keyframe] > reach + 1:
            yield start, numbers
            start, numbers = keyframe, []
        elif not numbers:
            start = keyframe
        numbers.append(number)
        reach = max(reach, packet)
    yield start, numbers


def _packets_from(container: Any, stream: Any, starts: Starts, keyframe: int) -> Iterable[Any]:
    """The packets from a keyframe on, or from an earlier one if the seek lands there."""
    latest = starts.pts[keyframe]
    earlier = starts.pts[max(0, keyframe - _TRIES + 2) : keyframe][::-1]
    for ticks in (latest, starts.dts[keyframe], *earlier):
        try:
            container.seek(int(ticks), stream=stream)
        except av.error.FFmpegError:
            continue
        packets = packets_of(container, stream)
        first = next((packet for packet in packets if packet.is_keyframe), None)
        if first is not None and first.pts is not None and first.pts <= latest:
            return chain([first], packets)
    raise FrameLostError("the container cannot be entered at its keyframes")


def _walk(stream: Any, packets: Iterable[Any], wanted: set[int], *, skip: bool) -> Iterator[Any]:
    """Decode until the packets of all wanted frames are in, then take what the decoder still holds.

    With `skip`, frames no other frame refers to are not decoded unless wanted: this changes no pixel of the rest.
    """
    context = stream.codec_context
    for packet in packets:
        target = packet.pts in wanted and not packet.is_discard
        context.skip_frame = "NONREF" if skip and not target else "DEFAULT"
        yield from decoded(stream, packet)
        if target:
            wanted.discard(packet.pts)
            if not wanted:
                break
    yield from decoded(stream, None)


def _check_count(path: Path, number: int, limits: DecodeLimits) -> None:
    if number >= limits.frames:
        raise MediaError(f"{path.name} has more frames than MAX_VIDEO_FRAMES ({limits.frames}) allows.")


def _video_stream(path: Path, container: Any) -> Any:
    """The stream a player would show: cover art is not one."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise MediaError(f"{path.name} has no video stream; give a file with pictures, not with sound alone.")
    streams = [s for s in streams if s.codec_context is not None]
    if not streams:
        raise MediaError(f"The video in {path.name} is in a codec that cannot be decoded; convert it to H.264.")
    best = container.streams.best("video")
    if best is not None and best.index in {s.index for s in streams}:
        return best
    return max(streams, key=lambda s: s.codec_context.width * s.codec_context.height)


def _is_hidden(stream: Any, packet: Any) -> bool:
    """VP8 keeps frames that are only referred to in packets of their own; bit 4 of the frame tag (RFC 6386, 9.1)."""
    return stream.name == "vp8" and not memoryview(packet)[0] & 0x10


def _index_of_packets(
    path: Path, container: Any, stream: Any, first: Any, table: NDArray[np.int64], limits: DecodeLimits
) -> FrameIndex | None:
    """The index the packets make, None if their timestamps contradict themselves or the first frame decoded."""
    pts, dts, key, lasting, shown = table.T
    # Frames before the first that decodes lack what they refer to: the file was cut there.
    shown_at = np.flatnonzero((shown == 1) & (pts >= first.pts))
    packet = shown_at[np.argsort(pts[shown_at], kind="stable")]
    ordered = pts[packet]
    if not len(ordered) or ordered[0] != first.pts or np.any(np.diff(ordered) <= 0):
        return None
    if np.any(np.diff(dts[dts != _NO_TIME]) < 0):
        return None
    position = np.flatnonzero(key)
    starts = Starts(packet, position, pts=pts[position], dts=np.where(dts == _NO_TIME, pts, dts)[position])
    end = int(ordered[-1] + lasting[packet[-1]]) if lasting[packet[-1]] > 0 else None
    return _index(path, container, stream, first, ordered, end=end, starts=starts, limits=limits, warnings=())


def _index(
    path: Path,
    container: Any,
    stream: Any,
    first: Any,
    pts: NDArray[np.int64],
    *,
    end: int | None,
    starts: Starts | None,
    limits: DecodeLimits,
    warnings: tuple[str, ...],
) -> FrameIndex:
    time_base: Fraction = stream.time_base
    if end is None:  # the last frame is shown for as long as most are
        rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
        gap = int(np.median(np.diff(pts))) if len(pts) > 1 else round(1 / (rate * time_base))
        end = int(pts[-1]) + max(1, gap)
    duration, display = float((end - int(pts[0])) * time_base), _display(stream, first)
    if duration > limits.duration:
        raise MediaError(f"{path.name} lasts {duration:.0f} s, longer than MAX_VIDEO_SECONDS ({limits.duration:g}).")
    if display.width * display.height > limits.pixels:
        raise MediaError(
            f"{path.name} is shown at {display.width} x {display.height} pixels, more than MAX_VIDEO_PIXELS "
            f"({limits.pixels}) allows."
        )
    promised, is_shared = _promise(container, stream, first)
    return FrameIndex(
        path=path,
        stream=stream.index,
        codec=stream.name,
        seconds=(pts - pts[0]) * time_base.numerator / time_base.denominator,
        duration=duration,
        start_time=float((first.pts or 0) * time_base),
        display=display,
        has_audio=bool(container.streams.audio),
        promised=promised,
        promise_is_shared=is_shared,
        pts=pts,
        starts=starts,
        limits=limits,
        skippable=stream.name in _SAFE_TO_SKIP and not first.interlaced_frame,
        warnings=warnings,
    )


def _promise(container: Any, stream: Any, first: Any) -> tuple[float | None, bool]:
    """Seconds of video the container says it has, and whether it says so of all its streams together."""
    start = float((first.pts or 0) * stream.time_base)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate), False  # libavformat fits the duration to what is there
    if container.format.name in _SAY_NOTHING:
        return None, False
    if stream.duration:
        return float(stream.duration * stream.time_base), False
    tag = stream.metadata.get("DURATION", "")  # Matroska: when the stream ends, "00:00:30.033000000"
    if re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", tag, re.ASCII):
        hours, minutes, seconds = (float(part) for part in tag.split(":"))
        return 3600 * hours + 60 * minutes + seconds - start, False
    if container.duration:
        return (container.duration + (container.start_time or 0)) / av.time_base - start, True
    return None, False


def _display(stream: Any, frame: Any) -> Display:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    if not Fraction(1, 4) <= aspect <= 4:  # no camera has such pixels: a damaged header
        aspect = Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Display(width, height)
    # x' = a·x + c·y and y' = b·x + d·y; rows of three, the third column is of no use here.
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        return Display(height, width, transpose=True, flip_x=c < 0, flip_y=b < 0)
    return Display(width, height, flip_x=a < 0, flip_y=d < 0)
