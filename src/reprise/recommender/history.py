"""Reading of histories: from any form a caller may pass to the events that a network reads.

Shape letters: T known events, oldest first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from math import inf, isfinite, isnan, nan
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray
from reprise.data.history_rules import NO_RULES, HistoryRules, round_to_ms
from reprise.data.timestamps import format_iso, format_time, parse_instant
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.list_arguments import history_events
from reprise.recommender.runtime.event_arrays import EventArrays

Timestamp = float | str | datetime
"""Seconds or milliseconds since 1970, an ISO 8601 string with a UTC offset, or a datetime with a time zone."""
EventLike = ItemId | tuple[ItemId, Timestamp | None] | Mapping[str, Any]
"""An item id, an (item id, timestamp) pair, or a mapping with `item_id` and optionally `timestamp`, `kind` and `value`."""


@dataclass(frozen=True)
class UserHistory:
    """A history together with attributes of its user, such as `UserHistory(["p1"], {"country": "FR"})`."""

    events: Iterable[EventLike] = ()
    """Events of the user, oldest first."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Values of columns of the user table on which the model was trained. Other columns are ignored."""

    def __post_init__(self) -> None:
        if not isinstance(self.attributes, Mapping) or not all(
            isinstance(name, str) for name in self.attributes
        ):
            raise DataError(
                f"the attributes of a user are a mapping of column to value, got {shown(self.attributes)}; "
                "pass them like {'country': 'FR'}"
            )


HistoryLike = Iterable[EventLike] | UserHistory

MILLISECONDS_FROM = 1e11
"""Smallest number that is read as milliseconds: as seconds it would be after the year 5000."""

END_S = 253_402_300_800.0
"""The year 10000 in seconds since 1970. Later times are in another unit, such as microseconds."""

OTHER_NAMES = {
    "time": "timestamp", "datetime": "timestamp", "event_time": "timestamp", "event_type": "kind", "event": "kind",
}  # fmt: skip
"""Names of columns of a log that are an error in an event, and the names to use instead."""

MAX_VALUE = float(np.finfo(np.float32).max)
"""Largest value of an event that can be stored."""


@dataclass(frozen=True)
class History:
    """The history of one user, as arrays, after cleaning."""

    events: EventArrays
    """Events whose items the model knows, T of them."""
    position_T: AnyArray
    """Position of each of these events in the history that was passed."""
    skipped: int
    """Number of events that were skipped, because the model has no vector for their items."""
    last_s: float
    """Time of the last event that has one, known or not, in seconds since 1970; NaN if no event has a time."""
    all_events: EventArrays
    """Events after cleaning, with those of unknown items, whose index is `PAD`."""
    all_ids: Sequence[Any]
    """Item ids of `all_events`."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the user by column."""

    def __len__(self) -> int:
        return len(self.events)


class _InputEvent(NamedTuple):
    """One event as it was passed."""

    item_id: Any
    timestamp: Timestamp | None = None
    kind: object = None
    value: object = None


def read_history(events: HistoryLike, catalogue: Catalogue, rules: HistoryRules = NO_RULES) -> History:
    """Return the known events of a history, oldest first, after cleaning by the rules of the log.

    Raises:
        DataError: an event has no item id; an id is of another type than the model's ids; a kind is unknown and the model
            reads kinds; a value is not a finite number; or a timestamp is before the one of an earlier event.
    """
    if isinstance(events, UserHistory):
        return replace(read_history(events.events, catalogue, rules), attributes=events.attributes)
    given = history_events(events)
    if all(issubclass(kind, str | Integral) for kind in set(map(type, given))):
        # most histories consist of ids only, and these need no work per event
        return _known(EventArrays.of_items(catalogue.indices(given), catalogue.kind()), nan, given)
    return _read([_input_event(event) for event in given], catalogue, rules)


def _read(given: Sequence[_InputEvent], catalogue: Catalogue, rules: HistoryRules) -> History:
    time_s = [nan if event.timestamp is None else unix_seconds(event.timestamp) for event in given]
    events = EventArrays(
        item=catalogue.indices(event.item_id for event in given).astype(np.int64),
        time_s=np.array(time_s),
        kind=np.array([catalogue.kind(event.kind) for event in given], dtype=np.int64),
        value=np.array([_value(event.value) for event in given], dtype=np.float32),
    )
    timed = [position for position, seconds in enumerate(time_s) if not isnan(seconds)]
    for before, position in pairwise(timed):
        if time_s[position] < time_s[before]:
            raise DataError(
                f"event {position} of the history ({given[position].timestamp}) is earlier than the one before it; "
                "sort the history, oldest first"
            )
    last_s = time_s[timed[-1]] if timed else nan
    kept = rules.select(
        round_to_ms(time_s), [event.item_id for event in given], [event.kind for event in given]
    )
    ids = [given[position].item_id for position in kept.tolist()]
    return _known(events.take(kept), last_s, ids, kept)


