"""The operations of the HTTP interface, as data: the routes and the OpenAPI page are both made from this table."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from reprise.server.http import schema
from reprise.server.http.auth import Scope


class Query(BaseModel):
    """What stands after the question mark of an address."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    """Nothing."""


class UserQuery(Query):
    """Which of a user's events to tell."""

    after: Annotated[int, Field(ge=0, le=schema.LARGEST_INTEGER)] = Field(
        0, description="Only events after this place, as `next_after` told it."
    )
    limit: Annotated[int, Field(ge=1, le=10_000)] = Field(1_000, description="How many, at most.")
    last: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Only the last so many of them."
    )


class ItemsQuery(Query):
    """Which items to list."""

    search: Annotated[schema.Text, Field(max_length=200)] = Field(
        "", description="A part of the title or the id."
    )
    limit: Annotated[int, Field(ge=1, le=200)] = Field(20, description="How many, at most.")


class UsersQuery(Query):
    """Which users to list."""

    limit: Annotated[int, Field(ge=1, le=200)] = Field(20, description="How many, at most.")


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for."""

    name: str
    """Of the handler."""
    method: str
    path: str
    """With `{user_id}` or `{item_id}` in it."""
    summary: str
    answer: type[BaseModel]
    scope: Scope | None = None
    """What a key must allow; None: no key is needed."""
    body: type[BaseModel] | None = None
    query: type[Query] = NoQuery

    @property
    def parameter(self) -> str | None:
        """The name of the id in the path."""
        return self.path.partition("{")[2].removesuffix("}") or None


OPERATIONS = (
    Operation(
        "events", "POST", "/v1/events", "Tell what people did", schema.EventsResponse, "ingest", schema.EventsBody
    ),
    Operation(
        "recommend", "POST", "/v1/recommend", "What may come next", schema.RecommendResponse, "recommend", schema.RecommendBody,
    ),
    Operation(
        "similar", "POST", "/v1/similar", "Items that are alike", schema.SimilarResponse, "recommend", schema.SimilarBody
    ),
    Operation(
        "generate", "POST", "/v1/generate", "How it might go on", schema.GenerateResponse, "recommend", schema.GenerateBody
    ),
    Operation(
        "items", "GET", "/v1/items", "Look for items", schema.ItemsResponse, "recommend", query=ItemsQuery
    ),
    Operation(
        "put_item", "PUT", "/v1/items/{item_id}", "Say what an item is now", schema.PutItemResponse, "admin", schema.ItemBody
    ),
    Operation("users", "GET", "/v1/users", "The newest users", schema.UsersResponse, "admin", query=UsersQuery),
    Operation(
        "user", "GET", "/v1/users/{user_id}", "Everything that is stored of a user", schema.UserResponse, "admin",
        query=UserQuery,
    ),
    Operation(
        "forget", "DELETE", "/v1/users/{user_id}", "Remove everything of a user", schema.ErasureResponse, "admin"
    ),
    Operation(
        "model", "POST", "/v1/admin/model", "Serve another model", schema.ModelResponse, "admin", schema.ModelBody
    ),
    Operation("about", "GET", "/v1/model", "What is served", schema.AboutResponse, "recommend"),
    Operation("healthz", "GET", "/healthz", "Whether the server lives", schema.HealthResponse),
    Operation("readyz", "GET", "/readyz", "Whether it can answer and write", schema.HealthResponse),
)  # fmt: skip
