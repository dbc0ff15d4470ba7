"""Arithmetic of capacity: what each part costs for a log, a catalogue and a load of a given size.

All functions multiply unit costs, which `scaling.py measure` measures, by numbers of events, users, items and requests.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

DAY_S = 86_400
HOUR_S = 3_600
CORES = 16
"""Cores of the machine for work that is not the server."""
NIGHT_H = 12
"""Hours within which such work should end."""
BUSY = 0.6
"""Share of the time for which servers and database may be busy; see the simulated latencies."""
WIDTH = 128
"""Width of the item vectors."""
MEASURED_ITEMS = 100_000
"""Items of the model with which requests were measured."""
EXACT_ITEMS = 1_000_000
"""Catalogue size below which `--search auto` is exact."""
APPROXIMATE_NS_ALONE, APPROXIMATE_NS_IN_BATCHES = 1.02, 0.59
"""Cost of an approximate search in nanoseconds an item: of one query, and of each of 64. From `benchmarks/large_search.py`
(a million items, width 64, recall 0.984). More items are taken to cost in proportion, which is too much."""
FULL_ITEMS = 8_192
"""Catalogue size up to which the default loss is the full softmax."""
COMPACT_ITEMS = 500_000
"""Catalogue size from which the optimiser state of the item table is compact."""
EVALUATION_TARGETS = 20_000
"""Targets that `evaluate --targets` samples."""
DISK_BYTES = 4e12
"""Disk of the machine that prepares a log."""
Costs = Mapping[str, float]


@dataclass(frozen=True)
class Size:
    """The size of a log, a catalogue and a load."""

    events: float
    users: float
    items: float
    requests_per_s: float
    """Half of them events, half recommendations."""


class Plan:
    """The costs of one size."""

    def __init__(self, size: Size, costs: Costs) -> None:
        self.size = size
        self._costs = costs

    def _bytes(self, events: str | None = None, users: str | None = None, items: str | None = None) -> float:
        """Return events, users and items times the unit costs of these names."""
        size = self.size
        return sum(
            number * self._costs[name]
            for number, name in ((size.events, events), (size.users, users), (size.items, items))
            if name is not None
        )

    @property
    def log_bytes(self) -> float:
        """Size of the log as a Parquet file."""
        return self._bytes("log_bytes_an_event")

    @property
    def dataset_bytes(self) -> float:
        """Size of the dataset that `prepare` writes."""
        return self._bytes("dataset_bytes_an_event", "dataset_bytes_a_user", "dataset_bytes_an_item")

    @property
    def prepare_disk_bytes(self) -> float:
        """Disk that `prepare` needs: the log, the dataset, and what it sorts."""
        return self.log_bytes + self._bytes("prepare_disk_bytes_an_event")

    @property
    def prepare_core_h(self) -> float:
        return self.size.events * self._costs["prepare_us_an_event"] / 1e6 / HOUR_S

    @property
    def epoch_core_h(self) -> float:
        """Core hours of one pass over all events."""
        return self.size.events * self._costs[f"train_us_an_event_at_width_{WIDTH}"] / 1e6 / HOUR_S

    @property
    def night_events(self) -> float:
        """Events that one core reads in a night of training."""
        return NIGHT_H * HOUR_S * 1e6 / self._costs[f"train_us_an_event_at_width_{WIDTH}"]

    @property
    def table_bytes(self) -> float:
        """Item table and optimiser state in training: see `training.compact_optimizer`."""
        compact = self.size.items >= COMPACT_ITEMS
        return self.size.items * (WIDTH * 4 + 8 if compact else WIDTH * (4 + 8))

    @property
    def evaluate_core_h(self) -> float:
        """Core hours to rank the sampled targets among all items."""
        ns = self._costs["evaluate_ns_a_target_and_item"]
        return EVALUATION_TARGETS * self.size.items * ns / 1e9 / HOUR_S

    @property
    def bulk_core_h(self) -> float:
        """Core hours to recommend to every user."""
        events = self.size.events * self._costs["fold_us_an_event"]
        answers = self._costs["answer_us_a_user"]
        exact_ns = self._costs["search_ns_an_item_in_batches_of_64"]
        ns = exact_ns if self.searches_exactly else APPROXIMATE_NS_IN_BATCHES
        search_us = self.size.items * ns / 1000
        return (events + self.size.users * (answers + search_us)) / 1e6 / HOUR_S

    @property
    def model_bytes(self) -> float:
        return self._bytes(items="model_bytes_an_item")

    @property
    def server_bytes(self) -> float:
        """Memory of a server process without user states."""
        return self._costs["server_memory_bytes"] + self._bytes(items="model_memory_bytes_an_item")

    @property
    def state_bytes(self) -> float:
        """Memory of the states of all users, if all were cached."""
        return self._bytes(users="state_bytes_a_user")

    @property
    def searches_exactly(self) -> bool:
        return self.size.items < EXACT_ITEMS

    @property
    def request_s(self) -> float:
        """Mean processor time of a request in the server."""
        exact_ns = self._costs["search_ns_an_item_in_batches_of_1"]
        rest_us = self._costs["recommendation_server_us"] - MEASURED_ITEMS * exact_ns / 1000
        ns = exact_ns if self.searches_exactly else APPROXIMATE_NS_ALONE
        recommendation_us = rest_us + self.size.items * ns / 1000
        return (self._costs["event_server_us"] + recommendation_us) / 2 / 1e6

    @property
    def servers(self) -> int:
        """Server processes, each with a core of its own; two at least, so that one may fail."""
        return max(2, math.ceil(self.size.requests_per_s * self.request_s / BUSY))

    @property
    def database_cores(self) -> float:
        """Cores of PostgreSQL for half events, half recommendations."""
        us = (self._costs["event_database_us"] + self._costs["recommendation_database_us"]) / 2
        return self.size.requests_per_s * us / 1e6 / BUSY

    @property
    def network_bytes_per_s(self) -> float:
        """Bytes of requests and of the bodies of their answers."""
        both = self._costs["event_network_bytes"] + self._costs["recommendation_network_bytes"]
        return self.size.requests_per_s * both / 2

    @property
    def stored_bytes_a_day(self) -> float:
        """Growth of the event log in PostgreSQL, if the load lasted all day."""
        return self.size.requests_per_s / 2 * DAY_S * self._costs["postgres_bytes_an_event"]
