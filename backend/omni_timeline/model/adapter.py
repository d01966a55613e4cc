"""An adapter: what training adds to a checkpoint, as a folder of files. It can be told apart without torch.

    adapter.json                  which checkpoint it belongs to
    adapter_config.json           what it adapts, as PEFT writes it
    adapter_model.safetensors     its weights

Knows files. Knows nothing of how a model is adapted: that is `lora`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from omni_timeline.errors import RequestError

BASE = "adapter.json"
FILES = ("adapter_config.json", "adapter_model.safetensors")
FORMAT = 1


@dataclass(frozen=True)
class Adapter:
    """An adapter on this machine. Two with the same weights for the same checkpoint are equal, wherever they lie.

    Attributes:
        base: the version of the checkpoint that it was trained on; it is of no use with another.
        version: "lora-" and a hash that changes with its files.
        folder: where they lie.
    """

    base: str
    version: str
    folder: Path = field(compare=False)

    @classmethod
    def find(cls, folder: Path) -> Adapter:
        """The adapter in a folder.

        Raises:
            RequestError: there is none, or it cannot be read.
        """
        digest = hashlib.sha256()
        try:
            kept = json.loads((folder / BASE).read_text(encoding="utf-8"))
            if kept["format"] != FORMAT:
                raise ValueError(f"its format is {kept['format']!r}, and this release reads {FORMAT}")
            base = str(kept["base"])
            for name in FILES:
                with (folder / name).open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise RequestError(f"The adapter in {folder} cannot be read: {error.strerror}.") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"What is in {folder} is not an adapter: {error}.") from error
        return cls(base, f"lora-{digest.hexdigest()[:8]}", folder)

    def check_base(self, checkpoint_version: str) -> None:
        """Refuse another checkpoint than the one that it was trained on.

        Raises:
            RequestError: it is another.
        """
        if checkpoint_version != self.base:
            raise RequestError(
                f"The adapter {self.version} was trained on the checkpoint {self.base}, and the model is "
                f"{checkpoint_version}: use that checkpoint, or train again."
            )


def write_base(folder: Path, base: str) -> None:
    """Note beside an adapter's files which checkpoint it belongs to."""
    (folder / BASE).write_text(json.dumps({"format": FORMAT, "base": base}), encoding="utf-8")
