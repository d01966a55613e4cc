"""The sound of one file on the clock of its video: 16 kHz, mono, covering exactly the seconds asked for.

Every decoded piece is laid where its own timestamp says, so late starts, early ends and gaps become silence and
nothing slides. Knows nothing of frames beyond the time of the first one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from omni_timeline.media.container import decoded, open_media, packets_of
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.timebase import SAMPLE_RATE, samples_in

_RUN_UP = 1.0  # s decoded before the window: MP3's bit reservoir, Opus's pre-roll (80 ms) and AAC's overlap need less
_LEAD = 0.05  # s of the run-up that the resampler hears, so that its filter is settled when the window begins
_JITTER = 0.005  # s a timestamp may be off before it counts as a gap; Matroska and FLV round to 1 ms


def read_sound(
    path: Path, *, origin: float, start: float, end: float, limits: DecodeLimits
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """The sound from `start` to `end`, and what a person should know about it.

    Args:
        path: a file with a sound track.
        origin: container seconds of the video's first frame.
        start: seconds of the video.
        end: seconds of the video.
        limits: how much the file may ask for.

    Returns:
        float32 (samples_in(end - start),), silence where nothing sounds; None if nothing of the sound decodes.
    """
    enter = start - _RUN_UP if start > _RUN_UP else None
    frames = _frames(path, origin, enter, limits)
    first = next(frames, None)
    if enter is not None and (first is None or first[0] > start):
        frames = _frames(path, origin, None, limits)  # the seek landed late, or nothing sounds before `start`
        first = next(frames, None)
    if first is None:
        return None, (f"The sound of {path.name} ({_codec(path, limits)}) cannot be decoded; it is left out.",)
    sound = np.zeros(samples_in(end - start), dtype=np.float32)
    for second, samples in _resampled(_overlapping(chain([first], frames), start - _LEAD, end)):
        _lay(samples, sound, round((second - start) * SAMPLE_RATE))
    return sound, ()


def _frames(path: Path, origin: float, enter: float | None, limits: DecodeLimits) -> Iterator[tuple[float, Any]]:
    """(second of the video, decoded frame) from `enter` on, or from a little earlier; from the beginning for None."""
    with open_media(path, limits) as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            return
        if enter is not None:
            try:
                container.seek(round((origin + enter) * av.time_base))
            except av.error.FFmpegError:
                return
        due = 0.0
        for packet in chain(packets_of(container, stream), (None,)):
            for frame in decoded(stream, packet):
                second = due if frame.pts is None else float(frame.pts * stream.time_base) - origin
                yield second, frame
                due = second + frame.samples / frame.sample_rate


def _codec(path: Path, limits: DecodeLimits) -> str:
    with open_media(path, limits) as container:
        contexts = [stream.codec_context for stream in container.streams.audio]
        return ", ".join(context.name if context else "unknown codec" for context in contexts)


def _overlapping(frames: Iterable[tuple[float, Any]], start: float, end: float) -> Iterator[tuple[float, Any]]:
    for second, frame in frames:
        if second >= end:
            return
        if second + frame.samples / frame.sample_rate > start:
            yield second, frame


def _resampled(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """(second, samples) pieces; a new resampler wherever the timestamps jump or the sound changes its format."""
    resampler: Any = None
    begun, heard, given, kind = 0.0, 0.0, 0, None

    def flushed(frame: Any) -> Iterator[tuple[float, NDArray[np.float32]]]:
        nonlocal given
        try:
            pieces = resampler.resample(frame)
        except av.error.FFmpegError:
            return  # sound of a kind there is none, from a damaged header
        for piece in pieces:
            if piece is not None:  # what flushing returns when there was nothing to resample
                samples = piece.to_ndarray()[0]
                yield begun + given / SAMPLE_RATE, samples
                given += len(samples)

    for second, frame in frames:
        if kind != (frame.sample_rate, frame.format.name, frame.layout.name) or abs(second - begun - heard) > _JITTER:
            if resampler is not None:
                yield from flushed(None)
            kind = (frame.sample_rate, frame.format.name, frame.layout.name)
            begun, heard, given = second, 0.0, 0
            # Without the limit, stereo of floats is mixed at 0.71 a channel and clips; with it at 0.5, the mean.
            resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE, options={"rematrix_maxval": "1.0"})
        heard += frame.samples / frame.sample_rate
        yield from flushed(frame)
    if resampler is not None:
        yield from flushed(None)


def _lay(samples: NDArray[np.float32], sound: NDArray[np.float32], position: int) -> None:
    """Copy what of `samples`, which begin at `position`, falls inside `sound`."""
    first, last = max(0, position), min(len(sound), position + len(samples))
    if first < last:
        sound[first:last] = samples[first - position : last - position]
