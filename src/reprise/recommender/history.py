"""What a caller knows of a user, in any of its forms, as item indices.

Shape letters: T known events, oldest first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np

from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError, did_you_mean
from reprise.recommender.catalogue import Catalogue, Indices

Timestamp = float | str | datetime
"""Seconds or milliseconds since 1970, an ISO 8601 string with its offset, or a datetime with its time zone."""
PastEvent = ItemId | tuple[ItemId, Timestamp | None] | Mapping[str, Any]
"""An item id, an (item id, timestamp) pair, or a mapping with `item_id` and perhaps `timestamp`."""
HistoryLike = Iterable[PastEvent]

MILLISECONDS_FROM = 1e11
"""Numbers from here on are milliseconds: as seconds they would lie beyond the year 5000."""


@dataclass(frozen=True)
class History:
    """The events of one user that a network can read."""

    index_T: Indices
    """Item indices."""
    position_T: Indices
    """Where each stands in what the caller passed."""
    skipped: int
    """How many events the caller passed whose items have no vector."""

    def __len__(self) -> int:
        return len(self.index_T)


def read_history(events: HistoryLike, catalogue: Catalogue) -> History:
    """The known events of a history, oldest first.

    Timestamps are checked and put nothing into the answer yet: the networks of this version read the order alone.

    Raises:
        DataError: an event without an item id, ids of another type than the model's, or times that go back.
    """
    if isinstance(events, str | bytes | Mapping):
        raise DataError(f"a history is a list of events, oldest first, got {events!r}; pass [{events!r}]")
    if not isinstance(events, Iterable):
        raise DataError(
            f"a history is a list of events, oldest first, got {events!r}; without events pass []"
        )
    index = catalogue.indices(_item_ids(list(events)))
    (position_T,) = np.nonzero(index != PAD)
    return History(index[position_T], position_T, len(index) - len(position_T))


def moment_s(timestamp: Timestamp) -> float:
    """A timestamp as seconds since 1970.

    Raises:
        DataError: it is no time, or has no time zone.
    """
    if isinstance(timestamp, str):
        try:
            timestamp = datetime.fromisoformat(timestamp)
        except ValueError:
            raise DataError(
                f"timestamp {timestamp!r} is not ISO 8601; write 2024-03-01T10:00:00+00:00"
            ) from None
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise DataError(
                f"timestamp {timestamp} has no time zone; write its offset, as in {timestamp}+00:00"
            )
        return timestamp.timestamp()
    if not isinstance(timestamp, Real) or isinstance(timestamp, bool) or not isfinite(timestamp):
        raise DataError(
            f"{timestamp!r} is no timestamp; pass seconds since 1970, an ISO 8601 string or a datetime"
        )
    return float(timestamp) / (1000.0 if abs(timestamp) >= MILLISECONDS_FROM else 1.0)


def _item_ids(events: Sequence[PastEvent]) -> list[Any]:
    if all(issubclass(kind, str | Integral) for kind in set(map(type, events))):
        return list(events)  # ids only, the common and the quick case
    pairs = [_pair(event) for event in events]
    _check_order([timestamp for _, timestamp in pairs])
    return [item_id for item_id, _ in pairs]


def _pair(event: Any) -> tuple[Any, Timestamp | None]:
    if isinstance(event, Mapping):
        if "item_id" not in event:
            raise DataError(f"event {dict(event)!r} has no 'item_id'{did_you_mean('item_id', event)}")
        return event["item_id"], event.get("timestamp")
    if isinstance(event, tuple | list):
        if len(event) != 2:
            raise DataError(f"event {event!r} has {len(event)} parts; an event is (item_id, timestamp)")
        return event[0], event[1]
    return event, None


def _check_order(timestamps: Sequence[Timestamp | None]) -> None:
    timed = [(position, moment_s(time)) for position, time in enumerate(timestamps) if time is not None]
    for (_, before_s), (position, after_s) in pairwise(timed):
        if after_s < before_s:
            raise DataError(
                f"event {position} of the history ({timestamps[position]}) is earlier than the one before it; "
                "sort the history, oldest first"
            )
