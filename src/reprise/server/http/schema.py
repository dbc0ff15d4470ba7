"""The bodies of requests and answers. The OpenAPI page is made from these classes, so they are the whole truth."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from reprise.errors import DataError
from reprise.recommender.history import moment_s

ID_CHARACTERS = 256
TEXT_CHARACTERS = 2_000
LARGEST_INTEGER = 2**53
"""Above it JSON has no exact integers everywhere."""
LARGEST_MS = 253_402_300_799_999
"""The end of the year 9999."""
DAY_MS = 86_400_000
ISO = r"^(19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
"""A moment with its offset; other forms of ISO 8601 are read too, but not promised."""
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""No control characters."""


def _as_whole(told: object) -> object:
    """A whole number as an integer, also where JSON has it as 3.0; everything else is left to be refused, or not."""
    return int(told) if isinstance(told, float) and told.is_integer() else told


def _as_text(told: object) -> object:
    """A whole number as text; everything else is left to be refused, or not."""
    told = _as_whole(told)
    return (
        str(told)
        if isinstance(told, int) and not isinstance(told, bool) and abs(told) <= LARGEST_INTEGER
        else told
    )


def _as_milliseconds(told: object) -> int:
    """A time as milliseconds since 1970."""
    if isinstance(told, bool) or not isinstance(told, str | int | float):
        raise ValueError(
            "a time is a number of seconds or milliseconds since 1970, or ISO 8601 with its offset"
        )
    try:
        time_ms = round(moment_s(told) * 1000)
    except (DataError, OverflowError) as error:
        raise ValueError(str(error)) from None
    beyond_ms = DAY_MS if isinstance(told, str) else 0  # an offset may lead a little beyond
    if not -beyond_ms <= time_ms <= LARGEST_MS + beyond_ms:
        raise ValueError("a time lies between 1970 and 9999")
    return min(max(time_ms, 0), LARGEST_MS)


Text = Annotated[str, StringConstraints(max_length=TEXT_CHARACTERS, pattern=PRINTABLE)]
PathId = Annotated[str, StringConstraints(min_length=1, max_length=ID_CHARACTERS, pattern=PRINTABLE)]
"""An id as it stands in an address."""
Id = Annotated[
    PathId,
    BeforeValidator(_as_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS, "pattern": PRINTABLE},
                {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER},
            ]
        }
    ),
]
"""Text or a whole number, which are the same: "17" is 17."""
Number = Annotated[float, Field(allow_inf_nan=False)]
Value = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
Moment = Annotated[
    int,
    BeforeValidator(_as_milliseconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": LARGEST_MS},
                {"type": "string", "format": "date-time", "pattern": ISO},
            ]
        }
    ),
]
"""Seconds or milliseconds since 1970, or ISO 8601 with its offset; read as milliseconds."""
Column = PathId
Kind = Column
Scalar = Text | Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)] | Number | bool


class Body(BaseModel):
    """What is asked: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EventBody(Body):
    """Something a person did."""

    user_id: Id
    item_id: Id
    timestamp: Moment | None = Field(None, description="When. Left out: now.")
    kind: Kind | None = Field(None, description="What was done, as in the log the model was trained on.")
    value: Value | None = Field(None, description="A number that goes with it.")
    event_id: Id | None = Field(None, description="Your own id of the event: sent again, it is a duplicate.")


class PastEventBody(Body):
    """Something the asker did, told with the question and not kept."""

    item_id: Id
    timestamp: Moment | None = None
    kind: Kind | None = None
    value: Value | None = None


class EventsBody(Body):
    """Events, oldest first."""

    events: Annotated[list[EventBody], Field(min_length=1, max_length=1_000, fail_fast=True)]
    ack: Literal["durable", "accepted"] = Field(
        "durable",
        description="When to answer: when the events are on the disk, or at once: then they may be lost with the process, "
        "and duplicates are called accepted.",
    )
    consent: bool = Field(True, description="false: nothing is stored.")


class RangeCondition(Body):
    """Numbers, or times as ISO 8601."""

    min: Number | Text | None = None
    max: Number | Text | None = None


class NotCondition(Body):
    """None of these."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)
    not_: Scalar | Annotated[list[Scalar], Field(max_length=1_000, fail_fast=True)] = Field(alias="not")


Condition = (
    Scalar | Annotated[list[Scalar], Field(max_length=1_000, fail_fast=True)] | RangeCondition | NotCondition
)
Ids = Annotated[list[Id], Field(max_length=10_000, fail_fast=True)]
K = Annotated[int, Field(ge=1, le=1_000), BeforeValidator(_as_whole)]


class UserContextBody(Body):
    """For whom: `user_id`, `events`, or both."""

    user_id: Id | None = None
    events: Annotated[list[PastEventBody], Field(max_length=1_000, fail_fast=True)] = Field(
        default=[], description="A past that is told with the question, oldest first; it is not kept."
    )
    consent: bool = Field(
        True, description="false: what is stored of the user is not read, and nothing is stored."
    )


