"""Events of histories: checks of a log, and the cleaned events of each user, as expressions that any engine evaluates."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from reprise.data.dataset import EVENT
from reprise.data.history_rules import NO_RULES, HistoryRules
from reprise.data.io.column_types import is_integer_text, is_missing_id
from reprise.data.io.engine import QueryEngine
from reprise.data.io.events import Columns, check_session_users
from reprise.data.io.time_columns import detect_format, to_ms
from reprise.data.timestamps import TimeUnit
from reprise.errors import DataError

SequenceBy = Literal["user", "session"]
"""Column that defines the histories."""
HISTORY_ORDER = ("user_id", "time_ms", "row")
"""Columns that sort the events of histories; events with equal times keep the order of the rows."""


@dataclass(frozen=True)
class HistoryReading:
    """How the events of a log are read as histories."""

    columns: Columns
    """The actual columns of the log, by role."""
    integer_items: bool
    """Whether the item ids of the model are integers; those of the log are converted if all are written as integers. For a
    model with text ids, integers become text."""
    extra: Collection[str] = ()
    """Fields that a history has besides the item ids, if the log has them: `timestamp` (seconds), `kind` and `value`."""
    rules: HistoryRules = NO_RULES
    """How the log of the model was cleaned; the histories are cleaned in the same way."""
    sequence_by: SequenceBy | None = None
    """Whether each user or each session has a history. None: as in the log of the model, if the log has that column;
    otherwise users, or sessions if the log has no users."""
    tz: str | None = None
    """Time zone of times that have none."""
    time_unit: TimeUnit | None = None
    """Unit of times that are numbers; None: the unit in which all of them are plausible."""

    @property
    def key(self) -> str:
        """Name of the column that defines the histories.

        Raises:
            DataError: The log lacks the column that `sequence_by` names.
        """
        columns = self.columns
        if self.sequence_by is None:
            as_the_log = columns.session if self.rules.sequence_by == "session" else None
            return str(as_the_log or columns.user or columns.session)
        key: str | None = getattr(columns, self.sequence_by)
        if key is None:
            raise DataError(
                f"the histories have no {self.sequence_by} column; name it with --{self.sequence_by}-column NAME"
            )
        return key

    def fields(self, log: ir.Table) -> list[str]:
        """Return the names of the requested fields that the log has."""
        return [name for name in ("timestamp", "kind", "value") if name in self.extra and name in log.columns]

    def check_rows(self, engine: QueryEngine, log: ir.Table) -> ir.Table:
        """Check all rows of a log, in several passes, and return the expression of what histories need of each row.

        Args:
            engine: The engine that holds the log.
            log: The log with canonical names and the column `row`.

        Returns:
            An input of `row_wise` with `user_id` (the key), `item_id` in the type of the model, `time_ms`, `row`, and if the
            log has them `kind` and `value`.

        Raises:
            DataError: Ids are missing, sessions are shared by users, times cannot be read, item ids are not integers although
                those of the model are, or requested values are not numbers.
        """
        if self.key == self.columns.session:
            log = _key_by_session(engine, log, self.key)
        _check_ids(engine, log)
        form = detect_format(engine, log, str(self.columns.time), self.tz, self.time_unit)
        item_id = _with_ids_of_the_model(engine, log, integers=self.integer_items)
        if "value" in self.fields(log):
            _check_values(engine, log)
        columns = {"user_id": log.user_id, "item_id": item_id, "time_ms": to_ms(log.timestamp, form, self.tz)}
        if "kind" in log.columns:
            columns["kind"] = log.kind.cast(dt.string)
        if "value" in self.fields(log):
            columns["value"] = log["value"].try_cast(dt.float64)
        return log.select("row", **columns)

    def events(self, rows: ir.Table, *, placed: bool = False) -> ir.Table:
        """Return the cleaned events of histories: `user_id`, `time_ms`, `row`, `item_id` and the fields.

        Args:
            rows: The table that `row_wise` returned for the result of `check_rows`.
            placed: Whether the rows have a column `place`, by which they are divided among partitions already.
        """
        kept = _cleaned(rows, self.rules, ["place"] if placed else [])
        fields: dict[str, ir.Value] = {}
        if "timestamp" in self.extra:
            fields["timestamp"] = kept.time_ms.cast(dt.float64) / 1000.0
        for name in ("kind", "value"):
            if name in self.extra and name in kept.columns:
                fields[name] = kept[name]
        return kept.select(*HISTORY_ORDER, "item_id", **fields)


def _key_by_session(engine: QueryEngine, log: ir.Table, column: str) -> ir.Table:
    """Replace the user ids of a log by its session ids."""
    if "user_id" in log.columns:
        owners = engine.row_wise(log.select("row", "session_id", "user_id"))
        check_session_users(engine, owners, column, "use --sequence-by user")
    return log.mutate(user_id=log.session_id)


def _cleaned(log: ir.Table, rules: HistoryRules, partition: list[str]) -> ir.Table:
    """Select the events that `rules.select` keeps of each history. All events of a user are in the same partition."""
    user = [*partition, "user_id"]
    if rules.drop_duplicates:
        has_kinds = rules.has_kinds and "kind" in log.columns
        kind = log.kind.cast(dt.string).fill_null(EVENT) if has_kinds else ibis.literal(EVENT)
        same = ibis.window(group_by=[*user, log.time_ms, log.item_id, kind], order_by=log.row)
        log = log.mutate(repetition=ibis.row_number().over(same))
        log = log.filter(log.repetition == 0).drop("repetition")
    if rules.session_gap_ms is not None:
        before = ibis.window(group_by=user, order_by=[log.time_ms, log.row])
        log = log.mutate(pause_ms=log.time_ms - log.time_ms.lag().over(before))
        begins = log.time_ms.max(where=log.pause_ms > rules.session_gap_ms)
        log = log.mutate(begins_ms=begins.over(ibis.window(group_by=user)))
        log = log.filter(log.begins_ms.isnull() | (log.time_ms >= log.begins_ms)).drop(
            "pause_ms", "begins_ms"
        )
    return log


def _check_ids(engine: QueryEngine, log: ir.Table) -> None:
    """Raise a DataError if the log is empty, or if a user id or an item id is missing."""
    names = ("user_id", "item_id")
    rows = engine.row_wise(log.select("row", **{name: is_missing_id(log[name]) for name in names}))
    found = engine.row(rows.aggregate(rows=rows.count(), **{name: rows[name].sum() for name in names}))
    if not found["rows"]:
        raise DataError("the histories have no events; give a file with at least one row")
    for name in names:
        if found[name]:
            raise DataError(f"{found[name]} rows have no {name}; remove these rows, or add the ids")


def _check_values(engine: QueryEngine, log: ir.Table) -> None:
    value = log["value"]
    invalid = value.try_cast(dt.float64).isnull() & value.notnull() & (value.cast(dt.string) != "")
    wrong = engine.row_wise(log.filter(invalid).select("row", value=value.cast(dt.string)))
    first = engine.rows(wrong.order_by("row").limit(1))
    if first:
        raise DataError(
            f"value {first[0]['value']!r} is not a number; leave it empty if there is none, or name another column"
        )


def _with_ids_of_the_model(engine: QueryEngine, log: ir.Table, *, integers: bool) -> ir.Value:
    """Return the item ids in the type of those of the model, without changing any id."""
    is_text = log.item_id.type().is_string()
    if integers != is_text:
        return log.item_id
    if not integers:
        return log.item_id.cast("string")
    wrong = engine.row_wise(log.filter(~is_integer_text(log.item_id)).select("row", "item_id"))
    invalid = engine.rows(wrong.order_by("row").limit(1))
    if invalid:
        raise DataError(
            f"item id {invalid[0]['item_id']!r} is not an integer, but the item ids of the model are integers; "
            "write ids as integers of at most 64 bits, without zeros or a sign + in front"
        )
    return log.item_id.cast("int64")
