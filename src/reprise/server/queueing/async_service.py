"""The live recommender for one event loop: what is asked waits in a lane, bounded and with a deadline, and is done by a thread.

Events are written by one thread, as many with one commit as wait; plain questions are answered by another, several at once;
what takes longer has a lane of its own, so that it delays nobody else.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from reprise.server.engine.requests import RecommendQuery, RecommendResult
from reprise.server.engine.serving_engine import ServingEngine
from reprise.server.engine.state_cache import LONG, LongHistoryError
from reprise.server.json_logging import log_error, log_event
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.queueing.loop_lag import EventLoopLagMonitor
from reprise.server.queueing.work_queue import QueueFullError, WorkQueue
from reprise.server.settings import Settings
from reprise.server.store.records import ErasureResult, Status, User, UserEvent

DIVERSE_K = 50
"""From so many items on it takes long to choose ones that are unlike one another."""
Result = TypeVar("Result")
Job = Callable[[], Any]


@dataclass(frozen=True)
class _Write:
    """Events to write."""

    events: Sequence[tuple[User, UserEvent]]
    awaited: bool
    """Whether somebody waits to hear what became of them."""


class AsyncService:
    """What the handlers of HTTP call."""

    def __init__(self, live: ServingEngine, settings: Settings, metrics: PrometheusMetrics) -> None:
        self.live = live
        self.settings = settings
        self.metrics = metrics
        self._writing: WorkQueue[_Write | Job, Any] = WorkQueue(
            "write", self._write, most=settings.waiting_events, together=settings.written_together
        )
        self._quick: WorkQueue[RecommendQuery, RecommendResult] = WorkQueue(
            "answer", self._answer, most=settings.waiting, together=settings.together
        )
        self._slow: WorkQueue[Job, Any] = WorkQueue(
            "slow", _do, most=settings.waiting_slow, together=1, threads=settings.slow_threads
        )
        self._swapping = asyncio.Lock()
        self._heartbeat = EventLoopLagMonitor()
        self._following: asyncio.Task[None] | None = None
        self._checked: asyncio.Future[Any] | None = None
        self._checked_s = 0.0
        self._watch()

    def check_pace(self) -> None:
        """Raise `QueueFullError` where the event loop is so far behind that what is asked now would be late."""
        if self._heartbeat.late_s > self.settings.late_s:
            raise QueueFullError

    async def ingest(self, events: Sequence[tuple[User, UserEvent]], durable: bool = True) -> list[Status]:
        """Add events: durably, or soon.

        Raises:
            LaneFullError, DeadlineError, ClosedError: they were not added, and may be offered again.
            StoreError: the store did not take them.
        """
        if not durable:
            self._writing.leave(_Write(events, awaited=False), weight=len(events))
            return [Status.ACCEPTED] * len(events)
        statuses: list[Status] = await self._writing.put(
            _Write(events, awaited=True), weight=len(events), within_s=self.settings.deadline_s
        )
        return statuses

    async def recommend(self, question: RecommendQuery) -> RecommendResult:
        """What may come next."""
        if not _is_slow(question):
            with suppress(LongHistoryError):
                return await self._quick.put(question, within_s=self.settings.deadline_s)
        return await self.slowly(lambda: self.live.recommend(question))

    async def slowly(self, job: Callable[[], Result]) -> Result:
        """The result of something that takes longer."""
        result: Result = await self._slow.put(job, within_s=self.settings.deadline_s)
        return result

    async def forget(self, user: User) -> ErasureResult:
        """Remove everything of a user, in turn with what is written, and prove it while others go on."""
        events: int = await self._writing.put(
            lambda: self.live.remove(user), within_s=self.settings.deadline_s
        )
        return ErasureResult(events, await asyncio.to_thread(self.live.prove_forgotten, user))

    async def put_item(self, tenant: str, item_id: str, values: Mapping[str, object]) -> bool:
        """Keep what is said of an item; whether it can be recommended."""
        known: bool = await self._writing.put(
            lambda: self.live.put_item(tenant, item_id, values), within_s=self.settings.deadline_s
        )
        return known

    async def swap(self, path: Path | None = None) -> str:
        """Serve another model, or the same directory read again; its version."""
        if self._swapping.locked():
            raise QueueFullError  # one at a time
        async with self._swapping:
            place = self.live.served.path if path is None else path
            try:
                version = await asyncio.to_thread(self.live.swap, place)
            except Exception as error:
                self.metrics.swaps.labels("refused").inc()
                log_error("model refused", error, path=str(place))
                raise
        self.metrics.swaps.labels("served").inc()
        log_event("model served", model_version=version, path=str(place))
        return version

    async def check(self) -> None:
        """Raise where events could not be written. That they could is known for a moment, however many ask."""
        known = self._checked
        failed = known is not None and known.done() and (known.cancelled() or known.exception() is not None)
        if known is None or failed or time.monotonic() - self._checked_s > self.settings.follow_s:
            self._checked = known = self._writing.put(
                self.live.store.check, within_s=self.settings.deadline_s
            )
            self._checked_s = time.monotonic()
        await asyncio.shield(known)

    def start(self) -> None:
        """Begin to follow what other processes are told."""
        self._heartbeat.start()
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Do what waits, and let go of the log."""
        self._heartbeat.stop()
        if self._following is not None:
            self._following.cancel()
        await asyncio.to_thread(self._quick.close)
        await asyncio.to_thread(self._slow.close, finish=False)
        await asyncio.to_thread(self._writing.close)
        self.live.store.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.follow_s)
            try:
                await asyncio.to_thread(self.live.follow)
            except Exception as error:  # it is tried again, and who needs the store hears of it
                log_event("others not followed", error=str(error))

    def _write(self, works: Sequence[_Write | Job]) -> list[Any]:
        results: list[Any] = []
        for _, group in groupby(works, key=lambda work: isinstance(work, _Write)):
            together = list(group)
            writes = [work for work in together if isinstance(work, _Write)]
            results += self._append(writes) if writes else _do(together)
        return results

    def _append(self, writes: Sequence[_Write]) -> list[Any]:
        events = [event for write in writes for event in write.events]
        try:
            statuses = iter(self.live.store.append(events))
        except Exception as error:
            lost = sum(len(write.events) for write in writes if not write.awaited)
            log_error("events not written", error, refused=len(events) - lost, lost=lost)
            self.metrics.lost.inc(lost)
            return [error] * len(writes)
        self.metrics.commits.observe(len(events))
        told = [[next(statuses) for _ in write.events] for write in writes]
        for status in Status:
            count = sum(one is status for statuses in told for one in statuses)
            if count:
                self.metrics.events.labels(status.value).inc(count)
        return told

    def _answer(self, questions: Sequence[RecommendQuery]) -> Sequence[RecommendResult | Exception]:
        self.metrics.together.observe(len(questions))
        return self.live.recommend_all(questions, long=LONG)

    def _watch(self) -> None:
        watch = self.metrics.watch
        for lane in (self._quick, self._slow, self._writing):
            watch(f"reprise_{lane.name}_waiting", f"What waits in the lane {lane.name!r}.", _weight(lane))
        watch("reprise_states", "Users whose state is remembered.", lambda: len(self.live.served.states))
        watch("reprise_state_bytes", "Memory of their states.", lambda: self.live.served.states.bytes)
        started_s = time.time()
        watch("reprise_start_time_seconds", "When the server began.", lambda: started_s)


def _is_slow(question: RecommendQuery) -> bool:
    """Whether an answer takes long, whoever asks."""
    rules = question.rules
    return (
        question.explain or len(question.asker.events) > LONG or (rules.diversity > 0 and rules.k > DIVERSE_K)
    )


def _weight(lane: WorkQueue[Any, Any]) -> Callable[[], float]:
    return lambda: lane.weight


def _do(jobs: Sequence[Any]) -> list[Any]:
    results: list[Any] = []
    for job in jobs:
        try:
            results.append(job())
        except Exception as error:
            results.append(error)
    return results
