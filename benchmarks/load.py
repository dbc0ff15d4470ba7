"""An open-loop load generator: requests are sent on a schedule, and latency counts from the scheduled time.

Shape letters: N requests of a plan.
"""

import asyncio
import math
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from http_connections import BROKEN, Pool, request

ROUTES = ("events", "recommend")
LONGEST_US = 120_000_000
DIGITS = 3
QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
WRONG, UNSENT, NO_RETRY = -1, -2, -3
"""Failures besides HTTP status: a wrong 200, a request never sent, a rejection without Retry-After."""
WORDS = {
    WRONG: "wrong answer",
    UNSENT: "not sent",
    NO_RETRY: "refused without Retry-After",
    BROKEN: "broken off",
}


@dataclass(frozen=True)
class Mix:
    """The mix of requests: one event, one recommendation, from users of very different activity."""

    items: Sequence[str]
    users: int = 20_000
    skew: float = 1.0
    """The exponent of Zipf's law for users: the share of the second is 2 ** -skew of the first's."""
    k: int = 10
    clocks: bool = True
    """Whether events carry the time at which they should have been sent; otherwise the server says when they were."""

    def chances(self) -> np.ndarray:
        """Return the cumulative shares of the users."""
        weight_U = np.arange(1, self.users + 1, dtype=np.float64) ** -self.skew
        return np.cumsum(weight_U) / weight_U.sum()


@dataclass(frozen=True)
class Plan:
    """The schedule of requests."""

    mix: Mix
    name: str
    """Begins the ids of its events."""
    due_s_N: np.ndarray
    """Seconds from the beginning."""
    user_N: np.ndarray
    item_N: np.ndarray

    @classmethod
    def made(cls, mix: Mix, rate: float, seconds: float, seed: int, poisson: bool = False) -> "Plan":
        """Return a schedule with a fixed interval, or with Poisson arrivals."""
        generator = np.random.default_rng(seed)
        count = max(1, round(rate * seconds))
        due_s_N = np.sort(generator.uniform(0, seconds, count)) if poisson else np.arange(count) / rate
        due_s_N = np.ceil(due_s_N * 1000) / 1000  # timers of the event loop have millisecond resolution
        user_N = np.searchsorted(mix.chances(), generator.random(count))
        return cls(mix, f"{seed}", due_s_N, user_N, generator.integers(len(mix.items), size=count))

    def bytes(self, place: int, start_ms: int) -> bytes:
        """Return the bytes of one request; events and questions alternate."""
        user = f"u{self.user_N[place]}"
        if place % 2:
            return request("POST", "/v1/recommend", f'{{"user_id":"{user}","k":{self.mix.k}}}'.encode())
        fields = f'"user_id":"{user}","item_id":"{self.mix.items[self.item_N[place]]}","event_id":"{self.name}-{place}"'
        if self.mix.clocks:
            fields += f',"timestamp":{start_ms + round(self.due_s_N[place] * 1000)}'
        return request("POST", "/v1/events", f'{{"events":[{{{fields}}}],"ack":"durable"}}'.encode())


@dataclass
class Record:
    """Results of requests, in the order of completion."""

    route: "array[int]" = field(default_factory=lambda: array("b"))
    due_s: "array[float]" = field(default_factory=lambda: array("d"))
    late_us: "array[int]" = field(default_factory=lambda: array("q"))
    """How much later than intended they left."""
    took_us: "array[int]" = field(default_factory=lambda: array("q"))
    """Latency: from the scheduled time to the answer."""
    status: "array[int]" = field(default_factory=lambda: array("h"))
    bodies: dict[int, str] = field(default_factory=dict)
    """The last body of each status but 200."""
    generator_cpu_s: float = 0.0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.status)

    def extend(self, other: "Record") -> None:
        """Add the results of another record."""
        for name in ("route", "due_s", "late_us", "took_us", "status"):
            getattr(self, name).extend(getattr(other, name))
        self.bodies |= other.bodies
        self.generator_cpu_s += other.generator_cpu_s
        self.seconds += other.seconds

    def quantile_us(self, quantile: float, route: int | None = None) -> float:
        """Return a quantile of the latency of successful answers."""
        good = self._good(route)
        return float(np.percentile(good, quantile)) if len(good) else float("nan")

    def statuses(self) -> dict[str, int]:
        """Return the number of results by status or failure."""
        counts = Counter(self.status)
        return {WORDS.get(status, str(status)): counts[status] for status in sorted(counts)}

    def summary(self) -> dict[str, Any]:
        """Return all results with the raw histograms."""
        requests = len(self)
        return {
            "requests": requests,
            "seconds": round(self.seconds, 1),
            "statuses": self.statuses(),
            "said instead": {WORDS.get(status, str(status)): body for status, body in self.bodies.items()},
            "routes": {name: histogram(self._good(route)) for route, name in enumerate(ROUTES)},
            "both": histogram(self._good(None)),
            "left late, us": histogram(np.frombuffer(self.late_us, np.int64)),
            "generator CPU, us a request": round(self.generator_cpu_s / max(requests, 1) * 1e6, 1),
        }

    def by_second(self, quantile: float) -> list[float]:
        """Return a latency quantile in milliseconds for each second."""
        status_N, due_s_N = np.frombuffer(self.status, np.int16), np.frombuffer(self.due_s, np.float64)
        took_us_N = np.frombuffer(self.took_us, np.int64)[status_N == 200]
        second_N = due_s_N[status_N == 200].astype(int)
        return [
            round(float(np.percentile(took_us_N[second_N == second], quantile)) / 1000, 2)
            for second in np.unique(second_N)
        ]

    def _good(self, route: int | None) -> np.ndarray:
        good_N = np.frombuffer(self.status, np.int16) == 200
        if route is not None:
            good_N &= np.frombuffer(self.route, np.int8) == route
        return np.frombuffer(self.took_us, np.int64)[good_N]


