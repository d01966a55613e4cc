"""How quickly /health is answered while something goes wrong: asked all the time, on a new connection each."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

PAUSE = 0.02  # s between two requests
PATIENCE = 30.0  # s


@dataclass
class Health:
    """Seconds of answers, by what went on.

    Attributes:
        seconds: of each answer.
        missed: requests without an answer: nobody listens, or the server ended meanwhile.
    """

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missed: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def asked(self, url: Callable[[], str], what: Callable[[], str]) -> Iterator[None]:
        """Ask the server at `url()` all the time, and note the answer under `what()`; "" is not noted."""
        over = threading.Event()
        thread = threading.Thread(target=self._ask, args=(url, what, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _ask(self, url: Callable[[], str], what: Callable[[], str], over: threading.Event) -> None:
        while not over.wait(PAUSE):
            began, name = time.perf_counter(), what()
            try:
                requests.get(f"{url()}/health", timeout=PATIENCE)
            except requests.RequestException:
                self.missed[name] += 1
            else:
                self.seconds[name].append(time.perf_counter() - began)

    def table(self) -> str:
        """A Markdown table with a row for each thing that went on."""
        lines = ["| while | answers of `/health` | p99 ms | max ms | not answered |", "|---|---:|---:|---:|---:|"]
        for name in sorted((self.seconds.keys() | self.missed.keys()) - {""}):
            seconds = self.seconds[name] or [0.0]
            p99 = statistics.quantiles([*seconds, seconds[-1]], n=100, method="inclusive")[98]  # of two at least
            milliseconds = f"{1e3 * p99:.0f} | {1e3 * max(seconds):.0f}"
            lines.append(f"| {name} | {len(self.seconds[name])} | {milliseconds} | {self.missed[name]} |")
        return "\n".join(lines)

    def slowest(self) -> float:
        """The longest answer, in seconds."""
        return max((second for seconds in self.seconds.values() for second in seconds), default=0.0)
