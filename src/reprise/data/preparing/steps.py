"""The steps of `prepare`. Each writes tables or files in the work directory and returns facts about them as JSON values."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ibis.expr.datatypes as dt
import numpy as np
import pyarrow.parquet as pq

from reprise.data.dataset import FORMAT, ITEMS, MANIFEST, SEQUENCES
from reprise.data.io.duckdb_engine import DuckDBEngine
from reprise.data.io.engine import Engine
from reprise.data.io.parquet_files.row_queries import ErasedIds
from reprise.data.io.time_columns import detect_format, time_notes
from reprise.data.preparing import cleaning
from reprise.data.preparing.array_writer import Layout, Ranking, rank_items, write_arrays
from reprise.data.preparing.encoding import (
    Log,
    check_part_names,
    check_part_order,
    code_ids,
    encode,
    save_session_users,
)
from reprise.data.preparing.item_table import LogIds, write_items
from reprise.data.preparing.permitted_events import (
    ERASED_FILE,
    facts_of,
    require_events,
    with_consent,
    write_erased,
)
from reprise.data.preparing.plan import Plan, hash_json
from reprise.data.preparing.user_table import join_users, table_hash
from reprise.data.preparing.workspace import Result, Workspace
from reprise.data.split import ColumnSplit, ResolvedSplit, SequenceParts, check_parts
from reprise.data.timestamps import parse_duration
from reprise.errors import DataError

TIES_WARNING_SHARE = 0.01
"""Share of events with the time of the event before them, above which the dataset gets a warning."""


def read_step(plan: Plan, engine: Engine, directory: Path) -> Result:
    """Return Parquet files that can be read repeatedly: those of the caller, or one written in the work directory."""
    source = plan.events.source
    files = list(source.parquet)
    if not source.in_place:
        staged = directory / "log.parquet"
        table = plan.events.select(source.table, **plan.extra_columns)
        if source.engine:
            source.engine.set_memory_limit(engine.memory_limit)
            source.engine.copy(table, staged)
        else:
            table.to_parquet(staged)
        files = [staged]
    rows = sum(pq.read_metadata(path).num_rows for path in files)
    if rows == 0:
        raise DataError("the log has no events")
    result = {"files": [str(path) for path in files], "rows": rows, "staged": not source.in_place}
    if plan.erased is None:
        return result
    users = plan.events.names["user_id"] if source.in_place else "user_id"
    column = engine.driver.parquet(files, number=False)[users]
    erased_file = directory / ERASED_FILE
    found = write_erased(engine.driver, column, plan.erased, erased_file)
    return {**result, "erased_users": found, "erased_file": str(erased_file)}


def open_log(plan: Plan, engine: Engine, read: Result) -> tuple[Log, int]:
    """Return the log with numbered rows, given the result of `read_step`, and the number of events without consent.

    Rows of erased users and those without consent are left out.
    """
    names = plan.events.names | plan.extra_columns
    if read["staged"]:
        names = {name: name for name in names}
    erased = ErasedIds("user_id", Path(read["erased_file"])) if read.get("erased_users") else None
    table, without = engine.number_rows([Path(name) for name in read["files"]], names, erased), 0
    if plan.consent is not None:
        table, without = with_consent(engine, table, plan.consent)
    if erased or plan.consent is not None:
        require_events(engine, table)
    return Log(engine, table, plan.events, plan.sequence_column), without


def understand(plan: Plan, log: Log) -> Result:
    """Check all columns of a log; return the format of its times (`times`) and the facts of `encoding.code_ids`."""
    if isinstance(plan.split, ColumnSplit):
        check_part_names(log, plan.split.column)
    times = detect_format(log.engine, log.table, log.name("timestamp"), plan.events.tz, plan.events.time_unit)
    return {**code_ids(log, cut_later=plan.options.session_gap is not None), "times": times}


def encode_step(plan: Plan, engine: Engine, read: Result) -> Result:
    """Replace ids and times by numbers and sort the log; see `encoding.encode`."""
    log, without = open_log(plan, engine, read)
    facts = {**understand(plan, log), "without_consent": without}
    encode(log, facts["times"], facts["kinds"])
    if plan.options.max_events_per_day is not None and plan.sequence_column == "session_id":
        save_session_users(log)
    if isinstance(plan.split, ColumnSplit):
        check_part_order(log, plan.split.column)
    return facts


def clean_step(plan: Plan, engine: Engine) -> Result:
    """Drop duplicates and busy users, divide users into sessions, and apply the minimum counts."""
    options, table = plan.options, "events"
    duplicates = cleaning.drop_duplicates(engine, table) if options.duplicates == "drop" else 0
    busy: dict[str, int] = {}
    facts: Result = {}
    if options.max_events_per_day is not None:
        users = engine.table("session_users") if plan.sequence_column == "session_id" else None
        found, events = cleaning.drop_busy_users(engine, table, options.max_events_per_day, users)
        busy, facts = {"busy_users": events}, {"users_dropped": found}
    sessions = None
    if options.session_gap:
        sessions, table = (
            cleaning.cut_sessions(engine, table, parse_duration(options.session_gap)),
            "sessions",
        )
    dropped = cleaning.keep_frequent(engine, table, options.min_item_events, options.min_sequence_events)
    dropped = {"duplicates": duplicates, **busy, **dropped}
    return {"table": table, "sessions_cut": sessions, "dropped": dropped, **facts}


def write_step(plan: Plan, work: Workspace, encoded: Result, cleaned: Result) -> Result:
    """Split the sequences, order the items by their training events, and write the dataset."""
    engine, table, directory = work.engine, cleaned["table"], work.result
    directory.mkdir(exist_ok=True)
    split, parts, notes = _parts(plan, engine, table)
    layout = Layout.from_parts(parts)
    ranking = rank_items(engine, table, layout, encoded["items"])
    written = write_arrays(engine, table, directory, layout, ranking)
    log_ids = LogIds(encoded["integers"][1], plan.events.source.text)
    item_facts = write_items(engine.driver, plan.items, ranking, log_ids, directory / ITEMS)
    _write_sequences(engine.driver, directory / SEQUENCES, encoded, cut=table == "sessions")
    user_facts, user_notes = _add_users(plan, directory / SEQUENCES)
    facts = {
        "rows_read": encoded["rows"],
        **facts_of(plan, work.results["read"], encoded),
        "events": layout.events,
        "dropped": cleaned["dropped"],
        **{name: cleaned[name] for name in ("users_dropped",) if name in cleaned},
        "sessions_cut": cleaned["sessions_cut"],
        "tied_events": written["ties"],
        "items_only_in_table": item_facts["added"],
        "columns": {role: name for role, name in asdict(plan.events.columns).items() if name},
        "sequence_by": plan.sequence_column.removesuffix("_id")
        if not cleaned["sessions_cut"]
        else "session_gap",
        "times": encoded["times"],
        "options": plan.options.to_dict(),
        **user_facts,
    }
    facts["warnings"] = [
        *plan.notes,
        *notes,
        *_warnings(facts, item_facts["unknown"], len(ranking.code_I)),
        *item_facts["notes"],
        *user_notes,
    ]
    _write_manifest(plan, directory, split, encoded["kinds"], ranking, facts, written["checksums"])
    return {}


def _parts(plan: Plan, engine: Engine, table: str) -> tuple[ResolvedSplit, SequenceParts, list[str]]:
    """Return the resolved split, the parts of each sequence in order, and notes; save the sequence codes as table `kept`."""
    events = engine.table(table)
    span = engine.row(events.aggregate(first=events.time_ms.min(), last=events.time_ms.max()))
    if span["last"] is None:
        raise _too_few_sequences(plan, 0)
    split = plan.split.resolve(span["first"], span["last"])
    counts = events.group_by("sequence").aggregate(events=events.count(), **split.part_counts(events))
    engine.save("kept", counts)
    driver = engine.driver
    kept = driver.arrow(driver.table("kept").order_by("sequence"))
    if kept.num_rows < 2:
        raise _too_few_sequences(plan, kept.num_rows)
    columns = [np.asarray(kept.column(name), dtype=np.int64) for name in ("events", "train", "valid")]
    parts, notes = split.adjust(SequenceParts(*columns))
    check_parts(split, parts, span["first"], span["last"])
    return split, parts, [*time_notes(span["first"], span["last"]), *notes]


def _too_few_sequences(plan: Plan, sequences: int) -> DataError:
    return DataError(
        f"{sequences} sequences are left after cleaning, with at least {plan.options.min_sequence_events} events each and "
        f"{plan.options.min_item_events} for each item; lower min_sequence_events or min_item_events"
        + (", or raise max_events_per_day" if plan.options.max_events_per_day is not None else "")
    )


def _write_sequences(engine: DuckDBEngine, path: Path, encoded: Result, *, cut: bool) -> None:
    kept, known = engine.table("kept"), engine.table("sequences")
    if cut:
        owners = engine.table("session_of")
        kept = kept.select("sequence").join(owners, "sequence")
        joined = kept.join(known, kept.owner == known.code).order_by("sequence")
        name = joined.id.cast(dt.string) + "/" + joined.number.cast(dt.string)
        stored = joined.select(sequence_id=name, user_id=joined.id.cast(encoded["sequence_type"]))
    else:
        joined = kept.select("sequence").join(known, kept.sequence == known.code).order_by("sequence")
        kind = dt.int64 if encoded["integers"][0] else dt.string
        stored = joined.select(sequence_id=joined.id.cast(kind))
    # not by the engine, which would state that a column has no nulls only if the statistics of its tables say so
    with pq.ParquetWriter(path, stored.schema().to_pyarrow(), compression="zstd") as writer:
        for batch in engine.batches(stored):
            writer.write_batch(batch)


def _add_users(plan: Plan, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Add the columns of the user table to the stored sequences; return facts and notes."""
    if plan.users is None:
        return {}, []
    stored = pq.read_table(path)
    key = "user_id" if "user_id" in stored.column_names else "sequence_id"
    columns, notes = join_users(
        plan.users, stored.column(key), f"{plan.sequence_column.removesuffix('_id')}s"
    )
    for name in columns.column_names:
        stored = stored.append_column(name, columns.column(name))
    pq.write_table(stored, path, compression="zstd")
    return {"users": {"columns": columns.column_names, "hash": table_hash(columns)}}, notes


def _warnings(facts: dict[str, Any], unknown: int, items: int) -> list[str]:
    warnings = []
    share = facts["tied_events"] / facts["events"]
    if share > TIES_WARNING_SHARE:
        warnings.append(
            f"{share:.1%} of the events have the same time as the event before them; these keep the order of the input"
        )
    if unknown:
        warnings.append(f"{unknown} of {items} items have no row in the item table")
    return warnings


def _write_manifest(
    plan: Plan,
    directory: Path,
    split: ResolvedSplit,
    kinds: list[str],
    ranking: Ranking,
    facts: dict[str, Any],
    checksums: dict[str, str],
) -> None:
    ids = pq.read_table(directory / ITEMS, columns=["item_id"]).column("item_id").to_pylist()
    content = {"arrays": checksums, "ids": hash_json(ids), "kinds": kinds, "events": facts["events"]}
    if "users" in facts:
        content["users"] = facts["users"]
    settings = {**plan.to_dict(), "split": split.describe(), "columns": sorted(facts["columns"])}
    manifest = {
        "format": FORMAT,
        "warm": ranking.warm,
        "kinds": kinds,
        "split": split.describe(),
        "facts": facts,
        "fingerprint": hash_json([settings, content]),
        "made_by": plan.hash,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2))
