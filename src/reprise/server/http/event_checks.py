"""Checks of events before they are stored: times near the clock, known kinds, and the rate of each user."""

from math import ceil
from typing import NamedTuple

from reprise.data.timestamps import EARLIEST_S, format_time
from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.server.http.event_schema import EventBody, InvalidEvent
from reprise.server.settings import Settings
from reprise.server.store.records import Reason, User, UserEvent
from reprise.server.token_buckets import TokenBuckets

EARLIEST_MS = EARLIEST_S * 1000
"""Earliest time of an event to store, in March 1973. A number before it is a mistake, and usually 0 for an unknown time."""


class Rejection(NamedTuple):
    """Why an event is rejected."""

    reason: Reason
    """Code for programs."""
    error: str
    """Message for people."""
    wait_s: float = 0.0
    """Time after which the same event would be stored, in seconds; 0: it would be rejected again."""


NO_CONSENT = Rejection("no_consent", "no consent, so it was not stored")


class EventChecks:
    """Checks of events, with the number of events that each user has left in this minute."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._user_events: TokenBuckets[User] = TokenBuckets()

    def check(
        self, tenant: str, entry: EventBody | InvalidEvent, now_ms: int, catalogue: Catalogue
    ) -> tuple[User, UserEvent] | Rejection:
        """Return the user and the event to store, or why it is rejected."""
        if isinstance(entry, InvalidEvent):
            return Rejection("invalid", entry.fault)
        if entry.timestamp is not None:
            ahead_s = (entry.timestamp - now_ms) / 1000
            if ahead_s > self._settings.max_event_ahead_s:
                return Rejection(
                    "in_future",
                    f"timestamp is {ahead_s:.0f} s in the future; the server's clock says {now_ms} ms since 1970",
                )
            if entry.timestamp < EARLIEST_MS:
                return Rejection(
                    "too_early",
                    f"timestamp {entry.timestamp} ms is {format_time(entry.timestamp)}, before {format_time(EARLIEST_MS)}; "
                    "send seconds or milliseconds since 1970, or leave it out if the time is unknown",
                )
        try:
            catalogue.kind(entry.kind)
        except DataError as error:
            return Rejection("unknown_kind", str(error))
        user, per_minute = User(tenant, entry.user_id), self._settings.max_user_events_per_minute
        wait_s = self._user_events.take(user, per_minute) if per_minute else 0.0
        if wait_s:
            return Rejection(
                "too_many",
                f"the user has sent more than {per_minute:,} events per minute; send it again in {ceil(wait_s)} s",
                wait_s,
            )
        assigned = entry.timestamp is None
        event = UserEvent(
            entry.item_id, now_ms if assigned else entry.timestamp, entry.kind, entry.value, entry.event_id,
            time_assigned=assigned, recommendation_id=entry.recommendation_id,
        )  # fmt: skip
        return user, event
