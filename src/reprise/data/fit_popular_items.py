"""Fitting of the popularity of items for users without events; its parameters are chosen on held-out first events.

An item counts once a day per sequence, so that repeated clicks count as one. Shape letters: I scored items, N most frequent
items, E events of a block, M held-out first events, H half-lives, U sequences, C contexts, V values of a context,
K distinct combinations of values of the contexts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array
from reprise.data.dataset import PARTS, Part, SequenceDataset
from reprise.data.io.arrow_columns import frequent_values, value_numbers
from reprise.data.popular_items import (
    DAY_S,
    OF_TIME,
    SMOOTHING,
    ContextTable,
    PopularItems,
    smoothed,
    time_codes,
)
from reprise.data.sequence_blocks import EventBlock, iter_blocks

HALF_LIVES_S = tuple(DAY_S * days for days in (0.5, 1, 3, 7, 14, 30, 60, 120, 240))
"""Candidates for `PopularItems.half_life_s`."""
ENTRY_SMOOTHING = (1000.0, 3000.0, 10000.0, inf)
"""Candidates for `PopularItems.entry_smoothing`."""
CONTEXT_SMOOTHING, CONTEXT_WEIGHTS = (100.0, 1000.0), (0.5, 1.0)
"""Candidates for the smoothing of the shares in a context, and for the exponent of the factors of a context."""
STANDARD_ERRORS = 2.0
"""A context is used if it improves the mean log probability by more than this number of standard errors."""
MIN_HELD_OUT, MAX_HELD_OUT = 100, 1000
"""Smallest number of held-out first events for which parameters are chosen, and the largest number for contexts."""
HELD_OUT_SHARE = 0.2
"""Share of the sequences, those that begin last, that are held out if too few begin in the validation part."""
MAX_VALUES = 64
"""Largest number of values of a column for which shares are counted: the most frequent ones."""
MAX_ITEMS = 10_000
"""Largest number of items whose shares depend on contexts: the most frequent ones."""


class _Held(NamedTuple):
    """First events of the sequences that begin at or after a cut; parameters are chosen by how well they are predicted."""

    cut_ms: int
    """Time of the cut, in milliseconds since 1970."""
    sequence_M: AnyArray
    """Index of the sequence of each event, [M]."""
    column_M: AnyArray
    """Item index of each event minus 1, [M]."""
    time_s_M: Float64Array
    """Time of each event in seconds since 1970, [M]."""


class _Counted(NamedTuple):
    """Events of a block, with each item of a sequence once a day."""

    sequence_E: AnyArray
    """Index of the sequence of each event, [E]."""
    column_E: AnyArray
    """Item index of each event minus 1, [E]."""
    time_s_E: Float64Array
    """Time of each event in seconds since 1970, [E]."""
    entry_E: BoolArray
    """Whether the event is the first one of its sequence."""


@dataclass(frozen=True)
class _Context:
    """A candidate for `PopularItems.contexts`: a column of the user table, the hour or the day of the week."""

    name: str
    """Name of the column, or `time.hour` or `time.weekday`."""
    values: tuple[Any, ...]
    """Values for which shares are counted, [V]."""
    code_U: AnyArray | None = None
    """Position in `values` of the value of each sequence, [U]; -1 for other values. None: the value depends on the time."""

    def codes(self, sequence_E: AnyArray, time_s_E: Float64Array) -> AnyArray:
        """Return the position in `values` of the value at each event, [E]; -1 for other values."""
        return time_codes(self.name, time_s_E) if self.code_U is None else self.code_U[sequence_E]


def fit_popular_items(dataset: SequenceDataset, before: Part = "valid") -> PopularItems:
    """Fit the popularity of items for users without events, on the events before a part.

    The half-life, the weight of first events and the contexts are chosen so that the earlier events best predict the first
    events of the sequences that begin in the validation part, or else of those that begin last. If there are fewer than
    `MIN_HELD_OUT` such sequences, or if no parameters predict them better, the popularity of an item is its share of all
    events.
    """
    held = _held_out(dataset)
    if len(held.column_M) < MIN_HELD_OUT:
        return PopularItems.static(_event_shares(dataset, before).astype(np.float32))
    early = _choose_decay(dataset, held)
    contexts = _choose_contexts(dataset, held, early)
    if early.half_life_s == inf:
        final = PopularItems.static(_event_shares(dataset, before).astype(np.float32))
    else:
        (final,) = _count(dataset, before, inf, (early.half_life_s,))
    tables = tuple(
        _table(context, _context_counts(dataset, context, before, inf), final.overall_I, *numbers)
        for context, numbers in contexts
    )
    return replace(final, entry_smoothing=early.entry_smoothing, contexts=tables)


def _held_out(dataset: SequenceDataset) -> _Held:
    """Return the first events of the sequences that begin in the validation part, or else of those that begin last."""
    items = dataset.items.scored
    (row_M,) = np.nonzero(np.asarray(dataset.offset[:-1]) < np.asarray(dataset.valid_end))
    first_M = np.asarray(dataset.offset)[row_M]
    time_ms_M, item_M = np.asarray(dataset.time_ms[first_M]), np.asarray(dataset.item[first_M])
    if not len(row_M):
        return _Held(0, row_M, item_M, time_ms_M / 1000.0)
    cut_ms = dataset.split.get("train_end_ms")
    if cut_ms is None or ((time_ms_M >= cut_ms) & (item_M <= items)).sum() < MIN_HELD_OUT:
        cut_ms = int(np.quantile(time_ms_M, 1 - HELD_OUT_SHARE))
    late_M = (time_ms_M >= cut_ms) & (item_M <= items)
    return _Held(cut_ms, row_M[late_M], item_M[late_M] - 1, time_ms_M[late_M] / 1000.0)


def _blocks(dataset: SequenceDataset, before: Part, until_ms: float) -> Iterator[EventBlock]:
    """Yield the events of scored items before a part and before a time, in blocks of whole sequences."""
    for block in iter_blocks(dataset):
        wanted_E = (block.part_E < PARTS.index(before)) & (block.item_E <= dataset.items.scored)
        yield block.select(wanted_E & (block.time_ms_E < until_ms))


def _event_shares(dataset: SequenceDataset, before: Part, until_ms: float = inf) -> Float64Array:
    """Return the share of each item among all events before a part and before a time, [I]."""
    count_I = np.zeros(dataset.items.scored)
    for block in _blocks(dataset, before, until_ms):
        count_I += np.bincount(block.item_E - 1, minlength=len(count_I))
    share_I: Float64Array = count_I / max(1.0, count_I.sum())
    return share_I


def _counted(dataset: SequenceDataset, before: Part, until_ms: float) -> Iterator[_Counted]:
    """Yield the events of scored items before a part and before a time, each item of a sequence once a day."""
    for kept in _blocks(dataset, before, until_ms):
        day_E = kept.time_ms_E // int(DAY_S * 1000)
        day_E -= day_E.min(initial=0)
        visit_E = (kept.sequence_E - kept.sequence_E.min(initial=0)) * (day_E.max(initial=0) + 1) + day_E
        _, first_N = np.unique(visit_E * (dataset.items.scored + 1) + kept.item_E, return_index=True)
        entry_E = ~kept.has_previous()
        time_s_E = kept.time_ms_E / 1000.0
        yield _Counted(
            kept.sequence_E[first_N], kept.item_E[first_N] - 1, time_s_E[first_N], entry_E[first_N]
        )


def _count(
    dataset: SequenceDataset, before: Part, until_ms: float, half_lives_s: tuple[float, ...]
) -> list[PopularItems]:
    """Return the popularity for each half-life, from the events before a part and before a time."""
    items = dataset.items.scored
    end_s = (_last_ms(dataset, before) if until_ms == inf else until_ms) / 1000.0
    overall_I = np.zeros(items)
    recent_HI, entry_HI = np.zeros((2, len(half_lives_s), items))
    for block in _counted(dataset, before, until_ms):
        overall_I += np.bincount(block.column_E, minlength=items)
        for number, half_life_s in enumerate(half_lives_s):
            weight_E = np.exp2((block.time_s_E - end_s) / half_life_s)
            recent_HI[number] += np.bincount(block.column_E, weights=weight_E, minlength=items)
            entry = block.entry_E
            entry_HI[number] += np.bincount(block.column_E[entry], weights=weight_E[entry], minlength=items)
    overall_I /= max(1.0, overall_I.sum())
    return [
        PopularItems(
            overall_I.astype(np.float32),
            recent_I.astype(np.float32),
            entry_I.astype(np.float32),
            half_life_s=half_life_s,
            end_s=end_s,
        )
        for half_life_s, recent_I, entry_I in zip(half_lives_s, recent_HI, entry_HI, strict=True)
    ]


def _choose_decay(dataset: SequenceDataset, held: _Held) -> PopularItems:
    """Return the popularity before the cut with the half-life and `entry_smoothing` that best predict the held-out events."""
    plain_I = _event_shares(dataset, "test", held.cut_ms)
    chosen = PopularItems.static(plain_I.astype(np.float32))
    # the other items are new after the cut, so no parameters can predict them
    known_M = plain_I[held.column_M] > 0
    if not known_M.any():
        return chosen
    best = float(np.log(plain_I[held.column_M[known_M]]).mean())
    for one in _count(dataset, "test", held.cut_ms, HALF_LIVES_S):
        late_s_M = np.maximum(0.0, held.time_s_M - one.end_s)[known_M]
        decay_M, column_M = np.exp2(-late_s_M / one.half_life_s), held.column_M[known_M]
        recent_M: Float64Array = decay_M * one.recent_I[column_M]
        entry_M: Float64Array = decay_M * one.entry_I[column_M]
        overall_M = one.overall_I[column_M].astype(np.float64)
        recent, entry = (float(weight_I.sum(dtype=np.float64)) for weight_I in (one.recent_I, one.entry_I))
        prior_M = smoothed(overall_M, recent_M, decay_M * recent, SMOOTHING)
        for smoothing in ENTRY_SMOOTHING:
            share_M = smoothed(prior_M, entry_M, decay_M * entry, smoothing)
            mean = float(np.log(share_M).mean())
            if mean > best:
                best, chosen = mean, replace(one, entry_smoothing=smoothing)
    return chosen


def _choose_contexts(
    dataset: SequenceDataset, held: _Held, early: PopularItems
) -> list[tuple[_Context, tuple[float, float]]]:
    """Return the contexts that improve the prediction of the held-out events, each with its smoothing and exponent.

    The contexts are tried one after the other, each together with those chosen before it.
    """
    known_M = early.overall_I[held.column_M] > 0
    rows = np.flatnonzero(known_M)
    if not len(rows):
        return []
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:MAX_HELD_OUT])
    late_s = 0.0 if early.half_life_s == inf else float(np.median(held.time_s_M[rows])) - early.end_s
    base_I = early.shares_after(late_s)
    column_M = held.column_M[rows]
    chosen: list[tuple[_Context, tuple[float, float]]] = []
    tables: list[ContextTable] = []
    code_MC = np.empty((len(rows), 0), dtype=np.int64)
    log_M = np.log(base_I[column_M])
    for context in _contexts_of(dataset):
        code_M = context.codes(held.sequence_M[rows], held.time_s_M[rows])
        with_code_MC = np.column_stack([code_MC, code_M])
        count_VN = _context_counts(dataset, context, "test", held.cut_ms)
        best_gain, best = 0.0, None
        for smoothing, weight in product(CONTEXT_SMOOTHING, CONTEXT_WEIGHTS):
            table = _table(context, count_VN, early.overall_I, smoothing, weight)
            with_log_M = _log_shares(base_I, [*tables, table], with_code_MC, column_M)
            gain_M = with_log_M - log_M
            gain = float(gain_M.mean() - STANDARD_ERRORS * gain_M.std() / np.sqrt(len(gain_M)))
            if gain > best_gain:
                best_gain, best = gain, (smoothing, weight, table, with_log_M)
        if best is not None:
            smoothing, weight, table, log_M = best
            chosen.append((context, (smoothing, weight)))
            tables.append(table)
            code_MC = with_code_MC
    return chosen


def _log_shares(
    base_I: Float64Array, tables: list[ContextTable], code_MC: AnyArray, column_M: AnyArray
) -> Float64Array:
    """Return the log probability of the item of each held-out event in its contexts, [M].

    Args:
        base_I: Share of each item without contexts.
        tables: Factors of the items, one table per context.
        code_MC: Row of each event in each table; -1: none.
        column_M: Item index of each event minus 1.
    """
    code_KC, combination_M = np.unique(code_MC, axis=0, return_inverse=True)
    combination_M = combination_M.ravel()
    log_factor_KN = np.zeros((len(code_KC), tables[0].log_ratio_VN.shape[1]))
    log_total_K = np.zeros(len(code_KC))
    head_N = base_I[: log_factor_KN.shape[1]]
    for number, code_C in enumerate(code_KC):
        for table, code in zip(tables, code_C.tolist(), strict=True):
            if code >= 0:
                log_factor_KN[number] += table.log_ratio_VN[code]
        # the base shares sum to 1, so only the changes of the most frequent items are added
        log_total_K[number] = np.log1p(head_N @ np.expm1(log_factor_KN[number]))
    log_M: Float64Array = np.log(base_I[column_M]) - log_total_K[combination_M]
    head_M = column_M < len(head_N)
    log_M[head_M] += log_factor_KN[combination_M[head_M], column_M[head_M]]
    return log_M


def attributes_of(dataset: SequenceDataset, row: int) -> dict[str, Any]:
    """Return the row of the user table for a sequence, by column; empty without a user table."""
    if dataset.user_table is None:
        return {}
    return {name: dataset.user_table.column(name)[row].as_py() for name in dataset.user_table.column_names}


def _contexts_of(dataset: SequenceDataset) -> list[_Context]:
    """Return the contexts to try: the columns of the user table with frequent values, the hour and the day of the week."""
    by_time = [_Context(name, tuple(range(one.rows))) for name, one in OF_TIME.items()]
    if dataset.user_table is None:
        return by_time
    columns = [_column_context(dataset, name) for name in dataset.user_table.column_names]
    return [*(one for one in columns if one is not None), *by_time]


def _column_context(dataset: SequenceDataset, name: str) -> _Context | None:
    """Return a column of the user table as a context, with its most frequent values before the test part.

    The result is None if the values are constant, or not texts, integers or booleans.
    """
    assert dataset.user_table is not None
    column = dataset.user_table.column(name)
    (known,) = np.nonzero(np.asarray(dataset.valid_end) > np.asarray(dataset.offset[:-1]))
    values = frequent_values(column.take(known), MAX_VALUES)
    if len(values) < 2 or name in OF_TIME:
        return None
    return _Context(name, tuple(values), value_numbers(column, values))


def _context_counts(
    dataset: SequenceDataset, context: _Context, before: Part, until_ms: float
) -> Float64Array:
    """Return the number of events of the most frequent items by value of a context, [V, N], before a part and a time."""
    items = min(MAX_ITEMS, dataset.items.scored)
    count_VN = np.zeros((len(context.values), items))
    for block in _counted(dataset, before, until_ms):
        code_E = context.codes(block.sequence_E, block.time_s_E)
        kept_E = (code_E >= 0) & (block.column_E < items)
        key_E = code_E[kept_E] * items + block.column_E[kept_E]
        count_VN += np.bincount(key_E, minlength=count_VN.size).reshape(count_VN.shape)
    return count_VN


def _table(
    context: _Context, count_VN: Float64Array, overall_I: Float32Array, smoothing: float, weight: float
) -> ContextTable:
    """Return the factors of a context: the ratio of the smoothed share for a value to the overall share, to the power `weight`.

    Args:
        context: The context.
        count_VN: Number of events by value and item.
        overall_I: Share of each item for all values together.
        smoothing: Weight of the overall shares as a number of events.
        weight: Exponent of the ratios.
    """
    overall_N = overall_I[: count_VN.shape[1]].astype(np.float64)
    overall_N = np.where(overall_N > 0, overall_N, 1.0 / max(1.0, count_VN.sum()))
    overall_N /= overall_N.sum()
    share_VN = smoothed(overall_N, count_VN, count_VN.sum(axis=1, keepdims=True), smoothing)
    return ContextTable(
        context.name, context.values, (weight * np.log(share_VN / overall_N)).astype(np.float32)
    )


def _last_ms(dataset: SequenceDataset, before: Part) -> int:
    """Return the time of the last event before a part, in milliseconds since 1970; 0 if there is none."""
    first_U, last_U = np.asarray(dataset.offset[:-1]), np.asarray(dataset.part(before)[0])
    return int(dataset.time_ms[last_U[last_U > first_U] - 1].max(initial=0))
