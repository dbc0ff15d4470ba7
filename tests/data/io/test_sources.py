"""A log gives the same dataset in every format."""

import gzip
import json
import shlex
from pathlib import Path

import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reprise.data.io.events import read_events
from reprise.data.io.sources import open_source
from reprise.data.preparing.prepare import prepare
from reprise.errors import DataError

COLUMNS = ("user_id", "item_id", "timestamp")


def summary(source: object, out: Path, **columns: str) -> tuple:
    """Return the parts of the dataset that must not depend on the format of the log."""
    dataset = prepare(read_events(source, **columns), out, split="last:2d,2d")
    return (
        dataset.users.tolist(),
        dataset.items.ids.tolist(),
        dataset.item.tolist(),
        dataset.time_ms.tolist(),
        dataset.fingerprint,
    )


@pytest.fixture
def expected(write_log, days, tmp_path: Path) -> tuple:
    return summary(write_log(days), tmp_path / "expected")


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.jsonl", "log.dat"])
def test_every_file_format_gives_the_same_log(
    write_log, days, tmp_path: Path, expected: tuple, name: str
) -> None:
    assert summary(write_log(days, COLUMNS, name), tmp_path / "out") == expected


def test_recbole_headers_carry_types(write_log, days, tmp_path: Path, expected: tuple) -> None:
    path = write_log(days, ("user_id:token", "item_id:token", "timestamp:float"), "log.inter")
    assert summary(path, tmp_path / "out") == expected


def test_gru4rec_files_have_sessions(write_log, tmp_path: Path) -> None:
    rows = [(day, item, 1_700_000_000.5 + day * 86_400 + item) for day in range(9) for item in range(3)]
    path = write_log(rows, ("SessionId", "ItemId", "Time"), "clicks.tsv")
    dataset = prepare(path, tmp_path / "out", split="last:2d,2d")
    assert len(dataset) == 9
    assert dataset.items.integer_ids
    assert dataset.time_ms[0] == 1_700_000_000_500
    assert dataset.facts["warnings"][0] == "the events have no user column: each session is a sequence"


