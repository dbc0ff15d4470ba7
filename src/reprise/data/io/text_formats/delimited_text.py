"""Delimited text files with a header (CSV, TSV, RecBole `.inter`), read as text in one stated dialect.

Values are quoted with `"`, and a quote inside a quoted value is written twice. No character starts a comment. Empty
values are missing, also `""`; everything else is read as written, including blanks. Only the separator is detected.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from reprise.data.io.column_names import check_column_names, join_names
from reprise.data.io.text_formats.text_blocks import (
    BLOCK_BYTES,
    STAND_IN,
    Block,
    Positions,
    parsed_separator,
    read_blocks,
)
from reprise.errors import ConfigError, DataError

SEPARATORS = (",", "\t", ";", "|", "::")
"""Separators that are detected."""
SEPARATOR_NAMES = {"\\t": "\t", "tab": "\t"}
"""Other spellings of separators, for the command line."""
NAME_IT = "name it (--delimiter, --items-delimiter, or delimiter= of read_events and open_source)"
PEEK_BYTES = 2**20
"""Bytes from which the separator is detected; all rows must agree with it afterwards."""
NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


@dataclass(frozen=True)
class DelimitedFile:
    """A delimited text file and its header."""

    path: Path
    """The file."""
    separator: str
    """Separator of the values."""
    names: tuple[str, ...]
    """Names of the columns."""
    header: tuple[str, ...]
    """Values of the header as written: with types in RecBole's files, and "" for a column without a name."""


def parse_separator(given: str | None) -> str | None:
    r"""Return a separator as it is in the file; `\t` and `tab` mean a tab.

    Raises:
        ConfigError: The separator is empty or contains a quote, a line ending or a NUL byte.
    """
    if given is None:
        return None
    separator = SEPARATOR_NAMES.get(given, given) if isinstance(given, str) else ""
    if not separator or not {'"', "\n", "\r", "\0", STAND_IN.decode()}.isdisjoint(separator):
        raise ConfigError(
            f"delimiter={given!r} cannot separate values; give a character such as ';' or a tab"
        )
    return separator


def open_delimited(path: Path, separator: str | None = None, *, typed_names: bool = False) -> DelimitedFile:
    """Read the header of a file, and detect the separator if it is not given.

    Args:
        path: The file.
        separator: Separator of the values, or None.
        typed_names: Whether the names are written as `name:type`, as in RecBole. The types are not used.

    Raises:
        DataError: The file cannot be read, several separators are possible, another one separates the names, or columns
            have no name or the same name.
    """
    chosen = separator or _detect_separator(path)
    block = next(read_blocks(path, chosen.encode(), PEEK_BYTES), None)
    if block is None or not block.rows:
        raise DataError(f"{str(path)!r} is empty; the first line must name the columns")
    header = _header(block, chosen)
    return DelimitedFile(path, chosen, _names(block, header, typed_names=typed_names), header)


