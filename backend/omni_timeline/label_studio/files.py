"""From the address of a video in a task to a local file, safely.

    Addresses -> a local file, or a Source -> VideoCache -> Downloader

Knows the order of these parts, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from omni_timeline.label_studio.addresses import Addresses, checked
from omni_timeline.label_studio.auth import LabelStudioAuth
from omni_timeline.label_studio.download import Downloader
from omni_timeline.label_studio.host_slots import HostSlots
from omni_timeline.label_studio.hosts import AllowedHosts
from omni_timeline.label_studio.video_cache import VideoCache


class VideoFiles:
    """Brings tasks' videos to this machine, and keeps the last ones. May be used by several threads.

    Args:
        host: the address of Label Studio; None when it is not set up.
        api_key: the token for it; goes to `host` only.
        cache_dir: the folder for downloaded videos; made when needed.
        local_files_root: Label Studio's document root for local files, if it is mounted here.
        public_host: the address under which tasks know Label Studio, where that is another than `host`.
        hosts: the other hosts that videos may be downloaded from; none when None.
        max_bytes: a larger video is refused.
        cache_bytes: how many bytes of videos are kept in the folder; None: a fifth of the disk that it is on.

    Attributes:
        slots: how many videos are fetched from one host at a time.
    """

    def __init__(
        self,
        host: str | None,
        api_key: str | None,
        cache_dir: Path,
        local_files_root: Path | None = None,
        *,
        public_host: str | None = None,
        hosts: AllowedHosts | None = None,
        max_bytes: int = 4 * 1024**3,
        cache_bytes: int | None = None,
    ) -> None:
        auth = LabelStudioAuth(host, api_key) if host else None
        self._addresses = Addresses(auth, local_files_root, public_host)
        self._download = Downloader(auth, hosts or AllowedHosts(), max_bytes)
        self._cache = VideoCache(cache_dir, cache_bytes)
        self.slots = HostSlots()

    @property
    def trouble(self) -> str | None:
        """Why videos could not be kept when that was last tried; None if they could."""
        return self._cache.trouble

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        """A local file with the video that `url` in a task's data stands for; for reading only.

        A downloaded file is neither removed nor replaced within the context. A file below the document root may be
        changed by other programs at any time.

        Args:
            url: the address in the task's data.
            task_id: the task's number; cloud storage needs it.

        Raises:
            BusyHostError: all fetches that its host may have at a time are in use.
            UnreachableError: the video cannot be fetched now.
            FetchError: it cannot be fetched; the sentence says why, and what to change.
        """
        url = checked(url)
        path = self._addresses.local_file(url)
        if path is not None:
            yield path
            return
        source = self._addresses.source(url, task_id)

        def download(file: IO[bytes]) -> None:
            with self.slots.slot(source.host, source.key):
                self._download(source.address, file)

        with self._cache.file(source.key, download) as path:
            yield path
