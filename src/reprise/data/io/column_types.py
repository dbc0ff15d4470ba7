"""Types of columns in plain words, for messages; and the rule for ids.

An id is a text that is not empty, or an integer of 64 bits, in every format. Files of delimited text do not show types:
there, a column of ids is integer only if every id in all rows is written as an integer (`is_integer_text`). In JSON
lines, one text makes all ids of the column text as written. An id is never converted in a way that would make two ids
equal.
"""

import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from reprise.errors import DataError

WORDS = {
    "boolean": "booleans",
    "integer": "integers",
    "floating": "floats",
    "decimal": "decimal numbers",
    "string": "text",
    "binary": "bytes",
    "timestamp": "timestamps",
    "date": "dates",
    "time": "times of day",
    "interval": "durations",
    "uuid": "UUIDs",
    "json": "JSON values",
    "array": "lists",
    "struct": "structures",
    "map": "mappings",
}
"""What a column of each Ibis type contains."""
UNKNOWN = {"TIMESTAMPTZ_NS": "timestamps", "TIME_NS": "times of day"}
"""The same for DuckDB types that Ibis does not know, by a part of their name."""
UNREADABLE = "values of a type that cannot be read"
ID_HINTS = {
    "floats": "pandas turns integers with missing values into floats: drop the rows without an id, then cast",
    "decimal numbers": "cast the column to int64, or to text",
    "bytes": "decode the column to text",
    "lists": "give one id per row",
}
"""What to do about ids of these types."""


def is_null_type(kind: dt.DataType) -> bool:
    """Return whether a type is that of a column without any value, such as an Arrow column of nulls."""
    return bool(kind.is_null() or str(kind).endswith('kind="NULL"))'))


def is_zoned_nanoseconds(kind: dt.DataType) -> bool:
    """Return whether a type is the nanosecond timestamp with a zone that pandas writes; Ibis does not know DuckDB's type."""
    return bool(kind.is_unknown()) and "TIMESTAMPTZ_NS" in str(kind)


def type_words(kind: dt.DataType) -> str:
    """Return what a column of this type contains, such as `lists` or `floats`."""
    for name, words in WORDS.items():
        if getattr(kind, f"is_{name}")():
            return words
    return next((words for part, words in UNKNOWN.items() if part in str(kind)), UNREADABLE)


def is_id_type(kind: dt.DataType) -> bool:
    """Return whether a column of this type may contain ids: text, integers or UUIDs."""
    return bool(kind.is_string() or kind.is_integer() or kind.is_uuid())


def is_integer_text(ids: ir.Value) -> ir.BooleanValue:
    """Return whether each text is written as an integer of 64 bits: `17`, but not `017`, `+17`, `17.0` or ` 17`."""
    # compared as text, because the conversion alone would accept other spellings and round `1.7` to 2
    return (ids.try_cast(dt.int64).cast(dt.string) == ids).fill_null(False)


def is_missing_id(ids: ir.Value) -> ir.BooleanValue:
    """Return whether each id is missing; an empty text names nothing, in any format."""
    return ids.isnull() | (ids == "") if ids.type().is_string() else ids.isnull()


def check_id_type(table: ir.Table, name: str, *, where: str = "") -> None:
    """Check that a column of ids contains text, integers or UUIDs.

    Args:
        table: The table.
        name: Name of the column.
        where: What the table is, for the message, such as ` of the item table`.

    Raises:
        DataError: It has another type.
    """
    kind = table[name].type()
    if is_id_type(kind):
        return
    if is_null_type(kind):
        raise DataError(
            f"column {name!r}{where} has no value in any row, but ids are needed; name another column"
        )
    raise id_type_error(name, type_words(kind), where=where)


def id_type_error(name: str, words: str, *, where: str = "", example: str = "") -> DataError:
    """Return the error about a column of ids with values of another type.

    Args:
        name: Name of the column.
        words: What the column contains, such as `lists`.
        where: What the table is, such as ` of the item table`.
        example: First such value with its file and line, if they are known.
    """
    hint = f"; {ID_HINTS[words]}" if words in ID_HINTS else "; name another column, or convert it"
    shown = f" ({example})" if example else ""
    return DataError(
        f"ids must be text or integers, but column {name!r}{where} contains {words}{shown}{hint}"
    )
