"""Files of events as one history a user: what is asked of a recommender in bulk."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from reprise.data.io.duckdb_engine import Engine
from reprise.data.io.events import Columns, Events, read_events
from reprise.data.io.time_columns import find_form, to_ms
from reprise.data.vocabulary import ItemId
from reprise.errors import DataError

USERS_AT_ONCE = 4096
"""Users handed out together."""


class UserHistories(NamedTuple):
    """Some users, and the events of each in time order."""

    keys: list[ItemId]
    events: list[list[Any]]
    """Item ids or, where more was asked for, mappings with `item_id` and some of `timestamp` (seconds), `kind`, `value`."""


def read_histories(
    files: Sequence[str],
    columns: Columns,
    *,
    tz: str | None,
    integer_items: bool,
    also: Collection[str] = (),
) -> Iterator[UserHistories]:
    """The histories in files of events, user by user; equal times keep the order of the files.

    Args:
        files: As for `read_events`. A log without users has a history for each session.
        columns: What their columns are called.
        tz: The time zone of times that have none.
        integer_items: Whether the model's item ids are integers, which a text file cannot tell.
        also: What to hand out besides the items, where the files have it: of `timestamp`, `kind` and `value`. Mappings
            take several times as long as ids.

    Raises:
        DataError: what `read_events` refuses, missing ids, item ids that are no integers where the model's are, or values
            that are no numbers.
    """
    events = read_events(files, columns, tz=tz)
    engine = events.source.engine
    assert engine is not None, "files are read by an engine of ours"
    log = _log(events, engine)
    _check_ids(engine, log)
    if integer_items and events.source.text:
        log = _with_integer_items(engine, log)
    wanted = {"timestamp", *log.columns} & set(also)
    if "value" in wanted:
        _check_values(engine, log)
    ordered = log.order_by("user_id", "time_ms", "row")
    yield from _grouped(engine.batches(ordered.select("user_id", "item_id", **_facts(ordered, wanted))))


def _facts(log: ir.Table, wanted: Collection[str]) -> dict[str, ir.Value]:
    """What is wanted of each event besides its ids, as a network has it."""
    facts: dict[str, ir.Value] = {}
    if "timestamp" in wanted:
        facts["timestamp"] = log.time_ms.cast(dt.float64) / 1000.0
    if "kind" in wanted:
        facts["kind"] = log.kind.cast(dt.string)
    if "value" in wanted:
        facts["value"] = log["value"].try_cast(dt.float64)
    return facts


def _log(events: Events, engine: Engine) -> ir.Table:
    key = events.columns.user or events.columns.session
    one_key = events.only(user=key, session=None)
    log = one_key.table.mutate(row=ibis.row_number())
    if not engine.row(log.aggregate(rows=log.count()))["rows"]:
        raise DataError("the histories have no events; give a file with at least one row")
    form = find_form(engine, log, str(events.columns.time), events.tz)
    return log.mutate(time_ms=to_ms(log.timestamp, form, events.tz))


def _check_ids(engine: Engine, log: ir.Table) -> None:
    for name in ("user_id", "item_id"):
        missing = engine.row(log.aggregate(count=log[name].isnull().sum()))["count"]
        if missing:
            raise DataError(f"{missing} rows have no {name}; filter them, or give them one")


def _check_values(engine: Engine, log: ir.Table) -> None:
    value = log["value"]
    odd = value.try_cast(dt.float64).isnull() & value.notnull() & (value.cast(dt.string) != "")
    first = engine.rows(log.filter(odd).limit(1).select(value=value.cast(dt.string)))
    if first:
        raise DataError(
            f"value {first[0]['value']!r} is no number; leave it empty where there is none, or name another column"
        )


def _with_integer_items(engine: Engine, log: ir.Table) -> ir.Table:
    whole = log.item_id.try_cast("int64")
    as_written = whole.cast("string")  # a cast by itself would round `1.7`
    odd = engine.rows(
        log.filter(as_written.isnull() | (as_written != log.item_id)).limit(1).select("item_id")
    )
    if odd:
        raise DataError(
            f"item id {odd[0]['item_id']!r} is no integer, and the item ids of the model are integers"
        )
    return log.mutate(item_id=whole)


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[UserHistories]:
    """Rows sorted by user, cut where the user changes; a user may go on in the next batch."""
    keys: list[ItemId] = []
    events: list[list[Any]] = []
    for batch in batches:
        for key, some in _runs(batch):
            if keys and keys[-1] == key:
                events[-1] += some
            elif len(keys) == USERS_AT_ONCE:
                yield UserHistories(keys, events)
                keys, events = [key], [some]
            else:
                keys.append(key)
                events.append(some)
    if keys:
        yield UserHistories(keys, events)


def _runs(batch: pa.RecordBatch) -> Iterator[tuple[ItemId, list[Any]]]:
    if not len(batch):
        return
    user_E = batch.column("user_id").to_numpy(zero_copy_only=False)
    facts = batch.drop_columns("user_id")
    event_E = facts.to_pylist() if facts.num_columns > 1 else facts.column("item_id").to_pylist()
    cuts = [0, *(np.flatnonzero(user_E[1:] != user_E[:-1]) + 1).tolist(), len(user_E)]
    for first, last in pairwise(cuts):
        yield user_E[first : first + 1].tolist()[0], event_E[first:last]
