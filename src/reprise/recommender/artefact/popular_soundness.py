"""Checks of the popular items of a saved model: numbers in range, and arrays that fit the contexts and the items."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray
from reprise.data.popular_items import OF_TIME
from reprise.errors import ArtefactError

MAX_NUMBER = 1e30
"""Largest weight of an item; sums of weights stay far below the limit of float64."""
MAX_LOG_RATIO = 100.0
"""Largest magnitude of a log ratio of a context; products of shares stay finite with it."""


def check_popular(facts: Any, tensors: Mapping[str, AnyArray], scored: int) -> None:
    """Check the popular items of a model with `scored` items.

    Args:
        facts: Result of `PopularItems.to_json`.
        tensors: Result of `PopularItems.to_tensors`.
        scored: Number of items that have a popularity.

    Raises:
        ArtefactError: a number or an array is missing, has another type or shape, or is out of range.
    """
    if not isinstance(facts, Mapping) or not {"half_life_s", "entry_smoothing", "end_s", "contexts"} <= set(
        facts
    ):
        raise _unsound(f"are described by {shown(facts)}")
    for name in ("half_life_s", "entry_smoothing", "end_s"):
        number = facts[name]
        if number is not None and (type(number) not in (int, float) or (name != "end_s" and number <= 0)):
            raise _unsound(f"have {shown(number)} as {name}")
    timed = facts["half_life_s"] is not None
    if timed and facts["end_s"] is None:
        raise _unsound("have a half-life, but no time of the last event")
    shapes: dict[str, tuple[int, ...]] = {"overall": (scored,)}
    if timed:
        shapes |= {"recent": (scored,), "entry": (scored,)}
    shapes |= _context_shapes(facts["contexts"], tensors, scored)
    if {name: array.shape for name, array in tensors.items()} != shapes:
        raise _unsound("have arrays that do not fit their contexts or the number of items")
    for name, array in tensors.items():
        low, high = (-MAX_LOG_RATIO, MAX_LOG_RATIO) if name.startswith("context.") else (0.0, MAX_NUMBER)
        if array.dtype != np.float32 or (array.size and not low <= array.min() <= array.max() <= high):
            raise _unsound(f"have an array {name!r} of another type or with numbers out of range")


def _context_shapes(
    contexts: Any, tensors: Mapping[str, AnyArray], scored: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape that the array of each context must have, by name."""
    if not isinstance(contexts, list):
        raise _unsound(f"have {shown(contexts)} as contexts")
    shapes: dict[str, tuple[int, ...]] = {}
    for one in contexts:
        name, values = (one.get("name"), one.get("values")) if isinstance(one, Mapping) else (None, None)
        if not isinstance(name, str) or not isinstance(values, list) or f"context.{name}" in shapes:
            raise _unsound(f"have a context {shown(one)} without a name of its own or without values")
        if name in OF_TIME and values != list(range(OF_TIME[name].rows)):
            raise _unsound(f"have the values {shown(values)} of {name}")
        if not all(type(value) in (str, int, float, bool) for value in values):
            raise _unsound(f"have a value of {name!r} that is neither text nor a number")
        table = tensors.get(f"context.{name}")
        columns = table.shape[1] if table is not None and table.ndim == 2 else 0
        shapes[f"context.{name}"] = (len(values), min(columns, scored))
    return shapes


def _unsound(fault: str) -> ArtefactError:
    return ArtefactError(f"the popular items {fault}; export the model again")
