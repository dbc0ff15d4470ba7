"""Small logs, as files of any format."""

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
    """Write rows to `name` under the test's folder; the suffix says how."""

    def write(
        rows: Rows, columns: Sequence[str] = ("user_id", "item_id", "timestamp"), name: str = "log.parquet"
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            values = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
            pq.write_table(pa.table(values), path)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
        else:
            between = "," if path.suffix == ".csv" else "\t"
            lines = [
                between.join("" if cell is None else str(cell) for cell in row) for row in [columns, *rows]
            ]
            path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def days() -> list[tuple[str, str, int]]:
    """Five users who each buy one of four items a day, over ten days, users in turn."""
    return [
        (f"u{user}", f"i{(user + day) % 4}", START_S + day * DAY_S + user)
        for day in range(10)
        for user in range(5)
    ]
