"""Tests of `reprise prepare` and `reprise describe`."""

import json
import random
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import Result

from reprise.data.dataset import SequenceDataset

Run = Callable[..., Result]


def write(folder: Path, text: str) -> Path:
    file = folder / "events.csv"
    file.write_text(text)
    return file


def rows(users: int = 5, events: int = 8) -> str:
    return "".join(
        f"u{user},s{user}{event // 4},i{(user + event) % 7},{1_700_000_000 + event * 86_400 + user},{part},{event}\n"
        for user in range(users)
        for event, part in enumerate(["train"] * (events - 2) + ["valid", "test"])
    )


def test_prepare_prints_counts_and_the_next_command(reprise: Run, tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,session_id,item_id,timestamp,split,price\n" + rows())
    result = reprise("prepare", log, "--out", tmp_path / "shop", "--split", "leave-one-out")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"next:\n  reprise train {tmp_path / 'shop'} --out runs/shop\n")
    assert "40" in result.stdout


def test_dropped_bots_are_printed(reprise: Run, tmp_path: Path) -> None:
    bot = "".join(f"bot,s,i{event},{1_700_000_000 + event},train,1\n" for event in range(4))
    log = write(tmp_path, "user_id,session_id,item_id,timestamp,split,price\n" + rows() + bot)
    result = reprise(
        "prepare", log, "--out", tmp_path / "shop", "--split", "leave-one-out", "--max-events-per-day", "3"
    )
    assert result.exit_code == 0, result.output
    assert re.search(r"dropped: busy users +4 *\n", result.stdout)
    assert re.search(r"users dropped +1 *\n", result.stdout)


def test_options_name_the_columns(reprise: Run, tmp_path: Path) -> None:
    log = write(tmp_path, "buyer,visit,sku,at,part,paid\n" + rows())
    command = ["prepare", log, "--out", tmp_path / "shop", "--split", "column:part"]
    columns = {"user": "buyer", "session": "visit", "item": "sku", "time": "at", "value": "paid"}
    options = [text for role, name in columns.items() for text in (f"--{role}-column", name)]
    assert reprise(*command, *options).exit_code == 0
    data = SequenceDataset.open(tmp_path / "shop")
    assert [data.part_events(part) for part in ("train", "valid", "test")] == [30, 5, 5]
    assert data.value[:8].tolist() == list(range(8))


