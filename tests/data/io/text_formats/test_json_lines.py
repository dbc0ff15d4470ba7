"""JSON lines are read as written: keys and types of all rows, ids with every digit, faults with file and line."""

import json
from pathlib import Path
from typing import Any

import pytest

from reprise.data.io.events import read_events
from reprise.data.io.sources import Source, open_source
from reprise.data.io.text_formats import json_lines as module
from reprise.data.io.text_formats.text_blocks import read_blocks
from reprise.errors import DataError

LATE = 30_000
"""A row beyond the part of a file that DuckDB would read to guess types."""


@pytest.fixture
def opened(tmp_path: Path):
    """Return a function that writes objects, or lines as they are, and opens the file."""

    def open_lines(*lines: Any) -> Source:
        path = tmp_path / "log.jsonl"
        path.write_text(
            "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        )
        return open_source(path)

    return open_lines


def rows(source: Source) -> list[dict[str, Any]]:
    assert source.engine is not None
    return source.engine.rows(source.table)


def values(source: Source) -> list[Any]:
    return [row["a"] for row in rows(source)]


def test_a_key_that_occurs_first_in_a_late_row_is_a_column(opened) -> None:
    found = rows(opened(*['{"a": 1}'] * LATE, {"a": 2, "late": "x"}))
    assert found[0] == {"a": 1, "late": None}
    assert found[-1] == {"a": 2, "late": "x"}


def test_a_late_fraction_is_kept(opened) -> None:
    found = values(opened(*['{"a": 1700000000}'] * LATE, {"a": 1700000000.25}))
    assert (len(found), found[0], found[-1]) == (LATE + 1, 1700000000.0, 1700000000.25)


def test_a_late_text_makes_all_values_text_as_written(opened) -> None:
    found = values(opened(*['{"a": 17}'] * LATE, {"a": "017"}))
    assert (len(found), found[0], found[-1]) == (LATE + 1, "17", "017")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, -5, None], [1, -5, None]),
        ([2**53 + 1, 1], [2**53 + 1, 1]),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        ([2**63, 1], [str(2**63), "1"]),
        ([10**30, "x"], [str(10**30), "x"]),
        ([-(2**63) - 1], [str(-(2**63) - 1)]),
        ([2**53 + 1, 0.5], [str(2**53 + 1), "0.5"]),
        ([1, 0.5, None], [1.0, 0.5, None]),
        ([True, None], [True, None]),
        ([True, "x"], ["true", "x"]),
        ([None, None], [None, None]),
        (["1", "2"], ["1", "2"]),
        ([[1, "x"], {"y": None}], ['[1,"x"]', '{"y":null}']),
        (["é日\u2028\n\"'\\", ""], ["é日\u2028\n\"'\\", ""]),
    ],
)
def test_values_keep_their_types_or_are_text(opened, given: list[Any], expected: list[Any]) -> None:
    found = values(opened(*({"a": value} for value in given)))
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_escapes_are_resolved(opened) -> None:
    assert values(opened(r'{"a": "\u0041\ud83d\ude00\/"}')) == ["A😀/"]


def test_a_missing_key_is_a_missing_value(opened) -> None:
    assert rows(opened({"a": 1}, {"b": None}, {"b": 2})) == [
        {"a": 1, "b": None},
        {"a": None, "b": None},
        {"a": None, "b": 2},
    ]


def test_any_key_can_name_a_column(opened) -> None:
    row = {"x.y": 1, "a/b": 2, "~": 3, 'q"': 4, "it's": 5, "$": 6, "0": 7, "*": 8, "é": 9}
    assert rows(opened(row)) == [row]


