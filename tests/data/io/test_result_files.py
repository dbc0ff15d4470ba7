"""Recommendations are written to CSV, JSON lines and Parquet files with the same content."""

import csv
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reprise.data.io import result_files
from reprise.data.io.result_files import RecommendationRow, RecommendationWriter
from reprise.errors import ArtefactError, ConfigError, DataError

ROWS = [
    RecommendationRow(1, 1, "p1", 0.5, None),
    RecommendationRow(1, 2, "p2", 0.25, 'a "mug", red'),
    RecommendationRow(2, 1, "p1", 0.5, "Ä"),
]


def write(path: Path | None, rows: list[RecommendationRow] = ROWS) -> None:
    with RecommendationWriter(path) as writer:
        for row in rows:
            writer.add(row)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return rows
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return [
        {**row, "user_id": int(row["user_id"]), "rank": int(row["rank"]), "score": float(row["score"])}
        | {"title": row["title"] or None}
        for row in csv.DictReader(text.splitlines())
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("rows_per_write", [1, 2, 100])
def test_written_rows_can_be_read(
    tmp_path: Path, suffix: str, rows_per_write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_files, "ROWS_PER_WRITE", rows_per_write)
    path = tmp_path / f"list{suffix}"
    write(path)
    assert read(path) == [row._asdict() for row in ROWS]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_no_rows_give_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list{suffix}"
    write(path, [])
    assert read(path) == []


def test_without_a_path_csv_is_written_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write(None, ROWS[:1])
    assert capsys.readouterr().out == "user_id,rank,item_id,score,title\n1,1,p1,0.5,\n"


def test_an_error_keeps_the_previous_file(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("previous")
    with pytest.raises(KeyError), RecommendationWriter(path) as writer:
        writer.add(ROWS[0])
        raise KeyError
    assert path.read_text() == "previous"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_suffix_is_refused_immediately(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        RecommendationWriter(tmp_path / "list.parket")
    assert (
        str(caught.value)
        == f"cannot write {tmp_path / 'list.parket'}: unknown suffix '.parket'; did you mean '.parquet'?"
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_full_disk_leaves_no_partial_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, rows: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(result_files.FORMATS[suffix], "write", fail)
    with pytest.raises(ArtefactError, match="No space left on device"):
        write(tmp_path / f"list{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_missing_directory_is_refused_immediately(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "nodir" / f"list{suffix}"
    with pytest.raises(DataError) as caught:
        RecommendationWriter(path)
    assert (
        str(caught.value)
        == f"cannot write {path}: the directory {tmp_path / 'nodir'} does not exist; create it first"
    )


def test_of_two_writers_of_a_file_the_last_one_replaces_it_as_a_whole(tmp_path: Path) -> None:
    path, rows = tmp_path / "list.csv", [RecommendationRow(f"u{n}", 1, "i1", 0.5, None) for n in range(2)]
    with RecommendationWriter(path) as first:
        with RecommendationWriter(path) as second:
            first.add(rows[0])
            second.add(rows[1])
        assert path.read_text() == "user_id,rank,item_id,score,title\nu1,1,i1,0.5,\n"
    assert path.read_text() == "user_id,rank,item_id,score,title\nu0,1,i1,0.5,\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_directly_and_stays_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    os.mkfifo(path)
    with ThreadPoolExecutor() as pool:
        received = pool.submit(path.read_text)
        with RecommendationWriter(path) as writer:
            writer.add(RecommendationRow("u1", 1, "i1", 0.5, None))
        assert received.result(30) == "user_id,rank,item_id,score,title\nu1,1,i1,0.5,\n"
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "list.csv")
    with RecommendationWriter(tmp_path / "link.csv") as writer:
        writer.add(RecommendationRow("u1", 1, "i1", 0.5, None))
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "list.csv").read_text().startswith("user_id,rank")
