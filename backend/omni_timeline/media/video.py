"""A video file becomes a `Clip`: pictures at even instants, and the sound on the same clock.

This module chooses the pictures of a window and puts the parts together. It knows no model and no torch. The parts:
`container` opens files, `tracks` says which of their tracks are played, `survey` reads all packets and finds the
player's clock (`stamps` mends what they say), `index` knows every frame, `frames` decodes some, `display` and `colour`
make pictures of them, `sound` decodes sound. PyAV's types stay within these.

    second      of the player: 0 is where a browser's currentTime is 0 for the file
    duration    from 0 to the end of the longest track, as a browser's `duration`
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.audio_track import AudioTrack
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.media.display import Screen
from omni_timeline.media.files import MediaFile
from omni_timeline.media.frames import FrameLostError, read_frames
from omni_timeline.media.index import FrameIndex, index_by_decoding, index_by_demuxing
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.sampling import count_instants, pictures_at
from omni_timeline.media.sound import SoundTrack, read_sound
from omni_timeline.timebase import FrameTimes, sampling_instants

Resize = Callable[[int, int], tuple[int, int]]

_SHORTFALL = 0.25  # s; containers round their durations and leave out the last frame's


def probe(path: Path | str, limits: DecodeLimits | None = None) -> VideoInfo:
    """The properties of a video; reads all timestamps and decodes one frame.

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
    audio_track: AudioTrack = None,
    limits: DecodeLimits | None = None,
) -> Clip:
    """One window of a video, decoded in this process: `Video.clip` for a file that is opened once.

    `isolated` does the same in a process of its own, for untrusted files.
    """
    return Video(path, limits).clip(
        frames=frames, start=start, end=end, resize=resize, audio=audio, audio_track=audio_track
    )


class Video:
    """A file whose frames have been counted, so that any number of clips cost their own decoding only.

    Args:
        file: the file, or where it is.
        limits: the limits on the file; time and memory are not limited here.

    Raises:
        MediaError: the file is missing, above a limit, or nothing in it can be used as a video.
    """

    def __init__(self, file: Path | str | MediaFile, limits: DecodeLimits | None = None) -> None:
        limits = limits or DecodeLimits()
        if not isinstance(file, MediaFile):
            file = MediaFile.open(Path(file), limits)
            weakref.finalize(self, os.close, file.descriptor)
        with _explained(file.name):
            self._index = index_by_demuxing(file, limits)

    @property
    def info(self) -> VideoInfo:
        """The properties of the video."""
        return _info(self._index)

    def clip(
        self,
        *,
        frames: int = 50,
        start: float = 0.0,
        end: float | None = None,
        resize: Resize | None = None,
        audio: bool = True,
        audio_track: AudioTrack = None,
    ) -> Clip:
        """The pictures at instants spread evenly over a window of the video, both ends included, and its sound.

        `sampling` says how many instants there are and which picture is taken at each.

        Args:
            frames: how many instants at most.
            start: seconds of the video.
            end: seconds of the video. Its end when None or later.
            resize: (height, width) as displayed -> (height, width) to scale to; as displayed when None.
            audio: whether to read the sound.
            audio_track: which of several sound tracks.

        Raises:
            MediaError: the window lies outside of the video, or nothing in it decodes.
        """
        with _explained(self._index.file.name):
            start, end = _window(self._index, start, end)
            return self._sure_clip(frames, start, end, resize, audio_track, audio=audio)

    def _sure_clip(
        self,
        frames: int,
        start: float,
        end: float,
        resize: Resize | None,
        audio_track: AudioTrack,
        *,
        audio: bool,
    ) -> Clip:
        """The clip by the timestamps if they hold, by counting if not."""
        try:
            return self._clip(frames, start, end, resize, audio_track, audio=audio)
        except FrameLostError:
            self._index = index_by_decoding(self._index)
        try:
            return self._clip(frames, start, min(end, self._index.duration), resize, audio_track, audio=audio)
        except FrameLostError as error:
            raise MediaError(
                f"{self._index.file.name} does not decode twice to the same frames; it is damaged: copy it again."
            ) from error

    def _clip(
        self,
        frames: int,
        start: float,
        end: float,
        resize: Resize | None,
        audio_track: AudioTrack,
        *,
        audio: bool,
    ) -> Clip:
        index = self._index
        instants = np.array(sampling_instants(start, end, count_instants(index.seconds, start, end, frames)))
        numbers = pictures_at(index.seconds, instants)
        pictures = _pictures(index, numbers, resize)
        sound, remarks = read_sound(_heard(index, audio_track), start, end) if audio else (None, ())
        choices = index.survey.tracks.remarks(index.file.name, audio_track, audio=audio)
        return Clip(
            info=self.info,
            start=start,
            end=end,
            frames=pictures,
            times=FrameTimes(tuple(instants.tolist())),
            shown=tuple(index.seconds[numbers].tolist()),
            audio=sound,
            warnings=(*choices, *index.warnings, *_missing(index), *remarks),
        )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turns libav's errors and a lack of memory into a `MediaError`."""
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
    first = float(index.seconds[0])
    return VideoInfo(
        path=index.file.path,
        duration=index.duration,
        fps=len(index.seconds) / (index.end - first),
        frame_count=len(index.seconds),
        width=index.survey.display.width,
        height=index.survey.display.height,
        start_time=first,
        has_audio=index.survey.tracks.heard is not None,
    )


def _window(index: FrameIndex, start: float, end: float | None) -> tuple[float, float]:
    """The window within the video."""
    name, duration = index.file.name, index.duration
    if not 0 <= start < duration:
        raise MediaError(f"A window of {name} cannot start at {start:g} s: the video lasts {duration:.3f} s.")
    end = duration if end is None else min(end, duration)
    if not start < end:
        raise MediaError(f"A window of {name} must end after it starts, got {start:g} to {end:g} s.")
    return start, end


def _pictures(index: FrameIndex, numbers: NDArray[np.int64], resize: Resize | None) -> NDArray[np.uint8]:
    """The frames as displayed, uint8 (N, 3, H, W); scaled straight from the decoder's own pixels."""
    film = index.survey.display
    height, width = (film.height, film.width) if resize is None else resize(film.height, film.width)
    pictures = np.empty((len(numbers), 3, height, width), dtype=np.uint8)
    screen = Screen(film, index.codec, width, height)
    wanted, places = np.unique(numbers, return_index=True)  # instants ascend, so those of one frame lie side by side
    until = dict(zip(wanted.tolist(), np.append(places[1:], len(numbers)).tolist(), strict=True))
    done = 0
    for number, frame, display in read_frames(index, wanted.tolist()):
        pictures[done : until[number]] = screen.show(frame, display)
        done = until[number]
    return pictures


def _heard(index: FrameIndex, audio_track: AudioTrack) -> list[SoundTrack]:
    survey = index.survey
    return [
        SoundTrack(index.file, number, survey.zero, survey.new_stamps(number), index.limits)
        for number in survey.tracks.chosen(audio_track)
    ]


def _missing(index: FrameIndex) -> tuple[str, ...]:
    """A warning when the picture ends long before the container says it does."""
    gap = float(np.max(np.diff(index.seconds), initial=0.0))
    until = index.duration if index.promise_is_shared else index.end
    if index.promised is None or index.promised - until <= max(_SHORTFALL, 2.5 * gap):
        return ()
    return (
        f"{index.file.name} is cut off or damaged: the container promises {index.promised:.1f} s of video, only "
        f"{until:.1f} s decode; the last {index.promised - until:.1f} s are missing.",
    )
