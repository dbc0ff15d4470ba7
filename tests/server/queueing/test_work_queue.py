"""Work queues are bounded, keep the order, form batches and respect timeouts."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from event_loop import on_event_loop

from reprise.server.queueing.fair_order import Client
from reprise.server.queueing.work_queue import ClosedError, DeadlineError, QueueFullError, WorkQueue


class Gate:
    """A `run` function that blocks until its gate is open, and records its batches. It fails for the work 3."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Event()
        self.batches: list[list[int]] = []

    def run(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        self.started.set()
        assert self.open.wait(5)
        return [ValueError("three") if work == 3 else 10 * work for work in batch]


class BlockedQueue:
    """A queue whose only thread is blocked by a gate, at the work 0."""

    def __init__(self, max_pending: int) -> None:
        self.gate = Gate()
        self.queue: WorkQueue[int, int] = WorkQueue(
            "test", self.gate.run, max_pending=max_pending, max_batch=4
        )
        self.first = self.submit(0)

    def submit(self, work: int, *, weight: int = 1, timeout_s: float = 60) -> "asyncio.Future[int]":
        return self.queue.submit(work, weight=weight, timeout_s=timeout_s)


@asynccontextmanager
async def blocked_queue(max_pending: int = 10) -> AsyncIterator[BlockedQueue]:
    blocked = BlockedQueue(max_pending)
    assert await asyncio.to_thread(blocked.gate.started.wait, 5)
    yield blocked
    blocked.queue.close()


@on_event_loop
async def test_pending_work_runs_in_batches_and_in_order() -> None:
    async with blocked_queue() as blocked:
        rest = [blocked.submit(number) for number in (1, 2, 4, 5, 6)]
        assert blocked.queue.depth == 5
        blocked.gate.open.set()
        assert await asyncio.gather(blocked.first, *rest) == [0, 10, 20, 40, 50, 60]
        assert blocked.gate.batches == [[0], [1, 2, 4, 5], [6]]
        assert blocked.queue.depth == 0


@on_event_loop
async def test_a_returned_exception_is_for_one_work_and_a_raised_one_for_the_batch() -> None:
    async with blocked_queue() as blocked:
        blocked.gate.open.set()
        with pytest.raises(ValueError, match="three"):
            await blocked.submit(3)
        assert await blocked.submit(4) == 40

    def fail(batch: Sequence[int]) -> list[int]:
        raise OSError("broken")

    broken: WorkQueue[int, int] = WorkQueue("broken", fail, max_pending=9, max_batch=9)
    results = await asyncio.gather(
        *(broken.submit(number, timeout_s=5) for number in range(3)), return_exceptions=True
    )
    assert [str(result) for result in results] == ["broken"] * 3
    broken.close()


@on_event_loop
async def test_a_full_queue_refuses_work_until_there_is_room() -> None:
    async with blocked_queue(max_pending=3) as blocked:
        pending = [blocked.submit(1, weight=2), blocked.submit(2)]
        with pytest.raises(QueueFullError):
            blocked.submit(4)
        blocked.gate.open.set()
        assert await asyncio.gather(blocked.first, *pending) == [0, 10, 20]
        assert await blocked.submit(4, weight=9) == 40  # an empty queue accepts work of any weight


@on_event_loop
async def test_work_is_refused_when_the_oldest_work_has_waited_too_long() -> None:
    """The oldest work has waited 0.5 s, and a tenth of its timeout is 0.4 s."""
    async with blocked_queue() as blocked:
        pending = [blocked.submit(1, timeout_s=4), blocked.submit(2)]
        await asyncio.sleep(0.5)
        for submit in (lambda: blocked.submit(4), lambda: blocked.queue.submit_nowait(4)):
            with pytest.raises(QueueFullError):
                submit()
        blocked.gate.open.set()
        assert await asyncio.gather(blocked.first, *pending) == [0, 10, 20]
        assert await blocked.submit(5) == 50


@pytest.mark.parametrize(("service_times_s", "refused"), [([0, 0, 0.3], False), ([0.06] * 10, True)])
@on_event_loop
async def test_repeated_slow_batches_cause_refusals_and_a_single_one_does_not(
    service_times_s: list[float], refused: bool
) -> None:
    gate = Gate()

    def run(batch: Sequence[float]) -> Sequence[float | Exception]:
        if batch == [-1]:
            return gate.run([-1])
        time.sleep(batch[0])
        return batch

    queue: WorkQueue[float, float] = WorkQueue("test", run, max_pending=10, max_batch=1)
    for service_time_s in service_times_s:
        await queue.submit(service_time_s, timeout_s=5)
    pending = [queue.submit(-1, timeout_s=5)]
    assert await asyncio.to_thread(gate.started.wait, 5)
    try:
        for _ in range(5):
            pending.append(queue.submit(0, timeout_s=1))
    except QueueFullError:  # two pending at 0.06 s each take 0.12 s, and a tenth of the timeout is 0.1 s
        assert refused
    else:
        assert not refused
    gate.open.set()
    await asyncio.gather(*pending)
    queue.close()


@on_event_loop
async def test_expired_work_is_not_started() -> None:
    async with blocked_queue() as blocked:
        expired, patient = blocked.submit(1, timeout_s=0.01), blocked.submit(2)
        await asyncio.sleep(0.05)
        blocked.gate.open.set()
        with pytest.raises(DeadlineError):
            await expired
        assert (await blocked.first, await patient) == (0, 20)
        assert blocked.gate.batches == [[0], [2]]


@on_event_loop
async def test_cancelled_work_is_removed_from_the_queue() -> None:
    async with blocked_queue() as blocked:
        blocked.submit(1).cancel()
        await asyncio.sleep(0)
        assert blocked.queue.depth == 0
        last = blocked.submit(2)
        blocked.gate.open.set()
        assert (await blocked.first, await last) == (0, 20)
        assert blocked.gate.batches == [[0], [2]]


@on_event_loop
async def test_a_timeout_is_reported_while_earlier_work_is_still_running() -> None:
    async with blocked_queue() as blocked:
        with pytest.raises(DeadlineError):
            await blocked.submit(1, timeout_s=0.02)
        assert not blocked.first.done()
        assert blocked.queue.depth == 0
        blocked.gate.open.set()
        assert await blocked.first == 0
        assert await blocked.submit(2) == 20
        assert blocked.gate.batches == [[0], [2]]


@on_event_loop
async def test_close_finishes_pending_work_and_refuses_new_work() -> None:
    async with blocked_queue() as blocked:
        blocked.queue.submit_nowait(1)
        blocked.queue.submit_nowait(2)
        threading.Timer(0.05, blocked.gate.open.set).start()
        await asyncio.to_thread(blocked.queue.close)
        assert await blocked.first == 0
        assert blocked.gate.batches == [[0], [1, 2]]
        for submit in (lambda: blocked.submit(5), lambda: blocked.queue.submit_nowait(5)):
            with pytest.raises(ClosedError):
                submit()


@on_event_loop
async def test_close_without_drain_refuses_pending_work() -> None:
    async with blocked_queue() as blocked:
        second = blocked.submit(1)
        closing = asyncio.create_task(asyncio.to_thread(blocked.queue.close, drain=False))
        with pytest.raises(ClosedError):
            await second
        blocked.gate.open.set()
        await closing
        assert await blocked.first == 0
        assert blocked.gate.batches == [[0]]


@on_event_loop
async def test_several_threads_serve_one_queue() -> None:
    both_running = threading.Barrier(2, timeout=5)

    def run(batch: Sequence[int]) -> list[int]:
        both_running.wait()
        return list(batch)

    queue: WorkQueue[int, int] = WorkQueue("two", run, max_pending=9, max_batch=1, threads=2)
    assert await asyncio.gather(*(queue.submit(number, timeout_s=5) for number in (1, 2))) == [1, 2]
    queue.close()


def test_an_idle_queue_closes_immediately() -> None:
    gate = Gate()
    queue: WorkQueue[int, int] = WorkQueue("idle", gate.run, max_pending=9, max_batch=9)
    start_s = time.monotonic()
    queue.close()
    assert time.monotonic() - start_s < 5
    assert gate.batches == []


@on_event_loop
async def test_a_client_with_too_much_work_is_refused_and_another_one_is_not() -> None:
    gate = Gate()
    queue: WorkQueue[int, int] = WorkQueue(
        "test", gate.run, max_pending=6, max_batch=1, max_pending_per_user=2
    )
    anna, bert, other = (
        Client(("shop", "a"), "anna"),
        Client(("shop", "a"), "bert"),
        Client(("shop", "b"), "anna"),
    )
    first = queue.submit(0, timeout_s=60, client=anna)
    assert await asyncio.to_thread(gate.started.wait, 5)
    accepted = [queue.submit(work, timeout_s=60, client=anna) for work in (1, 2)]
    with pytest.raises(QueueFullError):
        queue.submit(4, timeout_s=60, client=anna)
    accepted += [queue.submit(5, timeout_s=60, client=bert), queue.submit(6, timeout_s=60, client=other)]
    with pytest.raises(QueueFullError):  # the key has 3 of 6 pending
        queue.submit(7, weight=4, timeout_s=60, client=Client(("shop", "a"), "carl"))
    gate.open.set()
    await asyncio.gather(first, *accepted)
    assert gate.batches == [[0], [1], [6], [5], [2]]
    queue.close()


@on_event_loop
async def test_new_work_is_refused_while_all_threads_run_long_work() -> None:
    gate = Gate()
    queue: WorkQueue[int, int] = WorkQueue(
        "test", gate.run, max_pending=9, max_batch=1, threads=2, max_busy_s=0.05
    )
    running = [queue.submit(0, timeout_s=60)]
    await asyncio.sleep(0.1)
    running.append(queue.submit(1, timeout_s=60))  # one thread is free
    while len(gate.batches) < 2:
        await asyncio.sleep(0.001)
    running.append(queue.submit(2, timeout_s=60))  # the second thread has been busy for a moment only
    await asyncio.sleep(0.1)
    with pytest.raises(QueueFullError):
        queue.submit(4, timeout_s=60)
    gate.open.set()
    assert await asyncio.gather(*running) == [0, 10, 20]
    assert await queue.submit(5, timeout_s=60) == 50
    queue.close()
