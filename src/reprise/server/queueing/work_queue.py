"""Bounded work queues with load shedding: worker threads take pending work in batches.

A queue refuses work when it is full, and also when the estimated queueing delay, from recent service times, exceeds a
tenth of the timeout. Work whose timeout passes while it waits is not started.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
    ) -> None:
        """Start the worker threads.

        Args:
            name: Name of the queue, in thread names and metrics.
            run: Processes a batch in order and returns a result or an exception for each piece of work. An exception that
                it raises becomes the result of the whole batch.
            max_pending: Maximum total weight of pending work. An empty queue accepts work of any weight.
            max_batch: Maximum total weight of a batch. Heavier work is a batch of its own.
            threads: Number of worker threads.
        """
        self.name = name
        self.max_pending = max_pending
        self._run = run
        self._max_batch = max_batch
        self._pending: deque[_PendingWork[Work]] = deque()
        self._depth = 0
        self._service_times_s = deque([0.0] * SERVICE_TIMES, maxlen=SERVICE_TIMES)
        self._service_time_s = 0.0
        """Estimated time for work of weight 1, with all threads at work."""
        self._open = True
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

    def submit(self, work: Work, *, weight: int = 1, timeout_s: float) -> "asyncio.Future[Result]":
        """Queue work and return a future of its result.

        Args:
            work: What to pass to `run`.
            weight: Size of the work, such as its number of events.
            timeout_s: Maximum time in the queue, in seconds. After it the future gets a `DeadlineError`.

        Raises:
            QueueFullError: the queue is full, or the estimated queueing delay is too long.
            ClosedError: the queue is closed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        pending = _PendingWork(work, weight, timeout_s, time.monotonic(), future)
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
        self._add(_PendingWork(work, weight, float("inf"), time.monotonic(), None))

    def close(self, drain: bool = True) -> None:
        """Refuse new work, then end the worker threads and wait for them.

        Args:
            drain: Finish the pending work. False: pending work gets a `ClosedError`.
        """
        with self._changed:
            self._open = False
            if not drain:
                _set_results([(pending.future, ClosedError()) for pending in self._pending])
                self._pending.clear()
                self._depth = 0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _add(self, pending: _PendingWork[Work]) -> None:
        with self._changed:
            if not self._open:
                raise ClosedError
            # an empty queue accepts everything: otherwise heavy work, or one slow estimate, would be refused for ever
            if self._depth and (
                self._depth + pending.weight > self.max_pending or self._is_overloaded(pending)
            ):
                raise QueueFullError
            self._pending.append(pending)
            self._depth += pending.weight
            self._changed.notify()

    def _is_overloaded(self, new: _PendingWork[Work]) -> bool:
        """Return whether the oldest pending work has waited too long, or new work probably would."""
        oldest = self._pending[0]
        waited_s = new.queued_s - oldest.queued_s
        expected_s = self._depth * self._service_time_s
        return waited_s > MAX_DELAY_SHARE * oldest.timeout_s or expected_s > MAX_DELAY_SHARE * new.timeout_s

    def _expire(self, pending: _PendingWork[Work]) -> None:
        """Fail work that has not been started by its timeout."""
        with self._changed:
            if not pending.started and pending.future is not None and not pending.future.done():
                pending.future.set_exception(DeadlineError())

    def _remove(self, pending: _PendingWork[Work]) -> None:
        """Remove cancelled or expired work from the queue."""
        # it would otherwise count as pending until its turn, and its waiting time would get other requests refused
        with self._changed:
            if pending in self._pending:
                self._pending.remove(pending)
                self._depth -= pending.weight

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
            while not self._pending and self._open:
                self._changed.wait()
            batch: list[_PendingWork[Work]] = []
            weight = 0
            while self._pending and (not batch or weight + self._pending[0].weight <= self._max_batch):
                pending = self._pending.popleft()
                self._depth -= pending.weight
                if pending.future is None or not pending.future.done():
                    pending.started = True
                    batch.append(pending)
                    weight += pending.weight
            if not batch and (self._open or self._pending):
                return self._take_batch()
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
