"""Replays in the background: one for each user at a time, shared by all requests that need it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from event_loop import on_event_loop

from reprise.server.queueing.fair_order import Client
from reprise.server.queueing.user_replays import MAX_WAITING_REQUESTS, UserReplays
from reprise.server.queueing.work_queue import DeadlineError, QueueFullError, WorkQueue
from reprise.server.store.event_store import StoreError
from reprise.server.store.records import User

ANNA, BERT = User("shop", "anna"), User("shop", "bert")


class BlockedReplays:
    """Replays that wait until they may finish."""

    def __init__(self) -> None:
        self.started: list[User] = []
        self.finish = threading.Event()
        self.error: Exception | None = None
        self.queue: WorkQueue[object, object] = WorkQueue(
            "replay",
            lambda jobs: [job() for job in jobs],
            max_pending=3,
            max_batch=1,
            max_pending_per_user=1,  # type: ignore[operator]
        )
        self.replays = UserReplays(self.queue, self._replay, 60)  # type: ignore[arg-type]

    def _replay(self, user: User, with_seen: bool) -> None:
        self.started.append(user)
        assert self.finish.wait(10)
        if self.error:
            raise self.error

    def wait(self, user: User, timeout_s: float = 10.0) -> "asyncio.Task[None]":
        waiting = self.replays.wait(user, False, Client(user=user.user_id), time.monotonic() + timeout_s)
        return asyncio.create_task(waiting)

    async def until_started(self, count: int) -> None:
        while len(self.started) < count:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def blocked_replays() -> AsyncIterator[BlockedReplays]:
    blocked = BlockedReplays()
    yield blocked
    blocked.finish.set()
    blocked.queue.close()


@on_event_loop
async def test_requests_for_one_user_share_a_replay() -> None:
    async with blocked_replays() as blocked:
        tasks = [blocked.wait(ANNA) for _ in range(3)]
        await blocked.until_started(1)
        tasks.append(blocked.wait(ANNA))
        await asyncio.sleep(0.01)
        blocked.finish.set()
        await asyncio.gather(*tasks)
        assert blocked.started == [ANNA]
        await blocked.wait(ANNA)  # a later request starts another one
        assert blocked.started == [ANNA, ANNA]


@on_event_loop
async def test_a_replay_goes_on_when_its_request_gives_up() -> None:
    async with blocked_replays() as blocked:
        first = blocked.wait(ANNA, timeout_s=0.01)
        with pytest.raises(DeadlineError):
            await first
        second = blocked.wait(ANNA)
        await asyncio.sleep(0.01)
        blocked.finish.set()
        await second
        assert blocked.started == [ANNA]


@on_event_loop
async def test_a_cancelled_request_does_not_cancel_the_replay_of_others() -> None:
    async with blocked_replays() as blocked:
        first, second = blocked.wait(ANNA), blocked.wait(ANNA)
        await blocked.until_started(1)
        first.cancel()
        blocked.finish.set()
        await second
        assert blocked.started == [ANNA]


@on_event_loop
async def test_an_error_of_a_replay_reaches_every_request_and_is_not_kept() -> None:
    async with blocked_replays() as blocked:
        blocked.error = StoreError("no store")
        tasks = [blocked.wait(ANNA), blocked.wait(ANNA)]
        await blocked.until_started(1)
        blocked.finish.set()
        for task in tasks:
            with pytest.raises(StoreError):
                await task
        blocked.error = None
        await blocked.wait(ANNA)


@on_event_loop
async def test_requests_and_replays_that_wait_are_bounded() -> None:
    async with blocked_replays() as blocked:
        waiting = [blocked.wait(ANNA) for _ in range(MAX_WAITING_REQUESTS)]
        await blocked.until_started(1)
        with pytest.raises(QueueFullError):
            await blocked.wait(ANNA)
        waiting += [blocked.wait(User("shop", str(number))) for number in range(3)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError):
            await blocked.wait(BERT)
        blocked.finish.set()
        await asyncio.gather(*waiting)
