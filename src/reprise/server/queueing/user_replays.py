"""Replays of long histories in the background: one at a time for each user, in a queue and a thread of their own."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from reprise.server.queueing.fair_order import Client
from reprise.server.queueing.work_queue import MAX_DELAY_SHARE, DeadlineError, QueueFullError, WorkQueue
from reprise.server.store.records import User

MAX_WAITING_REQUESTS = 16
"""Maximum number of requests that wait for the replay of one user. Further ones are refused."""

Job = Callable[[], object]


class UserReplays:
    """Replays of users, for one event loop. Requests that need the same replay share it.

    A replay whose requests have given up goes on: its result is cached, so that the next request is answered.
    """

    def __init__(
        self, queue: "WorkQueue[Job, object]", replay: Callable[[User, bool], object], timeout_s: float
    ) -> None:
        """Create replays that run in a queue.

        Args:
            queue: The queue of the replays. It is closed by the caller.
            replay: Computes and caches the state of a user; the second argument says whether with the seen items.
            timeout_s: Expected waiting time above which a replay is refused, in seconds.
        """
        self._queue = queue
        self._replay = replay
        self._timeout_s = timeout_s
        self._futures: dict[User, asyncio.Future[object]] = {}
        self._waiting: Counter[User] = Counter()

    async def wait(self, user: User, with_seen: bool, client: Client, until_s: float) -> None:
        """Replay the history of a user, or wait for a replay that has started already.

        Args:
            user: The user whose state to compute.
            with_seen: Also compute the seen items. A replay that another request has started may leave them out.
            client: Whom the request is for.
            until_s: Time on the monotonic clock after which the request gives up.

        Raises:
            QueueFullError: too many requests wait for this user, or too many replays are pending.
            DeadlineError: the replay was not finished in time. It goes on.
            ReplayStoppedError, ClosedError: the server is shutting down.
            StoreError: the log cannot be read.
        """
        if self._waiting[user] >= MAX_WAITING_REQUESTS:
            raise QueueFullError
        future = self._futures.get(user)
        if future is None:
            future = self._futures[user] = self._start(user, with_seen, client)
        self._waiting[user] += 1
        try:
            # shielded: other requests may wait for this replay, and none may cancel it
            await asyncio.wait_for(asyncio.shield(future), until_s - time.monotonic())
        except TimeoutError:
            raise DeadlineError from None
        finally:
            self._waiting[user] -= 1
            if not self._waiting[user]:
                del self._waiting[user]

    def _start(self, user: User, with_seen: bool, client: Client) -> "asyncio.Future[object]":
        future = self._queue.submit(
            lambda: self._replay(user, with_seen),
            timeout_s=self._timeout_s / MAX_DELAY_SHARE,
            client=client,
        )

        def done(done: "asyncio.Future[object]") -> None:
            self._futures.pop(user, None)
            if not done.cancelled():
                done.exception()  # retrieve it, or asyncio logs it if no request waits any more

        future.add_done_callback(done)
        return future
