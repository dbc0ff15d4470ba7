"""Blocks contain whole rows, whatever their size and wherever quotes, line endings and separators are cut."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.data.io.text_formats import text_blocks as module
from reprise.data.io.text_formats.text_blocks import read_blocks
from reprise.errors import DataError

VALUES = st.text(alphabet='ab"\n\r,é', max_size=6)
TABLES = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12)


def quoted(value: str) -> str:
    """Return a value as it is written in a file, in quotes only if they are needed."""
    return '"' + value.replace('"', '""') + '"' if set(value) & set('"\n\r,') else value


def rows_of(path: Path, separator: bytes | None, size: int) -> list[bytes]:
    """Return the rows of all blocks, without line endings at their ends."""
    found = []
    for block in read_blocks(path, separator, size):
        borders = [*block.starts.tolist(), len(block.data)]
        found += [block.data[first:last].rstrip(b"\r\n") for first, last in pairwise(borders)]
    return found


@settings(max_examples=60, deadline=None)
@given(
    table=TABLES,
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=12, max_size=12),
    size=st.integers(1, 40),
)
def test_rows_are_found_in_blocks_of_any_size(
    tmp_path_factory, table: list, ends: list[str], size: int
) -> None:
    written = [",".join([*map(quoted, row), "x"]) for row in table]
    path = tmp_path_factory.mktemp("blocks") / "table.csv"
    text = "".join(row + end for row, end in zip(written, ends, strict=False))
    path.write_bytes(text.encode())
    assert rows_of(path, b",", size) == [row.encode() for row in written]


@pytest.mark.parametrize("size", range(3, 12))
def test_a_long_separator_is_found_at_the_border_of_blocks(tmp_path: Path, size: int) -> None:
    path = tmp_path / "table.dat"
    path.write_bytes(b'a::b\n1:::2\n"x::\n"::3\n')
    assert rows_of(path, b"::", size) == [b"a\x1fb", b"1\x1f:2", b'"x\x1f\n"\x1f3']


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_lines_are_counted_in_the_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b'a\r\n\r\n"b\nb"\r\rc\n\nd')
    found = [block.line(int(start)) for block in read_blocks(path, b",", size) for start in block.starts]
    assert found == [1, 3, 6, 8]


@pytest.mark.parametrize("size", range(3, 12))
def test_a_mark_at_the_start_of_a_row_is_refused_also_at_the_border_of_blocks(
    tmp_path: Path, size: int
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfa\xef\xbb\xbf\n\xef\xbb\xbfb\n")
    with pytest.raises(DataError, match="line 2: the line starts with a byte order mark"):
        rows_of(path, b",", size)


def test_quotes_have_no_meaning_without_a_separator(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'{"a"}\n"\n{}')
    assert rows_of(path, None, 4) == [b'{"a"}', b'"', b"{}"]


def test_a_row_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "LONGEST_ROW", 100)
    path = tmp_path / "table.csv"
    path.write_bytes(b'a,b\n1,"2\n' + b"3,4\n" * 1000)
    with pytest.raises(
        DataError, match=r"line 2: the row is longer than 0 MB; check whether a quote is never closed"
    ):
        list(read_blocks(path, b",", 16))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read '.*gone.csv'"):
        list(read_blocks(tmp_path / "gone.csv", b","))


def test_a_control_character_that_the_separator_needs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.dat"
    path.write_bytes(b"a::b\n\x1f::2\n")
    with pytest.raises(DataError, match="contains the control character 0x1f"):
        list(read_blocks(path, b"::"))
