"""The sound of one file on the player's clock: 16 kHz, mono, covering exactly the requested seconds.

Every decoded piece is laid where its own timestamp says, so late starts, early ends and gaps become silence and
nothing slides. Knows nothing of frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from omni_timeline.media.container import open_media, packets_of, restamped
from omni_timeline.media.files import MediaFile
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.timebase import SAMPLE_RATE, samples_in

_RUN_UP = 1.0  # s decoded before the window: MP3's bit reservoir, Opus's pre-roll (80 ms) and AAC's overlap need less
_LEAD = 0.05  # s of the run-up that the resampler hears, so that its filter is settled when the window begins
_JITTER = 0.005  # s a timestamp may be off before it counts as a gap; Matroska and FLV round to 1 ms
_AT_ONCE = 0.5  # s that are resampled at once
_BLOCK = SAMPLE_RATE // 2  # samples over which it is decided whether channels cancel
_CANCELLED = 0.25  # of the power that the mean of channels that have nothing to do with each other has


@dataclass(frozen=True)
class SoundTrack:
    """A track that is heard.

    Attributes:
        file: the file.
        stream: the track's number in the file.
        zero: container seconds at which the player's clock is 0.
        stamps: presentation times of its packets where the file's own were mended, else None.
        limits: the limits on the file.
    """

    file: MediaFile
    stream: int
    zero: float
    stamps: NDArray[np.int64] | None
    limits: DecodeLimits


def read_sound(
    tracks: Iterable[SoundTrack], start: float, end: float
) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """The sound from `start` to `end`, the mean of all tracks that decode, and warnings for the user.

    Returns:
        float32 (samples_in(end - start),), silence where nothing sounds; None if nothing of any track decodes.
    """
    heard, said = [], dict[str, None]()
    for track in tracks:
        sound, remark = _read_track(track, start, end)
        if sound is not None:
            heard.append(sound)
        if remark:
            said[remark] = None
    if not heard:
        return None, tuple(said)
    return heard[0] if len(heard) == 1 else np.mean(heard, axis=0, dtype=np.float32), tuple(said)


def mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of all channels (samples, channels); the loudest of them where they cancel each other.

    They cancel where the mean has less than a quarter of the power that it would have if the channels were unrelated: a
    microphone with its wires crossed, a stereo signal whose sides are each other's opposite.
    """
    mean: NDArray[np.float32] = samples.mean(axis=1)
    power = np.square(samples).mean(axis=0)
    if np.square(mean).mean() < _CANCELLED * power.mean() / len(power):
        return samples[:, int(power.argmax())]
    return mean


def _read_track(track: SoundTrack, start: float, end: float) -> tuple[NDArray[np.float32] | None, str | None]:
    """As `read_sound`, of one track."""
    reader = _Reader(track, start, end)
    enter = start - _RUN_UP if start > _RUN_UP else None
    frames = reader.frames(enter)
    first = next(frames, None)
    if enter is not None and (first is None or first[0] > start):
        frames = reader.frames(None)  # the seek landed late, or nothing sounds before `start`
        first = next(frames, None)
    if first is None:
        return None, reader.remark(nothing=True)
    sound = np.zeros(samples_in(end - start), dtype=np.float32)
    pieces = reader.resampled(_overlapping(_without_strays(chain([first], frames)), start - _LEAD, end))
    for second, samples in _blocks(pieces):
        _lay(mono(samples), sound, round((second - start) * SAMPLE_RATE))
    return sound, reader.remark(nothing=False)


