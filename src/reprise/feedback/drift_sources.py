"""The distributions that drift compares: those of a dataset's training part, and those of an event store and answer log."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reprise.data.dataset import SequenceDataset
from reprise.data.sequence_blocks import iter_blocks
from reprise.feedback.distribution_drift import Drift, category_drift, number_drift
from reprise.server.store.answer_log import FOREVER_MS, Answer, KeepsAnswers
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import User, UserEvent

ALL_USERS = 2**31 - 1
"""Limit that no store reaches: all users are read."""


class EventCounts(NamedTuple):
    """Numbers of events by item and by kind."""

    items: dict[str, int]
    """Number of events of each item, by its id as text."""
    kinds: dict[str, int]
    """Number of events of each kind."""


def training_counts(dataset: SequenceDataset) -> EventCounts:
    """Return the counts of the training part of a dataset."""
    item_I = np.zeros(len(dataset.items) + 1, np.int64)
    kind_K = np.zeros(len(dataset.kinds), np.int64)
    for block in iter_blocks(dataset):
        training = block.select(block.part_E == 0)
        item_I += np.bincount(training.item_E, minlength=len(item_I))
        kind_K += np.bincount(training.kind_E, minlength=len(kind_K))
    ids = (str(one) for one in dataset.items.ids.tolist())
    return EventCounts(
        {item: count for item, count in zip(ids, item_I[1:].tolist(), strict=True) if count},
        dict(zip(dataset.kinds, kind_K.tolist(), strict=True)),
    )


def user_events(
    store: EventStore, tenant: str, limit: int, since_ms: int = 0, before_ms: int = FOREVER_MS
) -> Iterator[tuple[User, list[UserEvent]]]:
    """Yield the newest users of a tenant with their events of a period, at most `limit` users.

    Raises:
        StoreError: the store does not respond.
    """
    for user_id in store.recent_users(tenant, limit):
        user = User(tenant, user_id)
        events = store.events_since(user).events
        yield user, [event for event in events if since_ms <= (event.time_ms or 0) < before_ms]


def stored_counts(
    store: EventStore, tenant: str, default_kind: str, limit: int, since_ms: int = 0
) -> EventCounts:
    """Return the counts of the events of a store since a time, of its newest users."""
    items: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for _, events in user_events(store, tenant, limit, since_ms):
        items.update(event.item_id for event in events)
        kinds.update(event.kind or default_kind for event in events)
    return EventCounts(dict(items), dict(kinds))


def best_scores(log: KeepsAnswers, tenant: str, since_ms: int) -> tuple[list[float], list[float]]:
    """Return the best score of each recommendation of the newest model before a time, and since that time.

    Scores of different models have different scales and are not compared.
    """
    kept: dict[str, tuple[list[float], list[float]]] = {}
    newest = ""
    for answer in log.answers(tenant):
        score = _best_score(answer)
        if score is not None:
            newest = answer.model
            kept.setdefault(newest, ([], []))[answer.time_ms >= since_ms].append(score)
    return kept.get(newest, ([], []))


def _best_score(answer: Answer) -> float | None:
    ranked = [item.score for item in answer.items if item.propensity is None]
    return max(ranked) if ranked and answer.operation == "recommend" else None


def measure_drift(
    dataset: SequenceDataset,
    store: EventStore,
    tenant: str = "default",
    *,
    since_ms: int = 0,
    users: int = 100_000,
) -> list[Drift]:
    """Return the drift of items and kinds since the training, and of the best scores of answers since a time.

    Args:
        dataset: Dataset of the model. Its training part is the reference of items and kinds.
        store: Event store of the server. Earlier answers of the same model are the reference of scores.
        tenant: Tenant of the events.
        since_ms: Start of the current period, in milliseconds since 1970.
        users: Largest number of users that are read, the newest first.

    Raises:
        DataError: there are no events in the period.
        StoreError: the store does not respond.
    """
    before = training_counts(dataset)
    now = stored_counts(store, tenant, dataset.kinds[0], users, since_ms)
    found = [
        category_drift("items", before.items, now.items),
        category_drift("kinds", before.kinds, now.kinds),
    ]
    if isinstance(store, KeepsAnswers):
        earlier, later = best_scores(store, tenant, since_ms)
        if earlier and later:
            found.append(number_drift("scores", earlier, later))
    return found
