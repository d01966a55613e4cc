"""Frames of one video file, by their numbers: the cheapest exact way to a few of them.

Between the frames that are wanted the file is entered at its keyframes. Where timestamps had to be mended, it is read
from its beginning instead and its packets are numbered on the way: packets that need not be decoded cost little more
than reading them. Where what decodes contradicts the timestamps, `FrameLostError` says so, and the caller goes on with
an index made by decoding, which counts all frames. All ways lead to the same frames, bit for bit.

Knows nothing of time, windows, sampling or models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from omni_timeline.media.container import decode_everything, decoded, open_media, packets_of, restamped
from omni_timeline.media.display import Display
from omni_timeline.media.index import FrameIndex, Starts

_TRIES = 4  # seeks before giving up; MPEG-TS is known to land behind the keyframe that was asked for


class FrameLostError(Exception):
    """A frame that the timestamps announce did not come out of the decoder, or came out in another order."""


def read_frames(index: FrameIndex, wanted: Sequence[int]) -> Iterator[tuple[int, Any, Display]]:
    """(number, frame, how it is shown) for the frames numbered `wanted`: ascending, no number twice.

    Raises:
        FrameLostError: a frame did not decode as the index said; `index_by_decoding` will be right.
    """
    with open_media(index.file, index.limits) as container:
        stream = container.streams[index.stream]
        if index.starts is None:
            frames: Iterable[tuple[int, Any]] = enumerate(decode_everything(container, stream))
        else:
            numbers = {int(index.pts[number]): number for number in wanted}
            found = _decode_at(index, index.starts, container, stream, wanted)
            frames = ((numbers.get(frame.pts, -1), frame) for frame in found)
        remaining = set(wanted)
        displays: dict[Any, Display] = {}
        for number, frame in frames:
            if number in remaining:
                aspect = stream.codec_context.sample_aspect_ratio
                # Once a kind: PyAV 18.1 keeps a frame whose side data was looked at until garbage is collected.
                kind = (frame.width, frame.height, frame.rotation, aspect)
                if kind not in displays:
                    is_usual = aspect == index.survey.coded_aspect
                    displays[kind] = Display.of(frame, index.survey.pixel_aspect if is_usual else aspect)
                yield number, frame, displays[kind]
                remaining.remove(number)
                if not remaining:
                    return
    raise FrameLostError(f"{len(remaining)} of {len(wanted)} frames of {index.file.name}")


def _decode_at(index: FrameIndex, starts: Starts, container: Any, stream: Any, wanted: Sequence[int]) -> Iterator[Any]:
    """The frames on the way to those wanted, walk by walk."""
    passing = enumerate(restamped(packets_of(container, stream), index.numbers))
    for start, numbers in _walks(index.pts, starts, wanted):
        if index.numbers is not None:
            stream.codec_context.flush_buffers()
            position = starts.position[start] if start > 0 else 0
            packets: Iterable[Any] = (packet for place, packet in passing if place >= position)
        elif start <= 0:
            packets = packets_of(container, stream)
        else:
            packets = _packets_from(container, stream, starts, start)
        ticks = {int(index.pts[number]) for number in numbers}
        last = None
        for frame in _walk(stream, packets, ticks, skip=index.skippable):
            if frame.pts is None or (last is not None and frame.pts <= last):
                raise FrameLostError(f"frames of {index.file.name} are not in the order of their timestamps")
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
