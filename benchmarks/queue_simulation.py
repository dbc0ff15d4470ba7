"""Latency of requests that are distributed over servers, by discrete-event simulation with the library Ciw.

Requests arrive at random (Poisson). Each server works on one request at a time, in the order of arrival, and takes a
service time drawn from measured ones. A proxy knows which server has the fewest requests; a Service of Kubernetes
without a proxy chooses one at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import ciw
import numpy as np

Routing = Literal["least connections", "random"]
WARM_UP = 0.1
"""Share of the simulated time that does not count."""


@dataclass(frozen=True)
class Latency:
    """Latency of the requests of one simulation, in milliseconds: waiting time and service time."""

    median_ms: float
    p99_ms: float
    requests: int


def simulate(
    service_s: Sequence[float],
    rate: float,
    servers: int,
    routing: Routing,
    requests: int,
    seed: int = 1,
) -> Latency:
    """Return the latency of requests.

    Args:
        service_s: Service times in seconds, all equally likely.
        rate: Requests per second, of all servers together.
        servers: Number of servers.
        routing: How a request gets its server.
        requests: Number of requests to simulate.
        seed: Seed of all random numbers.
    """
    busy = rate * float(np.mean(service_s)) / servers
    if busy >= 1:
        raise ValueError(
            f"{servers} servers are busy for {busy:.2f} of the time; simulate more than {busy * servers:.1f}"
        )
    if routing == "random":  # then the servers do not depend on each other, and one of them is enough
        rate /= servers
        network, entries = _alone(service_s, rate), 0
    else:
        network, entries = _behind_proxy(service_s, rate, servers), 1
    seconds = requests / rate
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(seconds)
    latency_ms = [
        1000 * (record.exit_date - record.arrival_date)
        for record in simulation.get_all_records(only=["service"])
        if record.node > entries and record.arrival_date > WARM_UP * seconds
    ]
    median_ms, p99_ms = (round(float(np.percentile(latency_ms, place)), 2) for place in (50, 99))
    return Latency(median_ms, p99_ms, len(latency_ms))


def _alone(service_s: Sequence[float], rate: float) -> ciw.network.Network:
    return ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate)],
        service_distributions=[ciw.dists.Empirical(list(service_s))],
        number_of_servers=[1],
    )


def _behind_proxy(service_s: Sequence[float], rate: float, servers: int) -> ciw.network.Network:
    """Return a proxy that takes no time, followed by the servers."""
    # counts requests in service too, as a proxy does; `JoinShortestQueue` of Ciw counts waiting ones only
    proxy = ciw.routing.LoadBalancing(destinations=list(range(2, servers + 2)))
    return ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate), *[None] * servers],
        service_distributions=[
            ciw.dists.Deterministic(0.0),
            *[ciw.dists.Empirical(list(service_s)) for _ in range(servers)],
        ],
        number_of_servers=[float("inf"), *[1] * servers],
        routing=ciw.routing.NetworkRouting(routers=[proxy, *[ciw.routing.Leave() for _ in range(servers)]]),
    )
