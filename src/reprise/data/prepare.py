"""From a log of events to a dataset on disk, in steps that survive a kill, within a memory limit.

Read (number the rows), code (ids to integers, one sort), clean (duplicates, sessions, minimum counts), write
(split, vocabulary, arrays). The first three leave tables in the work folder, the last the dataset itself.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ibis.expr.datatypes as dt
import numpy as np
import pyarrow.parquet as pq

from reprise.data import cleaning
from reprise.data.arrays import Layout, Ranking, rank_items, write_arrays
from reprise.data.coding import Log, check_marks, check_order, code, numbered
from reprise.data.dataset import FORMAT, ITEMS, MANIFEST, SEQUENCES, SequenceDataset
from reprise.data.engine import DEFAULT_MEMORY, DiskFullError, Engine
from reprise.data.events import Events, read_events
from reprise.data.items import ItemTable, common_id_type, open_items, write_items
from reprise.data.options import PrepareOptions
from reprise.data.progress import Progress, Report, reporting
from reprise.data.split import ColumnSplit, SequenceParts, Split, TimeSplit, check_parts, parse_split
from reprise.data.times import find_form, parse_duration
from reprise.data.work import Result, Work, check_room
from reprise.errors import DataError, did_you_mean

BYTES_A_ROW = 100
"""Of disk while a log is prepared, about: the coded table, the arrays, and what a sort spills."""
WORTH_A_WARNING = 0.01
"""The share of tied events from which the order among them is worth a sentence."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what the dataset will hold."""

    events: Events
    items: ItemTable | None
    split: Split
    options: PrepareOptions
    sequence_key: str
    """The canonical column of the sequences."""
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """A hash: equal for the same call on the same data."""
        said = {
            "format": FORMAT,
            "events": self.events.source.origin,
            "columns": asdict(self.events.columns),
            "tz": self.events.tz,
            "items": self.items and [self.items.source.origin, self.items.id_column],
            **self.described(),
        }
        return _hash(said)

    @property
    def marks(self) -> dict[str, str]:
        """The column that marks the parts, if the split has one."""
        return {"part": self.split.column} if isinstance(self.split, ColumnSplit) else {}

    def described(self) -> dict[str, Any]:
        """The options and the split as JSON."""
        return {"options": asdict(self.options), "split": self.split.describe()}


def prepare(
    events: Any,
    out: str | Path,
    *,
    items: Any = None,
    split: Split | str | None = None,
    memory_limit: str = DEFAULT_MEMORY,
    overwrite: bool = False,
    progress: Progress = None,
    **options: Any,
) -> SequenceDataset:
    """Make a dataset of a log, or open the one that the same call made before.

    It may be killed at any time: the same call goes on where it was, and `out` appears whole or not at all.

    Args:
        events: What `read_events` returns, or anything that it takes.
        out: The folder to make.
        items: A table of the items: a path, a frame, an Arrow or Ibis table.
        split: Where training ends; by default the last two weeks are validation and test. Words as on the command
            line will do: `leave-one-out`.
        memory_limit: How much memory the tables may take, such as `512MB`; beyond it they are spilled to disk.
        overwrite: Whether a dataset of another call at `out` may be replaced.
        progress: A function of (step, share done); True or False for a bar or none; None for a bar on a terminal.
        **options: Fields of `PrepareOptions`: sequence_by, session_gap, min_item_events, min_sequence_events,
            duplicates.

    Raises:
        DataError: The log, the item table or the split cannot be used, or the disk is full.
        ConfigError: An option is unknown or impossible.
    """
    plan = _plan(events, items, split, PrepareOptions.of(options))
    out = Path(out)
    with reporting(progress) as report:
        if _is_made(out, plan, overwrite):
            report(f"{out} is up to date", 1.0)
            return SequenceDataset.open(out)
        work = Work(out, plan.key, memory_limit)
        try:
            _make(plan, work, report)
        except DiskFullError:
            work.engine.close()
            raise
        except DataError:
            work.engine.close()
            work.remove()
            raise
        work.publish(out)
        report("prepared", 1.0)
    return SequenceDataset.open(out)


def _plan(events: Any, items: Any, split: Split | str | None, options: PrepareOptions) -> Plan:
    log = events if isinstance(events, Events) else read_events(events)
    log, key, notes = _choose_sequences(log, options)
    rule = parse_split(split) if isinstance(split, str) else split or TimeSplit.last()
    if isinstance(rule, ColumnSplit) and rule.column not in log.source.table.columns:
        raise DataError(
            f"the events have no split column {rule.column!r}{did_you_mean(rule.column, log.source.table.columns)}"
        )
    table = None if items is None else open_items(items, str(log.columns.item))
    return Plan(log, table, rule, options, key, notes)


