"""A video's file, opened once.

All reads see one content, even if another file takes its place in the folder; and the process that decodes it needs no
right to open files. Knows no libav.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omni_timeline.errors import MediaError, RetryableError
from omni_timeline.media.limits import DecodeLimits

# Of this machine or of a network file system, and none of a video.
PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


@dataclass(frozen=True)
class MediaFile:
    """An open regular file.

    Attributes:
        path: the path that was opened; for messages, and for libav, which looks at its ending.
        descriptor: the descriptor, open for reading.
    """

    path: Path
    descriptor: int

    @classmethod
    def open(cls, path: Path, limits: DecodeLimits) -> MediaFile:
        """Open a file; it stays open.

        Raises:
            MediaError: the file is missing, not regular, empty, above a limit, or may not be read.
            RetryableError: it cannot be opened now.
        """
        name = path.name
        try:
            # O_NONBLOCK: a pipe that nothing writes to would be waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MediaError(f"{name} does not exist; check the path of the video.") from error
        except PermissionError as error:
            raise MediaError(f"{name} may not be read by this process; change the file's permissions.") from error
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in PASSING:
                raise RetryableError(f"{name} cannot be opened now: {error.strerror}.") from error
            raise MediaError(f"{name} cannot be opened ({error}); give the path of a video file.") from error
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise MediaError(f"{name} is a directory; give the path of a video file.")
            if not stat.S_ISREG(status.st_mode):
                raise MediaError(f"{name} is not a regular file; give the path of a video file.")
            if status.st_size == 0:
                raise MediaError(f"{name} is empty (0 bytes); copy or upload the video again.")
            if status.st_size > limits.file_bytes:
                raise MediaError(
                    f"{name} has {status.st_size} bytes, more than MAX_VIDEO_BYTES ({limits.file_bytes}) allows."
                )
        except MediaError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    @classmethod
    @contextmanager
    def opened(cls, path: Path, limits: DecodeLimits) -> Iterator[MediaFile]:
        """The file, closed at the end of the `with` block; raises as `open`."""
        file = cls.open(path, limits)
        try:
            yield file
        finally:
            os.close(file.descriptor)

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    def head(self, count: int) -> bytes:
        """The file's first bytes, at most `count`."""
        return os.pread(self.descriptor, count, 0)


class Reader:
    """A position of its own in an open file, first at its beginning; a file object for PyAV."""

    def __init__(self, file: MediaFile) -> None:
        self.name = f"file:{file.path}"  # libav takes the ending for a hint, and nothing before it for a protocol
        self._descriptor = file.descriptor
        self._place = 0

    def read(self, count: int) -> bytes:
        """The next bytes, at most `count`; none at the end."""
        data = os.pread(self._descriptor, count, self._place)
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as file objects do; returns the new one."""
        if whence == os.SEEK_END:
            offset += os.fstat(self._descriptor).st_size
        elif whence == os.SEEK_CUR:
            offset += self._place
        self._place = max(0, offset)
        return self._place

    def tell(self) -> int:
        """The position of the next byte."""
        return self._place
