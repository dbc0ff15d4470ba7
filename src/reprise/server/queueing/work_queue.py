"""Bounded work queues with load shedding: worker threads take pending work in batches.

A queue refuses work when it is full, and also when the estimated queueing delay, from recent service times, exceeds a
tenth of the timeout. Work whose timeout passes while it waits is not started. Clients take turns (`FairOrder`), and the
limits are for each of them: one that sends too much is refused, and the others are served.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Generic, TypeVar

from reprise.server.queueing.fair_order import Client, FairOrder

Work = TypeVar("Work")
Result = TypeVar("Result")
# Refuse early. Work accepted with an expected delay of a tenth of its timeout is still in time if the machine pauses or
# slows down tenfold after that; a caller that is refused immediately can retry elsewhere. Example: the timeout is 5 s and
# recent batches took 20 ms per query. The limit is 0.5 s. A query that finds 25 others pending is accepted (25 * 20 ms =
# 0.5 s); one that finds 26 is refused, although it would probably finish within 5 s.
MAX_DELAY_SHARE = 0.1
"""Maximum queueing delay of accepted work, as a share of its timeout."""
# One pause of 200 ms (the host took the processor away) once caused 18 of 300,000 requests to be refused, although all
# others were answered within 210 ms. So the slowest of the recent batches does not count. Example: nine batches of
# 4 ms per query and one of 200 ms give 4 ms, not 23.6 ms (docs/experiments.md).
SERVICE_TIMES = 10
"""Number of recent batches that the service time is estimated from. The slowest of them is left out."""
ONE_CLIENT = Client()
"""The client of work in a queue that does not tell clients apart."""


class QueueFullError(Exception):
    """The queue is full, or the estimated queueing delay is too long."""


class DeadlineError(Exception):
    """The work waited longer than its timeout and was not started."""


class ClosedError(Exception):
    """The queue is closed, because the server is shutting down."""


@dataclass(eq=False)
class _PendingWork(Generic[Work]):
    work: Work
    weight: int
    timeout_s: float
    queued_s: float
    """Time of submission, on the monotonic clock."""
    client: Client
    future: "asyncio.Future[Any] | None"
    """Receives the result; None: the caller does not wait for it."""
    started: bool = False


class WorkQueue(Generic[Work, Result]):
    """A bounded queue with its own worker threads. `submit` must be called from one event loop."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        *,
        max_pending: int,
        max_batch: int,
        threads: int = 1,
        max_pending_per_user: float = inf,
        max_busy_s: float = inf,
    ) -> None:
        """Start the worker threads.

        Args:
            name: Name of the queue, in thread names and metrics.
            run: Processes a batch in order and returns a result or an exception for each piece of work. An exception that
                it raises becomes the result of the whole batch.
            max_pending: Maximum total weight of pending work of one key. An empty queue accepts work of any weight.
            max_batch: Maximum total weight of a batch. Heavier work is a batch of its own.
            threads: Number of worker threads.
            max_pending_per_user: Maximum number of pending works of one user of a key.
            max_busy_s: Time in seconds after which running work counts as long. While all threads run long work, new work is
                refused, because nothing says when it would start.
        """
        self.name = name
        self.max_pending = max_pending
        self._max_pending_per_user = max_pending_per_user
        self._max_busy_s = max_busy_s
        self._run = run
        self._max_batch = max_batch
        self._pending: FairOrder[_PendingWork[Work]] = FairOrder()
        self._depth = 0
        self._key_depths: Counter[tuple[str, str]] = Counter()
        self._running_since_s: dict[int, float] = {}
        """Start of the running batch of each thread that is at work, on the monotonic clock."""
        self._service_times_s = deque([0.0] * SERVICE_TIMES, maxlen=SERVICE_TIMES)
        self._service_time_s = 0.0
        """Estimated time for work of weight 1, with all threads at work."""
        self._open = True
        self.on_refused: Callable[[], None] = lambda: None
        """Called for each work that is refused because of overload."""
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Total weight of pending work."""
        return self._depth

    @property
    def running(self) -> int:
        """Number of threads that are at work."""
        return len(self._running_since_s)

    def submit(
        self, work: Work, *, weight: int = 1, timeout_s: float, client: Client = ONE_CLIENT
    ) -> "asyncio.Future[Result]":
        """Queue work and return a future of its result.

        Args:
            work: What to pass to `run`.
            weight: Size of the work, such as its number of events.
            timeout_s: Maximum time in the queue, in seconds. After it the future gets a `DeadlineError`.
            client: Whom the work is for.

        Raises:
            QueueFullError: the queue is full, or the estimated queueing delay is too long.
            ClosedError: the queue is closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        pending = _PendingWork(work, weight, timeout_s, time.monotonic(), client, future)
        self._add(pending)
        timer = loop.call_later(timeout_s, self._expire, pending)

        def done(_: object) -> None:
            timer.cancel()
            if not pending.started:
                self._remove(pending)

        future.add_done_callback(done)
        return future

    def submit_nowait(self, work: Work, *, weight: int = 1) -> None:
        """Queue work without a timeout and discard its result. `run` must handle its exceptions.

        Raises:
            QueueFullError: the queue is full, or the oldest pending work has waited too long.
            ClosedError: the queue is closed.
        """
        self._add(_PendingWork(work, weight, inf, time.monotonic(), ONE_CLIENT, None))

    def close(self, drain: bool = True) -> None:
        """Refuse new work, then end the worker threads and wait for them.

        Args:
            drain: Finish the pending work. False: pending work gets a `ClosedError`.
        """
        with self._changed:
            self._open = False
            if not drain:
                _set_results([(pending.future, ClosedError()) for pending in self._pending])
                self._pending = FairOrder()
                self._depth = 0
                self._key_depths.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _add(self, pending: _PendingWork[Work]) -> None:
        with self._changed:
            if not self._open:
                raise ClosedError
            if self._is_overloaded(pending):
                self.on_refused()
                raise QueueFullError
            self._pending.add(pending.client, pending)
            self._count(pending, 1)
            self._changed.notify()

    def _count(self, pending: _PendingWork[Work], sign: int) -> None:
        """Add work to the counts of pending work, or subtract it."""
        self._depth += sign * pending.weight
        self._key_depths[pending.client.key] += sign * pending.weight
        if not self._key_depths[pending.client.key]:
            del self._key_depths[pending.client.key]

    def _is_overloaded(self, new: _PendingWork[Work]) -> bool:
        """Return whether a client has too much pending work, or its new work would probably wait for too long."""
        if len(self._running_since_s) == len(self._threads):
            busy_s = new.queued_s - max(self._running_since_s.values())
            if busy_s > self._max_busy_s:
                return True
        # an empty queue accepts everything else: heavy work, or one slow estimate, would be refused for ever
        if not self._pending:
            return False
        own = self._pending.of_user(new.client)
        waited_too_long = own and new.queued_s - own[0].queued_s > MAX_DELAY_SHARE * own[0].timeout_s
        weight_ahead = self._pending.before(new.client) * self._depth / len(self._pending)
        return bool(
            self._key_depths[new.client.key] + new.weight > self.max_pending
            or len(own) >= self._max_pending_per_user
            or waited_too_long
            or weight_ahead * self._service_time_s > MAX_DELAY_SHARE * new.timeout_s
        )

    def _expire(self, pending: _PendingWork[Work]) -> None:
        """Fail work that has not been started by its timeout."""
        with self._changed:
            if not pending.started and pending.future is not None and not pending.future.done():
                pending.future.set_exception(DeadlineError())

    def _remove(self, pending: _PendingWork[Work]) -> None:
        """Remove cancelled or expired work from the queue."""
        # it would otherwise count as pending until its turn, and its waiting time would get other requests refused
        with self._changed:
            if self._pending.remove(pending.client, pending):
                self._count(pending, -1)

    def _serve(self) -> None:
        while batch := self._take_batch():
            start_s = time.monotonic()
            results = self._results([pending.work for pending in batch])
            self._record_service_time(time.monotonic() - start_s, sum(pending.weight for pending in batch))
            _set_results(list(zip((pending.future for pending in batch), results, strict=True)))

    def _record_service_time(self, seconds: float, weight: int) -> None:
        """Update the estimated service time with a finished batch."""
        with self._changed:
            self._service_times_s.append(seconds / weight / len(self._threads))
            total_s = sum(self._service_times_s) - max(self._service_times_s)
            self._service_time_s = total_s / (SERVICE_TIMES - 1)

    def _results(self, works: Sequence[Work]) -> Sequence[Result | Exception]:
        try:
            return self._run(works)
        except Exception as error:
            return [error] * len(works)

    def _take_batch(self) -> list[_PendingWork[Work]]:
        """Wait for work and take a batch. An empty batch means that the queue is closed and empty."""
        with self._changed:
            self._running_since_s.pop(threading.get_ident(), None)
            while not self._pending and self._open:
                self._changed.wait()
            batch: list[_PendingWork[Work]] = []
            weight = 0
            while self._pending and (not batch or weight + self._pending.first().weight <= self._max_batch):
                pending = self._pending.take()
                self._count(pending, -1)
                if pending.future is None or not pending.future.done():
                    pending.started = True
                    batch.append(pending)
                    weight += pending.weight
            if not batch and (self._open or self._pending):
                return self._take_batch()
            if batch:
                self._running_since_s[threading.get_ident()] = time.monotonic()
            return batch


def _set_results(results: Sequence[tuple["asyncio.Future[Any] | None", Any]]) -> None:
    """Set futures from a worker thread, with one call into the event loop for all of them."""
    waiting = [(future, result) for future, result in results if future is not None]
    if not waiting:
        return

    def deliver() -> None:
        for future, result in waiting:
            if future.done():
                continue  # cancelled in the meantime
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    waiting[0][0].get_loop().call_soon_threadsafe(deliver)
