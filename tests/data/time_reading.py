"""Reading of a column of times, for the tests of its format."""

from typing import Any

import pyarrow as pa

from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.time_columns import detect_format, to_ms
from reprise.data.timestamps import TimeUnit


def milliseconds(
    values: Any, kind: pa.DataType | None = None, *, tz: str | None = None, unit: TimeUnit | None = None
) -> list[int]:
    """Return the values of a column named `when` in milliseconds since 1970 UTC."""
    engine = DuckDBEngine()
    log = engine.arrow_table(
        "log", pa.table({"timestamp": pa.array(values, kind), "row": list(range(len(values)))})
    )
    time_format = detect_format(engine, log, "when", tz, unit)
    times = log.order_by("row").select(ms=to_ms(log.timestamp, time_format, tz))
    return [row["ms"] for row in engine.rows(times)]
