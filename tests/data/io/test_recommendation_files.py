"""Recommendations as a file, in three forms that hold the same."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reprise.data.io import recommendation_files
from reprise.data.io.recommendation_files import RecommendationRow, RecommendationWriter
from reprise.errors import ConfigError, DataError

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
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_what_is_written_is_read_again(
    tmp_path: Path, suffix: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendation_files, "ROWS_AT_ONCE", at_once)
    path = tmp_path / f"answers{suffix}"
    write(path)
    assert read(path) == [row._asdict() for row in ROWS]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_no_answers_make_an_empty_file_of_the_same_form(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"answers{suffix}"
    write(path, [])
    assert read(path) == []


def test_without_a_path_it_is_csv_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write(None, ROWS[:1])
    assert capsys.readouterr().out == "user_id,rank,item_id,score,title\n1,1,p1,0.5,\n"


def test_an_error_half_way_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("of yesterday")
    with pytest.raises(KeyError), RecommendationWriter(path) as writer:
        writer.add(ROWS[0])
        raise KeyError
    assert path.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_suffix_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        RecommendationWriter(tmp_path / "answers.parket")
    assert (
        str(caught.value)
        == f"cannot write {tmp_path / 'answers.parket'}: unknown suffix '.parket'; did you mean '.parquet'?"
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_disk_that_is_full_at_the_end_leaves_no_half_a_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, rows: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(recommendation_files.FORMS[suffix], "write", fail)
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path / f"answers{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_folder_that_is_not_there_is_refused_before_any_work(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "nodir" / f"answers{suffix}"
    with pytest.raises(DataError) as caught:
        RecommendationWriter(path)
    assert str(caught.value) == f"cannot write {path}: there is no folder {tmp_path / 'nodir'}; make it first"
