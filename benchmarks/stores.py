"""Speed of event stores: appending by group size, and reading the new events of a user.

    python benchmarks/stores.py --store sqlite:///events.db --store postgresql://user@host/database

The stores alternate, group by group, so that other load affects them alike. All events have distinct ids and belong to random
users. Prints JSON: events per second and milliseconds of an append by the size of its group, and milliseconds to read the new
event of a user, by the number of earlier events.
"""

import argparse
import json
import random
import statistics
import time
import uuid
from collections.abc import Callable, Sequence

from reprise.server.store.event_store import EventStore
from reprise.server.store.opening import open_store
from reprise.server.store.records import User, UserEvent

HISTORIES = (10, 10_000)


def measured(work: Callable[[], object], seconds: float) -> list[float]:
    """Return the milliseconds of each call, for a number of seconds."""
    begun, found = time.perf_counter(), []
    while (start := time.perf_counter()) - begun < seconds:
        work()
        found.append(1000 * (time.perf_counter() - start))
    return found


def shown(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median_ms": round(statistics.median(ordered), 3),
        "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 3),
    }


def group(size: int, users: int, tenant: str, generator: random.Random) -> list[tuple[User, UserEvent]]:
    return [
        (
            User(tenant, f"user-{generator.randrange(users)}"),
            UserEvent(
                f"item-{generator.randrange(100_000)}",
                1_700_000_000_000,
                "click",
                event_id=str(uuid.UUID(int=generator.getrandbits(128))),
            ),
        )
        for _ in range(size)
    ]


def appending(
    store: EventStore, size: int, tenant: str, options: argparse.Namespace
) -> tuple[int, list[float]]:
    """Measure appending. Groups are built before the clock starts, as a server has them when it commits."""
    generator = random.Random()
    made = [group(size, options.users, tenant, generator) for _ in range(max(20, 4000 // size))]
    waiting = iter(made)
    times: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < options.seconds:
        batch = next(waiting, None)
        if batch is None:
            break
        start = time.perf_counter()
        store.append(batch)
        times.append(1000 * (time.perf_counter() - start))
    return size * len(times), times


def reading(store: EventStore, tenant: str, length: int, seconds: float) -> list[float]:
    """Measure reading one new event of a user with many events."""
    user = User(tenant, f"reader-{length}")
    for start in range(0, length, 1000):
        store.append([(user, UserEvent("p1", 5)) for _ in range(min(1000, length - start))])
    generation, events = store.events_since(user)
    assert len(events) == length
    return measured(lambda: store.events_since(user, generation, length - 1), seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", action="append", required=True, help="address of a store; may be repeated")
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 16, 64, 256, 1000])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tenant = uuid.uuid4().hex  # users that no earlier run has used
    names = [address.partition("://")[0] for address in options.store]
    stores = {
        f"{name} {place}": open_store(address)
        for place, (name, address) in enumerate(zip(names, options.store, strict=True), 1)
    }
    counts: dict[tuple[str, int], list[float]] = {}
    added: dict[tuple[str, int], int] = {}
    for _ in range(options.rounds):
        for size in options.groups:
            for name, store in stores.items():
                count, times = appending(store, size, tenant, options)
                counts.setdefault((name, size), []).extend(times)
                added[name, size] = added.get((name, size), 0) + count
    report = {
        name: {
            "append": {
                str(size): {
                    "events_per_s": round(1000 * added[name, size] / sum(counts[name, size])),
                    **shown(counts[name, size]),
                }
                for size in options.groups
            },
            "since": {
                str(length): shown(reading(store, tenant, length, options.seconds)) for length in HISTORIES
            },
        }
        for name, store in stores.items()
    }
    for store in stores.values():
        store.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