def read_batches(files: Sequence[DelimitedFile], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read the rows of files in order, as text columns `names`; columns that a file lacks are missing values.

    Raises:
        DataError: A row has more or fewer values than the header, or the file is not valid text in the dialect.
    """
    schema = text_schema(names)
    for file in files:
        own = {name.lower(): position for position, name in enumerate(file.names)}
        for block in _blocks_without_header(file):
            table = _parse(block, file)
            columns = [
                table.column(own[name.lower()])
                if name.lower() in own
                else pa.chunked_array([pa.nulls(len(table), pa.string())])
                for name in names
            ]
            yield from pa.table(columns, schema=schema).to_batches()


def text_schema(names: Sequence[str]) -> pa.Schema:
    """Return the schema of text columns."""
    return pa.schema([(name, pa.string()) for name in names])


def union_names(files: Sequence[DelimitedFile]) -> list[str]:
    """Return the column names of several files, each once; names that differ only in case are one column."""
    names: dict[str, str] = {}
    for file in files:
        for name in file.names:
            names.setdefault(name.lower(), name)
    return list(names.values())


def _detect_separator(path: Path) -> str:
    """Return the separator with which the header and the rows at the beginning of a file have equal numbers of values."""
    possible: dict[str, bool] = {}
    fault: DataError | None = None
    for separator in SEPARATORS:
        try:
            block = next(read_blocks(path, separator.encode(), PEEK_BYTES), None)
        except DataError as error:
            fault = fault or error
            continue
        if block is None or not block.rows:
            continue
        count_R = _count_values(block, separator)
        if count_R[0] > 1:
            possible[separator] = bool((count_R == count_R[0]).all())
    agreeing = [separator for separator, agrees in possible.items() if agrees]
    chosen = agreeing or list(possible)
    if len(chosen) > 1:
        raise DataError(f"the separator of {str(path)!r} may be {' or '.join(map(repr, chosen))}; {NAME_IT}")
    if not chosen and fault is not None:
        raise fault
    return chosen[0] if chosen else SEPARATORS[0]


def _count_values(block: Block, separator: str) -> Positions:
    """Return the number of values in each row."""
    array = np.frombuffer(block.data, np.uint8)
    at = np.flatnonzero(array == parsed_separator(separator.encode())[0])
    if len(block.quotes):
        at = at[np.searchsorted(block.quotes, at) % 2 == 0]
    row_of = np.searchsorted(block.starts, at, side="right") - 1
    return 1 + np.bincount(row_of, minlength=block.rows)


def _header(block: Block, separator: str) -> tuple[str, ...]:
    """Return the values of the first row."""
    first = int(_count_values(block, separator)[0])
    end = int(block.starts[1]) if block.rows > 1 else len(block.data)
    row = _parse_text(block.data[:end], separator, [str(position) for position in range(first)])
    names = tuple(str(column[0].as_py() or "") for column in row.columns)
    if names[0].lower().startswith("sep="):
        raise block.error(
            int(block.starts[0]), "the line names the separator for Excel, not the columns; remove the line"
        )
    other = next((one for one in SEPARATORS if one in names[0]), None)
    if len(names) == 1 and other and b'"' not in block.data[:end]:
        raise DataError(
            f"the header of {str(block.path)!r} is a single name with the separator {separator!r}: {names[0]!r}; if {other!r} "
            f"separates the values, {NAME_IT}"
        )
    return names


def _names(block: Block, header: Sequence[str], *, typed_names: bool) -> tuple[str, ...]:
    """Return the names of the columns, and check them."""
    names = [name.split(":")[0] if typed_names else name for name in header]
    position = int(block.starts[0])
    # pandas writes the index under an empty name, and some programs end every line with a separator
    unnamed = [place for place, name in enumerate(names) if not name.strip()]
    if any(0 < place < len(names) - 1 for place in unnamed) or len(unnamed) == len(names):
        raise block.error(position, f"column {unnamed[0] + 1} of the header has no name; name every column")
    names = [name if name.strip() else f"column{place}" for place, name in enumerate(names)]
    where = f"{str(block.path)!r}, line {block.line(position)},"
    if all(NUMBER.fullmatch(name) for name in names):
        raise DataError(
            f"{where} has numbers ({', '.join(names)}) where the column names are expected; add a header line"
        )
    check_column_names(names, where)
    return tuple(names)


def _blocks_without_header(file: DelimitedFile) -> Iterator[Block]:
    first = True
    for block in read_blocks(file.path, file.separator.encode(), BLOCK_BYTES):
        rows = block
        if first and block.rows:
            rows, first = block.without_first_row(), False
        if rows.rows:
            yield rows


def _parse(block: Block, file: DelimitedFile) -> pa.Table:
    """Parse the rows of a block and compare their number with the number of lines outside quotes."""
    try:
        table = _parse_text(block.data, file.separator, file.names)
    except pa.ArrowInvalid as error:
        raise _ragged_error(block, file) or DataError(f"cannot read {str(file.path)!r}: {error}") from None
    block.check_rows(len(table))
    _check_headers(block, file, table)
    return table


def _check_headers(block: Block, file: DelimitedFile, table: pa.Table) -> None:
    """Check that no row repeats the header."""
    same = None
    for column, name in zip(table.columns, file.header, strict=True):
        if name:
            equal = pc.equal(column, name)
            same = equal if same is None else pc.and_(same, equal)
            if not pc.any(same).as_py():
                return
    row = pc.index(same, True).as_py()
    raise block.error(
        int(block.starts[row]), "the line repeats the header, as if files had been joined; remove the line"
    )


def _parse_text(data: bytes, separator: str, names: Sequence[str]) -> pa.Table:
    byte = parsed_separator(separator.encode())
    table = arrow_csv.read_csv(
        pa.py_buffer(data),
        read_options=arrow_csv.ReadOptions(
            column_names=[str(position) for position in range(len(names))],
            use_threads=False,
            block_size=len(data) + 1,
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=byte.decode(), newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={str(position): pa.string() for position in range(len(names))},
            null_values=[""],
            strings_can_be_null=True,
            check_utf8=False,  # `read_blocks` has checked it
        ),
    )
    if byte == STAND_IN and b'"' in data:
        restored: list[Any] = [
            pc.replace_substring(column, STAND_IN.decode(), separator) for column in table.columns
        ]
        return pa.table(restored, names=table.column_names)
    return table


def _ragged_error(block: Block, file: DelimitedFile) -> DataError | None:
    """Return the error about the first row that has more or fewer values than the header, or None."""
    expected = len(file.names)
    count_R = _count_values(block, file.separator)
    wrong = np.flatnonzero(count_R != expected)
    if not len(wrong):
        return None
    row = int(wrong[0])
    found = int(count_R[row])
    text = block.row_text(row).replace(STAND_IN.decode(), file.separator)
    names = join_names(file.names)
    if row == 0 and len(wrong) == block.rows and (count_R == found).all():
        return DataError(
            f"the header of {str(file.path)!r} names {expected} columns ({names}), but the rows have {found}, "
            f"first in line {block.line(int(block.starts[0]))}: {text!r}; name every column in the header"
        )
    return block.error(
        int(block.starts[row]),
        f"columns found: {found}, expected: {expected} ({names}): {text!r}; correct the line, or put "
        f"values that contain {file.separator!r} in quotes",
    )
