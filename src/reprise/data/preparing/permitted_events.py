"""Events that may be used: those of users who were not erased, and those with consent. All other rows are left out first.

The dataset is then the one of a log that never had the other rows, since nothing else reads them.
"""

from pathlib import Path
from typing import Any

import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from reprise.data.erased_users import FACT, ErasedUsers
from reprise.data.io.column_types import type_words
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.engine import Engine
from reprise.data.io.parquet_files.row_queries import ERASED_ID
from reprise.errors import DataError

CONSENT = "consent"
"""Canonical name of the column of consent, and of the fact about it."""
GIVEN, REFUSED = ("true", "yes", "1", "1.0"), ("false", "no", "0", "0.0")
"""Values of the column of consent, in lower case. Booleans and numbers are compared as text too."""
MISSING = ("", "nan")
"""Values that mean that nothing is known, besides null: there is no consent."""
ERASED_FILE = "erased.parquet"
"""File in the work directory with the ids of the erased users that occur in the log, which the queries read."""


def write_erased(engine: DuckDBEngine, users: ir.Column, erased: ErasedUsers, path: Path) -> int:
    """Write the ids of the erased users that a column contains to a Parquet file; return their number.

    Args:
        engine: Engine that reads the column.
        users: Column of user ids of the log.
        erased: The users.
        path: The file.
    """
    distinct = users.name(ERASED_ID).as_table().distinct()
    count, writer = 0, None
    try:
        for batch in engine.batches(distinct):
            writer = writer or pq.ParquetWriter(path, batch.schema)
            found = [one is not None and one in erased for one in batch.column(ERASED_ID).to_pylist()]
            count += sum(found)
            writer.write_batch(batch.filter(pa.array(found, pa.bool_())))
    finally:
        if writer is not None:
            writer.close()
    return count


def with_consent(engine: Engine, table: ir.Table, name: str) -> tuple[ir.Table, int]:
    """Return the rows of a log with consent, and the number of the others. A row without a value has no consent.

    Args:
        engine: Engine that evaluates the table.
        table: The log, with the columns `consent` and `row`.
        name: The caller's name of the column.

    Raises:
        DataError: A row has a value that says neither yes nor no, or the column has another type.
    """
    kind = table[CONSENT].type()
    if not (kind.is_boolean() or kind.is_integer() or kind.is_floating() or kind.is_string()):
        raise DataError(
            f"consent must be true or false, but column {name!r} contains {type_words(kind)}; name another column"
        )
    text = table[CONSENT].cast(dt.string).lower()
    other = text.notin((*GIVEN, *REFUSED, *MISSING)).fill_null(False)
    wrong = engine.row_wise(table.filter(other).select("row", value=table[CONSENT].cast(dt.string)))
    first = engine.rows(wrong.order_by("row").limit(1))
    if first:
        raise DataError(
            f"row {first[0]['row'] + 1} of the consent column {name!r} is {first[0]['value']!r}; write true or false, yes or "
            "no, 1 or 0, or leave it empty, which means no consent"
        )
    given = text.isin(GIVEN).fill_null(False)
    without = engine.row_wise(table.filter(~given).select("row"))
    return table.filter(given), int(engine.row(without.aggregate(rows=without.count()))["rows"])


def require_events(engine: Engine, table: ir.Table) -> None:
    """Check that a log has rows that may be used.

    Raises:
        DataError: It has none.
    """
    rows = engine.row_wise(table.select("row"))
    if not engine.row(rows.aggregate(rows=rows.count()))["rows"]:
        raise DataError(
            "no event may be used: all users of the log are erased, or no event has consent; give the log of other users, or "
            "correct --forget and --consent"
        )


def facts_of(plan: Any, read: dict[str, Any], encoded: dict[str, Any]) -> dict[str, Any]:
    """Return what was left out, as facts of the dataset; empty if nothing had to be left out.

    Args:
        plan: The plan, with `erased` and `consent`.
        read: Result of the step that reads the log.
        encoded: Result of the step that encodes it.
    """
    facts: dict[str, Any] = {}
    left_out = read["rows"] - encoded["rows"]
    without = encoded.get("without_consent", 0)
    if plan.erased is not None:
        facts[FACT] = {
            "users": read["erased_users"],
            "events": left_out - without,
            "until": plan.erased.newest,
            "queue": plan.erased.fingerprint,
        }
    if plan.consent is not None:
        facts[CONSENT] = {"column": plan.consent, "events_without": without}
    return facts


def left_out_notes(plan: Any, read: dict[str, Any], without: int) -> tuple[str, ...]:
    """Return sentences about what is left out, for the inspection of a log."""
    notes = []
    if plan.erased is not None:
        notes.append(f"{read['erased_users']} erased users of the log are left out")
    if plan.consent is not None:
        notes.append(f"{without} events without consent (column {plan.consent!r}) are left out")
    return tuple(notes)
