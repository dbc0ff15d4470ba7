"""Filters as callers tell them, as the recommender reads them."""

from collections.abc import Sequence
from typing import Any

from reprise.server.http.schema import NotCondition, RangeCondition


def plain_filter(conditions: dict[str, Any] | None) -> dict[str, Any] | None:
    """A filter as the recommender reads it."""
    if conditions is None:
        return None
    return {name: _plain(condition) for name, condition in conditions.items()}


def _plain(condition: Any) -> Any:
    if isinstance(condition, RangeCondition):
        return condition.model_dump(exclude_none=True)
    if isinstance(condition, NotCondition):
        return {"not": condition.not_}
    return (
        list(condition) if isinstance(condition, Sequence) and not isinstance(condition, str) else condition
    )
