"""Delimited files are read as written: one dialect, every row, and faults named with file and line."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from reprise.data.io.sources import open_source
from reprise.data.io.text_formats import delimited_text as module
from reprise.data.preparing.prepare import prepare
from reprise.errors import ConfigError, DataError

LATE = 30_000
"""Number of rows that exceed the part of a file from which the separator is detected."""


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a file and returns its rows as dicts, or a list of values of a single row."""

    monkeypatch.setattr(module, "PEEK_BYTES", LATE)

    def rows(
        content: str | bytes, name: str = "log.csv", delimiter: str | None = None
    ) -> list[dict[str, Any]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        source = open_source(path, delimiter)
        assert source.engine is not None
        return source.engine.rows(source.table)

    return rows


@pytest.mark.parametrize(
    "first", ["#3", "//3", "%3", "--", "'3'", " 3", "NULL", "NaN", "None", "001", "1.0", "é"]
)
def test_every_value_is_kept_as_written(read, first: str) -> None:
    assert read(f"a,b\n1,2\n{first},x\n") == [{"a": "1", "b": "2"}, {"a": first, "b": "x"}]


def test_a_header_that_begins_with_a_hash_is_a_header(read) -> None:
    assert read("#a,b\n1,2\n") == [{"#a": "1", "b": "2"}]


@pytest.mark.parametrize("value", ['"x"', '"x,y"', '"x""y"', '"x\ny"', '"x\r\ny"', '"#x"'])
def test_a_quoted_value_after_many_plain_rows_is_read(read, value: str) -> None:
    lines = ["1,2"] * LATE
    lines[-2] = f"1,{value}"
    rows = read("a,b\n" + "\n".join(lines) + "\n")
    assert len(rows) == LATE
    assert rows[-2]["b"] == value[1:-1].replace('""', '"')


def test_a_quote_inside_a_value_is_an_ordinary_character(read) -> None:
    assert [row["b"] for row in read('a,b\n1,5" x\n"q",2"\n3,"t"\n')] == ['5" x', '2"', "t"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_any_line_ending_is_read(read, end: str, last: bool) -> None:
    assert read(end.join(["a,b", "1,2", "3,4"]) + end * last) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_mixed_line_endings_are_read(read) -> None:
    rows = read('a,b\n1,2\r\n3,"4\r\n5"\r6,7\r\n\r\n\n8,9')
    assert [tuple(row.values()) for row in rows] == [("1", "2"), ("3", "4\r\n5"), ("6", "7"), ("8", "9")]


def test_an_empty_value_is_missing_also_in_quotes(read) -> None:
    assert read('a,b,c\n,"",x\n') == [{"a": None, "b": None, "c": "x"}]


def test_blank_lines_are_not_rows(read) -> None:
    assert len(read("\n\na,b\n\n1,2\n\n\n3,4\n\n")) == 2


def test_a_byte_order_mark_is_not_part_of_the_first_name(read) -> None:
    assert read("\ufeffa,b\n1,2\n") == [{"a": "1", "b": "2"}]
    assert read('\ufeff"a",b\n1,2\n') == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_the_separator_is_detected(read, separator: str) -> None:
    content = f'a,b,c\n1,"x{separator}y",\n'.replace(",", separator)
    for name in ("log.csv", "log.txt", "log.dat"):
        assert read(content, name) == [{"a": "1", "b": f"x{separator}y", "c": None}]


def test_rows_decide_between_separators_of_the_header(read) -> None:
    assert list(read("a,b;c\n1,2;3\n4,5\n")[0]) == ["a", "b;c"]


def test_an_ambiguous_separator_is_refused_and_can_be_given(read) -> None:
    content = "a,b;c\n1,2;3\n"
    with pytest.raises(DataError) as caught:
        read(content)
    assert str(caught.value).endswith(
        "log.csv' may be ',' or ';'; name it (--delimiter, --items-delimiter, or delimiter= of read_events and open_source)"
    )
    assert read(content, delimiter=";") == [{"a,b": "1,2", "c": "3"}]
    assert read(content, delimiter=",") == [{"a": "1", "b;c": "2;3"}]


@pytest.mark.parametrize(
    ("given", "separator"), [(r"\t", "\t"), ("tab", "\t"), (" ", " "), ("§", "§"), ("->", "->")]
)
def test_other_separators_can_be_given(read, given: str, separator: str) -> None:
    assert read("a,b\n1,2\n".replace(",", separator), delimiter=given) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("given", ["", '"', "\n", "x\r", "\0", 3])
def test_an_impossible_separator_is_refused(read, given: Any) -> None:
    with pytest.raises(ConfigError, match="cannot separate values; give a character such as ';' or a tab"):
        read("a,b\n", delimiter=given)


def test_a_separator_of_files_without_separators_is_refused(write_log, days) -> None:
    for name in ("log.parquet", "log.jsonl"):
        with pytest.raises(
            ConfigError, match=r"delimiter=';' applies to delimited text, but '.*log.* is .*; omit it"
        ):
            open_source(write_log(days, name=name), ";")


@pytest.mark.parametrize("row", ["3", "3,4,5"])
@pytest.mark.parametrize("before", [1, LATE])
def test_a_ragged_row_is_reported_with_its_line_and_columns(read, row: str, before: int) -> None:
    with pytest.raises(DataError) as caught:
        read("a,b\n" + '"1\n",2\n' * before + f"{row}\n5,6\n")
    found = len(row.split(","))
    expected = f"log.csv', line {2 * before + 2}: columns found: {found}, expected: 2 (a, b): '{row}'; "
    assert expected in str(caught.value)


@pytest.mark.parametrize("header", ["a,b,c", "a"])
def test_a_header_of_another_length_than_all_rows_is_reported_as_such(read, header: str) -> None:
    count = len(header.split(","))
    with pytest.raises(DataError) as caught:
        read(f"{header}\n1,2\n3,4\n")
    assert (
        f"log.csv' names {count} columns ({header.replace(',', ', ')}), but the rows have 2, first in line 2"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('a,b\n1,2\n"x"y,2\n', "line 3: text follows the closing quote of a value"),
        ('a,b\n"x\\"y",2\n', "line 2: text follows the closing quote of a value"),
        ('a,b\n1,2\n1,"x\n3,4\n', "line 3: the quote at the start of a value is never closed"),
        ("a,b\n1,2\0\n", "line 2: the line contains a NUL byte"),
        (b"a,b\n1,2\n1,\xe9\n", r"line 3: the bytes b'\xe9' are not UTF-8; convert the file to UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16; convert it to UTF-8"),
        ("a,b\n1,2\n".encode("utf-32"), "is UTF-32; convert it to UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-be"), "line 1: the line contains a NUL byte; convert the file to UTF-8"),
        ("a,b\n1,2\n\ufeffa,b\n", "line 3: the line starts with a byte order mark"),
        ("a,b\r1,2\r\ufeff3,4\r", "line 3: the line starts with a byte order mark"),
        ("a,b\n1,2\na,2\n\na,b\n3,4\n", "line 5: the line repeats the header, as if files had been joined"),
        (",b\n0,2\n,b\n", "line 3: the line repeats the header"),
        (
            "sep=;\na;b;c\n1;2;3\n",
            "line 1: the line names the separator for Excel, not the columns; remove the line",
        ),
        ("sep=,\r\na,b\r\n1,2\r\n", "line 1: the line names the separator for Excel"),
        ('"a"\n1\na\n', "line 3: the line repeats the header"),
        (gzip.compress(b"a,b\n", mtime=0), "is compressed by gzip; let its name end with .gz"),
        (b"PAR1\x15\x04", "is a Parquet file; let its name end with .parquet"),
        (b"PK\x03\x04\0", "is a ZIP archive or an Excel file; unpack it, or export it as CSV"),
        ("a,b,a\n1,2,3\n", "line 1, has 2 columns named 'a'; rename or drop all but one of them"),
        ("a,A\n1,2\n", "line 1, has the columns 'a' and 'A', whose names differ only in case"),
        (
            "1,1,978300760\n2,3,4\n",
            "line 1, has numbers (1, 1, 978300760) where the column names are expected",
        ),
        ("a,,b\n1,2,3\n", "line 1: column 2 of the header has no name; name every column"),
        ("\n\n", "log.csv' is empty; the first line must name the columns"),
    ],
)
def test_a_fault_is_reported_with_file_and_line(read, content: str | bytes, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        read(content)
    assert "log.csv'" in str(caught.value)
    assert fault in str(caught.value)


def test_the_index_that_pandas_writes_is_a_column(read) -> None:
    assert read(",a\n0,x\n") == [{"column0": "0", "a": "x"}]
    assert read("a,b,\n1,2,\n") == [{"a": "1", "b": "2", "column2": None}]


def test_a_header_alone_has_no_rows(read) -> None:
    assert read("a,b") == []


def test_a_file_of_one_column_is_read(read) -> None:
    assert [row["a"] for row in read('a\n1\n"2,3"\n')] == ["1", "2,3"]


def test_long_values_are_read(read) -> None:
    assert read(f"a,b\n{'x' * 3_000_000},1\n")[0]["a"] == "x" * 3_000_000


def test_names_of_recbole_have_types_that_are_not_used(read) -> None:
    rows = read('user_id:token\titem_id:token\ttitle:token_seq\n001\t2\t7" single\n', "log.inter")
    assert rows == [{"user_id": "001", "item_id": "2", "title": '7" single'}]


def test_files_with_other_columns_and_separators_are_joined_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("B;c\n3;4\n")
    source = open_source(str(tmp_path / "*.csv"))
    assert source.engine is not None
    assert source.engine.rows(source.table) == [
        {"a": "1", "b": "2", "c": None},
        {"a": None, "b": "3", "c": "4"},
    ]


def test_a_table_can_be_read_repeatedly(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n" + "1,2\n" * 1000)
    source = open_source(tmp_path / "1.csv")
    assert source.engine is not None
    for _ in range(3):
        assert source.engine.row(source.table.aggregate(rows=source.table.count())) == {"rows": 1000}


def test_a_file_of_many_blocks_is_read(read, monkeypatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 100)
    found = read("a,b\n" + "".join(f'{n},"x\n{n}"\n' for n in range(1000)))
    assert [row["b"] for row in found] == [f"x\n{n}" for n in range(1000)]


def test_a_truncated_compressed_file_is_refused(read) -> None:
    with pytest.raises(DataError, match=r"cannot read '.*log.csv.gz': Truncated compressed stream"):
        read(gzip.compress(b"a,b\n1,2\n")[:-4], "log.csv.gz")


def test_joined_compressed_files_are_read_to_the_end(read) -> None:
    assert len(read(gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"), "log.csv.gz")) == 2


def test_the_number_of_rows_is_compared_with_the_file(read, monkeypatch) -> None:
    complete = module._parse_text
    monkeypatch.setattr(module, "_parse_text", lambda *given: complete(*given)[:1])
    with pytest.raises(DataError, match=r"log.csv', line 2: 3 rows follow, but 1 were read"):
        read("a,b\n1,2\n3,4\n5,6\n")


def test_user_ids_that_begin_with_a_hash_are_kept(write_log, days, tmp_path: Path) -> None:
    path = write_log([("#3" if user == "u3" else user, *rest) for user, *rest in days], name="log.csv")
    dataset = prepare(path, tmp_path / "out", split="last:2d,2d")
    assert dataset.events == len(days)
    assert "#3" in dataset.users.tolist()


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.dat"])
def test_prepare_reports_a_ragged_row_and_leaves_nothing(write_log, days, tmp_path: Path, name: str) -> None:
    path = write_log(days, name=name)
    path.write_text(path.read_text() + "3\n")
    with pytest.raises(DataError, match=rf"{name}', line {len(days) + 2}: columns found: 1, expected: 3"):
        prepare(path, tmp_path / "out", split="last:2d,2d")
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["log.tsv", "log.inter", "log.csv"])
def test_a_header_with_another_separator_is_not_one_name(read, name: str) -> None:
    with pytest.raises(
        DataError, match=r"is a single name with the separator .*; if ',' separates the values, name it"
    ):
        read("a:token,b:token\n1,2\n", name, "\t")
    assert read('"a,b"\n1\n', name, "\t") == [{"a,b": "1"}]


def test_a_ragged_row_is_shown_with_its_own_separator(read) -> None:
    with pytest.raises(DataError, match=r"line 3: columns found: 2, expected: 3 .*: '1::2'; correct"):
        read("a::b::c\n1::2::3\n1::2\n", "log.dat")


def test_a_header_with_types_is_not_repeated(read) -> None:
    with pytest.raises(DataError, match="line 3: the line repeats the header"):
        read("a:token\tb:float\n1\t2\na:token\tb:float\n", "log.inter")
    assert read("a:token\tb:float\na\tb\n", "log.inter") == [{"a": "a", "b": "b"}]
