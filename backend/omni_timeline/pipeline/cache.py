"""Predictions that were made before, by the content of the video and the model version.

    <sha256 of the file>-<model version>.json

Knows files and how many of them are kept. Knows nothing of models or of where videos come from. A video that was moved,
renamed or fetched again is the same video. Whatever is wrong with the folder costs time, never a prediction.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from omni_timeline.pipeline.prediction import Prediction

REMEMBERED_FILES = 10_000  # whose content is not read again
PARTIAL_PREFIX = "part-"

log = logging.getLogger(__name__)


class PredictionCache:
    """Predictions in a folder. May be used by several threads.

    Args:
        folder: made when needed.
        max_bytes: how much is kept; those used longest ago go first. 0 keeps none.

    Attributes:
        trouble: why nothing can be written now; None while all is well.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._digests: OrderedDict[tuple[str, int, int], str] = OrderedDict()
        self._bytes: int | None = None  # in the folder; counted when first needed
        self.trouble: str | None = None

    def digest(self, video: Path) -> str:
        """The sha256 of a file; read again only when its size or time has changed.

        Raises:
            OSError: it cannot be read.
        """
        status = video.stat()
        key = (str(video), status.st_size, status.st_mtime_ns)
        with self._lock:
            if key in self._digests:
                self._digests.move_to_end(key)
                return self._digests[key]
        with video.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._lock:
            self._digests[key] = digest
            while len(self._digests) > REMEMBERED_FILES:
                self._digests.popitem(last=False)
        return digest

    def get(self, digest: str, version: str, video: Path) -> Prediction | None:
        """What was predicted for this content with this version; None when that is not known."""
        path = self._path(digest, version)
        try:
            checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
            if checksum != _checksum(text):
                raise ValueError("its checksum does not fit")
            found = Prediction.from_json(text, video)
            if found.model_version != version:
                raise ValueError("it is of another version")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("The kept prediction %s is not used: %s", path.name, error)
            with suppress(OSError):
                path.unlink()
            return None
        return found

    def put(self, digest: str, prediction: Prediction) -> None:
        """Keep a prediction, whole or not at all."""
        if not self._max_bytes:
            return
        text = prediction.to_json()
        partial: str | None = None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._folder, prefix=PARTIAL_PREFIX)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{_checksum(text)}\n{text}")
            size = Path(partial).stat().st_size
            Path(partial).replace(self._path(digest, prediction.model_version))
            partial = None
            self._make_room(size)
            self.trouble = None
        except OSError as error:
            self.trouble = f"Predictions cannot be kept in CACHE_DIR ({error.strerror}): make room there."
            log.warning("%s", self.trouble)
        finally:
            if partial is not None:
                with suppress(OSError):
                    Path(partial).unlink()

    def _path(self, digest: str, version: str) -> Path:
        safe = re.sub(r"[^\w.-]", "_", version)[-100:]  # a checkpoint's folder may have any name
        return self._folder / f"{digest}-{safe}.json"

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._bytes is not None and self._bytes + added <= self._max_bytes:
                self._bytes += added
                return
            files = []
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= 0.9 * self._max_bytes:  # so that this is not done for each new one
                    break
                path.unlink(missing_ok=True)
                total -= size
            self._bytes = total


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
