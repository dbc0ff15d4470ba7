"""The serving engine for one event loop: requests wait in a bounded queue with a timeout and run on a worker thread.

There are four queues. One thread writes events, and commits all pending ones together. Another thread answers quick
queries in batches. Slow jobs have a queue and threads of their own, so that they do not delay quick queries. Long histories
are replayed by a thread of their own, so that they delay neither; the requests that need them wait for it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from reprise.errors import ArtefactError
from reprise.server.engine.requests import RecommendQuery, RecommendResult
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.state_cache import MAX_QUICK_EVENTS, LongHistoryError
from reprise.server.json_logging import log_error, log_event
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.answer_buffer import AnswerBuffer
from reprise.server.queueing.daemon_thread import call_with_timeout
from reprise.server.queueing.fair_order import Client
from reprise.server.queueing.gauges import add_gauges
from reprise.server.queueing.loop_lag import EventLoopLagMonitor
from reprise.server.queueing.user_replays import UserReplays
from reprise.server.queueing.work_queue import (
    ONE_CLIENT,
    ClosedError,
    DeadlineError,
    QueueFullError,
    WorkQueue,
)
from reprise.server.settings import Settings
from reprise.server.store.event_store import StoreError
from reprise.server.store.records import ErasureResult, Status, User, UserEvent

MAX_QUICK_DIVERSE_K = 50
"""Maximum number of items of a quick query with diversity; re-ranking more items takes long."""
MAX_BUSY_S = 0.5
"""Time in seconds after which a slow job counts as long. While all threads run long jobs, further ones are refused."""
MAX_REPLAYS = 3
"""Maximum number of replays for one request, before it runs in the queue of the replays itself."""
USER_SHARE = 8
"""One user of an API key may have at most one in so many of the pending slow jobs."""
Result = TypeVar("Result")
Job = Callable[[], Any]
LimitedJob = Callable[[int | None], Result]
"""A job that takes the maximum number of events to replay, and raises `LongHistoryError` if that is not enough."""


@dataclass(frozen=True)
class _Write:
    """Events to append to the log."""

    events: Sequence[tuple[User, UserEvent]]
    awaited: bool
    """True if the caller waits for the statuses."""


class AsyncService:
    """Asynchronous interface to a `ServingEngine`, for one event loop."""

    def __init__(self, engine: ServingEngine, settings: Settings, metrics: PrometheusMetrics) -> None:
        self.engine = engine
        self.closing = False
        """Whether the server is shutting down."""
        self.settings = settings
        self.metrics = metrics
        self._write_queue: WorkQueue[_Write | Job, Any] = WorkQueue(
            "write", self._write, max_pending=settings.max_pending_events, max_batch=settings.max_batch_events
        )
        self._quick_queue: WorkQueue[RecommendQuery, RecommendResult] = WorkQueue(
            "quick",
            self._recommend_batch,
            max_pending=settings.max_pending_queries,
            max_batch=settings.max_batch_queries,
        )
        self._slow_queue: WorkQueue[Job, Any] = WorkQueue(
            "slow",
            _run_jobs,
            max_pending=settings.max_pending_slow_jobs,
            max_batch=1,
            threads=settings.slow_threads,
            max_pending_per_user=settings.max_pending_slow_jobs // USER_SHARE,
            max_busy_s=MAX_BUSY_S,
        )
        self._replay_queue: WorkQueue[Job, Any] = WorkQueue(
            "replay",
            _run_jobs,
            max_pending=settings.max_pending_replays,
            max_batch=1,
            max_pending_per_user=1,
        )
        self._replays = UserReplays(self._replay_queue, self._replay, settings.queue_timeout_s)
        self._swap_lock = asyncio.Lock()
        self._reload_task: asyncio.Task[None] | None = None
        self._reload_again = False
        self._lag_monitor = EventLoopLagMonitor()
        self._refresh_task: asyncio.Task[None] | None = None
        self._store_check: asyncio.Future[Any] | None = None
        self._store_check_s = 0.0
        self._store_fault: str | None = None
        """Why the last write or check of the store failed. None: it succeeded."""
        self.answers = AnswerBuffer(engine.store, settings, metrics)
        queues = (self._quick_queue, self._slow_queue, self._replay_queue, self._write_queue)
        add_gauges(metrics, engine, queues, self._replay_queue)

    def check_loop_lag(self) -> None:
        """Raise `QueueFullError` if the event loop lags so far behind that a new request would be late."""
        if self._lag_monitor.lag_s > self.settings.max_loop_lag_s:
            raise QueueFullError

    async def ingest(self, events: Sequence[tuple[User, UserEvent]], durable: bool = True) -> list[Status]:
        """Append events to the log and return their statuses.

        Args:
            events: Pairs of a user and an event.
            durable: Wait until the events are on disk. False: return immediately with the status `ACCEPTED`.

        Raises:
            QueueFullError, DeadlineError, ClosedError: no event was appended; the caller may retry.
            StoreError: the store did not confirm the events.
        """
        if not durable:
            self._write_queue.submit_nowait(_Write(events, awaited=False), weight=len(events))
            return [Status.ACCEPTED] * len(events)
        statuses: list[Status] = await self._submit_write(_Write(events, awaited=True), weight=len(events))
        return statuses

    async def recommend(self, query: RecommendQuery, client: Client = ONE_CLIENT) -> RecommendResult:
        """Answer a query in the quick queue, or in the slow queue if it takes long."""
        slow = _is_slow(query)

        def submit(timeout_s: float) -> "asyncio.Future[RecommendResult]":
            if slow:
                return self._submit_slow(
                    lambda: self.engine.recommend(query, MAX_QUICK_EVENTS), client, timeout_s
                )
            return self._quick_queue.submit(query, timeout_s=timeout_s)

        return await self._with_states(
            submit, lambda: self.engine.recommend(query), query.context.user, client, query.rules.exclude_seen
        )

    async def run_slow(self, job: Callable[[], Result], client: Client = ONE_CLIENT) -> Result:
        """Run a job in the slow queue and return its result."""
        result: Result = await self._submit_slow(job, client, self.settings.queue_timeout_s)
        return result

    async def run_with_state(
        self, job: LimitedJob[Result], user: User | None, client: Client = ONE_CLIENT
    ) -> Result:
        """Run a job that needs the state of a user in the slow queue; replay a long history of the user before it."""
        return await self._with_states(
            lambda timeout_s: self._submit_slow(lambda: job(MAX_QUICK_EVENTS), client, timeout_s),
            lambda: job(None),
            user,
            client,
        )

    async def _with_states(
        self,
        submit: "Callable[[float], asyncio.Future[Result]]",
        unlimited: Callable[[], Result],
        user: User | None,
        client: Client,
        with_seen: bool = False,
    ) -> Result:
        """Return the result of a job; if it needs a long replay, replay in the background first.

        The number of events to replay is known only once the log was read, so a job finds out when it runs. Each replay makes
        it a short one, unless the user gets more late or new events at the same time.

        Args:
            submit: Submits the job with a limit of the events to replay, and with this timeout in seconds.
            unlimited: The job without the limit.
            user: The user whose history it needs; None: no history of the log.
            client: Whom it is for.
            with_seen: Whether it needs the seen items.
        """
        until_s = time.monotonic() + self.settings.queue_timeout_s
        replays = 0
        while True:
            timeout_s = until_s - time.monotonic()
            if timeout_s <= 0:
                raise DeadlineError
            try:
                return await submit(timeout_s)
            except LongHistoryError as error:
                cacheable = error.cacheable and user is not None and replays < MAX_REPLAYS
            if not cacheable:
                result: Result = await self._replay_queue.submit(
                    unlimited, timeout_s=until_s - time.monotonic(), client=client
                )
                return result
            assert user is not None
            await self._replays.wait(user, with_seen, client, until_s)
            replays += 1

    async def erase_user(self, user: User) -> ErasureResult:
        """Delete all data of a user and verify that none remains. Other requests are served during the verification."""

        # through the write queue: events of the user that were submitted before are written first, and then deleted
        def delete() -> int:
            self.answers.discard(user)
            return self.engine.delete_user(user)

        count: int = await self._write_queue.submit(delete, timeout_s=self.settings.queue_timeout_s)
        return ErasureResult(count, await asyncio.to_thread(self.engine.verify_erasure, user))

    async def run_write(self, job: Callable[[], Result]) -> Result:
        """Run a job that changes the log, after the writes that were submitted before, and return its result."""
        result: Result = await self._write_queue.submit(job, timeout_s=self.settings.queue_timeout_s)
        return result

    async def swap_model(self, path: Path | None = None) -> str:
        """Load and serve another model; return its version.

        Args:
            path: Directory of the model. None: load the current directory again, in an A/B test that of each model.

        Raises:
            QueueFullError: another model is being loaded.
            ArtefactError: the model is damaged or invalid, or was not loaded in time; the old one stays.
        """
        if self._swap_lock.locked():
            raise QueueFullError
        async with self._swap_lock:
            if path is not None:
                return await self._swap(path)
            first, *_ = [await self._swap(model.path) for model in self.engine.models]
            return first

    def request_reload(self) -> None:
        """Load the directory of the model again, after a swap that is running: once for all requests until then.

        Must be called from the event loop.
        """
        if self._reload_task is not None and not self._reload_task.done():
            self._reload_again = True
        else:
            self._reload_task = asyncio.create_task(self._reload())
        if self._swap_lock.locked():
            log_event("model reload queued", reason="another model is being loaded")

    async def _reload(self) -> None:
        self._reload_again = True
        while self._reload_again:
            async with self._swap_lock:
                # cleared before the directory is read: a later request announces files that this pass may not see
                self._reload_again = False
                for model in self.engine.models:
                    with suppress(Exception):  # logged and counted by `_swap`
                        await self._swap(model.path)

    async def _swap(self, path: Path) -> str:
        timeout_s = self.settings.model_timeout_s
        try:
            try:
                new = await call_with_timeout(lambda: self.engine.load_model(path), timeout_s)
            except TimeoutError:
                raise ArtefactError(
                    f"{path} was not loaded within {timeout_s:g} s; check the disk that holds it, or allow more time with "
                    "--model-timeout"
                ) from None
            version = await asyncio.to_thread(self.engine.replace_model, new)
        except Exception as error:
            self.metrics.model_swaps.labels("failed").inc()
            log_error("model swap failed", error, path=str(path))
            raise
        self.metrics.model_swaps.labels("succeeded").inc()
        log_event("model swapped", model_version=version, path=str(path))
        return version

    async def check_writable(self) -> None:
        """Raise an exception if events cannot be written. A successful check holds for `refresh_interval_s` seconds."""
        check = self._store_check
        failed = check is not None and check.done() and (check.cancelled() or check.exception() is not None)
        expired = time.monotonic() - self._store_check_s > self.settings.refresh_interval_s
        if check is None or failed or expired:
            self._store_check = check = self._submit_write(self._check_store)
            self._store_check_s = time.monotonic()
        # shielded: several requests may wait for one check, and none may cancel it for the others
        await asyncio.shield(check)

    def start(self) -> None:
        """Start the background tasks on the running event loop."""
        self._lag_monitor.start()
        self._refresh_task = asyncio.create_task(self._refresh_periodically())

    def begin_shutdown(self) -> None:
        """Stop the replays that are running; the requests that wait for them are refused. Thread-safe, and returns quickly."""
        self.closing = True
        self.engine.stop_replays()

    async def close(self) -> None:
        """Stop the background tasks, finish pending work and close the log. Pending slow jobs are refused."""
        self.begin_shutdown()
        self._lag_monitor.stop()
        for task in (self._refresh_task, self._reload_task):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._quick_queue.close)
        await asyncio.to_thread(self._slow_queue.close, drain=False)
        await asyncio.to_thread(self._replay_queue.close, drain=False)
        with suppress(QueueFullError):
            self._write_queue.submit_nowait(self._save_states)
        await asyncio.to_thread(self._write_queue.close)
        self.engine.store.close()

    async def _refresh_periodically(self) -> None:
        while True:
            await asyncio.sleep(self.settings.refresh_interval_s)
            try:
                await asyncio.to_thread(self.engine.refresh)
            except Exception as error:  # retried after the next interval
                log_event("refresh from the log failed", error=str(error))
            with suppress(QueueFullError, ClosedError):  # the states wait for the next interval
                self._write_queue.submit_nowait(self._save_states)

    def _save_states(self) -> None:
        self.answers.write()
        try:
            self.engine.save_states()
        except Exception as error:  # a cache: states that were not stored are computed again
            log_event("states not stored", error=str(error))

    def _write(self, works: Sequence[_Write | Job]) -> list[Any]:
        results: list[Any] = []
        # neighbouring writes are committed together; the order of writes and jobs is kept
        for _, group in groupby(works, key=lambda work: isinstance(work, _Write)):
            batch = list(group)
            writes = [work for work in batch if isinstance(work, _Write)]
            results += self._append(writes) if writes else _run_jobs(batch)
        return results

    def _submit_write(self, work: _Write | Job, weight: int = 1) -> "asyncio.Future[Any]":
        """Queue a write. If the queue is full because the store fails, raise `StoreError` instead of `QueueFullError`."""
        try:
            return self._write_queue.submit(work, weight=weight, timeout_s=self.settings.queue_timeout_s)
        except QueueFullError:
            if self._store_fault is None:
                raise
            raise StoreError(self._store_fault) from None

    def _check_store(self) -> None:
        try:
            self.engine.store.check()
        except StoreError as error:
            self._store_fault = str(error)
            raise
        self._store_fault = None

    def _append(self, writes: Sequence[_Write]) -> list[Any]:
        events = [event for write in writes for event in write.events]
        try:
            statuses = iter(self.engine.store.append(events))
        except Exception as error:
            lost = sum(len(write.events) for write in writes if not write.awaited)
            log_error("events not written", error, refused=len(events) - lost, lost=lost)
            self.metrics.events_lost.inc(lost)
            self._store_fault = str(error)
            return [error] * len(writes)
        self._store_fault = None
        self.metrics.commit_batch_size.observe(len(events))
        results = [[next(statuses) for _ in write.events] for write in writes]
        self.metrics.count_stored(status for statuses in results for status in statuses)
        return results

    def _submit_slow(self, job: Job, client: Client, timeout_s: float) -> "asyncio.Future[Any]":
        return self._slow_queue.submit(job, timeout_s=timeout_s, client=client)

    def _replay(self, user: User, with_seen: bool) -> None:
        self.engine.replay(user, with_seen)

    def _recommend_batch(self, queries: Sequence[RecommendQuery]) -> Sequence[RecommendResult | Exception]:
        self.metrics.inference_batch_size.observe(len(queries))
        return self.engine.recommend_batch(queries, MAX_QUICK_EVENTS)


def _is_slow(query: RecommendQuery) -> bool:
    """Return whether a query takes long even for a user with a short history."""
    return (
        query.explain
        or len(query.context.events) > MAX_QUICK_EVENTS
        or (query.rules.diversity > 0 and query.rules.k > MAX_QUICK_DIVERSE_K)
    )


def _run_jobs(jobs: Sequence[Any]) -> list[Any]:
    results: list[Any] = []
    for job in jobs:
        try:
            results.append(job())
        except Exception as error:
            results.append(error)
    return results
