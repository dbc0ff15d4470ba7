"""Capacity planning: unit costs, the arithmetic of docs/scaling.md, and the latency of many servers.

    python benchmarks/scaling.py measure [--parts prepare train evaluate answer request store]
    python benchmarks/scaling.py simulate                     # latency by number of servers, at 10,000 requests/s
    python benchmarks/scaling.py plan --events 1e9 --users 2e7 --items 1e6 --requests 1000
    python benchmarks/scaling.py page                         # write the tables into docs/scaling.md

`measure` and `simulate` write benchmarks/scaling.json, which the other two read. Measure again on your own machine.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from capacity_plan import (
    COMPACT_ITEMS,
    CORES,
    DISK_BYTES,
    EVALUATION_TARGETS,
    FULL_ITEMS,
    NIGHT_H,
    Plan,
    Size,
)

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
SIZES = {
    "10 M events": Size(1e7, 5e5, 1e5, 100),
    "1 B events": Size(1e9, 2e7, 1e6, 1_000),
    "100 B events": Size(1e11, 5e8, 1e7, 10_000),
}
RATE = 10_000
"""Requests per second of the simulation."""
LOADS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the time for which the simulated servers are busy."""
REQUESTS = 50_000
"""Simulated requests of each row."""
SQLITE_REQUESTS = 300
"""Requests per second that processes on one machine can answer together, with a SQLite file."""
PASSES = 3
"""Passes over the log that a training needs at least."""
ROUTINGS = ("least connections", "random")
MEANINGS = {
    "log_bytes_an_event": "log as Parquet, bytes an event",
    "dataset_bytes_an_event": "dataset, bytes an event",
    "dataset_bytes_a_user": "dataset, bytes a sequence",
    "dataset_bytes_an_item": "dataset, bytes an item",
    "prepare_us_an_event": "`prepare`, us an event",
    "prepare_disk_bytes_an_event": "`prepare`, largest use of the disk, bytes an event",
    "train_us_an_event_at_width_64": "training with sampled softmax, us an event, width 64",
    "train_us_an_event_at_width_128": "the same, width 128",
    "evaluate_ns_a_target_and_item": "`evaluate`, ns a target and item",
    "fold_us_an_event": "`recommend`, us an event of a history",
    "answer_us_a_user": "`recommend`, us a user, without the search",
    "search_ns_an_item_in_batches_of_64": "exact search, ns an item, 64 users together",
    "search_ns_an_item_in_batches_of_1": "exact search, ns an item, one user",
    "model_bytes_an_item": "saved model, bytes an item",
    "model_memory_bytes_an_item": "model in memory, bytes an item",
    "server_memory_bytes": "server without items and states, bytes",
    "state_bytes_a_user": "state of a user, bytes",
    "event_server_us": "server, us of an event",
    "recommendation_server_us": "server, us of a recommendation, 100,000 items",
    "event_database_us": "PostgreSQL, us of an event",
    "recommendation_database_us": "PostgreSQL, us of a recommendation",
    "event_network_bytes": "an event over HTTP, bytes of the request and the body of the answer",
    "recommendation_network_bytes": "a recommendation of 10 items over HTTP, the same",
    "sqlite_bytes_an_event": "SQLite, bytes an event",
    "sqlite_bytes_a_user": "SQLite, bytes a user",
    "postgres_bytes_an_event": "PostgreSQL, bytes an event",
    "postgres_bytes_a_user": "PostgreSQL, bytes a user",
}
"""What each unit cost is; the others are lists of service times."""


def stored() -> dict[str, Any]:
    """Return the unit costs and simulations of the file."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def store(**sections: Any) -> None:
    known = stored() if FILE.exists() else {}
    FILE.write_text(json.dumps({**known, **sections}, indent=1) + "\n", encoding="utf-8")


def service_s(costs: dict[str, Any]) -> list[float]:
    """Return the service times of half events, half recommendations, in seconds."""
    return [us / 1e6 for kind in ("event", "recommendation") for us in costs[f"{kind}_service_us"]]


def servers_at(busy: float, costs: dict[str, Any]) -> int:
    """Return the number of servers that are busy for at most this share of the time."""
    times = service_s(costs)
    return math.ceil(RATE * sum(times) / len(times) / busy)


def simulated(busy: float, costs: dict[str, Any], requests: int = REQUESTS) -> dict[str, Any]:
    """Simulate the servers of one row."""
    from queue_simulation import simulate

    servers = servers_at(busy, costs)
    found = {routing: simulate(service_s(costs), RATE, servers, routing, requests) for routing in ROUTINGS}
    return {
        "busy": busy,
        "servers": servers,
        **{routing: [latency.median_ms, latency.p99_ms] for routing, latency in found.items()},
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def amount(value: float) -> str:
    """Return a number with two significant digits, and a comma for thousands."""
    if value == 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, 1 - math.floor(math.log10(abs(value)))):,.{digits}f}"


def size_of(count: float) -> str:
    """Return a number of bytes in decimal units."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= one:
            return f"{amount(count / one)} {unit}"
    return f"{amount(count / 1e3)} KB"


