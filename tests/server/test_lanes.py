"""Lanes: bounded, in order, together, in time."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from reprise.server.lanes import ClosedError, DeadlineError, Lane, LaneFullError


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


def lane(gate: Gate, most: int = 10, together: int = 4) -> Lane[int, int]:
    return Lane("test", gate.run, most=most, together=together)


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, 5)


def test_what_waits_is_done_together_in_its_order() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=5)
        await begun(gate)
        rest = [works.put(number, within_s=5) for number in (1, 2, 4, 5, 6)]
        assert works.weight == 5
        gate.open.set()
        assert await asyncio.gather(first, *rest) == [0, 10, 20, 40, 50, 60]
        assert gate.groups == [[0], [1, 2, 4, 5], [6]]
        assert works.weight == 0
        works.close()

    asyncio.run(scenario())


def test_an_exception_is_for_its_own_work_and_a_raised_one_for_all() -> None:
    async def scenario() -> None:
        gate = Gate()
        gate.open.set()
        works = lane(gate)
        with pytest.raises(ValueError, match="three"):
            await works.put(3, within_s=5)
        assert await works.put(4, within_s=5) == 40
        works.close()

        def fail(works: Sequence[int]) -> list[int]:
            raise OSError("broken")

        broken: Lane[int, int] = Lane("broken", fail, most=9, together=9)
        results = await asyncio.gather(*(broken.put(n, within_s=5) for n in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["broken"] * 3
        broken.close()

    asyncio.run(scenario())


def test_a_full_lane_refuses_and_takes_again_when_there_is_room() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate, most=3)
        first = works.put(0, within_s=5)
        await begun(gate)
        waiting = [works.put(1, weight=2, within_s=5), works.put(2, within_s=5)]
        with pytest.raises(LaneFullError):
            works.put(4, within_s=5)
        gate.open.set()
        assert await asyncio.gather(first, *waiting) == [0, 10, 20]
        assert await works.put(4, weight=9, within_s=5) == 40  # alone, work may be heavier than what may wait
        works.close()

    asyncio.run(scenario())


def test_a_slow_lane_refuses_what_would_be_late() -> None:
    """The first has waited for more than a tenth of its time: one more would wait longer than it may."""

    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=60)
        await begun(gate)
        second, third = works.put(1, within_s=0.2), works.put(2, within_s=60)
        await asyncio.sleep(0.12)
        for put in (lambda: works.put(4, within_s=60), lambda: works.leave(4)):
            with pytest.raises(LaneFullError):
                put()
        gate.open.set()
        assert await asyncio.gather(first, third) == [0, 20]
        await asyncio.wait([second])
        assert await works.put(5, within_s=60) == 50
        works.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("pieces_s", "refused"), [([0, 0, 0.3], False), ([0.06] * 10, True)])
def test_pieces_that_took_long_say_that_more_would_be_late_but_one_says_nothing(
    pieces_s: list[float], refused: bool
) -> None:
    async def scenario() -> None:
        gate = Gate()
        gate.open.set()

        def run(works: Sequence[float]) -> Sequence[float | Exception]:
            if works == [-1]:
                return gate.run([-1])
            time.sleep(works[0])
            return works

        works: Lane[float, float] = Lane("test", run, most=10, together=1)
        for piece_s in pieces_s:
            await works.put(piece_s, within_s=5)
        gate.open.clear()
        gate.begun.clear()
        held = works.put(-1, within_s=5)
        await begun(gate)
        waiting = [works.put(0, within_s=1)]
        if refused:
            waiting += [works.put(0, within_s=1)]
            with pytest.raises(LaneFullError):
                works.put(0, within_s=1)  # three, of 0.06 s each, and a tenth of a second is left
        else:
            waiting += [works.put(0, within_s=1) for _ in range(4)]
        gate.open.set()
        assert await asyncio.gather(held, *waiting) == [-10, *[0] * len(waiting)]
        works.close()

    asyncio.run(scenario())


def test_late_work_is_not_begun() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=5)
        await begun(gate)
        late, patient = works.put(1, within_s=0.01), works.put(2, within_s=5)
        await asyncio.sleep(0.05)
        gate.open.set()
        with pytest.raises(DeadlineError):
            await late
        assert (await first, await patient) == (0, 20)
        assert gate.groups == [[0], [2]]
        works.close()

    asyncio.run(scenario())


def test_work_that_nobody_waits_for_any_more_is_not_begun() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=5)
        await begun(gate)
        given_up = works.put(1, within_s=5)
        given_up.cancel()
        await asyncio.sleep(0)
        assert works.weight == 0
        last = works.put(2, within_s=5)
        gate.open.set()
        assert (await first, await last) == (0, 20)
        assert gate.groups == [[0], [2]]
        works.close()

    asyncio.run(scenario())


def test_closing_does_what_waits_and_takes_no_more() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=5)
        await begun(gate)
        works.leave(1)
        works.leave(2)
        threading.Timer(0.05, gate.open.set).start()
        await asyncio.to_thread(works.close)
        assert await first == 0
        assert gate.groups == [[0], [1, 2]]
        for put in (lambda: works.put(5, within_s=5), lambda: works.leave(5)):
            with pytest.raises(ClosedError):
                put()

    asyncio.run(scenario())


def test_several_threads_share_a_lane() -> None:
    async def scenario() -> None:
        meeting = threading.Barrier(2, timeout=5)

        def meet(works: Sequence[int]) -> list[int]:
            meeting.wait()
            return list(works)

        works: Lane[int, int] = Lane("two", meet, most=9, together=1, threads=2)
        assert await asyncio.gather(works.put(1, within_s=5), works.put(2, within_s=5)) == [1, 2]
        works.close()

    asyncio.run(scenario())


def test_an_idle_lane_ends_at_once() -> None:
    gate = Gate()
    works = lane(gate)
    start_s = time.monotonic()
    works.close()
    assert time.monotonic() - start_s < 5
    assert gate.groups == []


def test_who_waits_hears_of_the_deadline_when_it_is_over() -> None:
    """And not only when the work before it is done."""

    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=60)
        await begun(gate)
        with pytest.raises(DeadlineError):
            await works.put(1, within_s=0.02)
        assert not first.done()
        assert works.weight == 0  # nor does it count any more
        gate.open.set()
        assert await first == 0
        assert await works.put(2, within_s=60) == 20
        assert gate.groups == [[0], [2]]
        works.close()

    asyncio.run(scenario())


def test_closing_may_refuse_what_waits() -> None:
    async def scenario() -> None:
        gate = Gate()
        works = lane(gate)
        first = works.put(0, within_s=60)
        await begun(gate)
        second = works.put(1, within_s=60)
        threading.Timer(0.05, gate.open.set).start()
        await asyncio.to_thread(works.close, finish=False)
        assert await first == 0
        with pytest.raises(ClosedError):
            await second
        assert gate.groups == [[0]]

    asyncio.run(scenario())
