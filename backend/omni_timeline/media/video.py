"""A video file becomes a `Clip`: frames with their true times, and the sound on the same clock.

This module chooses the frames of a window and puts the parts together. It knows no model and no torch. The parts:
`container` opens files, `frames` finds and decodes pictures, `sound` decodes sound. PyAV's types stay within these.

    video time   seconds after the first frame is shown, whatever the container's clock says then
    duration     from the first frame to the end of the last one
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.media.container import open_media, packets_of
from omni_timeline.media.frames import FrameIndex, FrameLostError, index_by_decoding, index_by_demuxing, read_frames
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.sound import read_sound
from omni_timeline.timebase import FrameTimes, sampling_instants

Resize = Callable[[int, int], tuple[int, int]]

_TIE = 1e-9  # s; instants this close to the middle between two frames take the earlier one on every machine
_SHORTFALL = 0.25  # s; containers round their durations and leave out the last frame's


def probe(path: Path | str, limits: DecodeLimits | None = None) -> VideoInfo:
    """What the file says of its video; reads all timestamps and decodes one frame.

    Raises:
        MediaError: the file is missing or nothing in it can be used as a video.
    """
    return Video(path, limits).info


def load_clip(
    path: Path | str,
    *,
    frames: int = 50,
    start: float = 0.0,
    end: float | None = None,
    resize: Resize | None = None,
    audio: bool = True,
    limits: DecodeLimits | None = None,
) -> Clip:
    """One window of a video, decoded in this process: `Video.clip` of a file that is not needed again.

    `decoder` does the same in a process of its own, for files of strangers.
    """
    return Video(path, limits).clip(frames=frames, start=start, end=end, resize=resize, audio=audio)


class Video:
    """A file whose frames have been counted, so that any number of clips cost their own decoding only.

    Args:
        path: the file.
        limits: how much it may ask for; time and memory are not limited here.

    Raises:
        MediaError: the file is missing, above a limit, or nothing in it can be used as a video.
    """

    def __init__(self, path: Path | str, limits: DecodeLimits | None = None) -> None:
        with _explained(Path(path).name):
            self._index = index_by_demuxing(Path(path), limits or DecodeLimits())
        self._missing: tuple[str, ...] | None = None

    @property
    def info(self) -> VideoInfo:
        """What the file says of its video."""
        return _info(self._index)

    def clip(
        self,
        *,
        frames: int = 50,
        start: float = 0.0,
        end: float | None = None,
        resize: Resize | None = None,
        audio: bool = True,
    ) -> Clip:
        """Frames spread evenly in time over a window of the video, and the window's sound.

        Args:
            frames: how many frames; fewer when the window has fewer.
            start: seconds of the video; frames shown from here on belong to the window.
            end: seconds of the video; frames shown before belong to the window. The end of the video when None or
                later.
            resize: (height, width) as displayed -> (height, width) to scale to; as displayed when None.
            audio: whether to read the sound.

        Raises:
            MediaError: the window lies outside of the video, or nothing in it decodes.
        """
        with _explained(self._index.path.name):
            return self._sure_clip(frames, start, end, resize, audio)

    def _sure_clip(self, frames: int, start: float, end: float | None, resize: Resize | None, audio: bool) -> Clip:
        """By the timestamps if they hold, by counting if not."""
        try:
            return self._clip(frames, start, end, resize, audio)
        except FrameLostError:
            self._index = index_by_decoding(self._index.path, self._index.limits)
            self._missing = None
        try:
            return self._clip(frames, start, end, resize, audio)
        except FrameLostError as error:
            raise MediaError(
                f"{self._index.path.name} does not decode twice to the same frames; it is damaged: copy it again."
            ) from error

    def _clip(self, frames: int, start: float, end: float | None, resize: Resize | None, audio: bool) -> Clip:
        index = self._index
        start, end, inside = _window(index, start, end)
        numbers = _choose(index.seconds, inside, frames)
        times = index.seconds[numbers] if len(inside) else np.array([start])
        first = float(times[0])
        pictures = _pictures(index, numbers, resize)
        sound: NDArray[np.float32] | None = None
        remarks: tuple[str, ...] = ()
        if audio and index.has_audio:
            sound, remarks = read_sound(index.path, origin=index.start_time, start=first, end=end, limits=index.limits)
        if self._missing is None:
            self._missing = _missing(index)
        return Clip(
            info=self.info,
            start=first,
            end=end,
            frames=pictures,
            times=FrameTimes(tuple(times.tolist())),
            audio=sound,
            warnings=(*index.warnings, *self._missing, *remarks),
        )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What a person is told of a file that libav stumbles over where nothing can be saved of it."""
    try:
        yield
    except MemoryError as error:
        raise MediaError(
            f"{name} asks for more memory than there is, or than DECODE_MEMORY_BYTES allows; where that is ample, the "
            "file is damaged: copy or upload it again."
        ) from error
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{name} cannot be decoded ({error.strerror}); it is damaged: copy or upload it again."
        ) from error


