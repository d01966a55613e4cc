"""A model's process that breaks as GPUs do: `python -m broken_worker DESCRIPTOR`, told how by BREAKS.

BREAKS=cuda FILE     the next batch is an illegal memory access, once: FILE is removed then
BREAKS=hangs FILE    the next batch never ends, once
BREAKS=culprit NAME  every batch with a video of this name in it ends the process
BREAKS=memory N      more than N rows at a time do not fit into memory
BREAKS=pixels N      nor do frames of more than N pixels
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from omni_timeline.answers.answer import Answer
from omni_timeline.errors import OutOfMemoryError
from omni_timeline.model import worker
from omni_timeline.model.family import Row
from omni_timeline.model.qwen2_5_omni.model import OmniModel

way, argument = os.environ["BREAKS"].split(maxsplit=1)
whole = OmniModel.answer


def answer(self: OmniModel, rows: Sequence[Row], on_step: Callable[[], None] | None = None) -> list[Answer]:
    if way in ("cuda", "hangs") and Path(argument).exists():
        Path(argument).unlink()
        if way == "hangs":
            time.sleep(3600)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if way == "culprit" and any(row.clip.info.path.name == argument for row in rows):
        os._exit(9)
    large = max(row.clip.frames.shape[2] * row.clip.frames.shape[3] for row in rows)
    if (way == "memory" and len(rows) > int(argument)) or (way == "pixels" and large > int(argument)):
        raise OutOfMemoryError("too much at once")
    return whole(self, rows, on_step)


if __name__ == "__main__":
    OmniModel.answer = answer  # type: ignore[method-assign]
    worker.main(int(sys.argv[1]))
