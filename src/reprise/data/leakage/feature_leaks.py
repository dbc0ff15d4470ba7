"""Leaks in what is known besides ids: item facts dated after the cut or counted from later events, and values of the next item.

Shape letters: I items, N pairs of an event and the next one.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.event_leaks import COUNT, EventSearch
from reprise.data.leakage.findings import SHOWN, Leak, LeakRow, event_row, item_id
from reprise.data.timestamps import EARLIEST_S, LATEST_S, UNITS_PER_SECOND, format_time

DATED = {
    "at", "added", "available", "created", "date", "datetime", "day", "from", "launched", "modified", "published", "released",
    "seen", "since", "sold", "time", "timestamp", "updated",
}  # fmt: skip
"""Words in the name of a column of numbers that may be dates."""
AHEAD = {"until", "expires", "expiry", "expiration", "ends", "end", "due", "to", "deadline"}
"""Words in the name of a date that is known before it comes."""
PAIRS, STRETCHES = 100_000, 50
"""Pairs of neighbouring events that are looked at, and from how many places of the log."""
ENOUGH_PAIRS, ENOUGH_ITEMS, ENOUGH_LATER = 100, 20, 10
"""Below these nothing is said of values, of columns, and of columns' counts of later events."""
CERTAIN, UNSURE = 0.95, 0.75
"""A value that fits the next item so often, and its own item no oftener than this, is one of the next item."""
KNOWN = 0.1
"""The share of pairs whose value must have been met before, for what it predicts to count."""
UNEXPLAINED = 1e-3
"""The share of a column's variance that counts of later events may leave, at most, ..."""
WORSE = 10.0
"""... and how many times more the counts of training must leave."""


def feature_leaks(dataset: SequenceDataset, search: EventSearch) -> Iterator[Leak]:
    """What the columns of the item table and the values and kinds of events give away."""
    for name in dataset.table.column_names:
        column = dataset.table.column(name)
        if name in ("item_id", COUNT):
            continue
        time_ms_I = _dates(name, column)
        if time_ms_I is not None:
            yield from _dated_after(dataset, name, time_ms_I)
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            yield from _counted_later(dataset, name, _numbers(column), search)
    yield from _next_item(dataset)


def _numbers(column: pa.ChunkedArray) -> Float64Array:
    """[I], NaN where there is none."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))


def _dates(name: str, column: pa.ChunkedArray) -> Float64Array | None:
    """Milliseconds since 1970, [I], NaN where there is none; None where the column holds no dates."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _moments(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _iso(column)
    if (pa.types.is_integer(kind) or pa.types.is_floating(kind)) and _words(name) & (DATED | AHEAD):
        number_I = _numbers(column)
        known_I = number_I[np.isfinite(number_I)]
        for per_second in UNITS_PER_SECOND.values() if len(known_I) else ():
            if EARLIEST_S * per_second <= known_I.min() and known_I.max() < LATEST_S * per_second:
                return number_I * 1000 / per_second
    return None


def _moments(column: pa.ChunkedArray) -> Float64Array:
    """Dates and times without a zone are taken as UTC."""
    zone = getattr(column.type, "tz", None)
    return _numbers(column.cast(pa.timestamp("ms", zone), safe=False).cast(pa.int64()))


def _iso(column: pa.ChunkedArray) -> Float64Array | None:
    first = pc.drop_null(column).slice(0, 1).to_pylist()
    if not first or not re.match(r"\d{4}-\d{2}-\d{2}", first[0]):
        return None
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    text = pc.if_else(blank, pa.scalar(None, column.type), column)
    for kind in (
        pa.timestamp("ms"),
        pa.timestamp("ms", "UTC"),
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
    ):
        try:
            return _moments(text.cast(kind))
        except pa.ArrowInvalid:
            continue
    return None


def _dated_after(dataset: SequenceDataset, name: str, time_ms_I: Float64Array) -> Iterator[Leak]:
    """Facts of trained items that did not exist when training ended."""
    if not dataset.part_events("train"):
        return
    cut_ms = _training_end(dataset)
    late = np.flatnonzero(time_ms_I[: dataset.items.warm] >= cut_ms)
    if not len(late):
        return
    known_ahead = bool(_words(name) & AHEAD)
    rows = tuple(
        LeakRow(item_id(dataset, index + 1), remark=f"{name} {format_time(float(time_ms_I[index]))}")
        for index in late[:SHOWN].tolist()
    )
    sentence = (
        f"column {name!r} of the item table dates {len(late):,} items of the training part at or after its end "
        f"({format_time(cut_ms)})"
    )
    if known_ahead:
        sentence += "; it is taken for a date that was known ahead."
    remedy = f"leave {name!r} out of the item table, or give the facts as they were when training ends"
    yield Leak("late-feature", sentence, len(late), remedy, rows, fails=not known_ahead)


def _training_end(dataset: SequenceDataset) -> int:
    """Where the log is cut, or just after the last training event where it is not cut at one moment."""
    if dataset.split.get("kind") == "time":
        return int(dataset.split["train_end_ms"])
    trained = np.asarray(dataset.train_end)[np.asarray(dataset.train_end) > dataset.offset[:-1]]
    return int(dataset.time_ms[trained - 1].max()) + 1


def _counted_later(
    dataset: SequenceDataset, name: str, number_I: Float64Array, search: EventSearch
) -> Iterator[Leak]:
    """A column that counts, or ranks by, events that come after training."""
    trained_I, later_I, tested_I = (
        counts[1:] for counts in (search.trained_I, search.later_I, search.tested_I)
    )
    met_I = np.isfinite(number_I) & (trained_I + later_I > 0)
    if met_I.sum() < ENOUGH_ITEMS or np.count_nonzero(later_I[met_I]) < ENOUGH_LATER:
        return
    number, trained = number_I[met_I], trained_I[met_I]
    counted = {"all": trained_I + later_I, "later": later_I, "test": tested_I}
    for which, count_I in counted.items():
        count = count_I[met_I]
        if _fits(number, count, trained) or _equals(number, count, trained):
            biggest = np.flatnonzero(met_I)[np.argsort(-later_I[met_I], kind="stable")[:SHOWN]]
            rows = tuple(
                LeakRow(
                    item_id(dataset, index + 1),
                    remark=f"{name} {number_I[index]:,.6g}, {trained_I[index]:,} training and {later_I[index]:,} later events",
                )
                for index in biggest.tolist()
            )
            yield Leak(
                "giveaway",
                f"column {name!r} of the item table follows the number of {which} events of {met_I.sum():,} items, "
                "not of the training events",
                int(met_I.sum()),
                f"leave {name!r} out of the item table, or count the training part only, as its column 'count' does",
                rows,
            )
            return


def _equals(number: Float64Array, count: AnyArray, trained: AnyArray) -> bool:
    """Whether a column is a count, wherever it differs from that of training."""
    differs = count != trained
    told = number[differs]
    return (
        len(told) >= ENOUGH_LATER
        and len(np.unique(told)) > 2
        and bool((told == count[differs]).mean() >= CERTAIN)
    )


def _fits(number: Float64Array, count: AnyArray, trained: AnyArray) -> bool:
    """Whether a column is a line in a count, or in its order, and is far from one in the count of training."""
    for way in (np.asarray, _places):
        ours, others = _left(way(number), way(count)), _left(way(number), way(trained))
        if ours <= UNEXPLAINED and others > max(WORSE * ours, UNEXPLAINED):
            return True
    return False


def _left(number: Float64Array, by: Any) -> float:
    """The share of a variance that a line leaves."""
    if np.ptp(number) == 0 or np.ptp(by) == 0:
        return 1.0
    return 1.0 - float(np.corrcoef(number, by)[0, 1]) ** 2


def _places(number: Any) -> Float64Array:
    """The place of each number in the order of all, equal ones sharing theirs."""
    _, place, count = np.unique(number, return_inverse=True, return_counts=True)
    middle: Float64Array = (np.cumsum(count) - (count - 1) / 2)[place]
    return middle


class Pairs(NamedTuple):
    """Training events and the ones after them, where both are of different items."""

    position_N: AnyArray
    own_N: AnyArray
    next_N: AnyArray
    half_N: AnyArray
    """bool; sequences are dealt to two halves: what one shows is asked of the other."""


def _next_item(dataset: SequenceDataset) -> Iterator[Leak]:
    """Values and kinds of events that belong to the event after them."""
    pairs = _pairs(dataset)
    value_N = dataset.value[pairs.position_N]
    facts: list[tuple[str, AnyArray, AnyArray]] = []
    valued = np.flatnonzero(~np.isnan(value_N))
    if len(valued):
        facts.append(("value", valued, _codes(value_N[valued])))
    if len(dataset.kinds) > 1:
        facts.append(("kind", np.arange(len(value_N)), dataset.kind[pairs.position_N].astype(np.int64)))
    for name, which, fact_N in facts:
        some = Pairs(*(column[which] for column in pairs))
        said = _gives_away(some, fact_N)
        if said:
            rows = tuple(
                event_row(dataset, position, _of_next(dataset, name, position))
                for position in some.position_N[:SHOWN].tolist()
            )
            column = dataset.facts.get("columns", {}).get(name, name)
            yield Leak(
                "giveaway",
                f"column {column!r} of the events {said}, in {len(fact_N):,} pairs of neighbours",
                len(fact_N),
                f"move it to the event that it belongs to, or leave it out: {name}='' (--{name}-column '')",
                rows,
            )


def _codes(value_N: np.ndarray[Any, np.dtype[np.float32]]) -> AnyArray:
    """The place of each value among the different ones."""
    code_N: AnyArray = np.unique(value_N, return_inverse=True)[1]
    return code_N.astype(np.int64)


def _of_next(dataset: SequenceDataset, name: str, position: int) -> str:
    fact = (
        dataset.kinds[int(dataset.kind[position])]
        if name == "kind"
        else f"{float(dataset.value[position]):.6g}"
    )
    following = item_id(dataset, int(dataset.item[position + 1]))
    return f"{name} {fact}, next item {following!r}"


def _gives_away(pairs: Pairs, fact_N: AnyArray) -> str:
    """How a fact of an event tells the next item; empty where it does not."""
    known, of_next = _told(pairs.next_N, fact_N, pairs.half_N)
    _, of_own = _told(pairs.own_N, fact_N, pairs.half_N)
    commonest = np.bincount(fact_N).max(initial=0) / max(1, len(fact_N))
    if known and of_next >= CERTAIN and max(of_own, commonest) <= UNSURE:
        return f"goes by the item of the next event ({of_next:.1%}), not by its own ({of_own:.1%})"
    known, by_fact = _told(fact_N, pairs.next_N, pairs.half_N)
    _, by_item = _told(pairs.own_N, pairs.next_N, pairs.half_N)
    if known >= KNOWN * len(fact_N) / 2 and by_fact >= CERTAIN and by_item <= UNSURE:
        return f"tells the item of the next event ({by_fact:.1%}), as its own item does not ({by_item:.1%})"
    return ""


def _told(key_N: AnyArray, fact_N: AnyArray, half_N: AnyArray) -> tuple[int, float]:
    """How many pairs of one half have a key that the other half has, and how often the fact most seen with that key.

    Keys and facts are small numbers.
    """
    facts = int(fact_N.max(initial=0)) + 1
    pair = np.sort(key_N[half_N] * facts + fact_N[half_N])
    begins = np.flatnonzero(np.diff(pair, prepend=-1))
    count, pair = np.diff(np.append(begins, len(pair))), pair[begins]
    firsts = np.flatnonzero(np.diff(pair // facts, prepend=-1))
    # the place of the greatest count of each key, in the last digits of a number that begins with the count
    best = (
        np.maximum.reduceat(count * len(pair) + np.arange(len(pair)), firsts) % len(pair)
        if len(pair)
        else firsts
    )
    key, fact = pair[best] // facts, pair[best] % facts
    asked, answer = key_N[~half_N], fact_N[~half_N]
    place = np.searchsorted(key, asked).clip(max=max(0, len(key) - 1))
    met = key[place] == asked if len(key) else np.zeros(len(asked), dtype=bool)
    known = int(met.sum())
    return (known, float((fact[place[met]] == answer[met]).mean())) if known >= ENOUGH_PAIRS else (0, 0.0)


def _pairs(dataset: SequenceDataset) -> Pairs:
    """Neighbours in the training part, all of them or some from all over the log."""
    events = dataset.events
    if events <= PAIRS:
        position_N = np.arange(max(0, events - 1))
    else:
        begins = np.linspace(0, events - 1 - PAIRS // STRETCHES, STRETCHES).astype(np.int64)
        position_N = (begins[:, None] + np.arange(PAIRS // STRETCHES)).ravel()
    sequence_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
    trained = position_N + 1 < np.asarray(dataset.train_end)[sequence_N]
    own_N, next_N = dataset.item[position_N], dataset.item[position_N + 1]
    kept = trained & (own_N != next_N)
    columns = position_N, own_N.astype(np.int64), next_N.astype(np.int64), sequence_N % 2 == 0
    return Pairs(*(column[kept] for column in columns))
