"""Clips that were decoded elsewhere, in the place of the video that they are of.

    a worker that decodes                            the machine with the model
    carry(video): the first windows' clips  ------>  CarriedVideos.open -> CarriedVideo.clip
                                                     whatever was not carried: fetched and decoded here

The first look at a short video is decoded where there are cores for it. What the model wants to see after its first
answers, and the windows of a long video beyond MAX_CARRIED_BYTES, are decoded on the machine with the model. Either way
they are the same clips. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from omni_timeline.errors import MediaError, RetryableError
from omni_timeline.label_studio.tasks import TaskVideo
from omni_timeline.media.clip import Clip, VideoInfo
from omni_timeline.media.isolated import Decoder
from omni_timeline.pipeline.run import OpenVideo, VideoRun, Wanted

MAX_CARRIED_BYTES = 64 * 1024**2  # of one video: three windows or so of 50 frames

ClipKey = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Carried:
    """What is known of a video elsewhere.

    Attributes:
        url: the video's address in the task.
        name: what a person calls the video.
        digest: the sha256 of its file.
        info: what the file says of its video, as it was when the video was opened.
        clips: by what was asked for.
        seconds: how long each stage took.
    """

    url: str
    name: str
    digest: str
    info: VideoInfo
    clips: Mapping[ClipKey, Clip]
    seconds: Mapping[str, float]


class _Recorder:
    """An open video that keeps the clips that are read of it."""

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self.clips: dict[ClipKey, Clip] = {}

    @property
    def info(self) -> VideoInfo:
        return self._video.info

    @property
    def bytes(self) -> int:
        return sum(
            clip.frames.nbytes + (0 if clip.audio is None else clip.audio.nbytes) for clip in self.clips.values()
        )

    def clip(self, **wanted: Unpack[Wanted]) -> Clip:
        clip = self.clips[_key(wanted)] = self._video.clip(**wanted)
        return clip


def carry(
    video: OpenVideo, run: VideoRun, url: str, name: str, digest: str, *, max_bytes: int = MAX_CARRIED_BYTES
) -> Carried:
    """The clips of the windows that the model looks at first, as many as `max_bytes` hold and at least one.

    Raises:
        MediaError: a window cannot be decoded.
    """
    recorder, info = _Recorder(video), video.info
    run.begin(info)
    while recorder.bytes < max_bytes and (turn := run.next_window()) is not None:
        run.load(recorder, turn[1])
    return Carried(url, name, digest, info, recorder.clips, dict(run.seconds))


class CarriedVideo:
    """A video of which some clips are there already. One call at a time.

    Attributes:
        info: what is known of the video, as an open video has it after the same calls.
    """

    def __init__(self, carried: Carried, open_file: Callable[[], OpenVideo]) -> None:
        self._name = carried.name
        self._clips = dict(carried.clips)
        self._open_file = open_file
        self._video: OpenVideo | None = None
        self.info = carried.info

    def clip(self, **wanted: Unpack[Wanted]) -> Clip:
        """As `media.isolated.Video.clip`; a clip that was carried is handed out once."""
        clip = self._clips.pop(_key(wanted), None)
        if clip is None:
            if self._video is None:
                self._video = self._open_file()
            with _known_as(self._name, self._video.info.path):
                clip = self._video.clip(**wanted)
        self.info = clip.info
        return clip


@dataclass(frozen=True)
class _Source:
    """A carried video, how its file is brought here, and how that is told from another."""

    carried: Carried
    fetch: Callable[[], AbstractContextManager[Path]]
    digest: Callable[[Path], str]


class CarriedVideos:
    """Opens carried videos, in the place of a `Decoder`. May be used by several threads.

    Args:
        decoder: opens the files of those that need it.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._sources: dict[Path, _Source] = {}

    def add(
        self,
        path: Path,
        carried: Carried,
        fetch: Callable[[], AbstractContextManager[Path]],
        digest: Callable[[Path], str],
    ) -> None:
        """Let `path`, which names no file, stand for a carried video from now on.

        Args:
            path: any path; its name is that of the video in messages.
            carried: what is known of the video.
            fetch: brings its file here for as long as the context lasts.
            digest: the sha256 of a file.
        """
        self._sources[path] = _Source(carried, fetch, digest)

    def remove(self, path: Path) -> None:
        """Forget a video."""
        self._sources.pop(path, None)

    @contextmanager
    def open(self, path: Path, group: str | None) -> Iterator[CarriedVideo]:
        """The video that `path` stands for; `group` as in `Decoder.open`."""
        source = self._sources[path]
        with ExitStack() as opened:

            def open_file() -> OpenVideo:
                file = opened.enter_context(source.fetch())
                if source.digest(file) != source.carried.digest:
                    raise RetryableError(f"{source.carried.name} was changed while it was predicted.")
                with _known_as(source.carried.name, file):
                    return opened.enter_context(self._decoder.open(file, group))

            yield CarriedVideo(source.carried, open_file)

    def close(self) -> None:
        """End the processes that decode."""
        self._decoder.close()


def _key(wanted: Wanted) -> ClipKey:
    """The same for the same arguments."""
    return tuple(sorted(wanted.items()))


@contextmanager
def _known_as(name: str, file: Path) -> Iterator[None]:
    """Errors name the video as people know it, not the file that it was fetched into."""
    try:
        yield
    except MediaError as error:
        raise type(error)(TaskVideo(file, name).named(str(error))) from error