def _choose_sequences(log: Events, options: PrepareOptions) -> tuple[Events, str, tuple[str, ...]]:
    """The log with the columns that are needed, the canonical column of its sequences, and a note."""
    columns, gap = log.columns, options.session_gap
    by = options.sequence_by or ("session" if gap or columns.user is None else "user")
    if by == "user" or gap:
        if columns.user is None:
            raise DataError(
                "the events have no user column; name it (user=NAME), or use sequence_by='session'"
            )
        return log.only(session=None), "user_id", ()
    if columns.session is None:
        raise DataError(
            "sequence_by='session', but the events have no session column; name it (session=NAME, or "
            "--session-column NAME), or cut sessions by time with session_gap='30min'"
        )
    note = () if columns.user else ("the events have no user column: each session is a sequence",)
    return log, "session_id", note


def _is_made(out: Path, plan: Plan, overwrite: bool) -> bool:
    """Whether `out` already holds what this call would make."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        made_by = json.loads((out / MANIFEST).read_text()).get("made_by")
    except (OSError, ValueError):
        raise DataError(f"{out} exists and is no dataset; choose another place or remove it") from None
    if made_by == plan.key:
        return True
    if not overwrite:
        raise DataError(
            f"{out} holds a dataset of other events, columns or options; choose another place, or replace it with "
            "overwrite=True (--overwrite)"
        )
    return False


def _make(plan: Plan, work: Work, report: Report) -> None:
    report("reading", 0.0)
    read = work.step("read", lambda: _read(plan, work))
    check_room(work.folder, read["rows"] * BYTES_A_ROW)
    report("coding", 0.1)
    coded = work.step("code", lambda: _code(plan, _open_log(plan, work.engine, read)))
    report("cleaning", 0.7)
    cleaned = work.step("clean", lambda: _clean(plan, work.engine))
    report("writing", 0.8)
    work.step("write", lambda: _write(plan, work, coded, cleaned))


def _read(plan: Plan, work: Work) -> Result:
    """Parquet files that can be read again and again: the caller's own, or one written in the work folder."""
    source = plan.events.source
    files = list(source.parquet)
    if not files:
        staged = work.folder / "log.parquet"
        table = plan.events.select(source.table, **plan.marks)
        if source.engine:
            source.engine.limit(work.engine.memory_limit)
            source.engine.copy(table, staged)
        else:
            table.to_parquet(staged)
        files = [staged]
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    if rows == 0:
        raise DataError("the log has no events")
    return {"files": [str(path) for path in files], "rows": rows, "staged": not source.parquet}


def _open_log(plan: Plan, engine: Engine, read: Result) -> Log:
    table = numbered(engine, [Path(name) for name in read["files"]])
    roles = {"row": "input_row", **plan.marks}
    table = table.rename(row="input_row") if read["staged"] else plan.events.select(table, **roles)
    return Log(engine, table, plan.events, plan.sequence_key)


def _code(plan: Plan, log: Log) -> Result:
    if isinstance(plan.split, ColumnSplit):
        check_marks(log, plan.split.column)
    form = find_form(log.engine, log.table, log.name("timestamp"), plan.events.tz)
    facts = code(log, form)
    if isinstance(plan.split, ColumnSplit):
        check_order(log, plan.split.column)
    return {**facts, "times": form}


def _clean(plan: Plan, engine: Engine) -> Result:
    options, table = plan.options, "events"
    duplicates = cleaning.drop_duplicates(engine, table) if options.duplicates == "drop" else 0
    sessions = None
    if options.session_gap:
        sessions, table = (
            cleaning.cut_sessions(engine, table, parse_duration(options.session_gap)),
            "sessions",
        )
    dropped = cleaning.keep_frequent(engine, table, options.min_item_events, options.min_sequence_events)
    return {"table": table, "sessions_cut": sessions, "dropped": {"duplicates": duplicates, **dropped}}


