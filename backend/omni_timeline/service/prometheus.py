"""What is counted for Prometheus.

Knows names, labels and their help; what they mean is written where they are counted. No label's value comes from a
task, a path or a person, so that their number is bounded and nothing private is told.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from omni_timeline.label_studio.tasks import TaskPrediction

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0)  # s; Label Studio waits 1, 3 and 100
STAGE_BUCKETS = (0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0, 1200.0)

STATES = ("loading", "ready", "failed")


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "omni_timeline_requests", "Requests answered.", ["path", "method", "status"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "omni_timeline_request_seconds", "Until an answer.", ["path"], buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "omni_timeline_stage_seconds", "Of the stages of a prediction, for a whole video.", ["stage"],
            buckets=STAGE_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self.tasks = Counter(
            "omni_timeline_tasks",
            "Tasks by what became of them: predicted, kept (predicted before), failed; answered, pushed, there (in "
            "Label Studio already), dropped (deleted there).",
            ["outcome"],
            registry=self._registry,
        )
        self.lines = Counter(
            "omni_timeline_lines", "Lines of the model that were dropped or mended.", ["reason"],
            registry=self._registry,
        )  # fmt: skip
        self.push_trouble = Counter(
            "omni_timeline_push_trouble", "Attempts to push that failed, by kind.", ["kind"], registry=self._registry
        )
        self.webhooks = Counter(
            "omni_timeline_webhooks", "Webhooks taken, by event; other for unknown ones.", ["event"],
            registry=self._registry,
        )  # fmt: skip
        self.loads = Gauge("omni_timeline_model_loads", "How often the model was loaded.", registry=self._registry)

    def count(self, found: TaskPrediction) -> None:
        """Count a prediction that was made."""
        self.tasks.labels("kept" if found.kept else "predicted").inc()
        for stage, seconds in found.seconds.items():
            self.stage_seconds.labels(stage).observe(seconds)
        for reason, count in found.lines.items():
            self.lines.labels(reason).inc(count)

    def watch(self, state: Callable[[], str], queue: Callable[[], dict[str, int]]) -> None:
        """Ask these whenever somebody reads the measures."""
        self._registry.register(_Now(state, queue))

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is read off and not counted."""

    def __init__(self, state: Callable[[], str], queue: Callable[[], dict[str, int]]) -> None:
        self._state = state
        self._queue = queue

    def collect(self) -> list[GaugeMetricFamily]:
        now = self._state()
        state = GaugeMetricFamily("omni_timeline_model_state", "1 for the state the model is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(name == now))
        queue = GaugeMetricFamily("omni_timeline_queue_tasks", "Tasks by where they are.", labels=["place"])
        for place, count in self._queue().items():
            queue.add_metric([place], count)
        return [state, queue]
