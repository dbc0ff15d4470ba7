"""Checks of the content of a saved model: types, shapes, index ranges and finite numbers.

Correct checksums only show that the files are as they were written. These checks show that the files belong together and can
be served. For example, one NaN in a vector would make the answers of some users empty.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray
from reprise.data.io.arrow_columns import Table, column_kind, column_values
from reprise.errors import ArtefactError
from reprise.recommender.items.item_columns import AVAILABLE, TITLE
from reprise.recommender.runtime.cooccurrence_tables import RECENT, CooccurrenceTables
from reprise.recommender.runtime.repeat_tables import POSITION_WEIGHTS, RECENT_KIND, RECENT_TIME, RepeatTables

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
SIMILARITY = "cosine"
"""Beginning of the names of the co-occurrence tables of the second sum, which a model may leave out."""
MAX_REPEAT_NUMBER = 1e6
"""Largest magnitude of a number of the repeat head, and of 1 / s; with it no score overflows that did not before."""


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


def check_search(facts: Any, file: Any) -> None:
    """Check the facts of an approximate search, and the entry of its file in the manifest.

    Raises:
        ArtefactError: an entry is missing or has another type.
    """
    for name in ("read lists", "candidates"):
        value = _entry(facts, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _unsound(f"{name!r} of the search is {shown(value)}, not a number of at least 1")
    if not isinstance(_entry(facts, "vectors"), str):
        raise _unsound("the search has no checksum of its vectors")
    if not isinstance(_entry(file, "bytes"), int) or not isinstance(_entry(file, "sha256"), str):
        raise _unsound("the manifest has no checksum of the file of the search")


def _entry(value: Any, *names: str) -> Any:
    """Return an entry of nested objects; None if it is missing, or is inside something else than an object."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _damaged_manifest(path: object, fault: str) -> ArtefactError:
    return ArtefactError(f"the manifest of {path} is not valid: {fault}; {EXPORT_AGAIN}")


