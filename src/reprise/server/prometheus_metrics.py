"""What a server counts, as Prometheus reads it."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
GROUPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class PrometheusMetrics:
    """Counters of one server. No label has an id of a person or an item."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "reprise_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "reprise_request_seconds",
            "From the request to the answer.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )
        self.events = Counter(
            "reprise_events", "Events by what became of them.", ["status"], registry=registry
        )
        self.lost = Counter(
            "reprise_events_lost",
            "Events answered with ack=accepted that could not be written.",
            registry=registry,
        )
        self.commits = Histogram(
            "reprise_commit_events", "Events of one commit.", registry=registry, buckets=GROUPS
        )
        self.together = Histogram(
            "reprise_answered_together", "Questions taken together.", registry=registry, buckets=GROUPS
        )
        self.swaps = Counter(
            "reprise_model_swaps",
            "Models that took over, and those that did not.",
            ["result"],
            registry=registry,
        )

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Show a number that is read whenever somebody looks."""
        Gauge(name, what, registry=self._registry).set_function(read)

    def page(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
