"""Lanes: bounded queues of work before threads that take what waits together. Full lanes refuse, late work is not begun.

A lane is full when too much waits, and also when what waits would, at the pace of late, wait too long: what was taken in
is then still in time, even if the machine has to do something else for a while.
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
FULL_AT = 0.1
"""Of the time that work may wait: where the first has waited so long already, or the last would, no more is taken in."""
PACES = 10
"""How many pieces of work the pace of late is of. The slowest is left out: a machine that stood still once is not slow."""


class QueueFullError(Exception):
    """So much waits already that this would come too late."""


class DeadlineError(Exception):
    """The work waited longer than its caller would; it was not begun."""


class ClosedError(Exception):
    """The server is going down and takes no more work."""


@dataclass(eq=False)
class _Waiting(Generic[Work]):
    work: Work
    weight: int
    within_s: float
    since_s: float
    answer: "asyncio.Future[Any] | None"
    begun: bool = False


class WorkQueue(Generic[Work, Result]):
    """A queue and its threads. `put` is for one event loop; the threads are the lane's own."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Work]], Sequence[Result | Exception]],
        *,
        most: int,
        together: int,
        threads: int = 1,
    ) -> None:
        """Start the threads.

        Args:
            name: How the threads are called.
            run: Does some work, in its order; a result or an exception for each. An exception that it raises is one for all.
            most: The weight of what may wait.
            together: The weight of what is taken at once, at most (or one piece of work that is heavier).
            threads: How many there are.
        """
        self.name = name
        self.most = most
        self._run = run
        self._together = together
        self._waiting: deque[_Waiting[Work]] = deque()
        self._weight = 0
        self._paces_s = deque([0.0] * PACES, maxlen=PACES)
        self._pace_s = 0.0
        self._open = True
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def weight(self) -> int:
        """How much waits."""
        return self._weight

    def put(self, work: Work, *, weight: int = 1, within_s: float) -> "asyncio.Future[Result]":
        """Have some work done; the future has its result.

        Raises:
            LaneFullError: too much waits already, or for too long.
            ClosedError: the lane was closed.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        waiting = _Waiting(work, weight, within_s, time.monotonic(), answer)
        self._add(waiting)
        timer = loop.call_later(within_s, self._expire, waiting)

        def told(_: object) -> None:
            timer.cancel()
            if not waiting.begun:
                self._take_back(waiting)

        answer.add_done_callback(told)
        return answer

    def leave(self, work: Work, *, weight: int = 1) -> None:
        """Have some work done without waiting for it; its result is lost, and its exceptions are `run`'s own business.

        Raises:
            LaneFullError: too much waits already, or for too long.
            ClosedError: the lane was closed.
        """
        self._add(_Waiting(work, weight, float("inf"), time.monotonic(), None))

    def close(self, finish: bool = True) -> None:
        """Take no more work, do what waits (or else refuse it), and end the threads when they are done."""
        with self._changed:
            self._open = False
            if not finish:
                _tell([(one.answer, ClosedError()) for one in self._waiting])
                self._waiting.clear()
                self._weight = 0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _add(self, waiting: _Waiting[Work]) -> None:
        with self._changed:
            if not self._open:
                raise ClosedError
            if self._weight and (self._weight + waiting.weight > self.most or self._is_slow(waiting)):
                raise QueueFullError
            self._waiting.append(waiting)
            self._weight += waiting.weight
            self._changed.notify()

    def _is_slow(self, last: _Waiting[Work]) -> bool:
        """Whether this one, or the first before it, would hardly be in time."""
        first = self._waiting[0]
        waited_s = last.since_s - first.since_s
        return waited_s > FULL_AT * first.within_s or self._weight * self._pace_s > FULL_AT * last.within_s

    def _expire(self, waiting: _Waiting[Work]) -> None:
        """Its time is over: if it was not begun by now, it never is."""
        with self._changed:
            if not waiting.begun and waiting.answer is not None and not waiting.answer.done():
                waiting.answer.set_exception(DeadlineError())

    def _take_back(self, waiting: _Waiting[Work]) -> None:
        """Let what nobody waits for any more not count."""
        with self._changed:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._weight -= waiting.weight

    def _serve(self) -> None:
        while batch := self._take():
            start_s = time.monotonic()
            results = self._results([one.work for one in batch])
            self._keep_pace(time.monotonic() - start_s, sum(one.weight for one in batch))
            _tell(list(zip((one.answer for one in batch), results, strict=True)))

    def _keep_pace(self, seconds: float, weight: int) -> None:
        """What a weight of 1 takes of late."""
        with self._changed:
            self._paces_s.append(seconds / weight / len(self._threads))
            self._pace_s = (sum(self._paces_s) - max(self._paces_s)) / (PACES - 1)

    def _results(self, works: Sequence[Work]) -> Sequence[Result | Exception]:
        try:
            return self._run(works)
        except Exception as error:
            return [error] * len(works)

    def _take(self) -> list[_Waiting[Work]]:
        """What waits, as much as is taken together; nothing only when the lane is closed and empty."""
        with self._changed:
            while not self._waiting and self._open:
                self._changed.wait()
            batch: list[_Waiting[Work]] = []
            taken = 0
            while self._waiting and (not batch or taken + self._waiting[0].weight <= self._together):
                one = self._waiting.popleft()
                self._weight -= one.weight
                if one.answer is None or not one.answer.done():
                    one.begun = True
                    batch.append(one)
                    taken += one.weight
            if not batch and (self._open or self._waiting):
                return self._take()
            return batch


def _tell(told: Sequence[tuple["asyncio.Future[Any] | None", Any]]) -> None:
    """Set futures from another thread: one call into each loop, not one for each future."""
    wanted = [(future, result) for future, result in told if future is not None]
    if not wanted:
        return

    def deliver() -> None:
        for future, result in wanted:
            if future.done():
                continue  # nobody waits any more
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    wanted[0][0].get_loop().call_soon_threadsafe(deliver)