def check_tensors(tensors: Mapping[str, AnyArray], scored: int) -> None:
    """Check the arrays of a model with `scored` items that have vectors.

    Raises:
        ArtefactError: an array is missing, has another shape, or contains a number that is not finite.
    """
    for name in ("input", "output"):
        vectors = tensors.get(name)
        if vectors is None and name == "output":  # the same as the input vectors
            continue
        if vectors is None or vectors.ndim != 2 or vectors.dtype != np.float32:
            raise _unsound(f"the tensor {name!r} is not a matrix of float32")
        if len(vectors) != scored:
            raise _unsound(
                f"the files do not belong together: the manifest has {scored} vectors, {name!r} has {len(vectors)}"
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


def check_cooccurrence(tables: Mapping[str, AnyArray], initial: Mapping[str, AnyArray], scored: int) -> None:
    """Check that co-occurrence tables refer to existing items and pairs only. A model may have no tables.

    Args:
        tables: The tables.
        initial: State of a user without events, which has the window of the last items.
        scored: Number of items that have vectors.

    Raises:
        ArtefactError: a table is missing, has another shape, or refers to items that do not exist.
    """
    if not tables:
        return
    names = {field.name for field in fields(CooccurrenceTables)}
    if set(tables) not in (names, {name for name in names if not name.startswith(SIMILARITY)}):
        raise _unsound(f"the co-occurrence tables are {sorted(tables)} instead of {sorted(names)}")
    start, neighbour = tables["start"], tables["neighbour"]
    if any(table.ndim != 1 for table in tables.values()) or any(
        table.dtype.kind != ("i" if name in ("start", "neighbour") else "f") for name, table in tables.items()
    ):
        raise _unsound("a co-occurrence table has another number of dimensions or another type")
    pairs = len(neighbour)
    if len(start) != scored + 2 or start[0] != 0 or start[-1] != pairs or (np.diff(start) < 0).any():
        raise _unsound(
            f"the row offsets of the co-occurrence tables do not fit {scored} items and {pairs} pairs"
        )
    if pairs and (neighbour.min() < 1 or neighbour.max() > scored):
        raise _unsound("a co-occurrence table refers to an item that does not exist")
    for score, weight, single in (
        ("score", "weight", ("floor", "gain")),
        ("cosine", "cosine_weight", ("cosine_floor", "cosine_gain")),
    ):
        if score in tables:
            if len(tables[score]) != pairs or (tables[score] < 0).any() or (tables[weight] < 0).any():
                raise _unsound(
                    "the co-occurrence scores do not fit the pairs, or a score or weight is negative"
                )
            if any(len(tables[name]) != 1 for name in single):
                raise _unsound("a floor or gain of the co-occurrence tables is not one number")
            _check_window(initial, len(tables[weight]), scored, "co-occurrence tables")


def check_repeats(
    tables: Mapping[str, AnyArray], initial: Mapping[str, AnyArray], scored: int, kinds: int
) -> None:
    """Check that the numbers of a repeat head have the shapes and ranges that its equations need. A model may have none.

    Args:
        tables: The numbers.
        initial: State of a user without events, which has the windows of the last events.
        scored: Number of items that have vectors.
        kinds: Number of kinds of event.

    Raises:
        ArtefactError: an array is missing, has another shape or type, or is out of range.
    """
    if not tables:
        return
    required = {field.name for field in fields(RepeatTables) if field.default is MISSING}
    if not required <= set(tables) <= {*required, "time", "kind"}:
        raise _unsound(f"the repeat head has {sorted(tables)} instead of {sorted(required)}")
    lengths = {"position": POSITION_WEIGHTS, "gate": 3, "kind": kinds}
    for name, table in tables.items():
        if table.shape != (lengths.get(name, 1),) or table.dtype.kind != ("i" if name == "window" else "f"):
            raise _unsound(f"the array {name!r} of the repeat head has another shape or type")
        if (np.abs(table.astype(np.float64)) > MAX_REPEAT_NUMBER).any():
            raise _unsound(f"a number of {name!r} of the repeat head is above {MAX_REPEAT_NUMBER:g}")
    if tables["scale"][0] < 1 / MAX_REPEAT_NUMBER or tables["shift"][0] > 0:
        raise _unsound("the scale of the repeat head is not positive, or its shift is")
    _check_window(initial, int(tables["window"][0]), scored, "repeat head")
    for name, recent, kind in (("time", RECENT_TIME, "f"), ("kind", RECENT_KIND, "i")):
        if name in tables and not _is_window(initial.get(recent), kind, initial[RECENT].shape):
            raise _unsound(f"the repeat head reads a state {recent!r} that does not fit {RECENT!r}")
    if "kind" in tables and not _in_range(initial[RECENT_KIND], kinds - 1):
        raise _unsound("a kind of the last events does not exist")


def _check_window(initial: Mapping[str, AnyArray], width: int, scored: int, reader: str) -> None:
    """Raise `ArtefactError` if the state does not have the last `width` items, for the tables named `reader`."""
    recent = initial.get(RECENT)
    if recent is None or not _is_window(recent, "i", recent.shape) or not 1 <= width <= recent.shape[1]:
        raise _unsound(f"the state has no window of {width} items, which the {reader} need")
    if not _in_range(recent, scored):
        raise _unsound("the window of the last items refers to an item that does not exist")


def _is_window(recent: AnyArray | None, kind: str, shape: tuple[int, ...]) -> bool:
    return recent is not None and recent.ndim == 2 and recent.shape == shape and recent.dtype.kind == kind


def _in_range(values: AnyArray, last: int) -> bool:
    return not values.size or bool(values.min() >= 0 and values.max() <= last)


def check_content_map(content: object, arrays: Mapping[str, AnyArray], width: int) -> None:
    """Check the map from the content of items to their vectors. A model may have none.

    Args:
        content: Description of the fitted content, or None.
        arrays: Arrays of `ContentVectors`.
        width: Width of the input vectors.

    Raises:
        ArtefactError: an array is missing or has another shape or type.
    """
    if content is None and not arrays:
        return
    if not isinstance(content, Mapping) or not isinstance(content.get("columns"), list):
        raise _unsound("the manifest does not describe the content of items")
    shapes = {name: array.shape for name, array in arrays.items() if array.dtype == np.float32}
    features = shapes.get("projection", (0,))[0]
    if (
        shapes != {"projection": (features, width), "popularity": (features,), "numbers": (4,)}
        or not features
    ):
        raise _unsound("the map from the content of items to their vectors has other arrays")


def check_item_users(users_I: AnyArray | None, scored: int) -> None:
    """Check the numbers of users of the items of a model, if it has them.

    Raises:
        ArtefactError: they have another shape or type, or one is negative.
    """
    if users_I is None:
        return
    if users_I.shape != (scored,) or users_I.dtype != np.int64:
        raise _unsound(f"'item_users' is not an array of {scored} integers")
    if (users_I < 0).any():
        raise _unsound("a number of users of an item is negative")


def check_items(items: Table, scored: int) -> None:
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
    counts = column_values(items, "count")[:scored]
    if any(count is None or count < 0 for count in counts):
        raise _unsound("a count of the item table is missing or negative")


def _unsound(fault: str) -> ArtefactError:
    return ArtefactError(f"{fault}; {EXPORT_AGAIN}")