class _Reader:
    """Decodes one track, and counts the seconds that libav could not decode."""

    def __init__(self, track: SoundTrack, start: float, end: float) -> None:
        self._track = track
        self._span = (start, end)
        self._lost = 0.0
        self._why: str | None = None

    def remark(self, *, nothing: bool) -> str | None:
        """The warning about what was not decoded, None for none; `nothing`: none of the track was."""
        name, why = self._track.file.name, f" ({self._why})" if self._why else ""
        if nothing:
            return f"The sound of {name} ({self._codec()}) cannot be decoded{why}; it is left out."
        if self._lost:
            return f"{self._lost:.2f} s of the sound of {name} cannot be decoded{why}; there is silence in their place."
        return None

    def frames(self, enter: float | None) -> Iterator[tuple[float, Any]]:
        """(second, decoded frame) from `enter` on, or from a little earlier; from the beginning for None."""
        self._lost, self._why = 0.0, None
        track = self._track
        with open_media(track.file, track.limits) as container:
            stream = container.streams[track.stream]
            if stream.codec_context is None:
                return
            _forget_the_layout(stream.codec_context)
            if enter is not None and track.stamps is None:
                try:
                    container.seek(round((track.zero + enter) * av.time_base))
                except av.error.FFmpegError:
                    return
            packets = restamped(packets_of(container, stream), track.stamps)
            if enter is not None and track.stamps is not None:
                begin = (track.zero + enter) / stream.time_base
                packets = (packet for packet in packets if packet.pts is None or packet.pts >= begin)
            due, tick = 0.0, stream.time_base  # asked for once: it is made anew each time
            for packet in chain(packets, (None,)):
                for frame in self._decoded(stream, packet):
                    # Rounded once, like the fraction, in a fraction of its time.
                    second = due if frame.pts is None else frame.pts * tick.numerator / tick.denominator - track.zero
                    yield second, frame
                    due = second + frame.samples / frame.sample_rate

    def resampled(self, frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """(second, samples (n, channels)); a new resampler where the timestamps jump or the sound changes its kind."""
        run: _Run | None = None
        for second, frame in frames:
            if run is not None and not run.goes_on_with(second, frame):
                yield from run.end()
                run = None
            run = run or _Run(second, _kind(frame), self._lose)
            yield from run.take(frame)
        if run is not None:
            yield from run.end()

    def _decoded(self, stream: Any, packet: Any | None) -> list[Any]:
        try:
            frames: list[Any] = stream.codec_context.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError as error:
            if packet is None:
                return []
            second = float((packet.pts or 0) * stream.time_base) - self._track.zero
            self._lose(error, second, float((packet.duration or 0) * stream.time_base))
            return []
        return frames

    def _lose(self, error: Exception, second: float, lasting: float) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if not reason.startswith("Error number"):  # errors without a text of libav
            self._why = self._why or reason
        start, end = self._span
        self._lost += max(0.0, min(second + lasting, end) - max(second, start))

    def _codec(self) -> str:
        with open_media(self._track.file, self._track.limits) as container:
            context = container.streams[self._track.stream].codec_context
            return context.name if context else "unknown codec"


class _Run:
    """Sound of one kind without a gap, on its way through a resampler.

    Args:
        begin: when it begins, in seconds.
        kind: what all its frames are.
        lose: called with an error, and with begin and duration, in seconds, of what is lost with it.
    """

    def __init__(self, begin: float, kind: tuple[Any, ...], lose: Callable[[Exception, float, float], None]) -> None:
        self._begin = begin
        self._kind = kind
        self._lose = lose
        self._resampler = av.AudioResampler("flt", None, SAMPLE_RATE)
        self._together = av.AudioFifo()  # a call of the resampler costs more than most frames
        self._taken = self._heard = 0.0  # s that frames last which came, and which the resampler has
        self._given = 0  # samples

    def goes_on_with(self, second: float, frame: Any) -> bool:
        """Whether the frame continues it."""
        return self._kind == _kind(frame) and abs(second - self._begin - self._taken) <= _JITTER

    def take(self, frame: Any) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """What comes out when the frame goes in: mostly nothing, now and then a piece."""
        self._taken += frame.samples / frame.sample_rate
        frame.pts = None  # else it has to be what the queue expects
        try:
            self._together.write(frame)
        except av.error.MemoryError:
            raise
        except (av.error.FFmpegError, ValueError, RuntimeError) as error:  # sound of a kind there is none
            self._drop(error)
            return
        if self._taken - self._heard >= _AT_ONCE:
            yield from self._through(self._together.read())

    def end(self) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """What is left."""
        if (last := self._together.read()) is not None:
            yield from self._through(last)
        yield from self._through(None)

    def _through(self, frame: Any | None) -> Iterator[tuple[float, NDArray[np.float32]]]:
        try:
            pieces = self._resampler.resample(frame)
        except av.error.MemoryError:
            raise
        except (av.error.FFmpegError, ValueError) as error:  # sound of a kind there is none, from a damaged header
            self._drop(error)
            return
        self._heard = self._taken
        for piece in pieces:
            if piece is not None:
                samples = _samples(piece)
                yield self._begin + self._given / SAMPLE_RATE, samples
                self._given += len(samples)

    def _drop(self, error: Exception) -> None:
        self._lose(error, self._begin + self._heard, self._taken - self._heard)
        self._heard = self._taken


def _forget_the_layout(context: Any) -> None:
    """Makes the channels of a stream numbers without names.

    PyAV 18.1 frees the names of an unusual layout twice, once for the frame and once for its `layout`, and crashes.
    Read once and replaced, they are freed once. Decoders that know their layout better still set it.
    """
    if channels := context.layout.nb_channels:
        context.layout = f"{channels} channels"


def _samples(piece: Any) -> NDArray[np.float32]:
    """The samples (n, channels) of a frame in the format "flt", where they lie: `to_ndarray` copies them, slowly."""
    count = piece.samples * piece.layout.nb_channels  # the plane is longer, to be aligned
    return np.frombuffer(piece.planes[0], np.float32, count).reshape(piece.samples, -1)


def _kind(frame: Any) -> tuple[Any, ...]:
    return frame.sample_rate, frame.format.name, frame.layout.name


def _without_strays(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """The frames, one whose timestamp alone is out of line put where it belongs: behind the one before."""
    due: float | None = None
    held: tuple[float, Any] | None = None
    for second, frame in frames:
        lasting = frame.samples / frame.sample_rate
        if held is not None:
            assert due is not None
            held_lasting = held[1].samples / held[1].sample_rate
            in_line = abs(second - due - held_lasting) <= _JITTER
            yield (due, held[1]) if in_line else held
            due = (due if in_line else held[0]) + held_lasting
            held = None
        if due is not None and abs(second - due) > _JITTER:
            held = (second, frame)
            continue
        yield second, frame
        due = second + lasting
    if held is not None:
        yield held


def _overlapping(frames: Iterable[tuple[float, Any]], start: float, end: float) -> Iterator[tuple[float, Any]]:
    for second, frame in frames:
        if second >= end:
            return
        if second + frame.samples / frame.sample_rate > start:
            yield second, frame


def _blocks(pieces: Iterable[tuple[float, NDArray[np.float32]]]) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Pieces that follow each other without a gap, put together to blocks of half a second and more."""
    together: list[NDArray[np.float32]] = []
    begin, count = 0.0, 0
    for second, samples in pieces:
        follows = together and abs(second - begin - count / SAMPLE_RATE) < 1e-6
        if together and (count >= _BLOCK or not follows or samples.shape[1] != together[0].shape[1]):
            yield begin, np.concatenate(together)
            together = []
        if not together:
            begin, count = second, 0
        together.append(samples)
        count += len(samples)
    if together:
        yield begin, np.concatenate(together)


def _lay(samples: NDArray[np.float32], sound: NDArray[np.float32], position: int) -> None:
    """Copy what of `samples`, which begin at `position`, falls inside `sound`."""
    first, last = max(0, position), min(len(sound), position + len(samples))
    if first < last:
        sound[first:last] = samples[first - position : last - position]
