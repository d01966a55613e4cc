"""What is wrong at present and since when: for /health, the status page and the metrics.

Knows the parts of a server that can be in trouble. A sentence says what is wrong, what comes of it and what to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from omni_timeline.errors import TokenError
from omni_timeline.label_studio.files import VideoFiles
from omni_timeline.label_studio.tasks import Model
from omni_timeline.pipeline.cache import PredictionCache
from omni_timeline.service.delivery import Delivery
from omni_timeline.service.journal import Journal
from omni_timeline.service.runs import Runs

MAX_HOSTS = 20  # that are listed
SILENCE_SHOWN = 60.0  # s without a sign of life that are worth a word

KINDS: Mapping[str, str] = {
    "model": "there is no model",
    "device": "a device has no model",
    "silent": "a model gives no sign of life",
    "token": "Label Studio refuses the token",
    "label_studio": "Label Studio does not take predictions",
    "host": "a host of videos does not answer",
    "journal": "the journal cannot be written",
    "disk": "CACHE_DIR cannot be written",
}


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong.

    Attributes:
        kind: one of KINDS.
        sentence: what is wrong, and what to do.
        since: when it was first seen, in seconds since 1970.
    """

    kind: str
    sentence: str
    since: float


class Troubles:
    """The troubles of a server. May be used by several threads.

    Args:
        model: makes predictions.
        silence_seconds: after how long without a sign of life its process is replaced.
        delivery: delivers predictions; None without access to Label Studio.
        journal: keeps what is pending.
        cache: keeps predictions.
        files: fetches videos.
        runs: notes what is to be learned.
        clock: the time in seconds since 1970.
    """

    def __init__(
        self,
        model: Model,
        silence_seconds: float,
        delivery: Delivery | None,
        journal: Journal,
        cache: PredictionCache,
        files: VideoFiles,
        runs: Runs,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._silence_seconds = silence_seconds
        self._delivery = delivery
        self._journal = journal
        self._cache = cache
        self._files = files
        self._runs = runs
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[tuple[str, str], float] = {}

    def now(self) -> list[Trouble]:
        """The present troubles, in the order of KINDS. To be called regularly, so that `since` is right."""
        with self._lock:
            found = {(kind, name): sentence for kind, name, sentence in self._found()}
            now = self._clock()
            self._since = {key: self._since.get(key, now) for key in found}
            troubles = [Trouble(key[0], sentence, self._since[key]) for key, sentence in found.items()]
        return sorted(troubles, key=lambda trouble: list(KINDS).index(trouble.kind))

    def seconds(self) -> dict[str, float]:
        """For how long the oldest trouble of each kind has lasted; 0 where there is none."""
        seconds = dict.fromkeys(KINDS, 0.0)
        now = self._clock()
        for trouble in self.now():
            # More than 0, also at the moment at which it is first seen.
            seconds[trouble.kind] = max(seconds[trouble.kind], now - trouble.since, 0.001)
        return seconds

    def _found(self) -> Iterator[tuple[str, str, str]]:
        """Kind, what it is about, and the sentence of each trouble."""
        yield from self._found_at_the_model()
        yield from self._found_at_hosts()
        if self._journal.trouble:
            yield "journal", "", self._journal.trouble
        for name, trouble in (("predictions", self._cache.trouble), ("learning", self._runs.trouble)):
            if trouble:
                yield "disk", name, trouble
        if self._files.trouble:
            yield "disk", "videos", f"{self._files.trouble} The tasks whose videos are to be fetched are deferred."

    def _found_at_the_model(self) -> Iterator[tuple[str, str, str]]:
        if self._model.error is not None:
            yield "model", "", f"There is no model: {self._model.error} Then restart the server."
            return
        for device, error in self._model.lost().items():
            yield "device", device, f"There is no model on {device}; the other devices do its work: {error}"
        limit = self._silence_seconds
        for device, seconds in self._model.silent_seconds().items():
            if seconds > min(SILENCE_SHOWN, limit / 2):
                yield (
                    "silent", device,
                    f"The model on {device} has given no sign of life for {seconds:.0f} s. After {limit:.0f} s "
                    "(MODEL_SILENCE_SECONDS) its process is replaced, and what it worked on is tried again.",
                )  # fmt: skip

    def _found_at_hosts(self) -> Iterator[tuple[str, str, str]]:
        if self._delivery is not None and (error := self._delivery.trouble) is not None:
            kind = "token" if error.kind == "token" else "label_studio"
            yield kind, "", f"{error} Predictions are kept until Label Studio takes them."
        silent = self._files.slots.silent()
        if len(silent) > MAX_HOSTS:
            yield "host", "", f"{len(silent)} hosts of videos do not answer; {MAX_HOSTS} of them are listed."
        for host in silent[:MAX_HOSTS]:
            if isinstance(host.error, TokenError):
                yield "token", host.name, str(host.error)
            else:
                tasks = "1 video waits" if host.videos == 1 else f"{host.videos} videos wait"
                yield (
                    "host", host.name,
                    f"{tasks} for {host.name}: {host.error} Check that it runs and can be reached from here.",
                )  # fmt: skip
