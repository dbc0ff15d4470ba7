"""The bodies of requests and responses, except events to store. The OpenAPI document is made from these classes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from reprise.server.http.event_schema import InlineEventBody, ResponsePart
from reprise.server.http.field_types import (
    LARGEST_INTEGER,
    PRINTABLE,
    ColumnName,
    ColumnValue,
    Id,
    Number,
    Scalar,
    StrictBody,
    Text,
    Timestamp,
    as_integer,
)
from reprise.server.http.filter_schema import Condition

Ids = Annotated[list[Id], Field(max_length=10_000, fail_fast=True)]
K = Annotated[int, Field(ge=1, le=LARGEST_INTEGER), BeforeValidator(as_integer)]
MAX_K = 1_000
"""Maximum number of items in a response."""


class UserContextBody(StrictBody):
    """The user to whom a response applies: `user_id`, `events`, or both."""

    user_id: Id | None = None
    """Id of a user whose stored events are read."""
    events: Annotated[list[InlineEventBody], Field(max_length=1_000, fail_fast=True)] = Field(default=[])
    """A history that is sent with the request, oldest event first. It is not stored."""
    user_attributes: Annotated[dict[ColumnName, Scalar], Field(max_length=50)] = Field(default={})
    """Attributes of the user by column of the user table on which the model was trained, for instance {"country": "FR"}. Other
    columns are ignored. The attributes apply to this request and are not stored."""
    consent: bool = True
    """`false`: do not read the stored events of the user."""


class RecommendBody(UserContextBody):
    """A request for recommendations."""

    k: K = 10
    """Number of items to return, or all items of the model if it has fewer. At most 1,000 are returned, or fewer if the API
    key has a limit."""
    now: Timestamp | None = None
    """The time for which to recommend. Default: the time of the request."""
    deny: Ids = Field(default=[])
    """Items to leave out."""
    allow: Ids | None = None
    """The only items to recommend. Default: all items."""
    filter: Annotated[dict[ColumnName, Condition], Field(max_length=20)] | None = None
    """Conditions on item columns, for instance
    {"category": ["a", "b"], "price": {"max": 20}, "brand": {"not": "c"}}. An item must pass all of them."""
    exclude_seen: bool = False
    """Leave out the items of the history."""
    diversity: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """0: the items with the highest scores. Values up to 1: items that are less similar to each other."""
    explain: bool = False
    """Return, for each item, the past events that influenced its score and the contributions of its columns."""
    explore: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of the `k` places that are filled with rarely shown items, which are drawn at random. Each of these items has a
    `propensity`. 0: no exploration."""
    explore_seed: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), BeforeValidator(as_integer)] | None = None
    """Seed of the random draws of `explore`. Default: other draws in each request."""


class SimilarItemsBody(StrictBody):
    """A request for items similar to an item."""

    item_id: Id
    """The item to compare with. The model must know it."""
    k: K = 10
    """Number of items to return, or all items of the model if it has fewer. At most 1,000 are returned."""


class GenerateBody(UserContextBody):
    """A request for a continuation of a history."""

    length: Annotated[int, Field(ge=1, le=50), BeforeValidator(as_integer)] = 5
    """Number of items to generate."""
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 1.0
    """Softmax temperature of the sampling. 0: always take the most likely item."""
    top_k: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), BeforeValidator(as_integer)] | None = None
    """Number of most likely items to sample from. Default: all items."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    """Sample from the most likely items whose probabilities together reach this value."""
    no_repeat: bool = True
    """Generate each item at most once."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_INTEGER), BeforeValidator(as_integer)] | None = None
    """Seed of the sampling. Default: random."""
    beams: Annotated[int, Field(ge=1, le=16), BeforeValidator(as_integer)] | None = None
    """Width of a beam search for the most likely continuation, instead of sampling."""


