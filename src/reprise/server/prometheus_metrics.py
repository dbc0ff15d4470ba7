"""Metrics of a server in the Prometheus text format. Labels never contain ids of users or items."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from reprise.server.store.records import Reason, Status

DURATION_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class PrometheusMetrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "reprise_http_requests",
            "HTTP requests by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "reprise_http_request_duration_seconds",
            "Duration of HTTP requests by route.",
            ["route"],
            registry=registry,
            buckets=DURATION_BUCKETS_S,
        )
        self.refusals = Counter(
            "reprise_http_refusals",
            "Requests and connections refused before a route, by reason.",
            ["reason"],
            registry=registry,
        )
        self._add_event_counters(registry)
        self.commit_batch_size = Histogram(
            "reprise_commit_batch_size",
            "Events per commit to the log.",
            registry=registry,
            buckets=BATCH_SIZE_BUCKETS,
        )
        self.inference_batch_size = Histogram(
            "reprise_inference_batch_size",
            "Queries answered together in one batch.",
            registry=registry,
            buckets=BATCH_SIZE_BUCKETS,
        )
        self.model_swaps = Counter(
            "reprise_model_swaps",
            "Attempts to serve another model, by result: succeeded or failed.",
            ["result"],
            registry=registry,
        )
        self.refused = Counter(
            "reprise_refused",
            "Work that was refused because too much was pending or running, by queue.",
            ["queue"],
            registry=registry,
        )
        self._queue_depth = Gauge(
            "reprise_queue_depth",
            "Pending work by queue: quick (queries), slow (jobs), replay (users) or write (events).",
            ["queue"],
            registry=registry,
        )

    def _add_event_counters(self, registry: CollectorRegistry) -> None:
        self.events = Counter(
            "reprise_events",
            "Events by status: accepted, duplicate, conflict or rejected.",
            ["status"],
            registry=registry,
        )
        self.events_rejected = Counter(
            "reprise_events_rejected",
            "Events that were rejected or in conflict, by reason.",
            ["reason"],
            registry=registry,
        )
        self.events_unknown_item = Counter(
            "reprise_events_unknown_item",
            "Accepted events of items that the model does not know.",
            registry=registry,
        )
        # with labels known in advance, a counter is shown as 0 before the first event
        for status in Status:
            self.events.labels(status)
        for reason in get_args(Reason):
            self.events_rejected.labels(reason)
        self.events_lost = Counter(
            "reprise_events_lost",
            "Events acknowledged with ack=accepted that could not be written to the log.",
            registry=registry,
        )

        self.answers = Counter(
            "reprise_answers",
            "Answers by what became of them: stored in the answer log or dropped, because too many were pending or it failed.",
            ["result"],
            registry=registry,
        )
        for result in ("stored", "dropped"):
            self.answers.labels(result)

    def count_stored(self, statuses: Iterable[Status]) -> None:
        """Count events that were offered to the log, given their statuses."""
        for status, count in Tally(statuses).items():
            self.events.labels(status).inc(count)
            if status is Status.CONFLICT:
                self.events_rejected.labels(status).inc(count)

    def count_rejected(self, reason: Reason, count: int) -> None:
        """Count events that were rejected before they were offered to the log."""
        self.events.labels(Status.REJECTED).inc(count)
        self.events_rejected.labels(reason).inc(count)

    def add_queue(self, name: str, depth: Callable[[], float]) -> None:
        """Report the depth of a queue; the function is called on each scrape."""
        self._queue_depth.labels(name).set_function(depth)

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge; the function is called on each scrape."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def add_counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a counter; the function is called on each scrape."""

        class _Counter(Collector):
            def collect(self) -> Iterable[Metric]:
                yield CounterMetricFamily(name, help_text, value=read())

        self._registry.register(_Counter())

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