def hours(core_h: float) -> str:
    """Return hours of one core, in a unit that suits them."""
    if core_h < 1 / 60:
        return f"{amount(3600 * core_h)} core seconds"
    return f"{amount(60 * core_h)} core minutes" if core_h < 2 else f"{amount(core_h)} core hours"


def advice(plan: Plan) -> dict[str, str]:
    """Return what to run for a size, by step."""
    size = plan.size
    one_machine = plan.prepare_disk_bytes <= DISK_BYTES and plan.prepare_core_h / CORES <= NIGHT_H
    if plan.night_events >= PASSES * size.events:
        train = "one process"
    else:
        train = f"the last {amount(plan.night_events / PASSES / 1e6)} M events in a night, or `torchrun` with GPUs"
    exact = plan.searches_exactly
    return {
        "prepare": "DuckDB, the default" if one_machine else "`--engine spark`",
        "train": train,
        "loss, optimiser": (
            "full softmax, AdamW"
            if size.items <= FULL_ITEMS
            else "sampled softmax, AdamW"
            if size.items < COMPACT_ITEMS
            else "sampled softmax, compact optimiser"
        ),
        "evaluate": "all targets" if size.items <= 1e5 else f"`--targets {EVALUATION_TARGETS}`",
        "export": "`--search exact`" if exact else "`--search approximate`",
        "recommend to all users": "one process" if plan.bulk_core_h <= NIGHT_H else "`--engine spark`",
        "serve": f"{plan.servers} processes, "
        + ("SQLite or PostgreSQL" if size.requests_per_s <= SQLITE_REQUESTS else "PostgreSQL"),
    }


def figures(plan: Plan) -> dict[str, str]:
    """Return the costs behind the advice, by step."""
    return {
        "log, dataset": f"{size_of(plan.log_bytes)}, {size_of(plan.dataset_bytes)}",
        "prepare": hours(plan.prepare_core_h),
        "prepare, disk": size_of(plan.prepare_disk_bytes),
        "train, one pass": hours(plan.epoch_core_h),
        "item table in training": size_of(plan.table_bytes),
        f"evaluate {EVALUATION_TARGETS:,} targets": hours(plan.evaluate_core_h),
        "saved model": size_of(plan.model_bytes),
        "recommend to all users": hours(plan.bulk_core_h),
        "a request": f"{amount(1e3 * plan.request_s)} ms",
        "servers": f"{plan.servers:,}",
        "memory of a server": size_of(plan.server_bytes),
        "states of all users": size_of(plan.state_bytes),
        "cores of PostgreSQL": amount(plan.database_cores),
        "network": f"{size_of(plan.network_bytes_per_s)}/s",
        "event log, a day of this load": size_of(plan.stored_bytes_a_day),
    }


def described(size: Size) -> dict[str, str]:
    return {
        "users": f"{size.users:,.0f}",
        "items": f"{size.items:,.0f}",
        "requests/s": f"{size.requests_per_s:,.0f}",
    }


def compared(of: Any, costs: dict[str, Any]) -> str:
    """Return a table with a column for each of the sizes."""
    columns = [{**described(size), **of(Plan(size, costs))} for size in SIZES.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", *SIZES], rows)


def latencies(rows: Sequence[dict[str, Any]]) -> str:
    head = ["servers", "busy", *(f"{routing}: median, p99 ms" for routing in ROUTINGS)]
    cells = [
        [
            str(row["servers"]),
            f"{row['busy']:.0%}".replace("%", " %"),
            *(", ".join(map(amount, row[routing])) for routing in ROUTINGS),
        ]
        for row in rows
    ]
    return table(head, cells)


def blocks(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each generated block of the page."""
    costs = known["costs"]
    yield "advice", compared(advice, costs)
    yield "figures", compared(figures, costs)
    yield (
        "costs",
        table(["cost", "value"], [[words, amount(costs[name])] for name, words in MEANINGS.items()]),
    )
    yield "latency", latencies(known["simulation"])


def with_blocks(page: str, known: dict[str, Any]) -> str:
    """Return the page with its generated blocks."""
    for name, text in blocks(known):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure the unit costs on this machine")
    measure.add_argument("--parts", nargs="+", help="measure these only")
    commands.add_parser("simulate", help="simulate the latency by number of servers")
    commands.add_parser("page", help="write the tables into docs/scaling.md")
    plan = commands.add_parser("plan", help="print what a size needs")
    for name in ("events", "users", "items", "requests"):
        plan.add_argument(f"--{name}", type=float, required=True)
    options = parser.parse_args()
    if options.command == "measure":
        import unit_costs

        costs = stored()["costs"] if FILE.exists() else {}
        costs |= unit_costs.measure(options.parts or list(unit_costs.PARTS))
        store(costs=costs)
    elif options.command == "simulate":
        store(simulation=[simulated(busy, stored()["costs"]) for busy in LOADS])
    elif options.command == "page":
        PAGE.write_text(with_blocks(PAGE.read_text(encoding="utf-8"), stored()), encoding="utf-8")
    else:
        size = Size(options.events, options.users, options.items, options.requests)
        found = Plan(size, stored()["costs"])
        for of in (advice, figures):
            print(table(["", "this size"], [[name, text] for name, text in of(found).items()]), end="\n\n")


if __name__ == "__main__":
    main()
