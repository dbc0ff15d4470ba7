"""Tables in memory as Arrow tables: data frames, Arrow tables, a dict of columns, a list of rows, structured arrays.

Every value keeps its type. What the conversion would merge, cut or guess is refused: columns of one name, values of
several types in one column, times with and without a time zone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.data.io.column_names import check_column_names
from reprise.errors import DataError

CONVERSION_ERRORS = (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError, ValueError)
"""What Arrow and pandas raise for values that cannot be a column."""
NUMBERS = (int, float, np.integer, np.floating)
"""Types whose values may share a column: Arrow converts them to floats without loss, or refuses."""


def to_arrow(source: Any) -> pa.Table | None:
    """Return a table in memory as an Arrow table with plain columns, or None if the source is not a table.

    Args:
        source: A pandas or polars data frame, an Arrow table or any object of the Arrow stream protocol, a dict of
            columns, a list of rows as dicts, or a NumPy array with named fields.

    Raises:
        DataError: Columns have the same name or different lengths, or a column holds values of several types.
    """
    if _is_series(source):
        raise DataError(
            f"a {type(source).__name__} is one column; give a table with a user, an item and a time column"
        )
    table = _read(source)
    if table is None:
        return None
    if not table.num_columns:
        raise DataError("the table has no columns; give a table with a user, an item and a time column")
    check_column_names(table.column_names)
    for position, column in enumerate(table.schema):
        table = table.set_column(position, column.name, _plain(column.name, table.column(position)))
    return table


def _read(source: Any) -> pa.Table | None:
    if isinstance(source, pa.Table):
        return source
    if _is_pandas(source):
        return _from_pandas(source)
    if isinstance(source, Mapping):
        return _from_columns(source)
    if isinstance(source, np.ndarray) and source.dtype.names:
        return _from_columns({name: source[name] for name in source.dtype.names})
    if isinstance(source, (list, tuple)) and source and all(isinstance(row, Mapping) for row in source):
        return _from_rows(source)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return _from_stream(source)
    return None


def _from_stream(source: Any) -> pa.Table:
    try:
        return pa.table(source)
    except CONVERSION_ERRORS as error:
        raise DataError(
            f"a {type(source).__name__} cannot be read as a table ({_one_line(error)}); drop the columns that "
            "are not needed, or convert them to text, integers, floats or timestamps"
        ) from None


def _from_pandas(frame: Any) -> pa.Table:
    named = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    check_column_names(list(named.columns))
    for name in named.columns:
        if named[name].dtype == object:
            _check_one_type(name, named[name])
    try:
        return pa.Table.from_pandas(named).replace_schema_metadata(None)
    except CONVERSION_ERRORS as error:
        raise _bad_column(*next(_failing(named.columns, named.__getitem__), ("", error))) from None


def _failing(names: Iterable[str], column: Any) -> Iterator[tuple[str, Exception]]:
    """Yield the columns that cannot be converted, each with its error."""
    for name in names:
        try:
            pa.array(column(name), from_pandas=True)
        except CONVERSION_ERRORS as error:
            yield name, error


def _from_columns(columns: Mapping[Any, Any]) -> pa.Table:
    check_column_names([str(name) for name in columns])
    arrays = {str(name): _column(str(name), values) for name, values in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise DataError(f"the columns have different lengths ({found}); give one value per row")
    return pa.table(arrays)


def _from_rows(rows: Sequence[Mapping[Any, Any]]) -> pa.Table:
    # the keys of all rows, because Arrow itself takes those of the first row only
    names = dict.fromkeys(chain.from_iterable(rows))
    return _from_columns({name: [row.get(name) for row in rows] for name in names})


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise DataError(
            f"column {name!r} is {_describe(values)}, not a sequence; give one value per row, such as a list"
        )
    if isinstance(values, np.ndarray) and values.ndim == 1 and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if str(getattr(values, "dtype", "object")) == "object":
        _check_one_type(name, values)
    try:
        return pa.array(values, from_pandas=True)
    except CONVERSION_ERRORS as error:
        raise _bad_column(name, error) from None


def _bad_column(name: str, error: Exception) -> DataError:
    if isinstance(error, OverflowError):
        return DataError(f"column {name!r} holds integers of 2^63 or more; store them as text")
    what = f"column {name!r}" if name else "the table"
    return DataError(
        f"{what} cannot be read ({_one_line(error)}); convert it to text, integers, floats or timestamps, or drop it"
    )


def _check_one_type(name: str, values: Any) -> None:
    """Check that a column of Python objects holds values of one type, apart from missing ones.

    Raises:
        DataError: It holds several types, with the first row of two of them.
    """
    types = set(map(type, values)) - {type(None)}
    if len(types) < 2 and not any(issubclass(kind, datetime) for kind in types):
        return
    first: dict[str, tuple[int, Any]] = {}
    for row, value in enumerate(values):
        if not _is_missing(value):
            first.setdefault(_group(value), (row, value))
    if len(first) > 1:
        (row, value), (other_row, other) = list(first.values())[:2]
        raise DataError(
            f"column {name!r} holds values of several types: {value!r} in row {row + 1} is {_describe(value)}, {other!r} "
            f"in row {other_row + 1} is {_describe(other)}; convert all of them to one type"
        )


def _group(value: Any) -> str:
    """Return a name that is equal for values whose types may share a column."""
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, NUMBERS):
        return "number"
    if isinstance(value, datetime):
        return "datetime" if value.tzinfo is None else "datetime with a zone"
    if isinstance(value, date):
        return "date"
    return "str" if isinstance(value, str) else type(value).__name__


def _describe(value: Any) -> str:
    """Return the type of a value in words; times with and without a zone are of different types here."""
    if value is None:
        return "None"
    name = "str" if isinstance(value, str) else type(value).__name__
    if isinstance(value, datetime):
        return f"a {name} {'without' if value.tzinfo is None else 'with'} a time zone"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN, NaT or NA: the last three differ from themselves, or have no truth value."""
    if value is None:
        return True
    if isinstance(value, (str, bytes, int)):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _plain(name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without dictionaries, run lengths, extension types and types that the table engine lacks."""
    plain = _plain_type(values.type)
    if plain == values.type:
        return values
    try:
        return pa.chunked_array([_plain_chunk(chunk, plain) for chunk in values.chunks], plain)
    except pa.ArrowException as error:
        raise _bad_column(name, error) from None


def _plain_chunk(values: pa.Array, plain: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        # the values first, because Arrow has no cast from dictionaries of string views
        values = _plain_chunk(values.dictionary, plain).take(values.indices)
    elif pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if values.type == plain:
        return values
    try:
        return values.cast(plain)
    except pa.ArrowNotImplementedError:
        return pa.array(values.to_pylist(), plain)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column of this type is converted to."""
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name != "arrow.uuid":
        return _plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind):
        return pa.decimal128(38, kind.scale)
    if pa.types.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct(
            [field.with_type(_plain_type(field.type)) for field in map(kind.field, range(kind.num_fields))]
        )
    return kind


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns")


def _is_series(source: Any) -> bool:
    """Return whether a source is a single column of pandas or polars."""
    return type(source).__name__ in ("Series", "Index") and hasattr(source, "dtype")


def _one_line(error: Exception) -> str:
    parts = [str(part) for part in error.args] or [str(error)]
    return " ".join(" ".join(parts).split())[:200]
