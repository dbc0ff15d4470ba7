"""The bodies of requests that carry events, and of the response to stored events.

One invalid event does not fail a request with events to store: it gets a result of its own. A queue that sends the same
events again would otherwise never get past it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PrivateAttr, ValidationError
from pydantic_core import CoreSchema, from_json

from reprise.server.http.api_errors import fault_of, is_invalid_json
from reprise.server.http.field_types import EventKind, EventValue, Id, StrictBody, Timestamp
from reprise.server.store.records import Reason


class _OtherValues:
    """Lets the JSON schema of an event allow any other value: it is rejected in its result, not with the request."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "anyOf": [handler(core_schema), {"description": "Any other value is an event that is rejected."}]
        }


class ResponsePart(BaseModel):
    """Base class of response bodies and of their parts."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class EventBody(StrictBody):
    """An event of a user: an interaction with an item."""

    user_id: Id
    """The user who interacted with the item. The first event of an id creates the user."""
    item_id: Id
    """The item. The model does not have to know it."""
    timestamp: Timestamp | None = None
    """Time of the event: seconds or milliseconds since 1970, or ISO 8601 with a UTC offset. It is rejected if it is before
    1973-03-03 09:46:40 UTC or more than five minutes ahead of the server's clock. Default: now, or the time of the user's
    last event if that is later."""
    kind: EventKind | None = None
    """Kind of the event, one of those in the data on which the model was trained. Default: the model's default kind."""
    value: EventValue | None = None
    """Number that belongs to the event, for instance a rating or a price."""
    event_id: Id | None = None
    """Your own id of the event. An event whose id is already stored is not stored again."""
    recommendation_id: Id | None = None
    """`recommendation_id` of the answer that led to the event. `reprise feedback` counts such events as clicks and
    conversions."""


class InlineEventBody(StrictBody):
    """An event of a history that is sent with the request and not stored."""

    item_id: Id
    """The item. Events of items that the model does not know are skipped and counted."""
    timestamp: Timestamp | None = None
    """Time of the event: seconds or milliseconds since 1970, or ISO 8601 with a UTC offset. No event may be earlier than the
    one before it. Default: not known."""
    kind: EventKind | None = None
    """Kind of the event. Default: the model's default kind."""
    value: EventValue | None = None
    """Number that belongs to the event, for instance a rating or a price."""


class InvalidEvent(NamedTuple):
    """An event that does not match the schema."""

    fault: str
    """The first fault of the event, with its field, and the number of the others."""


class RecordEventsBody(StrictBody):
    """Events to store, oldest first."""

    events: Annotated[
        list[Annotated[EventBody, _OtherValues()]], Field(min_length=1, max_length=1_000, fail_fast=True)
    ]
    """The events, oldest first."""
    ack: Literal["durable", "accepted"] = "durable"
    """When to respond. `durable`: after the events are on disk. `accepted`: immediately; the events are lost if the
    process dies before it writes them, and duplicates and conflicts are reported as accepted."""
    consent: bool = True
    """`false`: store nothing."""
    _entries: list[EventBody | InvalidEvent] | None = PrivateAttr(default=None)

    @property
    def entries(self) -> Sequence[EventBody | InvalidEvent]:
        """The events in the order of the request, with those that do not match the schema."""
        return self.events if self._entries is None else self._entries

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Read a body. Events that do not match the schema become entries of their own.

        Raises:
            ValidationError: the body is not JSON, or anything but the single events does not match the schema.
        """
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            if is_invalid_json(error):
                raise
            document = from_json(json_data)
            if not isinstance(document, dict) or not isinstance(document.get("events"), list):
                raise
        given = document["events"]
        # any valid event takes the place of the events, which are read one by one below
        envelope = cls.model_validate({**document, "events": [{"user_id": "u", "item_id": "i"}] * len(given)})
        entries = [_event(value) for value in given]
        valid = [entry for entry in entries if isinstance(entry, EventBody)]
        body = envelope.model_copy(update={"events": valid})
        body._entries = entries
        return body


class EventResult(ResponsePart):
    """The result for one event."""

    status: Literal["accepted", "duplicate", "conflict", "rejected"]
    """`accepted`: stored. `duplicate`: the same event, with this `event_id`, is already stored. `conflict`: another event
    with this `event_id` is already stored, and this one is not. `rejected`: not stored."""
    error: str | None
    """Why the event was not stored."""
    reason: Reason | None
    """Code of `error` for programs. `invalid`: it does not match the schema. `too_early`: its timestamp is before March 1973.
    `in_future`: its timestamp is too far ahead of the server's clock. `unknown_kind`: the model does not know its kind.
    `no_consent`: the request has `consent: false`. `too_many`: its user has sent too many in this minute. `conflict`: see
    `status`. null: it is stored."""
    known_item: bool | None
    """Whether the model knows the item. The event of an unknown item is stored too, but the model skips it. null: the event
    is not stored."""
    hint: str | None = None
    """What to do about an item that the model does not know. Left out otherwise."""


class RecordEventsResponse(ResponsePart):
    """The result for each event."""

    results: list[EventResult]
    """One result for each event, in the order of the request."""


def _event(value: object) -> EventBody | InvalidEvent:
    """Return an event, or what is wrong with it."""
    if not isinstance(value, dict):
        return InvalidEvent("an event is a JSON object with user_id and item_id")
    unknown = next((name for name in value if name not in EventBody.model_fields), None)
    if unknown is not None:  # reported here, since pydantic would list each unknown field
        return InvalidEvent(f"{unknown[:100]}: extra inputs are not permitted")
    try:
        return EventBody.model_validate(value)
    except ValidationError as error:
        return InvalidEvent(fault_of(error))
