"""Lanes: bounded, in order, together, in time."""

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ParamSpec

import pytest

from reprise.server.queueing.work_queue import ClosedError, DeadlineError, QueueFullError, WorkQueue

Given = ParamSpec("Given")


def looped(test: Callable[Given, Awaitable[None]]) -> Callable[Given, None]:
    """A test that runs on a loop of its own."""

    @functools.wraps(test)
    def run(*given: Given.args, **named: Given.kwargs) -> None:
        async def scenario() -> None:
            await test(*given, **named)

        asyncio.run(scenario())

    return run


class Gate:
    """Work that waits until it may go on, and remembers what came together."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.groups: list[list[int]] = []

    def run(self, works: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(works))
        self.begun.set()
        assert self.open.wait(5)
        return [ValueError("three") if work == 3 else 10 * work for work in works]


class Busy:
    """A lane that is at work on 0, behind a gate."""

    def __init__(self, max_pending: int) -> None:
        self.gate = Gate()
        self.lane: WorkQueue[int, int] = WorkQueue(
            "test", self.gate.run, max_pending=max_pending, max_batch=4
        )
        self.first = self.put(0)

    def put(self, work: int, *, weight: int = 1, timeout_s: float = 60) -> "asyncio.Future[int]":
        return self.lane.submit(work, weight=weight, timeout_s=timeout_s)


@asynccontextmanager
async def busy(max_pending: int = 10) -> AsyncIterator[Busy]:
    lane = Busy(max_pending)
    assert await asyncio.to_thread(lane.gate.begun.wait, 5)
    yield lane
    lane.lane.close()


@looped
async def test_what_waits_is_done_together_in_its_order() -> None:
    async with busy() as it:
        rest = [it.put(number) for number in (1, 2, 4, 5, 6)]
        assert it.lane.depth == 5
        it.gate.open.set()
        assert await asyncio.gather(it.first, *rest) == [0, 10, 20, 40, 50, 60]
        assert it.gate.groups == [[0], [1, 2, 4, 5], [6]]
        assert it.lane.depth == 0


@looped
async def test_an_exception_is_for_its_own_work_and_a_raised_one_for_all() -> None:
    async with busy() as it:
        it.gate.open.set()
        with pytest.raises(ValueError, match="three"):
            await it.put(3)
        assert await it.put(4) == 40

    def fail(works: Sequence[int]) -> list[int]:
        raise OSError("broken")

    broken: WorkQueue[int, int] = WorkQueue("broken", fail, max_pending=9, max_batch=9)
    results = await asyncio.gather(*(broken.submit(n, timeout_s=5) for n in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["broken"] * 3
    broken.close()


@looped
async def test_a_full_lane_refuses_and_takes_again_when_there_is_room() -> None:
    async with busy(max_pending=3) as it:
        waiting = [it.put(1, weight=2), it.put(2)]
        with pytest.raises(QueueFullError):
            it.put(4)
        it.gate.open.set()
        assert await asyncio.gather(it.first, *waiting) == [0, 10, 20]
        assert await it.put(4, weight=9) == 40  # alone, work may be heavier than what may wait


@looped
async def test_a_slow_lane_refuses_what_would_be_late() -> None:
    """The first has waited for more than a tenth of its time: one more would wait longer than it may."""
    async with busy() as it:
        waiting = [it.put(1, timeout_s=4), it.put(2)]
        await asyncio.sleep(0.5)
        for put in (lambda: it.put(4), lambda: it.lane.submit_nowait(4)):
            with pytest.raises(QueueFullError):
                put()
        it.gate.open.set()
        assert await asyncio.gather(it.first, *waiting) == [0, 10, 20]
        assert await it.put(5) == 50


@pytest.mark.parametrize(("pieces_s", "refused"), [([0, 0, 0.3], False), ([0.06] * 10, True)])
@looped
async def test_pieces_that_took_long_say_that_more_would_be_late_but_one_says_nothing(
    pieces_s: list[float], refused: bool
) -> None:
    gate = Gate()

    def run(works: Sequence[float]) -> Sequence[float | Exception]:
        if works == [-1]:
            return gate.run([-1])
        time.sleep(works[0])
        return works

    lane: WorkQueue[float, float] = WorkQueue("test", run, max_pending=10, max_batch=1)
    for piece_s in pieces_s:
        await lane.submit(piece_s, timeout_s=5)
    waiting = [lane.submit(-1, timeout_s=5)]
    assert await asyncio.to_thread(gate.begun.wait, 5)
    try:
        for _ in range(5):
            waiting.append(lane.submit(0, timeout_s=1))
    except QueueFullError:  # five of 0.06 s each, and there is a tenth of a second
        assert refused
    else:
        assert not refused
    gate.open.set()
    await asyncio.gather(*waiting)
    lane.close()


@looped
async def test_late_work_is_not_begun() -> None:
    async with busy() as it:
        late, patient = it.put(1, timeout_s=0.01), it.put(2)
        await asyncio.sleep(0.05)
        it.gate.open.set()
        with pytest.raises(DeadlineError):
            await late
        assert (await it.first, await patient) == (0, 20)
        assert it.gate.groups == [[0], [2]]


@looped
async def test_work_that_nobody_waits_for_any_more_is_not_begun() -> None:
    async with busy() as it:
        it.put(1).cancel()
        await asyncio.sleep(0)
        assert it.lane.depth == 0  # nor does it count any more
        last = it.put(2)
        it.gate.open.set()
        assert (await it.first, await last) == (0, 20)
        assert it.gate.groups == [[0], [2]]


@looped
async def test_who_waits_hears_of_the_deadline_when_it_is_over() -> None:
    """And not only when the work before it is done."""
    async with busy() as it:
        with pytest.raises(DeadlineError):
            await it.put(1, timeout_s=0.02)
        assert not it.first.done()
        assert it.lane.depth == 0
        it.gate.open.set()
        assert await it.first == 0
        assert await it.put(2) == 20
        assert it.gate.groups == [[0], [2]]


@looped
async def test_closing_does_what_waits_and_takes_no_more() -> None:
    async with busy() as it:
        it.lane.submit_nowait(1)
        it.lane.submit_nowait(2)
        threading.Timer(0.05, it.gate.open.set).start()
        await asyncio.to_thread(it.lane.close)
        assert await it.first == 0
        assert it.gate.groups == [[0], [1, 2]]
        for put in (lambda: it.put(5), lambda: it.lane.submit_nowait(5)):
            with pytest.raises(ClosedError):
                put()


@looped
async def test_closing_may_refuse_what_waits() -> None:
    async with busy() as it:
        second = it.put(1)
        closing = asyncio.create_task(asyncio.to_thread(it.lane.close, drain=False))
        with pytest.raises(ClosedError):
            await second
        it.gate.open.set()
        await closing
        assert await it.first == 0
        assert it.gate.groups == [[0]]


@looped
async def test_several_threads_share_a_lane() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def meet(works: Sequence[int]) -> list[int]:
        meeting.wait()
        return list(works)

    lane: WorkQueue[int, int] = WorkQueue("two", meet, max_pending=9, max_batch=1, threads=2)
    assert await asyncio.gather(*(lane.submit(number, timeout_s=5) for number in (1, 2))) == [1, 2]
    lane.close()


def test_an_idle_lane_ends_at_once() -> None:
    gate = Gate()
    lane: WorkQueue[int, int] = WorkQueue("idle", gate.run, max_pending=9, max_batch=9)
    start_s = time.monotonic()
    lane.close()
    assert time.monotonic() - start_s < 5
    assert gate.groups == []