def test_blank_lines_marks_and_mixed_line_endings_are_read(opened) -> None:
    assert values(opened('\ufeff{"a": 1}\r', "", " \t", '{"a": 2}\r{"a": 3}')) == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[1]", "line 4: this is not a JSON object: '[1]'; write one object per line"),
        ("17", "line 4: this is not a JSON object: '17'"),
        ("null", "line 4: this is not a JSON object: 'null'"),
        (
            '{"a": 1} {"a": 2}',
            "line 4: this is not a JSON object (unexpected content after document at character 10)",
        ),
        (
            '{"a": 01}',
            "line 4: this is not a JSON object (number with leading zero is not allowed at character 7)",
        ),
        ('{"a":', "line 4: this is not a JSON object (unexpected end of data at character 6): '{\"a\":'"),
        ("{'a': 1}", "line 4: this is not a JSON object (unexpected character at character 2)"),
        ("a,b", "line 4: this is not a JSON object (unexpected character at character 1): 'a,b'"),
        ('{"a": 1, "a": 2}', "line 4: the object has the key 'a' twice; remove one of them"),
        ('{"a": 1, "": 2}', "line 4: the object has an empty key; name it"),
        ('{"a": "\0"}', "line 4: the line contains a NUL byte"),
        ('{"a": "\x1f"}', "line 4: the line contains the control character 0x1f; remove it"),
    ],
)
def test_a_line_that_is_not_an_object_is_reported(opened, line: str, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        opened({"a": 1}, "", {"a": 2}, line, {"a": 3})
    assert "log.jsonl', " + fault in str(caught.value)


def test_keys_that_differ_only_in_case_are_refused(opened) -> None:
    with pytest.raises(DataError, match=r"has the columns 'a' and 'A', whose names differ only in case"):
        opened({"a": 1}, {"A": 2})


@pytest.mark.parametrize("lines", [[""], ["{}"]])
def test_a_file_without_values_is_refused(opened, lines: list[str]) -> None:
    with pytest.raises(DataError, match="has no rows; write one JSON object per line"):
        opened(*lines)


def test_a_pretty_printed_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text(json.dumps({"a": 1}, indent=1))
    with pytest.raises(DataError, match=r"line 1: this is not a JSON object .* write one object per line"):
        open_source(tmp_path / "log.json")


@pytest.mark.parametrize(
    ("value", "words", "shown"),
    [
        ([2], "lists", "[2]"),
        ({"id": 2}, "objects", '{"id":2}'),
        (True, "booleans", "true"),
        (1.0, "floats", "1.0"),
    ],
)
@pytest.mark.parametrize("role", ["user_id", "item_id", "session_id"])
def test_lists_objects_booleans_and_floats_are_not_ids(
    opened, tmp_path: Path, value: Any, words: str, shown: str, role: str
) -> None:
    row = {"user_id": 1, "item_id": 1, "session_id": 1, "timestamp": 1_700_000_000}
    opened(*[row] * 3, {**row, role: value})
    with pytest.raises(DataError) as caught:
        read_events(tmp_path / "log.jsonl").check_ids("user", "session")
    assert str(caught.value).startswith(
        f"ids must be text or integers, but column {role!r} contains {words} ({str(tmp_path / 'log.jsonl')!r}, line 4: "
        f"{shown}); "
    )


def test_nested_values_without_a_role_are_allowed(opened, tmp_path: Path) -> None:
    opened(
        {"user_id": 1, "item_id": 1, "timestamp": 1_700_000_000, "tags": ["x"], "more": {"y": 1}, "ok": True}
    )
    assert read_events(tmp_path / "log.jsonl").columns.item == "item_id"


def test_several_files_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "2.jsonl").write_text('{"b": 2, "a": "x"}')
    assert rows(open_source(str(tmp_path / "*.jsonl"))) == [{"a": "1", "b": None}, {"a": "x", "b": 2}]


def test_a_file_of_many_blocks_is_read(opened, monkeypatch) -> None:
    monkeypatch.setattr(module, "read_blocks", lambda path, mark: read_blocks(path, mark, 4000))
    found = rows(opened(*({"a": n, f"b{n // 900}": 2**60 + n} for n in range(1000))))
    assert [row["a"] for row in found] == list(range(1000))
    assert (found[0]["b0"], found[-1]["b0"], found[-1]["b1"]) == (2**60, None, 2**60 + 999)
    with pytest.raises(DataError, match="line 1001: this is not a JSON object"):
        opened(*({"a": n} for n in range(1000)), "x")


def test_the_number_of_rows_is_compared_with_the_file(opened, monkeypatch) -> None:
    complete = module.arrow_csv.read_csv
    monkeypatch.setattr(module.arrow_csv, "read_csv", lambda *given, **more: complete(*given, **more)[:1])
    with pytest.raises(DataError, match=r"log.jsonl', line 1: 2 rows follow, but 1 were read"):
        opened({"a": 1}, {"a": 2})
