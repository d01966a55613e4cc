"""The limits on one video. A plain value: it crosses processes, and needs no libav."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class DecodeLimits:
    """The limits on one video. A video above one is refused with an error that names the setting.

    The last three hold in `isolated` alone, whose processes can be stopped.

    Attributes:
        file_bytes: size of the file; MAX_VIDEO_BYTES. The default is generous, for files that were not fetched.
        pixels: pixels of one frame, as stored and as displayed; MAX_VIDEO_PIXELS. The default holds 8K (8192 x 4320).
        frames: frames in the file, or packets of its picture; MAX_VIDEO_FRAMES. The default holds nine hours at 60 fps.
        duration: seconds of the video; MAX_VIDEO_SECONDS.
        streams: tracks of any kind; MAX_VIDEO_STREAMS.
        seconds: wall-clock time for opening a video, or for one clip of it; DECODE_SECONDS.
        memory_bytes: memory of the process that decodes; DECODE_MEMORY_BYTES.
        videos: how many videos of one group a process decodes, one after the other; VIDEOS_PER_DECODER.

    Raises:
        ValueError: a limit is not above 0.
    """

    file_bytes: int = 64 * 1024**3
    pixels: int = 36_000_000
    frames: int = 2_000_000
    duration: float = 12 * 3600.0
    streams: int = 64
    seconds: float = 120.0
    memory_bytes: int = 4 * 1024**3
    videos: int = 16

    def __post_init__(self) -> None:
        for limit in fields(self):
            if not getattr(self, limit.name) > 0:
                raise ValueError(f"{limit.name} must be above 0, got {getattr(self, limit.name)}")
