"""Opening a media file: which formats are opened, how much of a file is read, and the error for any other file.

Only files in the formats below are read, and nothing they refer to: playlists and other files that name further files
are refused, so that a video cannot make this machine read something else. Knows nothing of frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from omni_timeline.errors import MediaError
from omni_timeline.media.files import MediaFile, Reader
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.media.stamps import NO_TIME

# libavformat's names of the demuxers that read one file and nothing else. Those of sound alone are here so that a
# person hears "no video stream" instead of "not a video".
_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,gif,apng,mxf,gxf,nut,rm,ivf,dv,wtv,"
    "h264,hevc,vvc,obu,av1,m4v,yuv4mpegpipe,mjpeg,"
    "wav,w64,mp3,flac,aac,ac3,eac3,aiff,amr,caf,tta,wv"
)
_BUFFER_BYTES = 64 * 1024  # read at a time
_HEADER = 512  # bytes looked at to say what a file is instead
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"[Reference]")
_MAX_STREAMS = 100  # libavformat's own limit, far above ours, so that ours is reported


@contextmanager
def open_media(file: MediaFile, limits: DecodeLimits) -> Iterator[Any]:
    """The file as an `av` input container, closed at the end of the `with` block.

    Raises:
        MediaError: the file is above a limit, or is no media file that may be read.
    """
    try:
        container = av.open(
            Reader(file),  # libav opens no file, regardless of this one's name and content
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            # Every decoder heeds max_pixels before it makes a frame, also when the size changes in the middle. With a
            # thread more it would need the right to start one.
            options={"max_pixels": str(limits.pixels), "threads": "1"},
            container_options={
                "format_whitelist": _FORMATS,
                "protocol_whitelist": "",
                "max_streams": str(max(_MAX_STREAMS, limits.streams + 1)),
            },
        )
    except av.error.MemoryError:
        raise
    except (av.error.FFmpegError, OSError) as error:
        raise MediaError(_what_is_wrong(file)) from error
    with container:
        _check_streams(file, container, limits)
        yield container


def packets_of(container: Any, *streams: Any) -> Iterator[Any]:
    """The packets of some streams, from the container's position to the end of what can be read.

    The packets of other streams are skipped.
    """
    wanted = {stream.index for stream in streams}
    for other in container.streams:
        if other.index not in wanted:
            other.discard = Discard.all
    try:
        for packet in container.demux(*streams):
            if packet.size:  # the empty last one would drain the decoder
                yield packet
    except (av.error.FFmpegError, IndexError):
        # A cut or damaged file: what came so far is what there is. PyAV 18.1 ends with an IndexError when a track
        # appeared on the way, as in a damaged FLV file.
        return


def decoded(stream: Any, packet: Any | None) -> list[Any]:
    """The frames that decoding `packet` gives, none if it is damaged; for None, those that the decoder still holds."""
    try:
        frames: list[Any] = stream.codec_context.decode(packet)
    except av.error.MemoryError:
        raise  # the file may be sound
    except av.error.FFmpegError:
        return []
    return frames


def restamped(packets: Iterable[Any], stamps: NDArray[np.int64] | None) -> Iterator[Any]:
    """The packets of a stream from its beginning, with other presentation times unless `stamps` is None."""
    for place, packet in enumerate(packets):
        if stamps is not None:
            packet.pts = int(stamps[place]) if place < len(stamps) and stamps[place] != NO_TIME else None
        yield packet


def decode_everything(container: Any, stream: Any, stamps: NDArray[np.int64] | None = None) -> Iterator[Any]:
    """All frames of a stream that decode; see `restamped`."""
    for packet in restamped(packets_of(container, stream), stamps):
        yield from decoded(stream, packet)
    yield from decoded(stream, None)


def _check_streams(file: MediaFile, container: Any, limits: DecodeLimits) -> None:
    if len(container.streams) > limits.streams:
        raise MediaError(f"{file.name} has more tracks than MAX_VIDEO_STREAMS ({limits.streams}) allows.")
    for stream in container.streams.video:
        context = stream.codec_context
        if context is None:
            continue
        context.options = {"max_pixels": str(limits.pixels)}
        context.thread_count = 1
        if context.width * context.height > limits.pixels:
            raise MediaError(
                f"{file.name} has frames of {context.width} x {context.height} pixels, more than MAX_VIDEO_PIXELS "
                f"({limits.pixels}) allows."
            )


def _what_is_wrong(file: MediaFile) -> str:
    """The message for a file that libavformat does not open."""
    name, header = file.name, file.head(_HEADER)
    text = header.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<" and b"<MPD" not in text:
        return f"{name} is not a video: it looks like an HTML page (a login page?); check the URL and the access token."
    if text.startswith(_PLAYLISTS) or b"<MPD" in text:
        return f"{name} is a playlist that names other files; give the video file itself."
    if header[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
        return f"{name} is cut off or damaged: its index (the moov box) cannot be read; copy or upload it again."
    return f"{name} is not a video in a format that can be read; convert it to MP4 or check that it is the right file."
