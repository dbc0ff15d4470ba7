"""What is done to the coded log before it is split: duplicates, sessions by gap, minimum counts.

All work on tables sorted by sequence, time and input order, so that neighbours are found by windows over the
rows as they lie, which the engine streams; nothing is sorted a second time.
"""

import ibis
import ibis.expr.types as ir

from reprise.data.io.duckdb_engine import Engine

AS_THEY_LIE = ibis.window()
UP_TO_HERE = ibis.cumulative_window()


def drop_duplicates(engine: Engine, name: str) -> int:
    """Delete all but the first of events with the same sequence, time, item and kind; returns how many.

    Only events that share their time with a neighbour are looked at: in most logs that is few of them.
    """
    events = engine.table(name)
    flagged = events.mutate(tied=_same_moment(events, 1) | _same_moment(events, -1))
    tied = flagged.filter(flagged.tied).drop("tied")
    same = ["sequence", "time_ms", "item", "kind"]
    first = tied.group_by(same).aggregate(first=tied.row.min(), count=tied.count())
    repeats = tied.join(first.filter(first["count"] > 1), same)
    return engine.delete(name, "row", repeats.filter(repeats.row > repeats["first"]).select("row"))


def _same_moment(events: ir.Table, step: int) -> ir.BooleanValue:
    def beside(column: ir.Value) -> ir.Value:
        return column.lag(step) if step > 0 else column.lead(-step)

    same = [column == beside(column).over(AS_THEY_LIE) for column in (events.sequence, events.time_ms)]
    return (same[0] & same[1]).fill_null(False)


def cut_sessions(engine: Engine, name: str, gap_ms: int) -> int:
    """Save `sessions`: events whose sequences are cut wherever more than `gap_ms` passes; returns how many there are.

    And `session_of`: for each new sequence its old one, and its number in it, from 1.
    """
    events = engine.table(name)
    whose = events.sequence.lag().over(AS_THEY_LIE)
    pause = events.time_ms - events.time_ms.lag().over(AS_THEY_LIE)
    begins = ((events.sequence != whose) | (pause > gap_ms)).fill_null(True)
    marked = events.mutate(begins=begins.cast("int32"))
    visit = (marked.begins.sum().over(UP_TO_HERE) - 1).cast("int32")
    cut = marked.mutate(visit=visit).drop("begins")
    saved = engine.save("sessions", cut.mutate(owner=cut.sequence, sequence=cut.visit).drop("visit"))
    owners = saved.group_by("sequence").aggregate(owner=saved.owner.first())
    number = ibis.row_number().over(group_by=owners.owner, order_by=owners.sequence) + 1
    return int(engine.save("session_of", owners.mutate(number=number)).count().to_pyarrow().as_py())


def keep_frequent(engine: Engine, name: str, min_item: int, min_sequence: int) -> dict[str, int]:
    """Delete items and sequences with fewer events than wanted, until none is left that has; returns events deleted.

    One pass is not enough: an item that goes shortens sequences, and a sequence that goes makes items rarer.
    """
    dropped = {"short_sequences": 0, "rare_items": 0}
    while True:
        short = _delete_rare(engine, name, "sequence", min_sequence)
        rare = _delete_rare(engine, name, "item", min_item)
        dropped["short_sequences"] += short
        dropped["rare_items"] += rare
        if not rare:
            return dropped


def _delete_rare(engine: Engine, name: str, column: str, least: int) -> int:
    if least <= 1:
        return 0
    events = engine.table(name)
    counts = events.group_by(column).aggregate(count=events.count())
    return engine.delete(name, column, counts.filter(counts["count"] < least).select(column))
