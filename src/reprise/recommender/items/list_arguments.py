"""Arguments that are lists. Text, tables and other objects whose elements are not ids or events are an error.

For example, the elements of a data frame are the names of its columns, and those of a text its letters.
"""

import io
from collections.abc import Iterable, Mapping, Set
from numbers import Integral
from typing import Any

from reprise.argument_checks import shown
from reprise.errors import DataError

TEXT = (str, bytes, bytearray, memoryview)
"""Types that hold characters or bytes, not values."""
ROWS_OF_TABLE = {"to_dicts": "to_dicts()", "to_pylist": "to_pylist()", "to_dict": "to_dict('records')"}
"""Methods of data frames and tables that return one mapping for each row: of polars, Arrow and pandas."""


def id_list(name: str, ids: object) -> list[Any]:
    """Return the ids of an argument that is a list, an array, a series or a set of item ids.

    Raises:
        DataError: It is text, a mapping, a table, a file, an array with several axes, or not a list at all.
    """
    fault = _fault(ids)
    if fault is None:
        return elements(ids)
    remedy = "pass []" if ids is None else _in_a_list(ids)
    if not isinstance(ids, TEXT) and isinstance(ids, Iterable):
        remedy = "pass a list of ids"
    raise DataError(f"{name} is a list of item ids, got {fault}; {remedy}")


def history_events(history: object) -> list[Any]:
    """Return the events of a history as a list.

    Raises:
        DataError: It is text, a mapping, a set, a table, a file, an array with several axes, or not a list at all.
    """
    fault = _fault(history, ordered=True)
    if fault is None:
        return elements(history)
    remedy = "for a user without events pass []"
    if isinstance(history, TEXT) or _is_event(history):
        remedy = _in_a_list(history)
    elif _is_row(history):
        remedy = "pass [row.to_dict()], or the rows of the whole table as mappings"
    elif _is_table(history):
        rows = next((call for name, call in ROWS_OF_TABLE.items() if hasattr(history, name)), None)
        remedy = "pass a list of its item ids, or of its rows as mappings with item_id and optionally timestamp, kind, value"
        remedy += f" (table.{rows})" if rows else ""
    elif isinstance(history, Iterable) or getattr(history, "ndim", 0) > 1:
        remedy = "pass a list of item ids, of (item_id, timestamp) pairs, or of mappings with item_id"
    raise DataError(f"a history is a list of events, oldest first, got {fault}; {remedy}")


def _is_event(value: object) -> bool:
    """Return whether a value is one event, and not a mapping of column names to columns."""
    return isinstance(value, Mapping) and isinstance(value.get("item_id"), str | Integral)


def _is_row(value: Any) -> bool:
    """Return whether a value is one row of a data frame: a series whose labels are the names of columns."""
    if isinstance(value, Mapping) or _is_table(value) or not hasattr(type(value), "keys"):
        return False
    return "item_id" in list(value.keys())


def history_list(histories: object) -> list[Any]:
    """Return a list of histories as a list; the histories themselves are not checked.

    Raises:
        DataError: It is text, a mapping, a set, a table, a file, or not a list at all.
    """
    fault = _fault(histories, ordered=True, axes=2)
    if fault is None:
        return elements(histories)
    remedy = "pass one history for each user, such as [['a', 'b'], ['c']]"
    if _is_table(histories):
        remedy = "group its rows by user and pass one list of events for each, or write them to a file for `reprise recommend`"
    elif isinstance(histories, Mapping):
        remedy = "pass list(histories.values()); the answers come in the same order"
    raise DataError(f"recommend_many takes a list of histories, got {fault}; {remedy}")


def elements(values: Any) -> list[Any]:
    """Return the elements of a list, an array or an iterator; those of an Arrow array as Python values."""
    return list(values.to_pylist() if hasattr(values, "to_pylist") else values)


def _in_a_list(value: object) -> str:
    """Return the remedy for an element that was passed without a list."""
    text = shown(value)
    return f"pass [{text}]" if text == repr(value) else "put it in a list"


def _fault(values: Any, *, ordered: bool = False, axes: int = 1) -> str | None:
    """Return what was passed instead of a list, for a message; None if it is a list."""
    if _is_table(values):
        return f"a table ({type(values).__name__}) with the columns {_columns(values)}"
    if isinstance(values, io.IOBase):
        return "an open file"
    if _is_row(values):
        return f"a row of a table with the columns {shown(list(values.keys()))}"
    if isinstance(values, Set) and ordered:
        return f"a set ({shown(values)}), which has no order"
    found = getattr(values, "ndim", 1)
    if isinstance(found, int) and not 1 <= found <= axes:
        return f"an array with {found} axes"
    if isinstance(values, (*TEXT, Mapping)) or not isinstance(values, Iterable):
        return shown(values)
    return None


def _is_table(values: object) -> bool:
    """Return whether a value has named columns: a data frame, a lazy one, a table or a structured array."""
    # asked of the type, because polars warns when the columns of a lazy frame are read
    return hasattr(type(values), "columns") or bool(getattr(getattr(values, "dtype", None), "names", None))


def _columns(table: Any) -> str:
    if hasattr(table, "collect_schema"):
        names = table.collect_schema().names()
    elif hasattr(table, "column_names"):
        names = table.column_names
    else:
        names = table.columns if hasattr(table, "columns") else table.dtype.names
    return shown([str(name) for name in names])