class RecommendBody(UserContextBody):
    """What may come next?"""

    k: K = 10
    now: Moment | None = Field(
        None, description="The moment for which the answer is. Left out: the moment of asking."
    )
    deny: Ids = Field(default=[], description="Items not to answer.")
    allow: Ids | None = Field(None, description="The only items to answer.")
    filter: Annotated[dict[Column, Condition], Field(max_length=20)] | None = Field(
        None,
        description='Conditions on columns: {"category": ["a", "b"], "price": {"max": 20}, "brand": {"not": "c"}}.',
    )
    exclude_seen: bool = Field(False, description="Leave out the items of the past.")
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        0.0, description="0: the best; towards 1: items that are less alike."
    )
    explain: bool = Field(False, description="Say which past events moved each item.")


class SimilarBody(Body):
    """Which items are like this one?"""

    item_id: Id
    k: K = 10


class GenerateBody(UserContextBody):
    """How might it go on?"""

    length: Annotated[int, Field(ge=1, le=50), BeforeValidator(_as_whole)] = 5
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), BeforeValidator(_as_whole)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    no_repeat: bool = True
    seed: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), BeforeValidator(_as_whole)] | None = None
    beams: Annotated[int, Field(ge=1, le=16), BeforeValidator(_as_whole)] | None = None


class ItemBody(Body):
    """What is said of an item, instead of what was said before."""

    title: Text | None = None
    price: Number | None = None
    available: bool | None = Field(None, description="false: not recommended, unless a filter asks for it.")
    columns: Annotated[dict[Column, Scalar | None], Field(max_length=50)] = Field(
        default={}, description="Any other columns; null removes a value."
    )


class ModelBody(Body):
    """Which model to serve from now on."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=PRINTABLE)] | None = Field(
        None, description="The directory of a saved model. Left out: the one that is served, read again."
    )


class EventResult(BaseModel):
    """What became of one event."""

    status: Literal["accepted", "duplicate", "rejected"]
    error: str | None


class EventsResponse(BaseModel):
    """What became of each event, in their order."""

    results: list[EventResult]


class AttributionResponse(BaseModel):
    """A past event that moved the score of an item, and by how much."""

    item_id: str
    title: str | None
    timestamp: int | None
    kind: str | None
    influence: float


class ItemResponse(BaseModel):
    """One recommended item."""

    item_id: str | int
    score: float
    rank: int
    title: str | None
    reason: str
    causes: list[AttributionResponse] | None = None


class RecommendResponse(BaseModel):
    """What may come next, best first."""

    items: list[ItemResponse]
    model_version: str
    recommendation_id: str
    events: int
    skipped: int


class SimilarResponse(BaseModel):
    """The items that are most alike, best first; the score is a cosine."""

    items: list[ItemResponse]
    model_version: str
    recommendation_id: str


class PathItem(BaseModel):
    """One item of a continuation."""

    item_id: str | int
    title: str | None
    log_probability: float


class GenerateResponse(BaseModel):
    """Items that may follow one another."""

    items: list[PathItem]
    model_version: str
    recommendation_id: str


class StoredEvent(BaseModel):
    """An event of a user, as it is stored."""

    seq: int
    item_id: str
    title: str | None
    timestamp: int
    kind: str | None
    value: float | None
    event_id: str | None


class StateResponse(BaseModel):
    """What a model remembers of a user: made from the events, and made again from them at any time."""

    model_version: str
    bytes: int
    events: int
    skipped: int
    last_seq: int


class UserResponse(BaseModel):
    """Everything that is stored of a user."""

    user_id: str
    events: list[StoredEvent]
    next_after: int | None = Field(
        description="Ask for `after` this place to have the rest; null: that is all."
    )
    state: StateResponse


class ErasureResponse(BaseModel):
    """What was removed, and how that was proved."""

    user_id: str
    events_deleted: int
    proof: str


class PutItemResponse(BaseModel):
    """What an item is now."""

    item_id: str
    recommendable: bool = Field(description="Whether the model has a vector for it.")


class FoundItem(BaseModel):
    """An item of the catalogue."""

    item_id: str | int
    title: str | None


class ItemsResponse(BaseModel):
    """Items of the catalogue, the commonest first."""

    items: list[FoundItem]
    model_version: str


class UsersResponse(BaseModel):
    """Users of the log, the newest first."""

    users: list[str]


class ModelResponse(BaseModel):
    """What is served."""

    model_version: str


class AboutResponse(BaseModel):
    """What is served, and what can be said to it."""

    model_version: str
    items: int = Field(description="How many it can recommend.")
    kinds: list[str] = Field(description="The kinds of event it knows, the one it takes for granted first.")
    columns: list[str] = Field(description="What a filter can ask of items.")


class HealthResponse(BaseModel):
    """How the server is."""

    status: Literal["ok"]
    model_version: str


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str
    message: str
    hint: str | None


class ErrorResponse(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail
