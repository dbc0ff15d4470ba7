"""Cleaning of the encoded log before the split: duplicates, busy users, sessions by gap, and minimum counts.

Adjacent events are found by the window of the engine over the order of the events: sequence, time, part, input order.
"""

import ibis
import ibis.expr.types as ir

from reprise.data.io.engine import Engine

DAY_MS = 86_400_000


def drop_duplicates(engine: Engine, name: str) -> int:
    """Delete repetitions of events with the same sequence, time, item and kind; return how many were deleted.

    Only events with the same time as an adjacent event are compared, which are few in most logs.
    """
    events = engine.table(name)
    flagged = events.mutate(tied=_same_time(engine, events, 1) | _same_time(engine, events, -1))
    tied = flagged.filter(flagged.tied).drop("tied")
    same = ["sequence", "time_ms", "item", "kind"]
    groups = tied.group_by(same).aggregate(first=tied.row.min(), count=tied.count())
    repeats = tied.join(groups.filter(groups["count"] > 1), same)
    return engine.delete(name, "row", repeats.filter(repeats.row > repeats["first"]).select("row"))


def _same_time(engine: Engine, events: ir.Table, step: int) -> ir.BooleanValue:
    def adjacent(column: ir.Value) -> ir.Value:
        return column.lag(step) if step > 0 else column.lead(-step)

    window = engine.neighbours()
    same = [column == adjacent(column).over(window) for column in (events.sequence, events.time_ms)]
    return (same[0] & same[1]).fill_null(False)


def drop_busy_users(
    engine: Engine, name: str, maximum: int, session_users: ir.Table | None = None
) -> tuple[int, int]:
    """Delete all events of users with more than `maximum` events on a day in UTC; return the number of users and events.

    Programs that read a site, and accounts made to push an item, have more events a day than people. Such users are deleted
    as a whole, because the rest of their events is not the behaviour of a person either.

    Args:
        engine: The engine.
        name: Table of events.
        maximum: Largest number of events of a user on a day.
        session_users: The user of each session (`encoding.save_session_users`) if the sequences are sessions; None if they
            are users.
    """
    table = engine.table(name)
    events = table.select("sequence", day=(table.time_ms / DAY_MS).floor())
    if session_users is None:
        events = events.mutate(user=events.sequence)
    else:
        users = session_users
        events = events.join(users, events.sequence == users.session).select(
            events.sequence, events.day, user=users.user
        )
    counts = events.group_by(["user", "day"]).aggregate(count=events.count())
    busy = engine.save("busy_users", counts.filter(counts["count"] > maximum).select("user").distinct())
    found = engine.row(busy.aggregate(users=busy.count()))["users"]
    sequences = events.semi_join(busy, "user").select("sequence").distinct()
    return int(found), engine.delete(name, "sequence", sequences) if found else 0


def cut_sessions(engine: Engine, name: str, gap_ms: int) -> int:
    """Divide sequences at pauses longer than `gap_ms`; return the number of sessions.

    Save the table `sessions`, the events with their sessions as new sequences, and the table `session_of`: for each
    session the original sequence and the number of the session within it, from 1.
    """
    events = engine.table(name)
    window = engine.neighbours()
    previous = events.sequence.lag().over(window)
    pause = events.time_ms - events.time_ms.lag().over(window)
    begins = ((events.sequence != previous) | (pause > gap_ms)).fill_null(True)
    cut = engine.count_marked(events.mutate(begins=begins.cast("int32")), "begins")
    session = (cut.marked - 1).cast("int32")
    saved = engine.save("sessions", cut.mutate(owner=cut.sequence, sequence=session).drop("marked"))
    owners = saved.group_by("sequence").aggregate(owner=saved.owner.min())
    number = ibis.row_number().over(group_by=owners.owner, order_by=owners.sequence) + 1
    engine.save("session_of", owners.mutate(number=number))
    saved = engine.driver.table("session_of")
    return int(engine.driver.row(saved.aggregate(count=saved.count()))["count"])


def keep_frequent(engine: Engine, name: str, min_item: int, min_sequence: int) -> dict[str, int]:
    """Repeat k-core filtering until every item and sequence has its minimum of events; return the deleted events.

    One pass is not enough: deleting an item shortens sequences, and deleting a sequence makes items rarer.
    """
    dropped = {"short_sequences": 0, "rare_items": 0}
    while True:
        short = _delete_rare(engine, name, "sequence", min_sequence)
        rare = _delete_rare(engine, name, "item", min_item)
        dropped["short_sequences"] += short
        dropped["rare_items"] += rare
        if not rare:
            return dropped


def _delete_rare(engine: Engine, name: str, column: str, minimum: int) -> int:
    if minimum <= 1:
        return 0
    events = engine.table(name)
    counts = events.group_by(column).aggregate(count=events.count())
    return engine.delete(name, column, counts.filter(counts["count"] < minimum).select(column))