def _known(
    events: EventArrays, last_s: float, ids: Sequence[Any], position_E: AnyArray | None = None
) -> History:
    (known_T,) = np.nonzero(events.item != PAD)
    position_T = known_T if position_E is None else position_E[known_T]
    return History(events.take(known_T), position_T, len(events) - len(known_T), last_s, events, ids)


def time_after(read_B: Iterable[History], now: Timestamp | None) -> float:
    """Return the time of a request for some users in seconds since 1970, NaN for None. See `request_time_s`."""
    last_s = max((history.last_s for history in read_B if not isnan(history.last_s)), default=nan)
    return request_time_s(now, last_s)


def request_time_s(now: Timestamp | None, last_s: float) -> float:
    """Return the time of a request in seconds since 1970, NaN for None.

    Raises:
        DataError: `now` is not a timestamp, or is before the last event.
    """
    now_s = nan if now is None else unix_seconds(now)
    if now_s < last_s:
        raise DataError(
            f"now ({_formatted(now_s)}) is before the last event ({_formatted(last_s)}); "
            "pass a later time, or leave out the events after it"
        )
    return now_s


def _formatted(time_s: float) -> str:
    try:
        return format_iso(round(time_s * 1000))
    except (ValueError, OverflowError, OSError):  # outside the range of the calendar
        return f"{time_s:.15g} s"


def unix_seconds(timestamp: Timestamp) -> float:
    """Return a timestamp as seconds since 1970.

    Raises:
        DataError: it is not a timestamp, has no time zone, or is a float32 number that is rounded to more than a second.
    """
    if isinstance(timestamp, str):
        try:
            timestamp = parse_instant(timestamp)
        except ValueError as error:
            raise DataError(f"timestamp {timestamp!r} {error}; write 2024-03-01T10:00:00+00:00") from None
    if isinstance(timestamp, datetime) and timestamp == timestamp:  # pandas' NaT does not equal itself
        if timestamp.tzinfo is None:
            raise DataError(
                f"timestamp {timestamp} has no time zone; write its offset, as in {timestamp}+00:00"
            )
        return timestamp.timestamp()
    number = _as_float(timestamp)
    if not isfinite(number):
        raise DataError(
            f"{shown(timestamp)} is not a timestamp; pass seconds since 1970, an ISO 8601 string or a datetime"
        )
    seconds = number / (1000.0 if abs(number) >= MILLISECONDS_FROM else 1.0)
    if abs(seconds) >= END_S:
        raise DataError(
            f"timestamp {shown(timestamp)} is in {format_time(seconds * 1000)}; pass seconds or milliseconds since 1970"
        )
    if isinstance(timestamp, np.floating) and np.spacing(timestamp) > 1:
        raise DataError(
            f"timestamp {timestamp!r} has too few digits: it is rounded to a multiple of {np.spacing(timestamp):g}, "
            "so order and gaps are lost; pass the original time as an integer or as float64"
        )
    return seconds


def _input_event(event: Any) -> _InputEvent:
    if "item_id" in getattr(event, "_fields", ()):
        event = event._asdict()  # a row of `DataFrame.itertuples`, or a recommendation
    if isinstance(event, Mapping):
        if "item_id" not in event:
            raise DataError(f"event {shown(dict(event))} has no 'item_id'{did_you_mean('item_id', event)}")
        for name, field in OTHER_NAMES.items():
            if name in event and field not in event:
                raise DataError(
                    f"event {shown(dict(event))} has {name!r}; name it {field!r}, or leave it out"
                )
        kind = event.get("kind")
        # data frames write NaN for a missing kind
        kind = None if isinstance(kind, Real) and kind != kind else kind
        return _InputEvent(event["item_id"], event.get("timestamp"), kind, event.get("value"))
    if isinstance(event, tuple | list):
        if len(event) != 2:
            raise DataError(f"event {shown(event)} has {len(event)} parts; an event is (item_id, timestamp)")
        return _InputEvent(*event)
    return _InputEvent(event)


def _value(value: object) -> float:
    if value is None:
        return nan
    number = _as_float(value)
    if abs(number) > MAX_VALUE:
        raise DataError(
            f"value {shown(value)} is not a finite number; leave it out for an event without a value"
        )
    return number


def _as_float(value: object) -> float:
    """Return a number as a float; infinity for other objects, and for integers that are too large for a float."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return inf
    try:
        return float(value)
    except (OverflowError, TypeError):  # TypeError: NumPy's durations are subclasses of its integers
        return inf
