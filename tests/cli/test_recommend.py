"""`reprise recommend` and `reprise export`: the same answers from a run and from the model that ships."""

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
    """Ben is at mug 7, Ann at mug 21; Ann also has a mug that nobody sold."""
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


def test_the_remarks_are_not_among_the_answers(reprise: Run, shop: Path, histories: Path) -> None:
    result = reprise("recommend", shop / "model", histories)
    assert result.stderr == "2 users; 1 events skipped, whose items the model does not know\n"


def test_a_run_answers_as_its_exported_model(reprise: Run, shop: Path, histories: Path) -> None:
    answers = [reprise("recommend", shop / name, histories, "--k", "5").stdout for name in ("run", "model")]
    assert answers[0] == answers[1] != ""


def test_the_suffix_says_the_form(reprise: Run, shop: Path, histories: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"answers{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    for file in files:
        assert reprise("recommend", shop / "model", histories, "--k", "2", "--out", file).exit_code == 0
    comma, lines, parquet = files
    rows = pq.read_table(parquet).to_pylist()
    assert len(rows) == 4
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows
    assert [int(row["item_id"]) for row in csv.DictReader(comma.read_text().splitlines())] == [
        row["item_id"] for row in rows
    ]


def test_items_of_the_history_can_be_left_out(
    reprise: Run, shop: Path, histories: Path, tmp_path: Path
) -> None:
    file = tmp_path / "answers.jsonl"
    command = ["recommend", shop / "model", histories, "--k", "37", "--exclude-seen", "--out", file]
    assert reprise(*command).exit_code == 0
    ben = {
        row["item_id"] for row in map(json.loads, file.read_text().splitlines()) if row["user_id"] == "ben"
    }
    assert ben == set(range(40)) - {5, 6, 7}


def test_answers_may_be_unlike_one_another(reprise: Run, shop: Path, histories: Path) -> None:
    from reprise.recommender import Recommender

    result = reprise("recommend", shop / "model", histories, "--k", "8", "--diversity", "1")
    assert result.exit_code == 0, result.output
    answered = [int(row["item_id"]) for row in csv.DictReader(result.stdout.splitlines())]
    histories_given = [
        [(20, 1_700_000_003), (21, 1_700_000_004)],
        [(5, 1_700_000_001), (6, 1_700_000_005), (7, 1_700_000_009)],
    ]
    expected = Recommender.load(shop / "model").recommend_many(histories_given, 8, diversity=1)
    assert answered == [item for answer in expected for item in answer.item_ids]
    plain = reprise("recommend", shop / "model", histories, "--k", "8").stdout
    assert answered != [int(row["item_id"]) for row in csv.DictReader(plain.splitlines())]


def test_k_above_the_catalogue_is_told_and_leaves_no_file(
    fails: Callable[..., str], shop: Path, histories: Path, tmp_path: Path
) -> None:
    message = fails("recommend", shop / "model", histories, "--k", "41", "--out", tmp_path / "answers.csv")
    assert "41" in message and "40" in message
    assert list(tmp_path.iterdir()) == [histories]


def test_what_is_neither_run_nor_model_is_told(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    assert fails("recommend", tmp_path, histories) == (
        f"{tmp_path} is neither a run (no run.json) nor a saved model (no manifest.json); "
        "name what `reprise train` or `reprise export` wrote"
    )


def test_export_says_what_to_type_next_and_keeps_what_is_not_a_model(
    reprise: Run, fails: Callable[..., str], shop: Path, tmp_path: Path
) -> None:
    result = reprise("export", shop / "run", "--out", tmp_path / "model")
    assert result.stdout.endswith(
        f"next:\n  reprise recommend {tmp_path / 'model'} HISTORIES --k 20\n"
        f"  reprise serve {tmp_path / 'model'} --store sqlite:///events.db\n"
    )
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "one.jpg").touch()
    fails("export", shop / "run", "--out", precious)
    assert (precious / "one.jpg").exists()


def test_k_above_the_catalogue_is_told_before_anything_is_written(
    reprise: Run, shop: Path, histories: Path
) -> None:
    result = reprise("recommend", shop / "model", histories, "--k", "41")
    assert (result.exit_code, result.stdout) == (2, "")


def test_answers_that_have_no_place_are_told_before_the_work(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    file = tmp_path / "none" / "answers.parquet"
    assert fails("recommend", "no-model", histories, "--out", file) == (
        f"cannot write {file}: directory {file.parent} does not exist; create it first"
    )


def test_histories_are_those_of_users_or_of_sessions(reprise: Run, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "visits.csv"
    file.write_text("user_id,session_id,item_id,timestamp\nann,s1,5,1700000001\nann,s2,20,1700000002\n")
    for by, keys in {"session": ["s1", "s2"], "user": ["ann"]}.items():
        result = reprise("recommend", shop / "model", file, "--k", "1", "--sequence-by", by)
        assert result.exit_code == 0, result.output
        assert [row["user_id"] for row in csv.DictReader(result.stdout.splitlines())] == keys


def test_histories_without_sessions_cannot_be_those_of_sessions(
    fails: Callable[..., str], shop: Path, histories: Path
) -> None:
    assert fails("recommend", shop / "model", histories, "--sequence-by", "session") == (
        "the histories have no session column; name it with --session-column NAME"
    )


def test_a_model_that_a_killed_save_set_aside_is_found(
    fails: Callable[..., str], tmp_path: Path, histories: Path
) -> None:
    (tmp_path / ".model.old").mkdir()
    message = fails("recommend", tmp_path / "model", histories)
    assert f"the model before it is {tmp_path / '.model.old'}; rename that to {tmp_path / 'model'}" in message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "is missing"),
        ("", "is damaged (it has no epoch)"),
        ('{"epoch": 1}\n', f"is damaged (line 1 has no number 'valid {TrainingConfig().metric}')"),
        (
            '{"epoch": 1, "valid rec',
            "is damaged (Unterminated string starting at: line 1 column 14 (char 13))",
        ),
    ],
)
def test_metrics_that_cannot_be_read_are_named_at_export(
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