def histogram(microseconds: Iterable[int]) -> dict[str, Any]:
    """Return quantiles in milliseconds and the encoded histogram (`HdrHistogram.decode` reads it)."""
    good = HdrHistogram(1, LONGEST_US, DIGITS)
    for value in microseconds:
        good.record_value(min(max(int(value), 1), LONGEST_US))
    fields = {
        name: round(good.get_value_at_percentile(quantile) / 1000, 3) for name, quantile in QUANTILES.items()
    }
    most = round(good.get_max_value() / 1000, 3) if good.total_count else 0.0
    return {"count": good.total_count, **fields, "max": most, "hdr": good.encode().decode()}


async def send(plan: Plan, pool: Pool, patience_s: float = float("inf")) -> Record:
    """Send a schedule and wait for all answers. A request not sent within `patience_s` of its time is dropped."""
    run = _Run(plan, pool, patience_s)
    cpu_s, start_s = time.process_time(), time.monotonic()
    await run.done
    run.record.generator_cpu_s = time.process_time() - cpu_s
    run.record.seconds = time.monotonic() - start_s
    return run.record


class _Run:
    """A schedule in progress."""

    def __init__(self, plan: Plan, pool: Pool, patience_s: float) -> None:
        self._plan, self._pool, self._patience_s = plan, pool, patience_s
        self._loop = asyncio.get_running_loop()
        self._due_s = plan.due_s_N.tolist()
        # whole milliseconds, the resolution of the event loop's timers, so that they fire on time
        self._start_s = math.ceil(time.monotonic() * 1000) / 1000 + 0.001
        self._start_ms = time.time_ns() // 1_000_000
        self._next = 0
        self.record = Record()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._leave()

    def _leave(self) -> None:
        """Send all due requests and schedule the next call."""
        due_s, count = self._due_s, len(self._due_s)
        while self._next < count:
            wait_s = self._start_s + due_s[self._next] - time.monotonic()
            if wait_s > 0:
                self._loop.call_at(self._start_s + due_s[self._next], self._leave)
                return
            self._send(self._next, -wait_s)
            self._next += 1

    def _send(self, place: int, late_s: float) -> None:
        due_s = self._start_s + self._due_s[place]
        route, k = place % 2, self._plan.mix.k

        def done(status: int, body: bytes, later: bool) -> None:
            if status == 200:
                good = body.count(b'"item_id"') == k if route else b'"accepted"' in body
                status = 200 if good else WRONG
            elif status == 429 and not later:
                status = NO_RETRY
            elif status == BROKEN and body:
                status = UNSENT
            record = self.record
            if status != 200:
                record.bodies[status] = body.decode()
            record.route.append(route)
            record.due_s.append(due_s - self._start_s)
            record.late_us.append(int(late_s * 1e6))
            record.took_us.append(int((time.monotonic() - due_s) * 1e6))
            record.status.append(status)
            if len(record.status) == len(self._due_s):
                self.done.set_result(None)

        self._pool.send(self._plan.bytes(place, self._start_ms), done, due_s + self._patience_s)


def catalogue_ids(model: Any) -> list[str]:
    """Return the ids of items that a saved model can recommend."""
    from reprise import Recommender

    catalogue = Recommender.load(model).ranker.catalogue
    return [str(item) for item in catalogue.ids[: catalogue.warm]]
