"""What a caller knows of a user, in any of its forms, as events that a network can read.

Shape letters: T known events, oldest first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import inf, isfinite, isnan, nan
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.timestamps import format_iso
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.runtime.event_arrays import EventArrays

Timestamp = float | str | datetime
"""Seconds or milliseconds since 1970, an ISO 8601 string with its offset, or a datetime with its time zone."""
PastEvent = ItemId | tuple[ItemId, Timestamp | None] | Mapping[str, Any]
"""An item id, an (item id, timestamp) pair, or a mapping with `item_id` and perhaps `timestamp`, `kind` and `value`."""
HistoryLike = Iterable[PastEvent]

MILLISECONDS_FROM = 1e11
"""Numbers from here on are milliseconds: as seconds they would lie beyond the year 5000."""

LARGEST = float(np.finfo(np.float32).max)
"""Of the values that can be stored."""


@dataclass(frozen=True)
class History:
    """What is known of one user."""

    events: EventArrays
    """The events that a network can read, T of them."""
    position_T: AnyArray
    """Where each stands in what the caller passed."""
    skipped: int
    """How many events the caller passed whose items have no vector."""
    last_s: float
    """When the last event with a time was, of all that the caller passed; NaN where none has one."""

    def __len__(self) -> int:
        return len(self.events)


class _Given(NamedTuple):
    """One event as the caller passed it."""

    item_id: Any
    timestamp: Timestamp | None = None
    kind: object = None
    value: object = None


def read_history(events: HistoryLike, catalogue: Catalogue) -> History:
    """The known events of a history, oldest first.

    Raises:
        DataError: an event without an item id, ids of another type than the model's, an unknown kind where kinds are read,
            a value that is no finite number, or times that go back.
    """
    if isinstance(events, str | bytes | Mapping):
        raise DataError(f"a history is a list of events, oldest first, got {events!r}; pass [{events!r}]")
    if not isinstance(events, Iterable):
        raise DataError(
            f"a history is a list of events, oldest first, got {events!r}; without events pass []"
        )
    given: list[Any] = list(events)
    if all(issubclass(kind, str | Integral) for kind in set(map(type, given))):
        # ids only, the common and the quick case
        return _known(EventArrays.of_items(catalogue.indices(given), catalogue.kind()), nan)
    return _read([_event(event) for event in given], catalogue)


def _read(given: Sequence[_Given], catalogue: Catalogue) -> History:
    time_s = [nan if event.timestamp is None else moment_s(event.timestamp) for event in given]
    events = EventArrays(
        item=catalogue.indices(event.item_id for event in given).astype(np.int64),
        time_s=np.array(time_s),
        kind=np.array([catalogue.kind(event.kind) for event in given], dtype=np.int64),
        value=np.array([_number(event.value) for event in given], dtype=np.float32),
    )
    timed = [position for position, moment in enumerate(time_s) if not isnan(moment)]
    for before, position in pairwise(timed):
        if time_s[position] < time_s[before]:
            raise DataError(
                f"event {position} of the history ({given[position].timestamp}) is earlier than the one before it; "
                "sort the history, oldest first"
            )
    return _known(events, time_s[timed[-1]] if timed else nan)


def _known(events: EventArrays, last_s: float) -> History:
    (position_T,) = np.nonzero(events.item != PAD)
    return History(events.take(position_T), position_T, len(events) - len(position_T), last_s)


def asked_s(now: Timestamp | None, last_s: float) -> float:
    """The moment of asking as seconds since 1970, NaN for None.

    Raises:
        DataError: `now` is no time, or before the last event.
    """
    now_s = nan if now is None else moment_s(now)
    if now_s < last_s:
        raise DataError(
            f"now ({_told(now_s)}) is before the last event ({_told(last_s)}); "
            "pass the moment for which the answer is, or leave out the events after it"
        )
    return now_s


def _told(moment_s: float) -> str:
    try:
        return format_iso(round(moment_s * 1000))
    except (ValueError, OverflowError, OSError):  # no calendar has it
        return f"{moment_s:.15g} s"


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


def _event(event: Any) -> _Given:
    if isinstance(event, Mapping):
        if "item_id" not in event:
            raise DataError(f"event {dict(event)!r} has no 'item_id'{did_you_mean('item_id', event)}")
        return _Given(event["item_id"], event.get("timestamp"), event.get("kind"), event.get("value"))
    if isinstance(event, tuple | list):
        if len(event) != 2:
            raise DataError(f"event {event!r} has {len(event)} parts; an event is (item_id, timestamp)")
        return _Given(*event)
    return _Given(event)


def _number(value: object) -> float:
    if value is None:
        return nan
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else inf
    if abs(number) > LARGEST:
        raise DataError(f"value {value!r} is no finite number; leave it out where there is none")
    return number
