"""Event files read as one history per user, for batch recommendation."""

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager

import ibis
import ibis.expr.types as ir

from reprise.atomic_files import temporary_directory
from reprise.data.history_rules import NO_RULES, HistoryRules
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.events import Events
from reprise.data.io.history_rows import HISTORY_ORDER, HistoryReading, SequenceBy
from reprise.data.user_histories import UserHistories, group_by_user
from reprise.errors import DataError


def read_histories(
    events: Events,
    *,
    integer_items: bool,
    extra: Collection[str] = (),
    rules: HistoryRules = NO_RULES,
    sequence_by: SequenceBy | None = None,
) -> Generator[UserHistories, None, None]:
    """Read the histories of all users of a log; events with equal times keep the order of the rows.

    All rows are checked before the first batch, in several passes. Text and JSON lines are therefore written once as
    Parquet, to a temporary directory of the system. It is removed after the last batch, or by `close()` of the result.

    Args:
        events: The log, opened by `read_events` from files or from a table in memory.
        integer_items: Whether the item ids of the model are integers; those of the files are converted if all are written
            as integers. For a model with text ids, integers become text.
        extra: Fields to return with each item, if the files have them: `timestamp` (in seconds), `kind` and `value`.
            Mappings take several times as long to create as plain item ids.
        rules: How the log of the model was cleaned; the histories are cleaned in the same way.
        sequence_by: Whether each user or each session has a history. None: as in the log of the model, if the files have
            that column; otherwise users, or sessions if the files have no users.

    Raises:
        DataError: The files cannot be read as events, ids are missing, sessions are shared by users, item ids are not
            integers although those of the model are, or requested values are not numbers.
    """
    reading = HistoryReading(
        events.columns, integer_items, extra, rules, sequence_by, events.tz, events.time_unit
    )
    engine = events.source.engine
    if engine is None:
        raise DataError("histories cannot be read from a table in a database; call .to_pyarrow() on it first")
    events.source.check_ids(reading.key)
    with _number_rows(events, engine) as log:
        rows = engine.row_wise(reading.check_rows(engine, log))
        ordered = reading.events(rows).order_by(*HISTORY_ORDER)
        fields = [name for name in ordered.columns if name not in HISTORY_ORDER]
        yield from group_by_user(engine.batches(ordered.select("user_id", *fields)))


@contextmanager
def _number_rows(events: Events, engine: DuckDBEngine) -> Iterator[ir.Table]:
    """Provide the log with the column `row`, as a table that is fast to read repeatedly within the block."""
    if "files" not in events.source.origin or events.source.parquet:
        yield events.table.mutate(row=ibis.row_number())
        return
    with temporary_directory() as directory:
        engine.copy(events.table, directory / "log.parquet")
        yield engine.parquet([directory / "log.parquet"], number=False).mutate(row=ibis.row_number())