def test_sequences_can_be_sessions(reprise: Run, tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,session_id,item_id,timestamp,split,price\n" + rows())
    common = ["prepare", log, "--split", "leave-one-out"]
    assert reprise(*common, "--out", tmp_path / "a", "--sequence-by", "session").exit_code == 0
    assert len(SequenceDataset.open(tmp_path / "a")) == 10
    assert reprise(*common, "--out", tmp_path / "b", "--session-gap", "30d").exit_code == 0
    assert len(SequenceDataset.open(tmp_path / "b")) == 5


def test_separators_can_be_given(reprise: Run, fails: Callable[..., str], tmp_path: Path) -> None:
    # every line has one comma and three semicolons, so either may be the separator
    lines = "".join(f"u{n % 5};i{n % 3};{1_700_000_000 + n};x,y\n" for n in range(40))
    log = write(tmp_path, f"user_id;item_id;timestamp;a,b\n{lines}")
    items = tmp_path / "items.csv"
    items.write_text("item_id|name,size\ni0|x,y\ni1|z,y\n")
    command = ["prepare", log, "--out", tmp_path / "shop", "--split", "leave-one-out"]
    message = fails(*command)
    assert message == (
        f"the separator of {str(log)!r} may be ',' or ';'; name it (--delimiter, --items-delimiter, or delimiter= of "
        "read_events and open_source)"
    )
    command += ["--delimiter", ";", "--items", items]
    assert "items.csv' may be ',' or '|'" in fails(*command)
    result = reprise(*command, "--items-delimiter", "|")
    assert result.exit_code == 0, result.output
    data = SequenceDataset.open(tmp_path / "shop")
    assert (data.events, data.table.column_names) == (40, ["item_id", "count", "name,size"])


def test_dry_run_shows_how_columns_are_understood_and_writes_nothing(reprise: Run, tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,session_id,sku,timestamp,split,price\n" + rows())
    items = tmp_path / "items.csv"
    items.write_text("sku,title\ni1,Mug\ni2,Pot\ni9,Cup\n")
    options = ["--items", items, "--user-column", "user_id", "--dry-run", "--out", tmp_path / "shop"]
    result = reprise("prepare", log, *options)
    assert result.exit_code == 0, result.output
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["40", "rows"] in words
    assert ["user", "user_id", "named", "text", "5", "sequences"] in words
    assert ["item", "sku", "recognised", "text", "7", "items"] in words
    assert ["session", "-"] in words
    assert "text with seconds since 1970, 2023-11-14T22:13:20+00:00 to" in result.stdout
    assert "columns that are not read: session_id, split" in result.stdout
    assert "item table: 3 rows, of which 2 join an item of the events" in result.stdout
    assert ["u0", "i0", "2023-11-14T22:13:20+00:00", "0.0"] in words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "items.csv"]
    assert reprise("prepare", log, "--dry-run").exit_code == 0


def test_without_a_directory_and_without_a_dry_run_prepare_asks_for_one(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    log = write(tmp_path, "user_id,item_id,timestamp\n")
    assert fails("prepare", log) == (
        "no directory for the dataset; give --out DIR, or look at the columns with --dry-run"
    )


def test_the_unit_of_times_can_be_stated(reprise: Run, fails: Callable[..., str], tmp_path: Path) -> None:
    lines = [f"u{user},i{item},2023111{5 + item}10" for user in range(3) for item in range(4)]
    log = write(tmp_path, "user_id,item_id,timestamp\n" + "\n".join(lines))
    command = ["prepare", log, "--out", tmp_path / "shop", "--split", "leave-one-out"]
    error = fails(*command)
    assert "compact dates (yyyymmddHH): 2023111510 in row 1 would be 2023-11-15 10:00" in error
    assert "--time-unit s" in error
    assert reprise(*command, "--time-unit", "s").exit_code == 0
    assert SequenceDataset.open(tmp_path / "shop").time_ms[0] == 2_023_111_510_000


def test_misspelt_column_gets_a_suggestion(fails: Callable[..., str], tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,item_id,timestamp\nu,i,1700000000\n")
    message = fails("prepare", log, "--out", tmp_path / "shop", "--item-column", "itemid")
    assert message == "the events have no item column 'itemid'; did you mean 'item_id'?"


@pytest.mark.parametrize(
    ("option", "part_of_message"),
    [
        (["--split", "leave-one-in"], "leave-one-out"),
        (["--tz", "Europe/Berln"], "did you mean 'Europe/Berlin'?"),
        (["--session-gap", "30 parsecs"], "30 parsecs"),
    ],
)
def test_invalid_option_is_an_error(
    fails: Callable[..., str], tmp_path: Path, option: list[str], part_of_message: str
) -> None:
    log = write(tmp_path, "user_id,item_id,timestamp\nu,i,1700000000\n")
    assert part_of_message in fails("prepare", log, "--out", tmp_path / "shop", *option)


def test_other_options_need_overwrite(reprise: Run, fails: Callable[..., str], tmp_path: Path) -> None:
    log = write(tmp_path, "user_id,session_id,item_id,timestamp,split,price\n" + rows())
    command = ["prepare", log, "--out", tmp_path / "shop", "--split"]
    assert reprise(*command, "leave-one-out").exit_code == 0
    assert "--overwrite" in fails(*command, "column:split")
    assert reprise(*command, "column:split", "--overwrite").exit_code == 0
    assert SequenceDataset.open(tmp_path / "shop").split["kind"] == "column"


def test_describe_prints_facts_or_json(reprise: Run, shop: Path) -> None:
    plain, as_json = reprise("describe", shop / "data"), reprise("describe", shop / "data", "--json")
    assert plain.exit_code == as_json.exit_code == 0
    facts = json.loads(as_json.stdout)
    assert f"{facts['events']:,}" in plain.stdout


def test_prepare_and_describe_show_how_item_columns_are_read(reprise: Run, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        "".join(
            [
                "user_id,item_id,timestamp\n",
                *(
                    f"u{user},i{step},{1_700_000_000 + 86_400 * step}\n"
                    for user in range(3)
                    for step in range(20)
                ),
            ]
        )
    )
    (tmp_path / "items.csv").write_text(
        "".join(
            [
                "item_id,title,colour,shop\n",
                *(f"i{step},Lamp number {step},{('red', 'blue')[step % 2]},London\n" for step in range(20)),
            ]
        )
    )
    options = ("--items", tmp_path / "items.csv", "--split", "last:3d,3d", "--out", tmp_path / "data")
    for shown in (reprise("prepare", tmp_path / "log.csv", *options), reprise("describe", tmp_path / "data")):
        lines = [line.split() for line in shown.stdout.splitlines()]
        assert [
            "item",
            "columns:",
            "title",
            "Text:",
            "text,",
            "by",
            "the",
            "name",
            "of",
            "the",
            "column",
        ] in lines
        assert ["item", "columns:", "colour", "Category:", "2", "values"] in lines
        assert ["item", "columns:", "shop", "left", "out:", "all", "values", "are", "equal"] in lines
    found = json.loads(reprise("describe", tmp_path / "data", "--json").stdout)
    assert found["item_columns"]["colour"] == "Category: 2 values"


def test_describe_without_a_dataset_suggests_prepare(fails: Callable[..., str], tmp_path: Path) -> None:
    assert fails("describe", tmp_path) == (
        f"{tmp_path} holds no prepared dataset (it is an empty directory); "
        f"make one with `reprise prepare EVENTS --out {tmp_path}`"
    )


USERS, EVENTS = 40, 24


def write_leaky_log(folder: Path, leak: str) -> tuple[str, ...]:
    """Write a CSV log with one leak and return the arguments of `prepare` for it. An empty `leak` writes no leak."""
    generator = random.Random(1)
    items = [[generator.randrange(20) for _ in range(EVENTS)] for _ in range(USERS)]
    rows = [
        [
            f"u{user}",
            item,
            1_700_000_000 + step * 86_400 + user * 60,
            "view",
            1,
            "test" if user % 4 == 0 else "train",
        ]
        for user, row in enumerate(items)
        for step, item in enumerate(row)
    ]
    facts = [[item, 10.0, "2023-11-01"] for item in range(20)]
    options: tuple[str, ...] = ("--split", "last:3d,3d")
    if leak == "late-training":
        rows[EVENTS + 5][5], options = "test", ("--split", "column:part")
    elif leak == "own-input":
        rows.append(rows[-1])
        options = (*options, "--keep-duplicates")
    elif leak == "duplicate":
        rows += [["copy", *row[1:5], "train"] for row in rows[:EVENTS]]
        options = ("--split", "column:part")
    elif leak == "late-feature":
        facts[3][2] = "2023-12-05"
    elif leak == "giveaway":
        for row, following in pairwise(rows):
            row[4] = following[1]
    elif leak == "giveaway of the table":
        for fact in facts:
            fact[1] = sum(row.count(fact[0]) for row in items)
    for name, head, lines in (
        ("log", "user_id,item_id,timestamp,kind,value,part", rows),
        ("items", "item_id,popularity,updated", facts),
    ):
        text = [head, *(",".join(map(str, line)) for line in lines)]
        (folder / f"{name}.csv").write_text("\n".join(text) + "\n")
    return (
        str(folder / "log.csv"),
        "--items",
        str(folder / "items.csv"),
        "--out",
        str(folder / "out"),
        *options,
    )


@pytest.mark.parametrize(
    ("leak", "message_part"),
    [
        (
            "late-training",
            "row 31 is marked 'train' in column 'part', but a later part of its sequence begins before it",
        ),
        ("own-input", "own-input: 1 targets are copies of one of their inputs"),
        ("duplicate", "first: sequence 'u0' equals sequence 'copy'; keep one of each"),
        (
            "late-feature",
            "late-feature: column 'updated' of the item table has dates at or after the end of training",
        ),
        ("giveaway", "giveaway: column 'value' of the events depends on the item of the next event"),
        (
            "giveaway of the table",
            "giveaway: column 'popularity' of the item table follows the number of all events of 20 items",
        ),
    ],
)
def test_leak_is_an_error_with_its_rows_unless_it_is_allowed(
    fails, reprise, tmp_path: Path, leak: str, message_part: str
) -> None:
    message = fails("prepare", *write_leaky_log(tmp_path, leak))
    assert message_part in message
    assert not (tmp_path / "out").exists()
    if leak != "late-training":
        kind = leak.split(" ")[0]
        assert f"--allow-leaks {kind}" in message
        assert "first: " in message
        result = reprise("prepare", *write_leaky_log(tmp_path, leak), "--allow-leaks", kind)
        assert result.exit_code == 0, result.output
        assert message_part.split("; ")[0].split("first")[0] in " ".join(
            reprise("describe", tmp_path / "out").stderr.split()
        )


def test_log_without_a_leak_is_prepared(reprise, fails, tmp_path: Path) -> None:
    arguments = write_leaky_log(tmp_path, "")
    assert reprise("prepare", *arguments).exit_code == 0
    assert "unknown kind of leak 'twice'" in fails("prepare", *arguments, "--allow-leaks", "twice")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--master", "local[2]", "--out", "shop"),
            "master='local[2]' is an option of Spark, but the engine is 'duckdb'",
        ),
        (
            ("--engine", "spark", "--dry-run"),
            "--dry-run reads the log in DuckDB on this machine; omit --engine spark",
        ),
    ],
)
def test_options_of_spark_need_spark(
    reprise: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    log = write(tmp_path, "user_id,session_id,item_id,timestamp,split,price\n" + rows())
    result = reprise("prepare", log, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_an_unknown_engine_is_refused(reprise: Run, tmp_path: Path) -> None:
    result = reprise("prepare", write(tmp_path, rows()), "--out", tmp_path / "shop", "--engine", "sparc")
    assert result.exit_code == 2
    assert "'sparc' is not one of 'duckdb', 'spark'" in " ".join(result.stderr.replace("│", " ").split())
