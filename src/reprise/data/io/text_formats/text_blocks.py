"""Text files as blocks of whole rows, with the position and the line of each row.

A row ends with LF, CR LF or CR outside quotes, so files with mixed line endings are read. Blank lines are not rows.
A quote `"` has a meaning only at the start of a value: the value then ends with the next quote, and `""` inside it is
one quote. A quote elsewhere in a value is an ordinary character.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reprise.errors import DataError

BLOCK_BYTES = 4 * 2**20
"""Bytes that are read together."""
LONGEST_ROW = 128 * 2**20
"""Largest number of bytes in a row; a longer one is most likely a quote that is never closed."""
STAND_IN = b"\x1f"
"""Control character that replaces a separator of several bytes, because the parser accepts one byte only."""
UTF8_MARK = b"\xef\xbb\xbf"
OTHER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks of encodings that are not read; that of UTF-32 begins with one of UTF-16."""
OTHER_FILES = {
    b"\x1f\x8b": "is compressed by gzip; let its name end with .gz",
    b"\x28\xb5\x2f\xfd": "is compressed by Zstandard; let its name end with .zst",
    b"PAR1\x15": "is a Parquet file; let its name end with .parquet",
    b"PK\x03\x04": "is a ZIP archive or an Excel file; unpack it, or export it as CSV",
}
"""First bytes of files that are not text, and what to do."""
LF, CR, QUOTE = 10, 13, 34
SHOWN = 60
"""Largest number of characters of a row in a message."""

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, and where they are in it."""

    path: Path
    """File that contains the rows."""
    data: bytes
    """Text of the rows with their line endings, as UTF-8."""
    first_line: int
    """Line of the file in which the block starts, counted from 1."""
    quotes: Positions
    """Positions of the quotes that open or close a value, including both of each pair inside a value."""
    ends: Positions
    """Positions of the bytes LF and CR that are outside quotes."""

    @cached_property
    def starts(self) -> Positions:
        """Position of the first byte of each row."""
        after = np.concatenate([[0], self.ends + 1])
        next_end = np.concatenate([self.ends, [len(self.data)]])
        return after[next_end > after]

    @property
    def rows(self) -> int:
        """Number of rows, counted from line endings and quotes only."""
        return len(self.starts)

    def line(self, position: int) -> int:
        """Return the line of the file that contains the byte at a position."""
        return self.first_line + _count_lines(self.data, position)

    def row_text(self, row: int) -> str:
        """Return the beginning of a row, for messages."""
        start = int(self.starts[row])
        text = self.data[start : start + 4 * SHOWN].decode(errors="ignore").splitlines()[0]
        return text if len(text) <= SHOWN else text[:SHOWN] + "..."

    def without_first_row(self) -> "Block":
        """Return the block from its second row on; it may be empty."""
        cut = int(self.starts[1]) if self.rows > 1 else len(self.data)
        return Block(
            self.path,
            self.data[cut:],
            self.line(cut),
            self.quotes[self.quotes >= cut] - cut,
            self.ends[self.ends >= cut] - cut,
        )

    def check_rows(self, read: int) -> None:
        """Check that a parser has read as many rows as the block has.

        Raises:
            DataError: The numbers differ.
        """
        if read != self.rows:
            raise self.error(
                0, f"{self.rows} rows follow, but {read} were read; please report this with the file"
            )

    def error(self, position: int, fault: str) -> DataError:
        """Return the error about a fault at a position."""
        return DataError(f"{str(self.path)!r}, line {self.line(position)}: {fault}")


def read_blocks(path: Path, separator: bytes | None, size: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a file in blocks of whole rows; files that end with `.gz` or `.zst` are decompressed.

    Args:
        path: The file.
        separator: Separator of the values, which decides where a value starts; None if quotes have no meaning, as in
            JSON lines. One of several bytes is replaced by `STAND_IN` in the blocks.
        size: Approximate number of bytes in a block.

    Raises:
        DataError: The file cannot be read, is not UTF-8, or has a quoted value that does not end properly.
    """
    line, rest = 1, b""
    mark = None if separator is None else parsed_separator(separator)
    for piece, final in _pieces(path, separator, size):
        rest += piece
        if not final and len(rest) < size:
            continue
        block = _cut(path, rest, line, mark, final=final)
        if not block.data and len(rest) > LONGEST_ROW:
            raise DataError(
                f"{str(path)!r}, line {line}: the row is longer than {LONGEST_ROW // 2**20} MB; "
                "check whether a quote is never closed"
            )
        rest = rest[len(block.data) :]
        if block.data:
            _check_text(block)
            yield block
            line = block.line(len(block.data))


def parsed_separator(separator: bytes) -> bytes:
    """Return the byte that separates the values in the blocks of a file with this separator."""
    return STAND_IN if len(separator) > 1 else separator


def _pieces(path: Path, separator: bytes | None, size: int) -> Iterator[tuple[bytes, bool]]:
    """Read pieces of a file without its byte order mark, and whether each is the last; replace a long separator."""
    held = b""
    try:
        with pa.input_stream(str(path), compression=_compression(path)) as stream:
            piece = _without_mark(path, stream.read(size))
            while True:
                following = stream.read(size)
                if separator is not None and len(separator) > 1:
                    piece, held = _replaced(path, held + piece, separator, final=not following)
                yield piece, not following
                if not following:
                    return
                piece = following
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot read {str(path)!r}: {' '.join(str(error).split())}") from None


