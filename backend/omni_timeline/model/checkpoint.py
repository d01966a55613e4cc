"""Where a checkpoint's files lie, of which family it is, and which version of it they are.

Knows folders and the files of a checkpoint. Knows nothing of torch: the version is there long before the weights are
loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from omni_timeline.errors import ModelError
from omni_timeline.model.family import ModelFamily
from omni_timeline.model.hubs import CHECKPOINT_FILES, WAY_OUT, OnWords, download
from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "demo" / "checkpoint"
FAMILIES: tuple[ModelFamily, ...] = (QWEN2_5_OMNI,)
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

HASHED_BLOCK = 64 * 1024  # bytes
HASHED_BLOCKS = 256  # of each file: 16 MiB are read whole, of larger ones an even sample


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint on this machine.

    Attributes:
        name: as it was asked for: "demo", a folder or a hub id.
        folder: where they lie.
        version: its name and a hash that changes with its files, such as "demo-1a2b3c4d".
        family: which family of models it is of.
    """

    name: str
    folder: Path
    version: str
    family: ModelFamily

    @classmethod
    def find(cls, name: str = DEMO, hub: str = "huggingface", on_progress: OnWords | None = None) -> Self:
        """Finds a checkpoint, downloading it first if it is a hub's.

        Args:
            name: "demo" for the bundled one, a folder, or an id on the hub such as Qwen/Qwen2.5-Omni-3B.
            hub: huggingface or modelscope.
            on_progress: called with how far a download is.

        Raises:
            DownloadError: it could not be fetched now.
            ModelError: there is none, or it is of no family that is known here.
        """
        folder = _folder(name, hub, on_progress)
        family = _family(folder, name)
        basename = DEMO if name == DEMO else (name.rsplit("/", 1)[-1] if HUB_ID.fullmatch(name) else folder.name)
        return cls(name, folder, f"{basename}-{_content_hash(folder)}", family)

    def quantized_version(self, quantization: str | None) -> str:
        """The version of this checkpoint with its weights quantised in this way: it may answer otherwise."""
        return f"{self.version}-{quantization}" if quantization else self.version

    @staticmethod
    def is_local(name: str) -> bool:
        """Whether a checkpoint of this name is found without a download."""
        return name == DEMO or Path(name).expanduser().is_dir()

    @property
    def is_demo(self) -> bool:
        """Whether this is the bundled demo checkpoint, which is only for trying."""
        return self.name == DEMO


def _folder(name: str, hub: str, on_progress: OnWords | None) -> Path:
    """Where the checkpoint's files lie, after downloading them if it is a hub's."""
    if name == DEMO:
        if not (DEMO_FOLDER / "config.json").is_file():
            raise ModelError("The demo checkpoint is missing from this installation; install omni-timeline again.")
        return DEMO_FOLDER
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if not HUB_ID.fullmatch(name):
        raise ModelError(f"There is no folder {name}, and it is no hub id like Qwen/Qwen2.5-Omni-3B. {WAY_OUT}")
    return download(name, hub, on_progress)


def _family(folder: Path, name: str) -> ModelFamily:
    """The family whose checkpoint a folder holds."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{name} is not a checkpoint: it has no config.json. {WAY_OUT}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} is not a checkpoint: its config.json cannot be read. {WAY_OUT}") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    for family in FAMILIES:
        if kind in family.model_types:
            return family
    known = " and ".join(family.name for family in FAMILIES)
    raise ModelError(f"{name} is a {kind or 'nameless'} checkpoint, and only {known} can be loaded. {WAY_OUT}")


def _content_hash(folder: Path) -> str:
    """Eight hexadecimal digits that change when a file of the checkpoint does, without reading gigabytes.

    Of a large file only evenly spread blocks are read. Training touches every tensor, so it cannot slip through them.
    """
    digest = hashlib.sha256()
    for path in sorted(path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        step = max(HASHED_BLOCK, size // HASHED_BLOCKS)
        with path.open("rb") as file:
            for offset in range(0, size, step):
                file.seek(offset)
                digest.update(file.read(HASHED_BLOCK))
    return digest.hexdigest()[:8]
