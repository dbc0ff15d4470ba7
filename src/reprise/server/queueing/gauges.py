"""Metrics of the queues and of the cached states, read at each scrape."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.work_queue import WorkQueue
from reprise.server.store.event_store import HasWriteAheadLog


def add_gauges(
    metrics: PrometheusMetrics,
    engine: ServingEngine,
    queues: Iterable[WorkQueue[Any, Any]],
    replays: WorkQueue[Any, Any],
) -> None:
    """Add the metrics of an engine and of its queues; `replays` is the queue of long replays."""
    for queue in queues:
        metrics.add_queue(queue.name, _depth_of(queue))
        queue.on_refused = metrics.refused.labels(queue.name).inc
    metrics.add_gauge(
        "reprise_replays_running",
        "Number of long histories that are being replayed.",
        lambda: replays.running,
    )
    metrics.add_counter(
        "reprise_replayed_events",
        "Events that were replayed to compute states.",
        lambda: engine.model.states.replayed_events,
    )
    metrics.add_counter(
        "reprise_states_loaded",
        "States that were read from the store.",
        lambda: engine.model.states.loaded_states,
    )
    metrics.add_gauge(
        "reprise_state_cache_users",
        "Number of cached user states.",
        lambda: len(engine.model.states),
    )
    metrics.add_gauge(
        "reprise_state_cache_bytes",
        "Memory of cached user states.",
        lambda: engine.model.states.bytes,
    )
    if isinstance(engine.store, HasWriteAheadLog):
        metrics.add_gauge(
            "reprise_store_wal_bytes", "Size of the write-ahead log of the event log.", engine.store.log_bytes
        )
    start_time_s = time.time()
    metrics.add_gauge(
        "reprise_start_time_seconds", "Unix time at which the server started.", lambda: start_time_s
    )


def _depth_of(queue: WorkQueue[Any, Any]) -> Callable[[], float]:
    return lambda: queue.depth
