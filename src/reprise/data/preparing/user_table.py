"""The user table: columns of the caller for each sequence, stored in the order of the sequences.

Shape letters: U sequences.
"""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from reprise.data.io.events import find_column
from reprise.data.io.sources import open_source
from reprise.data.preparing.item_table import ID, ItemTable
from reprise.errors import DataError, did_you_mean

NOUN = "user table"
RESERVED = ("sequence_id", "user_id")
"""Columns of the stored sequences that are ours."""
MIN_COVERED = 0.5
"""Share of sequences with a row in the table, below which the dataset gets a warning that says how to fix it."""


def open_users(users: Any, role: str, log_column: str) -> ItemTable:
    """Open a user table; its id column has the same name as in the events, or a known name.

    Args:
        users: The table: a path, a data frame or a source.
        role: Role of the column of the events that identifies a sequence: user or session.
        log_column: Name of this column.

    Raises:
        DataError: The table cannot be read, or has no column of ids, or no other column.
    """
    source = open_source(users)
    names = list(source.table.columns)
    column = log_column if log_column in names else find_column(role, names)
    if column is None:
        raise DataError(
            f"the {NOUN} has no column {log_column!r}{did_you_mean(log_column, names)}; it needs one row for each {role}, "
            "because the sequences are by " + role
        )
    if len(names) == 1:
        raise DataError(
            f"the {NOUN} has no column besides {column!r}; add attributes such as a country, or leave it out"
        )
    source.check_ids(column, where=f" of the {NOUN}")
    return ItemTable(source, column, noun=NOUN)


def join_users(given: ItemTable, keys: pa.ChunkedArray, noun: str) -> tuple[pa.Table, list[str]]:
    """Return the columns of a user table for each sequence, [U], and notes. A sequence without a row has no values.

    Args:
        given: The table.
        keys: Id of the user or session of each sequence.
        noun: What a key identifies, for messages: users or sessions.

    Raises:
        DataError: Ids are missing, repeated or of another type than in the events, or none of them occurs in the events.
    """
    rows, name = given.load(), given.id_column
    ids = _as_type(rows.column(ID), keys, given)
    blank = pc.sum(pc.equal(ids, "")).as_py() if pa.types.is_string(ids.type) else 0
    if ids.null_count or blank:
        raise DataError(
            f"column {name!r} of the {NOUN} has no id in {ids.null_count + (blank or 0)} rows; drop these rows"
        )
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).to_pylist()
    if repeated:
        raise DataError(
            f"the {NOUN} has {len(repeated)} ids in more than one row, first {repeated[0]['values']!r} in "
            f"{repeated[0]['counts']} rows (column {name!r}); keep one row each"
        )
    row_U = pc.index_in(keys, ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids)
    known = len(keys) - row_U.null_count
    if not known:
        raise DataError(
            f"no id of column {name!r} of the {NOUN} occurs in the events: {_first(ids)!r} in the table, {_first(keys)!r} in "
            "the events; write the same id the same way in both"
        )
    columns = rows.drop_columns([ID]).take(row_U)
    names = [f"given_{column}" if column in RESERVED else column for column in columns.column_names]
    notes = []
    if row_U.null_count:
        hint = "; is it the right table?" if known < MIN_COVERED * len(keys) else ""
        notes.append(f"{row_U.null_count} of {len(keys)} {noun} have no row in the {NOUN}{hint}")
    return columns.rename_columns(names), notes


def table_hash(table: pa.Table) -> str:
    """Return a short hash of the names and values of a table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()[:16]


def _as_type(ids: pa.ChunkedArray, keys: pa.ChunkedArray, given: ItemTable) -> pa.ChunkedArray:
    """Return the ids of a table in the type of the ids of the events; in a text file, numbers are written as text."""
    if ids.type == keys.type:
        return ids
    if pa.types.is_integer(keys.type) and not pa.types.is_integer(ids.type) and not given.source.text:
        raise _other_type(ids, keys, given)
    if not pa.types.is_integer(keys.type) and pa.types.is_integer(ids.type):
        raise _other_type(ids, keys, given)
    try:
        return ids.cast(keys.type)
    except pa.ArrowInvalid:
        raise _other_type(ids, keys, given) from None


def _other_type(ids: pa.ChunkedArray, keys: pa.ChunkedArray, given: ItemTable) -> DataError:
    return DataError(
        f"the ids are {_words(keys)} in the events ({_first(keys)!r}) and {_words(ids)} in column {given.id_column!r} of the "
        f"{NOUN} ({_first(ids)!r}); make them the same"
    )


def _words(ids: pa.ChunkedArray) -> str:
    return "integers" if pa.types.is_integer(ids.type) else "text"


def _first(ids: pa.ChunkedArray) -> Any:
    return ids[0].as_py() if len(ids) else None
