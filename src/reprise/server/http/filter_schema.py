"""Conditions on item columns: their schema in requests, and their conversion to the recommender's filters."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from reprise.server.http.field_types import SCALAR, Number, Scalar, StrictBody, Text, one_fault

MAX_VALUES = 1_000
"""Maximum number of values in a list."""
Scalars = Annotated[list[Scalar], Field(max_length=MAX_VALUES, fail_fast=True)]


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


def _describe(value: Any) -> str:
    """Return what a condition of this form should be."""
    match value:
        case dict():
            return 'a condition should be {"min": ..., "max": ...} with numbers or text, or {"not": ...} with a value or a list'
        case list():
            return f"a list should have at most {MAX_VALUES:,} values, each {SCALAR}"
    return f'input should be {SCALAR}, a list of these, a range or {{"not": ...}}'


Condition = Annotated[Scalar | Scalars | RangeCondition | NotCondition, one_fault(_describe)]


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
