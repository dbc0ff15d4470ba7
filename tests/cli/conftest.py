"""A small event log on disk with its dataset, run and model, each made once by the commands under test."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reprise.cli.main import app

ITEMS = 40
TINY = ["--set", "model.size=16", "--set", "model.layers=1", "--set", "training.epochs=2", "--threads", "1"]


def write_log(folder: Path, users: int = 40, events: int = 30) -> Path:
    """Write a log in which users mostly go from one item to the item with the next number."""
    generator = random.Random(0)
    rows = ["user_id,item_id,timestamp"]
    for user in range(users):
        item, time_s = generator.randrange(ITEMS), 1_700_000_000 + generator.randrange(7 * 86_400)
        for _ in range(events):
            rows.append(f"u{user},{item},{time_s}")
            item = (item + 1) % ITEMS if generator.random() < 0.9 else generator.randrange(ITEMS)
            time_s += 1 + generator.randrange(2 * 86_400)
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    titles = ["item_id,title", *(f"{item},Mug {item}" for item in range(ITEMS))]
    (folder / "items.csv").write_text("\n".join(titles) + "\n")
    return folder / "log.csv"


Run = Callable[..., Result]


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> Result:
    result = run_command(*arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def reprise() -> Run:
    """Return a function that runs a command."""
    return run_command


@pytest.fixture
def fails() -> Callable[..., str]:
    """Return a function that runs a command with a user error and returns the message."""

    def fail(*arguments: object) -> str:
        result = run_command(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("reprise: ")
        assert "Traceback" not in result.output
        return result.stderr.removeprefix("reprise: ").rstrip("\n")

    return fail


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with log.csv, items.csv, data/, run/ and model/."""
    folder = tmp_path_factory.mktemp("shop")
    log = write_log(folder)
    succeed("prepare", log, "--items", folder / "items.csv", "--out", folder / "data")
    succeed("train", folder / "data", "--out", folder / "run", *TINY)
    succeed("export", folder / "run", "--out", folder / "model")
    return folder
