"""Fixtures that write small logs as files of any format."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DAY_S = 86_400
START_S = 1_700_000_000
Rows = Sequence[tuple[Any, ...]]
WriteLog = Callable[..., Path]


@pytest.fixture
def write_log(tmp_path: Path) -> WriteLog:
    """Return a function that writes rows to a file in `tmp_path`; the suffix determines the format."""

    def write(
        rows: Rows, columns: Sequence[str] = ("user_id", "item_id", "timestamp"), name: str = "log.parquet"
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            values = {column: [row[position] for row in rows] for position, column in enumerate(columns)}
            pq.write_table(pa.table(values), path)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
        else:
            delimiter = "," if path.suffix == ".csv" else "\t"
            lines = [
                delimiter.join("" if cell is None else str(cell) for cell in row) for row in [columns, *rows]
            ]
            path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def days() -> list[tuple[str, str, int]]:
    """Return the events of five users who each buy one of four items per day for ten days."""
    return [
        (f"u{user}", f"i{(user + day) % 4}", START_S + day * DAY_S + user)
        for day in range(10)
        for user in range(5)
    ]