@pytest.mark.parametrize("name", ["packed.csv.gz", "PACKED.CSV.GZ"])
def test_a_compressed_file_is_read(write_log, days, tmp_path: Path, expected: tuple, name: str) -> None:
    plain = write_log(days, COLUMNS, "log.csv")
    packed = tmp_path / name
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert summary(packed, tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_many_files_are_one_log_in_the_order_given(
    write_log, days, tmp_path: Path, expected: tuple, kind: str
) -> None:
    parts = [
        write_log(days[start : start + 17], COLUMNS, f"part{start:02}.{kind}") for start in range(0, 50, 17)
    ]
    assert summary(parts, tmp_path / "list") == expected
    assert summary(str(tmp_path / f"part*.{kind}"), tmp_path / "glob") == expected


def test_a_directory_means_all_its_files(write_log, days, tmp_path: Path, expected: tuple) -> None:
    for start in range(0, 50, 17):
        write_log(days[start : start + 17], COLUMNS, f"logs/part{start:02}.parquet")
    (tmp_path / "logs" / "_SUCCESS").write_text("")
    assert summary(tmp_path / "logs", tmp_path / "out") == expected


def test_brackets_in_a_file_name_are_not_wildcards(write_log, days, tmp_path: Path, expected: tuple) -> None:
    assert summary(write_log(days, COLUMNS, "log[1]*.parquet"), tmp_path / "parquet") == expected
    assert summary(write_log(days, COLUMNS, "it's log[1].csv"), tmp_path / "it's") == expected


def test_frames_and_tables_give_the_same_log(days, tmp_path: Path, expected: tuple) -> None:
    frame = pd.DataFrame(days, columns=list(COLUMNS))
    table = pa.Table.from_pandas(frame)
    assert summary(frame, tmp_path / "pandas") == expected
    assert summary(pl.from_pandas(frame), tmp_path / "polars") == expected
    assert summary(table, tmp_path / "arrow") == expected


def test_categorical_columns_are_read_as_their_values(days, tmp_path: Path, expected: tuple) -> None:
    frame = pd.DataFrame(days, columns=list(COLUMNS)).astype({"user_id": "category", "item_id": "category"})
    assert summary(frame, tmp_path / "out") == expected


def test_a_table_in_the_callers_database_is_read(write_log, days, tmp_path: Path, expected: tuple) -> None:
    table = ibis.duckdb.connect().read_parquet(write_log(days))
    assert summary(table.filter(table.user_id != "u99"), tmp_path / "out") == expected


def test_text_ids_keep_leading_zeros(write_log, tmp_path: Path) -> None:
    rows = [
        (user, f"00{day % 3}", 1_700_000_000 + day * 86_400 + user) for day in range(10) for user in range(3)
    ]
    dataset = prepare(write_log(rows, COLUMNS, "log.csv"), tmp_path / "out", split="last:2d,2d")
    assert sorted(dataset.items.ids.tolist()) == ["000", "001", "002"]
    assert dataset.users.tolist() == [0, 1, 2]


def test_unused_columns_are_dropped(write_log, days, tmp_path: Path) -> None:
    wide = write_log([(*row, "x") for row in days], (*COLUMNS, "note"))
    assert "note" not in read_events(wide).table.columns


def test_a_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        open_source("clicks*.csv")
    assert str(caught.value) == f"no file at 'clicks*.csv' (seen from {tmp_path})"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(DataError, match=r"log.csv' is empty$"):
        read_events(tmp_path / "log.csv")


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_log_without_rows_is_refused(write_log, tmp_path: Path, name: str) -> None:
    path = write_log([], COLUMNS, name)
    if name == "log.parquet":
        pq.write_table(pa.table({name: pa.array([], pa.int64()) for name in COLUMNS}), path)
    with pytest.raises(DataError, match="the log has no events"):
        prepare(path, tmp_path / "out")
    assert not (tmp_path / "out.partial").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.xlsx").write_text("x")
    with pytest.raises(
        DataError,
        match=r"log.xlsx' has an unknown format; known: .parq",
    ):
        open_source(tmp_path / "log.xlsx")


def test_files_of_two_formats_are_refused(write_log, days) -> None:
    files = [write_log(days), write_log(days, COLUMNS, "more.csv")]
    with pytest.raises(
        DataError, match=r"more.csv' has another format than '.*log.parquet'; give files of one format"
    ):
        open_source(files)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match=r"log.parquet' cannot be read as a Parquet file"):
        read_events(tmp_path / "log.parquet")


def test_other_objects_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        open_source(17)
    assert str(caught.value) == (
        "cannot read a table from a value of type int; give paths, a pandas, polars, Arrow or Ibis table, a dict of "
        "columns, or a list of dicts"
    )


def test_a_column_of_mixed_types_is_refused(days) -> None:
    frame = pd.DataFrame({"user_id": [1, "a"], "item_id": [1, 2], "timestamp": [1_700_000_000] * 2})
    with pytest.raises(DataError) as caught:
        open_source(frame)
    assert str(caught.value) == (
        "column 'user_id' holds values of several types: 1 in row 1 is an int, 'a' in row 2 is a str; convert all of them to "
        "one type"
    )


def test_a_changed_file_is_another_source(write_log, days) -> None:
    before = open_source(write_log(days)).origin
    assert open_source(write_log(days[:-1])).origin != before


def test_a_changed_frame_is_another_source(days) -> None:
    frame = pd.DataFrame(days, columns=list(COLUMNS))
    before = open_source(frame).origin
    assert open_source(frame.copy()).origin == before
    assert open_source(frame.assign(timestamp=frame.timestamp + 1)).origin != before


@pytest.mark.parametrize("name", ["file_row_number", "filename", "File_Row_Number"])
@pytest.mark.parametrize("count", [1, 2])
def test_columns_named_like_the_row_numbers_of_the_engine_do_no_harm(
    write_log, days, tmp_path: Path, expected: tuple, name: str, count: int
) -> None:
    for part in range(count):
        rows = days[part * 20 : part * 20 + 20] if part < count - 1 else days[part * 20 :]
        write_log([(*row, "x") for row in rows], (*COLUMNS, name), f"logs/{part}.parquet")
    assert summary(tmp_path / "logs", tmp_path / "out") == expected