def _write(plan: Plan, work: Work, coded: Result, cleaned: Result) -> Result:
    engine, table, folder = work.engine, cleaned["table"], work.result
    folder.mkdir(exist_ok=True)
    split, parts, notes = _parts(plan, engine, table)
    layout = Layout.of(parts)
    ranking = rank_items(engine, table, layout, engine.table("items").count().to_pyarrow().as_py())
    written = write_arrays(engine, table, folder, layout, ranking)
    sequence_integers, item_integers = coded["integers"]
    item_integers = common_id_type(plan.items, item_integers, plan.events.source.text)
    found = write_items(engine, plan.items, ranking, item_integers, folder / ITEMS)
    _write_sequences(engine, folder / SEQUENCES, sequence_integers, cut=table == "sessions")
    facts = {
        "rows_read": coded["rows"],
        "events": layout.events,
        "dropped": cleaned["dropped"],
        "sessions_cut": cleaned["sessions_cut"],
        "tied_events": written["ties"],
        "items_only_in_table": found["added"],
        "columns": {role: name for role, name in asdict(plan.events.columns).items() if name},
        "sequence_by": plan.sequence_key.removesuffix("_id")
        if not cleaned["sessions_cut"]
        else "session_gap",
        "times": coded["times"],
        "options": asdict(plan.options),
    }
    facts["warnings"] = [*plan.notes, *notes, *_warnings(facts, found["unknown"], len(ranking.code_I))]
    _write_manifest(plan, folder, split, coded["kinds"], ranking, facts, written["checksum"])
    return {}


def _parts(plan: Plan, engine: Engine, table: str) -> tuple[Split, SequenceParts, list[str]]:
    """The resolved split, the parts of each sequence in order, and notes; saves the table `kept` of their codes."""
    events = engine.table(table)
    span = engine.row(events.aggregate(first=events.time_ms.min(), last=events.time_ms.max()))
    last_ms = events.time_ms.max(where=events.part == 0).fill_null(events.time_ms.max())
    split = plan.split.resolve(span["first"], span["last"]) if span["last"] is not None else plan.split
    counts = events.group_by("sequence").aggregate(
        events=events.count(), last_ms=last_ms, **split.part_counts(events)
    )
    kept = engine.arrow(engine.save("kept", counts.order_by("sequence")))
    if kept.num_rows < 2:
        raise DataError(
            f"{kept.num_rows} sequences are left after cleaning, with at least {plan.options.min_sequence_events} events "
            f"each and {plan.options.min_item_events} for each item; lower min_sequence_events or min_item_events"
        )
    columns = [
        np.asarray(kept.column(name), dtype=np.int64) for name in ("events", "train", "valid", "last_ms")
    ]
    parts, notes = split.settle(SequenceParts(*columns))
    check_parts(split, parts, span["first"], span["last"])
    return split, parts, notes


def _write_sequences(engine: Engine, path: Path, integers: bool, *, cut: bool) -> None:
    kept, known = engine.table("kept"), engine.table("sequences")
    if cut:
        owners = engine.table("session_of")
        kept = kept.select("sequence").join(owners, "sequence")
        joined = kept.join(known, kept.owner == known.code).order_by("sequence")
        name = joined.id.cast(dt.string) + "/" + joined.number.cast(dt.string)
        engine.copy(joined.select(sequence_id=name, user_id=joined.id), path)
        return
    joined = kept.select("sequence").join(known, kept.sequence == known.code).order_by("sequence")
    engine.copy(joined.select(sequence_id=joined.id.cast(dt.int64 if integers else dt.string)), path)


def _warnings(facts: dict[str, Any], unknown: int, items: int) -> list[str]:
    found = []
    share = facts["tied_events"] / facts["events"]
    if share > WORTH_A_WARNING:
        found.append(
            f"{share:.1%} of the events share their time with the one before; these keep the order of the input"
        )
    if unknown:
        found.append(f"{unknown} of {items} items have no row in the item table")
    return found


def _write_manifest(
    plan: Plan,
    folder: Path,
    split: Split,
    kinds: list[str],
    ranking: Ranking,
    facts: dict[str, Any],
    checksum: str,
) -> None:
    ids = pq.read_table(folder / ITEMS, columns=["item_id"]).column("item_id").to_pylist()
    content = {"arrays": checksum, "ids": _hash(ids), "kinds": kinds, "events": facts["events"]}
    said = {**plan.described(), "split": split.describe(), "columns": sorted(facts["columns"])}
    manifest = {
        "format": FORMAT,
        "warm": ranking.warm,
        "kinds": kinds,
        "split": split.describe(),
        "facts": facts,
        "fingerprint": _hash([said, content]),
        "made_by": plan.key,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2))


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
