"""Conditions on item columns: their schema in requests, and their conversion to the recommender's filters."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from reprise.server.http.field_types import Number, Scalar, StrictBody, Text

Scalars = Annotated[list[Scalar], Field(max_length=1_000, fail_fast=True)]


class RangeCondition(StrictBody):
    """A closed range of numbers or of ISO 8601 timestamps."""

    min: Number | Text | None = None
    """Smallest value that passes."""
    max: Number | Text | None = None
    """Largest value that passes."""


class NotCondition(StrictBody):
    """Values that do not pass."""

    model_config = ConfigDict(populate_by_name=True)
    not_: Scalar | Scalars = Field(alias="not")
    """One value, or a list of values."""


Condition = Scalar | Scalars | RangeCondition | NotCondition


def plain_filter(conditions: Mapping[str, Condition] | None) -> dict[str, Any] | None:
    """Convert conditions to the plain dictionaries and values that the recommender reads."""
    if conditions is None:
        return None
    return {column: _plain(condition) for column, condition in conditions.items()}


def _plain(condition: Condition) -> Any:
    if isinstance(condition, RangeCondition):
        return condition.model_dump(exclude_none=True)
    if isinstance(condition, NotCondition):
        return {"not": condition.not_}
    return condition
