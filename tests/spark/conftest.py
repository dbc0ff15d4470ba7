"""A small trained model, and what the command alone writes for a log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests_of_spark import ITEMS, succeed, table

from reprise.data import user_histories


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with data/, run/ and model/; the model reads no times."""
    folder = tmp_path_factory.mktemp("spark")
    pq.write_table(table(40, 1200, seed=1, unknown=0), folder / "log.parquet")
    (folder / "items.csv").write_text(
        "\n".join(["item_id,title", *(f"{item},Mug {item}" for item in range(ITEMS))]) + "\n"
    )
    succeed(
        "prepare",
        folder / "log.parquet",
        "--items",
        folder / "items.csv",
        "--split",
        "leave-one-out",
        "--out",
        folder / "data",
    )
    tiny = [
        "--set",
        "model.size=16",
        "--set",
        "model.layers=1",
        "--set",
        "training.epochs=2",
        "--threads",
        "1",
    ]
    succeed("train", folder / "data", "--out", folder / "run", *tiny)
    succeed("export", folder / "run", "--out", folder / "model")
    return folder


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "model"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 users, so that a small log has several, on several partitions."""
    monkeypatch.setattr(user_histories, "USERS_PER_BATCH", 4)


@pytest.fixture
def alone(tmp_path: Path, model: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that returns the rows that the command writes on this machine alone."""

    def recommend(*arguments: object, on: Path = model) -> list[dict[str, Any]]:
        file = tmp_path / "alone.parquet"
        succeed("recommend", on, *arguments, "--out", file)
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows

    return recommend
