"""Answers that wait to be written to the answer log, so that no answer waits for a disk."""

import threading
import time
from collections import deque

from reprise.server.json_logging import log_event
from reprise.server.prometheus_metrics import PrometheusMetrics
from reprise.server.settings import Settings
from reprise.server.store.answer_log import Answer, KeepsAnswers
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import User

DAY_MS = 86_400_000
TRIM_S = 600.0
"""Seconds between two deletions of old answers."""
ERASED_S = 30.0
"""Seconds for which no answer of a deleted user is added: requests that began before the deletion may still end."""


class AnswerBuffer:
    """A bounded buffer of answers. Answers beyond the limit are dropped and counted.

    `add` is called from the event loop; `write` and `discard` are called from the thread that writes to the store.

    Args:
        store: The event store. Without an answer log, or if the settings say so, nothing is kept.
        settings: Limits of the server.
        metrics: Metrics of the server.
    """

    def __init__(self, store: EventStore, settings: Settings, metrics: PrometheusMetrics) -> None:
        self._store = store if isinstance(store, KeepsAnswers) and settings.log_answers else None
        self._settings = settings
        self._metrics = metrics
        self._pending: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._erased: dict[User, float] = {}
        """Time at which a user was deleted, in seconds of the monotonic clock."""
        self._trimmed_s = float("-inf")
        self._failing = False

    @property
    def enabled(self) -> bool:
        """Whether answers are kept."""
        return self._store is not None

    def add(self, answer: Answer) -> None:
        """Add an answer, or drop it if too many are pending or its user has just been deleted."""
        if self._store is None:
            return
        with self._lock:
            if answer.user is not None and answer.user in self._erased:
                return
            if len(self._pending) >= self._settings.max_pending_answers:
                self._metrics.answers.labels("dropped").inc()
                return
            self._pending.append(answer)

    def discard(self, user: User) -> None:
        """Drop the pending answers of a user who is about to be deleted."""
        with self._lock:
            self._erased[user] = time.monotonic()
            self._pending = deque(one for one in self._pending if one.user != user)

    def write(self) -> None:
        """Write the pending answers in one transaction, and delete old ones from time to time.

        A failure is logged once; the answers are dropped and counted, because events are more important.
        """
        if self._store is None:
            return
        now_s = time.monotonic()
        with self._lock:
            batch, self._pending = self._pending, deque()
            self._erased = {user: at_s for user, at_s in self._erased.items() if now_s - at_s < ERASED_S}
        try:
            if batch:
                self._store.append_answers(batch)
            if now_s - self._trimmed_s > TRIM_S:
                before_ms = time.time_ns() // 1_000_000 - self._settings.answer_days * DAY_MS
                self._store.trim_answers(before_ms, self._settings.max_answers)
                self._trimmed_s = now_s
        except Exception as error:
            self._metrics.answers.labels("dropped").inc(len(batch))
            if not self._failing:
                log_event("answers not written", error=str(error), dropped=len(batch))
            self._failing = True
            return
        self._failing = False
        self._metrics.answers.labels("stored").inc(len(batch))
