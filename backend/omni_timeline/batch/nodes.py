"""What predicting needs on one machine, and which machines may take part.

Machines share the work only when they would give the same answers: the same code of this package everywhere, and the
same checkpoint wherever the model runs. Knows no Ray.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omni_timeline.errors import ModelError, OmniTimelineError
from omni_timeline.label_studio.tasks import Videos
from omni_timeline.media.limits import DecodeLimits
from omni_timeline.model.checkpoint import Checkpoint
from omni_timeline.model.isolated import SILENCE_SECONDS
from omni_timeline.model.wire import Load
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.pipeline.scheduler import MEMORY_BYTES

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Parts:
    """What predicting needs on one machine.

    Attributes:
        files: fetches videos, and keeps the last ones.
        cache: predictions that were made before.
        limits: what one video may ask of a decoder.
        silence_seconds: how long the process of a model may give no sign of life.
        clip_bytes: memory for decoded clips that wait for the model.
    """

    files: Videos
    cache: PredictionCache
    limits: DecodeLimits
    silence_seconds: float = SILENCE_SECONDS
    clip_bytes: int = MEMORY_BYTES


class FewAtATime:
    """Videos of which no more than a few are fetched at a time; the others wait for their turn.

    Args:
        videos: where they are.
        fetches: how many are fetched at a time.
    """

    def __init__(self, videos: Videos, fetches: int) -> None:
        self._videos = videos
        self._turns = threading.BoundedSemaphore(fetches)

    @contextmanager
    def local(self, url: str, *, task_id: int | None = None) -> Iterator[Path]:
        """As `Videos.local`."""
        with ExitStack() as fetched:
            with self._turns:
                path = fetched.enter_context(self._videos.local(url, task_id=task_id))
            yield path


MakeParts = Callable[[], Parts]  # called on each machine, whose own settings it reads


@dataclass(frozen=True)
class NodeReport:
    """What a machine says of itself.

    Attributes:
        id: its id.
        address: what people call it.
        code: the version of this package's code there.
        checkpoint: the version of the checkpoint there; "" where the model does not run.
        trouble: why the model cannot run there; "" where it can.
    """

    id: str
    address: str
    code: str
    checkpoint: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class Admission:
    """Which machines take part.

    Attributes:
        admitted: their ids.
        refusals: a sentence for each of the others.
        checkpoint: the version that predicts.
    """

    admitted: tuple[str, ...]
    refusals: tuple[str, ...]
    checkpoint: str


@cache
def code_version() -> str:
    """Eight digits that change with any module of this package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def report(node: str, address: str, load: Load | None) -> NodeReport:
    """What this machine says of itself; with `load`, of the checkpoint too, which is downloaded where need be."""
    code = code_version()
    if load is None:
        return NodeReport(node, address, code)
    try:
        checkpoint = Checkpoint.find(load.name, load.hub).quantized_version(load.quantization)
    except OmniTimelineError as error:
        return NodeReport(node, address, code, trouble=str(error))
    return NodeReport(node, address, code, checkpoint)


def admit(reports: Sequence[NodeReport]) -> Admission:
    """Which machines take part: those that agree with the first, and with the first that has the checkpoint.

    Args:
        reports: that of the machine where the command runs first.

    Raises:
        ModelError: the model can run on none of them.
    """
    code = reports[0].code
    able = [each for each in reports if each.code == code and each.checkpoint]
    if not able:
        troubles = [f"{each.address}: {each.trouble}" for each in reports if each.trouble]
        raise ModelError(" ".join(troubles) or "The model can run on no machine of the cluster.")
    checkpoint = able[0].checkpoint
    admitted, refusals = [], []
    for each in reports:
        if each.code != code:
            why = f"it has other code of omni-timeline ({each.code}, not {code}); install the same version there"
        elif each.trouble:
            why = each.trouble
        elif each.checkpoint not in ("", checkpoint):
            why = f"it has the checkpoint {each.checkpoint}, not {checkpoint}; copy the same files there"
        else:
            admitted.append(each.id)
            continue
        refusals.append(f"The machine {each.address} takes no part: {why}.")
    return Admission(tuple(admitted), tuple(refusals), checkpoint)
