"""The metrics for Prometheus.

Knows names, labels and help texts. The values of labels come from this code and never from a task, a path or a person:
so there are few of them, and nothing private is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from omni_timeline.errors import DeliveryKind
from omni_timeline.label_studio.tasks import Model, TaskPrediction

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 100.0)  # s; Label Studio waits 1, 3 and 100
STAGE_BUCKETS = (0.05, 0.2, 1.0, 5.0, 20.0, 60.0, 300.0, 1200.0)

STATES = ("loading", "ready", "failed")
OUTCOMES = ("predicted", "kept", "failed", "refused", "answered", "pushed", "there", "dropped")
LATELY = {
    "videos_a_minute": "Videos predicted a minute",
    "windows_in_a_batch": "Windows that a model was asked about at a time",
    "decoding": "Processes that decoded at a time, on average",
    "generating": "Models that answered at a time, on average",
}


class Metrics:
    """The metrics of one server.

    Attributes:
        requests: counts requests, by path, method and status.
        request_seconds: the time from a request to its answer, by path.
        stage_seconds: the time of each stage of a prediction, by stage.
        tasks: counts tasks, by outcome.
        lines: counts lines of the model that were not right, by reason.
        push_trouble: counts attempts to store a prediction that failed, by the kind of error.
        webhooks: counts events, by name.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "omni_timeline_requests", "Requests answered.", ["path", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "omni_timeline_request_seconds", "Seconds from a request to its answer.", ["path"],
            buckets=REQUEST_BUCKETS, registry=registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "omni_timeline_stage_seconds", "Seconds that each stage of a prediction took for a whole video.",
            ["stage"], buckets=STAGE_BUCKETS, registry=registry,
        )  # fmt: skip
        self.tasks = Counter(
            "omni_timeline_tasks",
            "Tasks by outcome. Of the prediction: predicted, kept (found in the cache), failed, refused (the queue is "
            "full). Of its delivery: answered, pushed, there (Label Studio had it already), dropped (the task is "
            "deleted).",
            ["outcome"], registry=registry,
        )  # fmt: skip
        self.lines = Counter(
            "omni_timeline_lines", "Lines of the model that were mended or dropped, by reason.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self.push_trouble = Counter(
            "omni_timeline_push_trouble", "Failed attempts to store a prediction in Label Studio, by kind of error.",
            ["kind"], registry=registry,
        )  # fmt: skip
        self.webhooks = Counter(
            "omni_timeline_webhooks", "Events of Label Studio, by name; other for unknown names.", ["event"],
            registry=registry,
        )  # fmt: skip
        ProcessCollector(registry=registry)
        # A count that appears with its first event would hide that event from Prometheus' increase().
        for outcome in OUTCOMES:
            self.tasks.labels(outcome)
        for kind in get_args(DeliveryKind):
            self.push_trouble.labels(kind)

    def count(self, found: TaskPrediction) -> None:
        """Count a prediction."""
        self.tasks.labels("kept" if found.kept else "predicted").inc()
        for stage, seconds in found.seconds.items():
            self.stage_seconds.labels(stage).observe(seconds)
        for reason, count in found.lines.items():
            self.lines.labels(reason).inc(count)

    def watch(
        self, model: Model, queue: Callable[[], dict[str, int]], troubles: Callable[[], dict[str, float]]
    ) -> None:
        """Add what is not counted but looked up whenever the metrics are read.

        Args:
            model: makes predictions.
            queue: the number of tasks in each place.
            troubles: for how many seconds each kind of trouble has lasted; 0 where there is none.
        """
        self._registry.register(_Gauges(model, queue, troubles))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    """The metrics that are looked up."""

    def __init__(
        self, model: Model, queue: Callable[[], dict[str, int]], troubles: Callable[[], dict[str, float]]
    ) -> None:
        self._model = model
        self._queue = queue
        self._troubles = troubles

    def collect(self) -> Iterator[Metric]:
        model = self._model
        state = GaugeMetricFamily("omni_timeline_model_state", "1 for the state the model is in.", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(name == model.state))
        yield state
        yield CounterMetricFamily("omni_timeline_model_loads", "How often a model was loaded.", value=model.loads)
        silent = GaugeMetricFamily(
            "omni_timeline_model_silent_seconds", "Seconds without a sign of life of a model that works.",
            labels=["device"],
        )  # fmt: skip
        for device, seconds in model.silent_seconds().items():
            silent.add_metric([device], seconds)
        yield silent
        lately = model.lately()
        for name, about in LATELY.items():
            yield GaugeMetricFamily(f"omni_timeline_{name}", f"{about}, in the last minute.", value=lately[name])
        queue = GaugeMetricFamily("omni_timeline_queue_tasks", "Tasks by where they are.", labels=["place"])
        for place, count in self._queue().items():
            queue.add_metric([place], count)
        yield queue
        trouble = GaugeMetricFamily(
            "omni_timeline_trouble_seconds", "For how long each kind of trouble has lasted; 0 where there is none.",
            labels=["kind"],
        )  # fmt: skip
        for kind, seconds in self._troubles().items():
            trouble.add_metric([kind], seconds)
        yield trouble