def _compression(path: Path) -> str | None:
    return {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())


def _without_mark(path: Path, start: bytes) -> bytes:
    for mark, encoding in OTHER_MARKS.items():
        if start.startswith(mark):
            raise DataError(f"{str(path)!r} is {encoding}; convert it to UTF-8")
    for first, fault in OTHER_FILES.items():
        if start.startswith(first):
            raise DataError(f"{str(path)!r} {fault}")
    return start.removeprefix(UTF8_MARK)


def _replaced(path: Path, data: bytes, separator: bytes, *, final: bool) -> tuple[bytes, bytes]:
    """Replace a separator of several bytes; return the result, and bytes at the end that may be part of a separator."""
    if STAND_IN in data:
        raise DataError(
            f"{str(path)!r} contains the control character 0x1f, so it cannot be read with the separator "
            f"{separator.decode()!r}; remove the character, or use a separator of one character"
        )
    complete = data if final else data.rstrip(separator)
    return complete.replace(separator, STAND_IN), data[len(complete) :]


def _cut(path: Path, data: bytes, line: int, separator: bytes | None, *, final: bool) -> Block:
    """Return the whole rows at the beginning of `data`; all of it if it is the end of the file."""
    array = np.frombuffer(data, np.uint8)
    quotes = np.empty(0, np.int64)
    if separator is not None and b'"' in data:
        quotes = _find_quotes(Block(path, data, line, quotes, quotes), array, separator, final=final)
    is_end = array == LF
    if b"\r" in data:
        is_end |= array == CR
    ends = np.flatnonzero(is_end)
    if len(quotes):
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    if final:
        return Block(path, data, line, quotes, ends)
    if len(ends) and ends[-1] == len(data) - 1 and array[-1] == CR:
        ends = ends[:-1]  # the LF of this CR may follow
    cut = int(ends[-1]) + 1 if len(ends) else 0
    return Block(path, data[:cut], line, quotes[quotes < cut], ends)


def _find_quotes(block: Block, array: Any, separator: bytes, *, final: bool) -> Positions:
    """Return the positions of the quotes that open or close values.

    Raises:
        DataError: Text follows a closing quote, or a quote is not closed.
    """
    quotes = np.flatnonzero(array == QUOTE)
    is_border = np.zeros(256, np.bool_)
    is_border[[LF, CR, separator[0]]] = True
    opens = is_border[array[quotes - 1]] | (quotes == 0)
    closes = is_border[array[np.minimum(quotes + 1, len(array) - 1)]] | (quotes == len(array) - 1)
    # Quotes alternate: every second one closes a value. A pair inside a value closes and opens it, without a gap.
    touches = np.diff(quotes) == 1
    opens[2::2] |= touches[1::2]
    closes[1:-1:2] |= touches[1::2]
    if opens[0::2].all() and closes[1::2].all() and (len(quotes) % 2 == 0 or not final):
        return quotes
    return _find_quotes_in_order(block, separator, final=final)


def _find_quotes_in_order(block: Block, separator: bytes, *, final: bool) -> Positions:
    """Return the same as `_find_quotes`, one value after the other; other quotes are ordinary characters."""
    data, borders = block.data, b'\r\n"' + separator
    found: list[int] = []
    position = data.find(b'"')
    while position >= 0:
        if position and data[position - 1] not in b"\r\n" + separator:
            position = data.find(b'"', position + 1)
            continue
        opening = position
        while True:
            found.append(position)
            position = data.find(b'"', position + 1)
            if position < 0:
                if final:
                    raise block.error(opening, "the quote at the start of a value is never closed; close it")
                return np.array(found, np.int64)
            found.append(position)
            position += 1
            if position >= len(data) or data[position] != QUOTE:
                break
        if position < len(data) and data[position] not in borders:
            value = data[opening : position + SHOWN].decode(errors="ignore")
            raise block.error(
                opening,
                f"text follows the closing quote of a value ({value[:SHOWN]!r}); put the whole value in quotes, and "
                "write a quote inside it twice",
            )
        position = data.find(b'"', position)
    return np.array(found, np.int64)


def _check_text(block: Block) -> None:
    """Check that a block is UTF-8 without NUL bytes, and that no row starts with a byte order mark."""
    data = block.data
    if (position := data.find(b"\0")) >= 0:
        raise block.error(
            position, "the line contains a NUL byte; convert the file to UTF-8, or remove the byte"
        )
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        wrong = data[error.start : error.end]
        raise block.error(
            error.start,
            f"the bytes {wrong!r} are not UTF-8; convert the file to UTF-8 (iconv -f ENCODING -t UTF-8)",
        ) from None
    marks = [match.start() for match in re.finditer(UTF8_MARK, data)]
    first = np.intersect1d(marks, block.starts)[:1]
    if len(first):
        raise block.error(
            int(first[0]),
            "the line starts with a byte order mark, as if files had been joined; remove the mark (and a repeated header)",
        )


def _count_lines(data: bytes, end: int) -> int:
    """Return the number of line endings in the first `end` bytes."""
    count = data.count(b"\n", 0, end)
    if b"\r" in data:
        count += data.count(b"\r", 0, end) - data.count(b"\r\n", 0, end)
    return count