class PutItemBody(StrictBody):
    """The new attributes of an item. They replace the attributes of an earlier request. An unknown item is added if the model
    reads the content of items and the request has a value of a column that the model reads."""

    title: Text | None = None
    """Title for people. null: no title."""
    price: Number | None = None
    """Price, in the currency of the other items. null: no price."""
    available: bool | None = None
    """`false`: do not recommend the item, unless a filter asks for it."""
    columns: Annotated[dict[ColumnName, ColumnValue | None], Field(max_length=50)] = Field(default={})
    """Values of other columns: text, a number, true or false. A column of lists that the model reads takes a list of texts or
    of numbers. null removes a value."""


class SwapModelBody(StrictBody):
    """The model to serve from now on."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=PRINTABLE)] | None = None
    """Directory of a saved model. Default: read the directory of the served model again."""


class EventInfluence(ResponsePart):
    """A past event and its influence on the score of an item."""

    item_id: str
    """The item of the event."""
    title: str | None
    """Title of the item. null: it has none."""
    timestamp: int | None
    """Time of the event in milliseconds since 1970. null: not known."""
    kind: str | None
    """Name of the event type, such as `view`. null: the model's default kind."""
    influence: float | None
    """Score of the recommended item minus its score without this event. null: not shown to this API key."""


class ColumnPart(ResponsePart):
    """A column of an item and its contribution to the score of the item."""

    column: str
    """Name of the column."""
    value: Any
    """Value that the model read. null: the value is a vector, which the response leaves out."""
    contribution: float | None
    """Amount that the value adds to the score of the item. Negative: the value lowers the score. null: not shown to this API
    key."""


class ScoredItem(ResponsePart):
    """An item with its score."""

    item_id: str | int
    """Id in the form in which the model was trained: text, or a whole number."""
    score: float | None
    """Score of the item; items are ranked from the highest score to the lowest. null: not shown to this API key."""
    rank: int
    """Position in the list, from 1."""
    title: str | None
    """Title of the item. null: it has none."""
    reason: str
    """Short explanation of why the item is in the response."""
    causes: list[EventInfluence] | None = None
    """Past events that influenced the score most, if the request has `explain`."""
    columns: list[ColumnPart] | None = None
    """Contributions of the columns of the item to its score, largest amount first. Empty if the model reads no columns. Left
    out if the request does not have `explain`."""
    propensity: float | None = None
    """Probability with which exploration drew the item. Left out if the item was ranked by its score. null: not
    shown to this API key; the log of the server has it."""


class RecommendResponse(ResponsePart):
    """Recommended items, best first."""

    items: list[ScoredItem]
    """At most `k` items, best first."""
    model_version: str
    """Version of the model that ranked the items."""
    recommendation_id: str
    """Id of this response, for the events that follow from it. The server's log has the same id."""
    variant: str | None = None
    """Variant of the user in an A/B test: a, b and so on. Left out if there is no test or the request has no user."""
    events: int
    """Number of events that the model read."""
    skipped: int
    """Number of events that the model could not read, for instance events of unknown items."""


class SimilarItemsResponse(ResponsePart):
    """The most similar items, most similar first. The score is the cosine similarity."""

    items: list[ScoredItem]
    """At most `k` items, most similar first."""
    model_version: str
    """Version of the model that compared the items."""
    recommendation_id: str
    """Id of this response. The server's log has the same id."""


class GeneratedItem(ResponsePart):
    """One item of a continuation."""

    item_id: str | int
    """Id in the form in which the model was trained: text, or a whole number."""
    title: str | None
    """Title of the item. null: it has none."""
    log_probability: float | None
    """Natural logarithm of the probability of the item given the history and the items before it, at temperature 1. null: not
    shown to this API key."""


class GenerateResponse(ResponsePart):
    """A continuation of the history."""

    items: list[GeneratedItem]
    """The items of the continuation, in order."""
    model_version: str
    """Version of the model that generated the continuation."""
    recommendation_id: str
    """Id of this response. The server's log has the same id."""


