"""`reprise recommend` and `reprise export`: a run and its exported model give the same recommendations."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from reprise.training import TrainingConfig

Run = Callable[..., Result]


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """Write two histories: Ben ends with mug 7, Ann with mug 21. Ann also has a mug that the model does not know."""
    rows = [("ben", 5, 1), ("ann", 20, 3), ("ann", 99, 1), ("ben", 7, 9), ("ben", 6, 5), ("ann", 21, 4)]
    file = tmp_path / "histories.csv"
    lines = [f"{user},{item},{1_700_000_000 + time}" for user, item, time in rows]
    file.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return file


def test_every_user_gets_k_ranked_rows_with_titles(reprise: Run, shop: Path, histories: Path) -> None:
    result = reprise("recommend", shop / "model", histories, "--k", "3")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(row["user_id"], row["rank"]) for row in rows] == [
        ("ann", "1"), ("ann", "2"), ("ann", "3"), ("ben", "1"), ("ben", "2"), ("ben", "3"),
    ]  # fmt: skip
    assert all(row["title"] == f"Mug {row['item_id']}" for row in rows)
    assert [float(row["score"]) for row in rows[:3]] == sorted(
        (float(row["score"]) for row in rows[:3]), reverse=True
    )


def test_notes_are_written_to_standard_error(reprise: Run, shop: Path, histories: Path) -> None:
    result = reprise("recommend", shop / "model", histories)
    assert result.stderr == "2 users; skipped 1 events of items that the model does not know\n"


def test_a_run_and_its_exported_model_give_the_same_recommendations(
    reprise: Run, shop: Path, histories: Path
) -> None:
    outputs = [reprise("recommend", shop / name, histories, "--k", "5").stdout for name in ("run", "model")]
    assert outputs[0] == outputs[1] != ""


def test_the_suffix_of_the_file_selects_the_format(
    reprise: Run, shop: Path, histories: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"items{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    for file in files:
        assert reprise("recommend", shop / "model", histories, "--k", "2", "--out", file).exit_code == 0
    comma, lines, parquet = files
    rows = pq.read_table(parquet).to_pylist()
    assert len(rows) == 4
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows
    assert [int(row["item_id"]) for row in csv.DictReader(comma.read_text().splitlines())] == [
        row["item_id"] for row in rows
    ]


def test_items_of_the_history_can_be_excluded(
    reprise: Run, shop: Path, histories: Path, tmp_path: Path
) -> None:
    file = tmp_path / "items.jsonl"
    command = ["recommend", shop / "model", histories, "--k", "37", "--exclude-seen", "--out", file]
    assert reprise(*command).exit_code == 0
    ben = {
        row["item_id"] for row in map(json.loads, file.read_text().splitlines()) if row["user_id"] == "ben"
    }
    assert ben == set(range(40)) - {5, 6, 7}


def test_recommendations_can_be_diversified(reprise: Run, shop: Path, histories: Path) -> None:
    from reprise.recommender import Recommender

    result = reprise("recommend", shop / "model", histories, "--k", "8", "--diversity", "1")
    assert result.exit_code == 0, result.output
    recommended = [int(row["item_id"]) for row in csv.DictReader(result.stdout.splitlines())]
    histories_given = [
        [(20, 1_700_000_003), (21, 1_700_000_004)],
        [(5, 1_700_000_001), (6, 1_700_000_005), (7, 1_700_000_009)],
    ]
    expected = Recommender.load(shop / "model").recommend_many(histories_given, 8, diversity=1)
    assert recommended == [item for result in expected for item in result.item_ids]
    plain = reprise("recommend", shop / "model", histories, "--k", "8").stdout
    assert recommended != [int(row["item_id"]) for row in csv.DictReader(plain.splitlines())]


def test_a_k_above_the_catalogue_gives_all_items(reprise: Run, shop: Path, histories: Path) -> None:
    results = [reprise("recommend", shop / "model", histories, "--k", k) for k in (40, 41, 10**12)]
    assert len({result.stdout for result in results}) == 1
    assert len(results[0].stdout.splitlines()) == 1 + 2 * 40


def test_a_path_that_is_neither_run_nor_model_is_an_error(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    assert fails("recommend", tmp_path, histories) == (
        f"{tmp_path} is neither a saved model nor a run (no run.json); "
        f"make one with `reprise train DATASET --out {tmp_path}`"
    )


def test_export_prints_the_next_commands_and_keeps_other_directories(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    result = reprise("export", shop / "run", "--out", tmp_path / "model")
    assert result.stdout.endswith(
        f"next:\n  reprise recommend {tmp_path / 'model'} HISTORIES --k 20\n"
        f"  reprise serve {tmp_path / 'model'} --store sqlite:///events.db\n"
    )
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").touch()
    fails("export", shop / "run", "--out", photos)
    assert (photos / "one.jpg").exists()


def test_an_output_file_in_a_missing_folder_is_an_error_before_the_work(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    file = tmp_path / "none" / "items.parquet"
    assert fails("recommend", "no-model", histories, "--out", file) == (
        f"cannot write {file}: directory {file.parent} does not exist; create it first"
    )


def test_histories_can_be_keyed_by_user_or_session(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("user_id,session_id,item_id,timestamp\nann,s1,5,1700000001\nann,s2,20,1700000002\n")
    for by, keys in {"session": ["s1", "s2"], "user": ["ann"]}.items():
        result = reprise("recommend", shop / "model", file, "--k", "1", "--sequence-by", by)
        assert result.exit_code == 0, result.output
        assert [row["user_id"] for row in csv.DictReader(result.stdout.splitlines())] == keys


def test_keying_by_session_needs_a_session_column(
    fails: Callable[..., str], shop: Path, histories: Path
) -> None:
    assert fails("recommend", shop / "model", histories, "--sequence-by", "session") == (
        "the histories have no session column; name it with --session-column NAME"
    )


def test_a_backup_of_a_killed_save_is_named(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    (tmp_path / ".model.old").mkdir()
    message = fails("recommend", tmp_path / "model", histories)
    assert f"the previous model is {tmp_path / '.model.old'}; rename that to {tmp_path / 'model'}" in message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "is missing"),
        ("", "is damaged (it has no epoch)"),
        ('{"epoch": 1}\n', f"is damaged (line 1 has no number 'valid {TrainingConfig().metric_for(40)}')"),
        (
            '{"epoch": 1, "valid rec',
            "is damaged (Unterminated string starting at: line 1 column 14 (char 13))",
        ),
    ],
)
def test_a_damaged_metrics_file_is_named_at_export(
    fails: Callable[..., str], shop: Path, tmp_path: Path, text: str | None, why: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(shop / "run", run)
    file = run / "metrics.jsonl"
    file.unlink()
    if text is not None:
        file.write_text(text)
    assert fails("export", run, "--out", tmp_path / "model") == (
        f"{file} {why}; copy the run again, or train again in another directory"
    )
    assert not (tmp_path / "model").exists()


def test_a_repeated_row_changes_no_recommendation(
    reprise: Run, shop: Path, histories: Path, tmp_path: Path
) -> None:
    """`prepare` dropped duplicates from the log of this model."""
    header, *rows = histories.read_text().splitlines()
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([header, *rows, *rows]) + "\n")
    for options in ([], ["--now", "1700009999"], ["--exclude-seen"]):
        results = [reprise("recommend", shop / "model", file, *options) for file in (histories, twice)]
        assert results[0].exit_code == 0, results[0].output
        assert results[0].output == results[1].output


def test_the_file_of_histories_is_not_replaced_by_the_recommendations(
    fails: Callable[..., str], shop: Path, histories: Path, tmp_path: Path
) -> None:
    before = histories.read_text()
    (tmp_path / "link.csv").symlink_to(histories)
    for out, pattern in ((histories, histories), (tmp_path / "link.csv", tmp_path / "hist*.csv")):
        message = fails("recommend", shop / "model", pattern, "--out", out)
        assert message == f"cannot write {out}: the command reads this file; name another file"
    assert histories.read_text() == before
