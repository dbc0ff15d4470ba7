"""Event files read as one history per user, for batch recommendation."""

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from reprise.atomic_files import temporary_directory
from reprise.data.dataset import EVENT
from reprise.data.history_rules import NO_RULES, HistoryRules
from reprise.data.io.column_types import is_integer_text, is_missing_id
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.events import Columns, Events, check_session_users
from reprise.data.io.time_columns import detect_format, to_ms
from reprise.data.vocabulary import ItemId
from reprise.errors import DataError

USERS_PER_BATCH = 4096
"""Largest number of users in a batch."""
SequenceBy = Literal["user", "session"]
"""Column that defines the histories."""


class UserHistories(NamedTuple):
    """A batch of users and their events in time order."""

    keys: list[ItemId]
    """User ids, or session ids if the files have no users."""
    events: list[list[Any]]
    """Events of each user: item ids, or mappings with `item_id` and the extra fields that were requested."""


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
    key = _key(events.columns, sequence_by, rules)
    engine = events.source.engine
    if engine is None:
        raise DataError("histories cannot be read from a table in a database; call .to_pyarrow() on it first")
    events.source.check_ids(str(key))
    with _number_rows(events, engine) as log:
        if key == events.columns.session:
            log = _key_by_session(events, engine, log)
        _check_ids(engine, log)
        form = detect_format(engine, log, str(events.columns.time), events.tz, events.time_unit)
        log = log.mutate(time_ms=to_ms(log.timestamp, form, events.tz))
        log = _with_ids_of_the_model(engine, log, integers=integer_items)
        wanted = {"timestamp", *log.columns} & set(extra)
        if "value" in wanted:
            _check_values(engine, log)
        ordered = _cleaned(log, rules).order_by("user_id", "time_ms", "row")
        fields = _extra_fields(ordered, wanted)
        yield from _grouped(engine.batches(ordered.select("user_id", "item_id", **fields)))


def _key(columns: Columns, sequence_by: SequenceBy | None, rules: HistoryRules) -> str | None:
    """Return the name of the column that defines the histories."""
    if sequence_by is None:
        as_the_log = columns.session if rules.sequence_by == "session" else None
        return as_the_log or columns.user or columns.session
    key: str | None = getattr(columns, sequence_by)
    if key is None:
        raise DataError(
            f"the histories have no {sequence_by} column; name it with --{sequence_by}-column NAME"
        )
    return key


def _key_by_session(events: Events, engine: DuckDBEngine, log: ir.Table) -> ir.Table:
    """Replace the user ids of a log by its session ids."""
    if "user_id" in log.columns:
        check_session_users(engine, log, str(events.columns.session), "use --sequence-by user")
    return log.mutate(user_id=log.session_id)


def _cleaned(log: ir.Table, rules: HistoryRules) -> ir.Table:
    """Select the events that `rules.select` keeps of each history."""
    if rules.drop_duplicates:
        has_kinds = rules.has_kinds and "kind" in log.columns
        kind = log.kind.cast(dt.string).fill_null(EVENT) if has_kinds else ibis.literal(EVENT)
        same = ibis.window(group_by=[log.user_id, log.time_ms, log.item_id, kind], order_by=log.row)
        log = log.mutate(repetition=ibis.row_number().over(same))
        log = log.filter(log.repetition == 0).drop("repetition")
    if rules.session_gap_ms is not None:
        before = ibis.window(group_by=log.user_id, order_by=[log.time_ms, log.row])
        log = log.mutate(pause_ms=log.time_ms - log.time_ms.lag().over(before))
        begins = log.time_ms.max(where=log.pause_ms > rules.session_gap_ms)
        log = log.mutate(begins_ms=begins.over(ibis.window(group_by=log.user_id)))
        log = log.filter(log.begins_ms.isnull() | (log.time_ms >= log.begins_ms)).drop(
            "pause_ms", "begins_ms"
        )
    return log