class StoredEvent(ResponsePart):
    """A stored event of a user."""

    seq: int
    """Sequence number of the event within the user's events, from 1, in the order of arrival."""
    item_id: str
    """The item of the event, as text."""
    title: str | None
    """Title of the item. null: it has none, or the model does not know the item."""
    timestamp: int
    """Time of the event in milliseconds since 1970."""
    kind: str | None
    """Name of the event type, such as `view`. null: it was not given, which means the model's default kind."""
    value: float | None
    """Number that belongs to the event, for instance a rating or a price. null: it was not given."""
    event_id: str | None
    """The client's own id of the event. null: it was not given."""


class StateSummary(ResponsePart):
    """The state that the model keeps for a user. It is computed from the stored events."""

    model_version: str
    """Version of the model that computed the state. Another model computes another state from the same events."""
    bytes: int
    """Memory of the state, in bytes."""
    events: int
    """Number of events that the model read."""
    skipped: int
    """Number of events that the model could not read."""
    last_seq: int
    """Sequence number of the last event that the state includes."""


class GetUserResponse(ResponsePart):
    """All stored data of a user."""

    user_id: str
    """The id in the path of the request, decoded."""
    events: list[StoredEvent]
    """Events after `after` in the order of arrival, at most `limit`."""
    next_after: int | None
    """Value of `after` for the next page; null if this is the last page."""
    state: StateSummary
    """The state that the model keeps for the user."""


class DeleteUserResponse(ResponsePart):
    """The result of a deletion."""

    user_id: str
    """The id in the path of the request, decoded."""
    events_deleted: int
    """Number of events that were deleted; 0 for an unknown user."""
    proof: str
    """How the server verified that nothing remains."""


class PutItemResponse(ResponsePart):
    """The result of setting the attributes of an item."""

    item_id: str
    """The id in the path of the request, decoded."""
    recommendable: bool
    """Whether the item can be recommended: it has training events, or the model recommends items by their content and this item
    has content."""


class DeleteItemResponse(ResponsePart):
    """The result of deleting the changes of an item, or an added item."""

    item_id: str
    """The id in the path of the request, decoded."""
    deleted: bool
    """Whether the item was added or had changes. An item of the model has the attributes of the model again."""


class ItemSummary(ResponsePart):
    """An item of the catalogue."""

    item_id: str | int
    """Id in the form in which the model was trained: text, or a whole number."""
    title: str | None
    """Title of the item. null: it has none."""


class SearchItemsResponse(ResponsePart):
    """Items that match the search, most popular first."""

    items: list[ItemSummary]
    """At most `limit` items, most popular first."""
    model_version: str
    """Version of the model whose items were searched."""


class ListUsersResponse(ResponsePart):
    """Users with stored events, newest first."""

    users: list[str]
    """At most `limit` user ids. The user whose first event arrived last comes first."""


class SwapModelResponse(ResponsePart):
    """The model that is now served."""

    model_version: str
    """Name and checksum of the model. All answers have it."""


class GetModelResponse(ResponsePart):
    """The served model and what it can read."""

    model_version: str
    """Name and checksum of the model. All answers have it."""
    items: int
    """Number of items that the model can recommend."""
    kinds: list[str]
    """Kinds of event that the model knows, the default kind first."""
    columns: list[str]
    """Item columns that filters can use."""


class HealthResponse(ResponsePart):
    """The health of the server."""

    status: Literal["ok"]
    """`ok`; a server that is not healthy responds with an error."""
    model_version: str
    """Version of the served model."""


class ErrorDetail(ResponsePart):
    """Code, message and hint of an error."""

    code: str
    """Stable error code for programs, for instance `not_found`."""
    message: str
    """What is wrong, for people."""
    hint: str | None
    """What to do about it, for people."""


class ErrorResponse(ResponsePart):
    """The body of every error response."""

    error: ErrorDetail
    """What is wrong, for programs and for people."""
