"""`reprise recommend` for a network that reads times, kinds and values."""

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import Result

from reprise.data.dataset import SequenceDataset
from reprise.models.networks.recurrent import Recurrent
from reprise.recommender import Recommender

Run = Callable[..., Result]
COLUMNS = ["--kind-column", "what", "--value-column", "paid"]
START_S = 1_700_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write log.csv, data/ and model/, a model with random weights."""
    from typer.testing import CliRunner

    from reprise.cli.main import app

    folder = tmp_path_factory.mktemp("inputs")
    write(folder / "log.csv", users=20, events=20, seed=0)
    command = ["prepare", str(folder / "log.csv"), "--out", str(folder / "data"), *COLUMNS]
    assert CliRunner().invoke(app, command).exit_code == 0
    data = SequenceDataset.open(folder / "data")
    torch.manual_seed(0)
    spec = Recurrent(
        cell="gru", size=8, layers=1, attention=3, cooccurrence=3, gaps=True, query_time=True, kinds=True, values=True
    )  # fmt: skip
    model = spec.build(data.sizes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("inputs.", "head.")):
                parameter.normal_()
            if name == "cooccurrence.gain":
                parameter.fill_(0.5)
    model.count(data)
    Recommender(model, data).save(folder / "model")
    return folder


def write(file: Path, users: int, events: int, seed: int) -> list[dict[str, Any]]:
    """Write a log with kinds and prices, partly missing; return its rows."""
    generator = random.Random(seed)
    rows = []
    for user in range(users):
        time_ms = START_S * 1000 + generator.randrange(10**9)
        for _ in range(events):
            time_ms += generator.choice([1_500, 4_000_000, 900_000_000])
            kind = generator.choice(["view", "view", "buy", ""])
            paid = generator.choice(["", "3.5", "120"])
            row = {"user_id": f"u{user}", "item_id": f"p{generator.randrange(15)}", "timestamp": time_ms}
            rows.append({**row, "what": kind, "paid": paid})
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def events_of(rows: list[dict[str, Any]], user: str) -> list[dict[str, Any]]:
    return [
        {
            "item_id": row["item_id"],
            "timestamp": row["timestamp"] / 1000,
            "kind": row["what"] or None,
            "value": float(row["paid"]) if row["paid"] else None,
        }
        for row in rows
        if row["user_id"] == user
    ]


@pytest.mark.parametrize("now", [None, "1800000000", "1800000000000", "2027-01-15T08:00:00+00:00"])
def test_files_give_the_recommendations_of_histories_in_memory(
    reprise: Run, folder: Path, tmp_path: Path, now: str | None
) -> None:
    rows = write(tmp_path / "new.csv", users=5, events=6, seed=1)
    options = [] if now is None else ["--now", now]
    result = reprise("recommend", folder / "model", tmp_path / "new.csv", "--k", "15", *COLUMNS, *options)
    assert result.exit_code == 0, result.output
    shop = Recommender.load(folder / "model")
    assert shop.reads == ("timestamp", "kind", "value", "now")
    written = list(csv.DictReader(result.stdout.splitlines()))
    for user in (f"u{number}" for number in range(5)):
        expected = shop.recommend(events_of(rows, user), k=15, now=now and 1_800_000_000)
        found = [row for row in written if row["user_id"] == user]
        assert [row["item_id"] for row in found] == expected.item_ids
        assert [float(row["score"]) for row in found] == pytest.approx(
            [one.score for one in expected], abs=1e-4
        )


def test_the_separator_of_the_histories_can_be_given(reprise: Run, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "new.csv", users=5, events=6, seed=1)
    text = (tmp_path / "new.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace(",", "~"))
    command = ["recommend", folder / "model", "--k", "5", *COLUMNS]
    expected = reprise(*command, tmp_path / "new.csv").stdout
    assert reprise(*command, tmp_path / "other.csv", "--delimiter", "~").stdout == expected != ""


def test_now_changes_the_recommendations_and_uses_the_time_zone(
    reprise: Run, folder: Path, tmp_path: Path
) -> None:
    write(tmp_path / "new.csv", users=2, events=3, seed=2)
    command = ["recommend", folder / "model", tmp_path / "new.csv", *COLUMNS, "--k", "5"]
    unknown, zoned, offset = (
        reprise(*command, *more).stdout
        for more in (
            [],
            ["--now", "2027-01-15T09:00", "--tz", "Europe/Berlin"],
            ["--now", "2027-01-15T08:00+00:00"],
        )
    )
    assert zoned == offset != ""
    assert unknown not in ("", offset)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--now", "2023-11-01T00:00Z"],
            "now (2023-11-01T00:00:00+00:00) is before the last event (2023-12-",
        ),
        (["--now", "tomorrow"], "timestamp 'tomorrow' is not ISO 8601; write 2024-03-01T10:00:00+00:00"),
        (["--now", "2027-01-15T09:00"], "timestamp 2027-01-15 09:00:00 has no time zone; write its offset"),
        (["--now", "2027-01-15T09:00", "--tz", "Berlin"], "unknown time zone 'Berlin'"),
        (["--kind-column", "user_id"], "unknown kind of event 'u0'; known: view, buy, event"),
        (["--value-column", "item_id"], "value 'p"),
    ],
)
def test_invalid_options_are_errors(
    fails: Callable[..., str], folder: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    write(tmp_path / "new.csv", users=1, events=2, seed=3)
    error = fails("recommend", folder / "model", tmp_path / "new.csv", "--k", "5", *COLUMNS, *more)
    assert error.startswith(message)


def test_an_error_leaves_no_temporary_directory(
    fails: Callable[..., str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "new.csv", users=1, events=2, seed=3)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    fails(
        "recommend", folder / "model", tmp_path / "new.csv", *COLUMNS, "--k", "5", "--value-column", "item_id"
    )
    fails(
        "recommend",
        folder / "model",
        tmp_path / "new.csv",
        *COLUMNS,
        "--diversity",
        "0.5",
        "--now",
        "2001-01-01",
    )
    assert list((tmp_path / "temporary").iterdir()) == []
