"""Metrics of a server in the Prometheus text format. Labels never contain ids of users or items."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

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
        self.events = Counter(
            "reprise_events",
            "Ingested events by status: accepted or duplicate.",
            ["status"],
            registry=registry,
        )
        self.events_lost = Counter(
            "reprise_events_lost",
            "Events acknowledged with ack=accepted that could not be written to the log.",
            registry=registry,
        )
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
        self._queue_depth = Gauge(
            "reprise_queue_depth",
            "Pending work by queue: quick (queries), slow (jobs) or write (events).",
            ["queue"],
            registry=registry,
        )

    def add_queue(self, name: str, depth: Callable[[], float]) -> None:
        """Report the depth of a queue; the function is called on each scrape."""
        self._queue_depth.labels(name).set_function(depth)

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge; the function is called on each scrape."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