def _extra_fields(log: ir.Table, wanted: Collection[str]) -> dict[str, ir.Value]:
    """Return the expressions of the requested extra fields, in the units of the models."""
    fields: dict[str, ir.Value] = {}
    if "timestamp" in wanted:
        fields["timestamp"] = log.time_ms.cast(dt.float64) / 1000.0
    if "kind" in wanted:
        fields["kind"] = log.kind.cast(dt.string)
    if "value" in wanted:
        fields["value"] = log["value"].try_cast(dt.float64)
    return fields


@contextmanager
def _number_rows(events: Events, engine: DuckDBEngine) -> Iterator[ir.Table]:
    """Provide the log with the column `row`, as a table that is fast to read repeatedly within the block."""
    if "files" not in events.source.origin or events.source.parquet:
        yield events.table.mutate(row=ibis.row_number())
        return
    with temporary_directory() as directory:
        engine.copy(events.table, directory / "log.parquet")
        yield engine.parquet([directory / "log.parquet"], number=False).mutate(row=ibis.row_number())


def _check_ids(engine: DuckDBEngine, log: ir.Table) -> None:
    """Raise a DataError if the log is empty, or if a user id or an item id is missing."""
    names = ("user_id", "item_id")
    missing = {name: is_missing_id(log[name]).sum() for name in names}
    found = engine.row(log.aggregate(rows=log.count(), **missing))
    if not found["rows"]:
        raise DataError("the histories have no events; give a file with at least one row")
    for name in names:
        if found[name]:
            raise DataError(f"{found[name]} rows have no {name}; remove these rows, or add the ids")


def _check_values(engine: DuckDBEngine, log: ir.Table) -> None:
    value = log["value"]
    invalid = value.try_cast(dt.float64).isnull() & value.notnull() & (value.cast(dt.string) != "")
    first = engine.rows(log.filter(invalid).limit(1).select(value=value.cast(dt.string)))
    if first:
        raise DataError(
            f"value {first[0]['value']!r} is not a number; leave it empty if there is none, or name another column"
        )


def _with_ids_of_the_model(engine: DuckDBEngine, log: ir.Table, *, integers: bool) -> ir.Table:
    """Convert item ids to the type of those of the model, without changing any id."""
    is_text = log.item_id.type().is_string()
    if integers != is_text:
        return log
    if not integers:
        return log.mutate(item_id=log.item_id.cast("string"))
    invalid = engine.rows(log.filter(~is_integer_text(log.item_id)).limit(1).select("item_id"))
    if invalid:
        raise DataError(
            f"item id {invalid[0]['item_id']!r} is not an integer, but the item ids of the model are integers; "
            "write ids as integers of at most 64 bits, without zeros or a sign + in front"
        )
    return log.mutate(item_id=log.item_id.cast("int64"))


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[UserHistories]:
    """Group rows that are sorted by user; the rows of a user may continue in the next batch."""
    keys: list[ItemId] = []
    events: list[list[Any]] = []
    for batch in batches:
        for key, added in _runs(batch):
            if keys and keys[-1] == key:
                events[-1] += added
            elif len(keys) == USERS_PER_BATCH:
                yield UserHistories(keys, events)
                keys, events = [key], [added]
            else:
                keys.append(key)
                events.append(added)
    if keys:
        yield UserHistories(keys, events)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[ItemId, list[Any]]]:
    """Split a batch where the user changes; return each user's id and events."""
    if not len(batch):
        return
    user_E = batch.column("user_id").to_numpy(zero_copy_only=False)
    fields = batch.drop_columns("user_id")
    event_E = fields.to_pylist() if fields.num_columns > 1 else fields.column("item_id").to_pylist()
    cuts = [0, *(np.flatnonzero(user_E[1:] != user_E[:-1]) + 1).tolist(), len(user_E)]
    for first, last in pairwise(cuts):
        yield user_E[first : first + 1].tolist()[0], event_E[first:last]
