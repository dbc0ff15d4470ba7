"""Checks of the content of a saved model: types, shapes, index ranges and finite numbers.

Correct checksums only show that the files are as they were written. These checks show that the files belong together and can
be served. For example, one NaN in a vector would make the answers of some users empty.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray
from reprise.data.io.arrow_columns import Table, column_kind, column_values
from reprise.errors import ArtefactError
from reprise.recommender.items.item_columns import AVAILABLE, TITLE
from reprise.recommender.runtime.cooccurrence_tables import CooccurrenceTables

REQUIRED_FACTS: Mapping[str, type] = {
    "name": str,
    "spec": dict,
    "example": object,
    "sizes.items": int,
    "data.fingerprint": str,
    "data.sequences": int,
    "data.events": int,
    "data.items": int,
    "data.warm": int,
    "data.kinds": list,
    "data.parts": dict,
    "data.split": dict,
}
"""Entries of `facts` in the manifest that a recommender or its model card needs, and their types."""
TYPE_NAMES = {str: "text", int: "a whole number", list: "a list", dict: "an object"}
EXPORT_AGAIN = "export the model again"


def check_manifest(path: object, manifest: Mapping[str, Any], files: tuple[str, ...]) -> None:
    """Check that a manifest has the entries that reading a model needs.

    Args:
        path: Directory of the model, for messages.
        manifest: Content of the manifest.
        files: Names of the files that are read.

    Raises:
        ArtefactError: an entry is missing or has another type.
    """
    for name, wanted in REQUIRED_FACTS.items():
        value = _entry(manifest, "facts", *name.split("."))
        if value is None:
            raise _damaged_manifest(path, f"facts.{name} is missing")
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise _damaged_manifest(path, f"facts.{name} is {shown(value)}, not {TYPE_NAMES[wanted]}")
    kinds = manifest["facts"]["data"]["kinds"]
    if not kinds or not all(isinstance(kind, str) for kind in kinds) or len(set(kinds)) < len(kinds):
        raise _damaged_manifest(path, f"facts.data.kinds is {shown(kinds)}, not a list of different texts")
    for name in files:
        entry = _entry(manifest, "files", name)
        size, checksum = _entry(entry, "bytes"), _entry(entry, "sha256")
        if not isinstance(size, int) or size < 0 or not isinstance(checksum, str):
            raise _damaged_manifest(path, f"files.{name} is {shown(entry)}, not a size and a checksum")


def _entry(value: Any, *names: str) -> Any:
    """Return an entry of nested objects; None if it is missing, or is inside something else than an object."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _damaged_manifest(path: object, fault: str) -> ArtefactError:
    return ArtefactError(f"the manifest of {path} is not valid: {fault}; {EXPORT_AGAIN}")


def check_tensors(tensors: Mapping[str, AnyArray], warm: int) -> None:
    """Check the arrays of a model with `warm` items that have vectors.

    Raises:
        ArtefactError: an array is missing, has another shape, or contains a number that is not finite.
    """
    for name in ("input", "output"):
        vectors = tensors.get(name)
        if vectors is None and name == "output":  # the same as the input vectors
            continue
        if vectors is None or vectors.ndim != 2 or vectors.dtype != np.float32:
            raise _unsound(f"the tensor {name!r} is not a matrix of float32")
        if len(vectors) != warm:
            raise _unsound(
                f"the files do not belong together: the manifest has {warm} vectors, {name!r} has {len(vectors)}"
            )
    for name, tensor in tensors.items():
        # float64 arrays of the initial state are times; NaN is the time of the last event of a user without events
        may_be_nan = name.startswith("initial.") and tensor.dtype == np.float64
        if tensor.dtype.kind == "f" and not may_be_nan:
            _check_finite(name, tensor)
    initial = [name for name in tensors if name.startswith("initial.")]
    if not initial or any(tensors[name].ndim == 0 or len(tensors[name]) != 1 for name in initial):
        raise _unsound("the initial state is not the state of one user")


def _check_finite(name: str, tensor: AnyArray) -> None:
    # If a number is not finite, neither is the sum, which needs no temporary array. A sum of finite numbers may overflow,
    # so the numbers themselves are checked then.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(tensor.sum()):
            return
    finite = np.isfinite(tensor)
    if finite.all():
        return
    first = np.argwhere(~finite)[0].tolist()
    raise ArtefactError(
        f"the tensor {name!r} has {int((~finite).sum())} numbers that are not finite, the first at {first}; "
        "train the model again"
    )


def check_cooccurrence(tables: Mapping[str, AnyArray], warm: int) -> None:
    """Check that co-occurrence tables refer to existing items and pairs only. A model may have no tables.

    Raises:
        ArtefactError: a table is missing, has another shape, or refers to items that do not exist.
    """
    if not tables:
        return
    names = {field.name for field in fields(CooccurrenceTables)}
    if set(tables) != names:
        raise _unsound(f"the co-occurrence tables are {sorted(tables)} instead of {sorted(names)}")
    start, neighbour, score = tables["start"], tables["neighbour"], tables["score"]
    if any(table.ndim != 1 for table in tables.values()) or any(
        table.dtype.kind != "i" for table in (start, neighbour)
    ):
        raise _unsound("a co-occurrence table has another number of dimensions or another type")
    pairs = len(neighbour)
    if len(start) != warm + 2 or start[0] != 0 or start[-1] != pairs or (np.diff(start) < 0).any():
        raise _unsound(
            f"the row offsets of the co-occurrence tables do not fit {warm} items and {pairs} pairs"
        )
    if len(score) != pairs or (score < 0).any() or (tables["weight"] < 0).any():
        raise _unsound("the co-occurrence scores do not fit the pairs, or a score or weight is negative")
    if pairs and (neighbour.min() < 1 or neighbour.max() > warm):
        raise _unsound("a co-occurrence table refers to an item that does not exist")


def check_items(items: Table, warm: int) -> None:
    """Check the item table of a model.

    Raises:
        ArtefactError: a column is missing, occurs twice or has values that cannot be read; an id is missing or occurs twice;
            or a count is missing or negative.
    """
    names = items.column_names
    for name in ("item_id", "count"):
        if names.count(name) != 1:
            raise _unsound(f"the item table has {names.count(name)} columns {name!r} instead of one")
    if len(set(names)) < len(names):
        raise _unsound("the item table has several columns of one name")
    if column_kind(items, "item_id") not in ("text", "integer") or items.column("item_id").null_count:
        raise _unsound("the item ids of the item table are neither texts nor integers, or some are missing")
    if len(set(column_values(items, "item_id"))) < len(items):
        raise _unsound("some item ids of the item table occur several times")
    for name in {AVAILABLE, TITLE} & set(names):
        if column_kind(items, name) == "other":
            raise _unsound(f"the column {name!r} of the item table has lists or structures")
    if column_kind(items, "count") != "integer":
        raise _unsound("the counts of the item table are not integers")
    counts = column_values(items, "count")[:warm]
    if any(count is None or count < 0 for count in counts):
        raise _unsound("a count of the item table is missing or negative")


def _unsound(fault: str) -> ArtefactError:
    return ArtefactError(f"{fault}; {EXPORT_AGAIN}")