@pytest.mark.parametrize("source", ["logs", "logs/*", "logs/**", "logs/*/*"])
def test_directories_written_by_spark_are_read(
    write_log, days, tmp_path: Path, expected: tuple, source: str
) -> None:
    for day, start in enumerate(range(0, 50, 17)):
        write_log(days[start : start + 17], COLUMNS, f"logs/day{day}.parquet/part-0.snappy.parquet")
        (tmp_path / f"logs/day{day}.parquet/_SUCCESS").touch()
    write_log(days, COLUMNS, "logs/day0.parquet/_temporary/part-0.parquet")
    assert summary(str(tmp_path / source), tmp_path / "out") == expected


def test_an_empty_list_of_files_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        open_source([])
    assert str(caught.value) == "no files to read: the list is empty"


def test_a_list_of_other_objects_is_refused() -> None:
    with pytest.raises(
        DataError, match="cannot read a table from a value of type list with values of type int; give paths"
    ):
        open_source([1, 2])


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_an_open_file_is_refused_and_its_lines_are_not_read_as_paths(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n")
    with path.open(mode) as file, pytest.raises(DataError) as caught:
        read_events(file)
    assert str(caught.value) == (
        f"cannot read a table from an open file of type {type(file).__name__}; give its path"
    )


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_array_is_refused(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([{"user_id": "a", "item_id": 1, "timestamp": 1_700_000_000}], indent=indent))
    with pytest.raises(DataError) as caught:
        open_source(path)
    assert str(caught.value) == (
        f"{str(path)!r} is a JSON array; write one object per line, without brackets around them"
    )


@pytest.mark.parametrize("inner", ["", "dataset.json", "sequences.parquet", "*"])
def test_a_prepared_dataset_is_not_a_log(write_log, days, tmp_path: Path, inner: str) -> None:
    prepare(write_log(days), tmp_path / "shop", split="last:2d,2d")
    with pytest.raises(DataError, match=r"a prepared dataset, not a log.*reprise train .*shop --out RUN"):
        open_source(str(tmp_path / "shop" / inner))


def test_a_run_or_a_model_is_not_a_log(tmp_path: Path) -> None:
    for what, names in (
        ("a run", ("run.json", "recipe.toml")),
        ("a saved model", ("manifest.json", "items.parquet")),
    ):
        for name in names:
            (tmp_path / what).mkdir(exist_ok=True)
            (tmp_path / what / name).touch()
        with pytest.raises(DataError, match=rf"is {what}, not a log.*`reprise recommend '.*' HISTORIES`"):
            open_source(tmp_path / what)


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (("dataset.json", "sequences.parquet"), ["reprise", "train", "./-my $d", "--out", "RUN"]),
        (("run.json", "recipe.toml"), ["reprise", "recommend", "./-my $d", "HISTORIES"]),
    ],
)
def test_a_command_for_a_directory_whose_name_begins_with_a_dash_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in names:
        Path("-my $d").mkdir(exist_ok=True)
        (Path("-my $d") / name).touch()
    with pytest.raises(DataError) as caught:
        open_source("-my $d")
    assert shlex.split(str(caught.value).split("`")[1]) == command


def test_a_dataset_in_memory_is_not_a_log(write_log, days, tmp_path: Path) -> None:
    dataset = prepare(write_log(days), tmp_path / "shop", split="last:2d,2d")
    with pytest.raises(DataError, match="the events are already a prepared dataset; train with it"):
        read_events(dataset)


def test_the_item_table_of_a_prepared_dataset_is_a_table(write_log, days, tmp_path: Path) -> None:
    prepare(write_log(days), tmp_path / "shop", split="last:2d,2d")
    assert "item_id" in open_source(tmp_path / "shop" / "items.parquet").table.columns


def test_a_file_that_is_listed_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": ["u"]}), path)
    assert open_source([path, str(path), str(tmp_path / "*.parquet")]).parquet == (path,)
