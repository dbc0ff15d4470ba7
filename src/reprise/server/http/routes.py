"""The table of HTTP operations. The routes and the OpenAPI document are both generated from it."""

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reprise.errors import ConfigError
from reprise.server.http import event_schema, forecast_schema, schema
from reprise.server.http.auth import Scope
from reprise.server.http.field_types import LARGEST_INTEGER, Text


class Query(BaseModel):
    """Base class of query parameters: unknown parameters are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NoQuery(Query):
    """An operation without query parameters."""


class GetUserQuery(Query):
    """Query parameters of `get_user`."""

    after: Annotated[int, Field(ge=0, le=LARGEST_INTEGER)] = 0
    """Return only events after this sequence number, usually the `next_after` of the previous page."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Maximum number of events in the response."""
    last: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Number of latest events to return. Earlier ones are left out."""


class SearchItemsQuery(Query):
    """Query parameters of `search_items`."""

    search: Annotated[Text, Field(max_length=200)] = ""
    """Text to find in the title or the id, ignoring case."""
    limit: Annotated[int, Field(ge=1, le=200)] = 20
    """Maximum number of items in the response."""


class ListUsersQuery(Query):
    """Query parameters of `list_users`."""

    limit: Annotated[int, Field(ge=1, le=200)] = 20
    """Maximum number of users in the response."""


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    name: str
    """Operation id, and the name of the method of `Handlers` that implements it."""
    method: str
    """HTTP method."""
    path: str
    """Path; `{user_id}` and `{item_id}` are placeholders for an id."""
    summary: str
    """Short description in the OpenAPI document."""
    response: type[BaseModel]
    """Schema of the body of a successful response."""
    scope: Scope | None = None
    """Scope that the API key needs; None: the operation needs no key."""
    body: type[BaseModel] | None = None
    """Schema of the body of the request; None: it has no body."""
    query: type[Query] = NoQuery
    """Schema of the query parameters."""

    @property
    def path_parameter(self) -> str | None:
        """The name of the id in the path; None if there is none."""
        return self.path.partition("{")[2].removesuffix("}") or None


OPERATIONS = (
    Operation(
        "record_events", "POST", "/v1/events", "Record events of users", event_schema.RecordEventsResponse, "ingest",
        event_schema.RecordEventsBody,
    ),
    Operation(
        "recommend", "POST", "/v1/recommend", "Recommend the next items", schema.RecommendResponse, "recommend",
        schema.RecommendBody,
    ),
    Operation(
        "similar_items", "POST", "/v1/similar", "Find items similar to an item", schema.SimilarItemsResponse, "recommend",
        schema.SimilarItemsBody,
    ),
    Operation(
        "generate", "POST", "/v1/generate", "Generate a continuation of a history", schema.GenerateResponse, "recommend",
        schema.GenerateBody,
    ),
    Operation(
        "forecast", "POST", "/v1/forecast", "Forecast the kind and the time of the next event",
        forecast_schema.ForecastResponse, "recommend", forecast_schema.ForecastBody,
    ),
    Operation(
        "search_items", "GET", "/v1/items", "Search the items by title or id", schema.SearchItemsResponse, "recommend",
        query=SearchItemsQuery,
    ),
    Operation(
        "put_item", "PUT", "/v1/items/{item_id}", "Set the attributes of an item, or add one", schema.PutItemResponse, "admin",
        schema.PutItemBody,
    ),
    Operation(
        "delete_item", "DELETE", "/v1/items/{item_id}", "Delete the changes of an item, or an added item",
        schema.DeleteItemResponse, "admin",
    ),
    Operation(
        "list_users", "GET", "/v1/users", "List the newest users", schema.ListUsersResponse, "admin", query=ListUsersQuery
    ),
    Operation(
        "get_user", "GET", "/v1/users/{user_id}", "Get all stored data of a user", schema.GetUserResponse, "admin",
        query=GetUserQuery,
    ),
    Operation(
        "delete_user", "DELETE", "/v1/users/{user_id}", "Delete all data of a user", schema.DeleteUserResponse, "admin"
    ),
    Operation(
        "swap_model", "POST", "/v1/admin/model", "Replace the served model", schema.SwapModelResponse, "admin",
        schema.SwapModelBody,
    ),
    Operation("get_model", "GET", "/v1/model", "Describe the served model", schema.GetModelResponse, "recommend"),
    Operation("healthz", "GET", "/healthz", "Check that the process is running", schema.HealthResponse),
    Operation("readyz", "GET", "/readyz", "Check that the server can answer and write events", schema.HealthResponse),
)  # fmt: skip

HEALTH_PATHS = ("/healthz", "/readyz", "/metrics")
"""Paths that tell whether the server works. They are answered also when too many connections are open."""


def normal_root_path(path: str) -> str:
    """Check the path under which a proxy publishes the server, and return it without a slash at its end.

    Raises:
        ConfigError: the path is invalid, or begins like the path of a route, which makes both ambiguous.
    """
    root = path.rstrip("/")
    if root and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", root):
        raise ConfigError(f"root path {path!r} is not a path; write it like /reco")
    if any(f"{operation.path}/".startswith(f"{root}/") for operation in OPERATIONS if root):
        raise ConfigError(
            f"root path {path!r} begins like a route of the server; choose another, such as /reco"
        )
    return root