def _info(index: FrameIndex) -> VideoInfo:
    return VideoInfo(
        path=index.path,
        duration=index.duration,
        fps=len(index.seconds) / index.duration,
        frame_count=len(index.seconds),
        width=index.display.width,
        height=index.display.height,
        start_time=index.start_time,
        has_audio=index.has_audio,
    )


def _window(index: FrameIndex, start: float, end: float | None) -> tuple[float, float, range]:
    """The window within the video, and the numbers of the frames shown in it."""
    name, duration = index.path.name, index.duration
    if not 0 <= start < duration:
        raise MediaError(f"A window of {name} cannot start at {start:g} s: the video lasts {duration:.3f} s.")
    end = duration if end is None else min(end, duration)
    if not start < end:
        raise MediaError(f"A window of {name} must end after it starts, got {start:g} to {end:g} s.")
    first, last = np.searchsorted(index.seconds, (start, end), side="left").tolist()
    return start, end, range(first, last)


def _choose(seconds: NDArray[np.float64], inside: range, frames: int) -> list[int]:
    """Numbers of the frames nearest to instants spread evenly over the window; the earlier of two as near.

    A window without a frame of its own has the one that is still on the screen.
    """
    if not inside:
        return [inside.start - 1]
    shown = seconds[inside.start : inside.stop]
    count = min(frames, len(shown))
    instants = np.array(sampling_instants(float(shown[0]), float(shown[-1]), count))
    after = np.clip(np.searchsorted(shown, instants), 1, max(1, len(shown) - 1))
    before = after - 1
    after = np.minimum(after, len(shown) - 1)
    nearest = np.where(instants - shown[before] <= shown[after] - instants + _TIE, before, after)
    return [inside.start + number for number in nearest.tolist()]


def _pictures(index: FrameIndex, numbers: list[int], resize: Resize | None) -> NDArray[np.uint8]:
    """The frames as displayed, uint8 (N, 3, H, W); scaled straight from the decoder's own pixels."""
    display = index.display
    height, width = (display.height, display.width) if resize is None else resize(display.height, display.width)
    across, down = (height, width) if display.transpose else (width, height)
    pictures = np.empty((len(numbers), 3, height, width), dtype=np.uint8)
    reformatter: Any = VideoReformatter()
    for number, frame in read_frames(index, sorted(set(numbers))):
        scaled = (frame.width, frame.height) != (across, down)
        interpolation = Interpolation.BICUBIC if scaled else None
        rgb = reformatter.reformat(frame, across, down, "rgb24", interpolation=interpolation, threads=1)
        picture = display.turn(rgb.to_ndarray())
        for place in np.flatnonzero(np.array(numbers) == number):
            pictures[place] = picture.transpose(2, 0, 1)
    return pictures


def _missing(index: FrameIndex) -> tuple[str, ...]:
    """A warning when the file ends long before its container says it does."""
    if index.promised is None or index.promised - index.duration <= max(_SHORTFALL, 2.5 * _longest_gap(index)):
        return ()
    if index.promise_is_shared and _runs_to(index, index.start_time + index.promised - _SHORTFALL):
        return ()  # the promise is that of a longer sound track
    return (
        f"{index.path.name} is cut off or damaged: the container promises {index.promised:.1f} s of video, only "
        f"{index.duration:.1f} s decode; the last {index.promised - index.duration:.1f} s are missing.",
    )


def _longest_gap(index: FrameIndex) -> float:
    return float(np.max(np.diff(index.seconds), initial=0.0))


def _runs_to(index: FrameIndex, second: float) -> bool:
    """Whether any stream still has data at `second` of the container."""
    with open_media(index.path, index.limits) as container:
        numbers = [stream.index for stream in container.streams]
    for number in numbers:
        with open_media(index.path, index.limits) as container:
            stream = container.streams[number]
            for packet in packets_of(container, stream):
                if packet.pts is not None and float((packet.pts + (packet.duration or 0)) * stream.time_base) >= second:
                    return True
    return False
