"""Count which items are popular for users without events, and choose by held-out first events how to count them.

An item counts once a day for each sequence, so that a burst of clicks counts as one. Shape letters: I scored items, N most
frequent items, E counted events of a block, M held-out first events, H half-lives, V values of a context, K moments.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from reprise.data.sequence_blocks import iter_blocks

HALF_LIVES_S = tuple(DAY_S * days for days in (0.5, 1, 3, 7, 14, 30, 60, 120, 240))
"""Half-lives to choose from, in seconds."""
ENTRY_SMOOTHING = (1000.0, 3000.0, 10000.0, inf)
"""Values of `PopularItems.entry_smoothing` to choose from."""
CONTEXT_SMOOTHING, CONTEXT_WEIGHTS = (100.0, 1000.0), (0.5, 1.0)
"""Numbers of events that the overall shares are worth in a context, and weights of a context, to choose from."""
STANDARD_ERRORS = 2.0
"""Number of standard errors by which a context must improve the mean log probability."""
MIN_HELD_OUT, MAX_HELD_OUT = 100, 1000
"""Fewest held-out first events to choose by, and the number of them by which contexts are chosen."""
HELD_OUT_SHARE = 0.2
"""Share of the sequences that are held out if too few begin in the validation part: those that begin last."""
MAX_VALUES = 64
"""Largest number of values of a column with shares of their own: the most frequent ones."""
MAX_ITEMS = 10_000
"""Number of most frequent items whose shares depend on contexts."""


class _Held(NamedTuple):
    """First events of sequences that begin at or after a time."""

    cut_ms: int
    """That time, in milliseconds since 1970."""
    sequence_M: AnyArray
    column_M: AnyArray
    """Item index minus 1."""
    time_s_M: Float64Array


class _Counted(NamedTuple):
    """Events of a block that count."""

    sequence_E: AnyArray
    column_E: AnyArray
    time_s_E: Float64Array
    entry_E: BoolArray
    """Whether the event is the first one of its sequence."""


@dataclass(frozen=True)
class _Context:
    """A property of requests that popularity may depend on."""

    name: str
    values: tuple[Any, ...]
    code_U: AnyArray | None = None
    """Row of each sequence in a table of this context, -1 for other values; None: it comes from the time."""

    def codes(self, sequence_E: AnyArray, time_s_E: Float64Array) -> AnyArray:
        """Return the row of each event in a table of this context, from 0 to V - 1; -1: none."""
        return time_codes(self.name, time_s_E) if self.code_U is None else self.code_U[sequence_E]


def fit_popular_items(dataset: SequenceDataset, before: Part = "valid") -> PopularItems:
    """Return which items are popular for users without events, from the events before a part.

    The half-life, the weight of first events and the contexts are those that best predict the first events of sequences that
    begin in the validation part, or that begin last, from the events before them. With fewer than `MIN_HELD_OUT` of these, the
    result is the share of each item in all events, and also if nothing predicts them better.
    """
    held = _held_out(dataset)
    if len(held.column_M) < MIN_HELD_OUT:
        return PopularItems.static(_event_shares(dataset, before).astype(np.float32))
    early = _choose(dataset, held)
    contexts = _choose_contexts(dataset, held, early)
    if early.half_life_s == inf:
        final = PopularItems.static(_event_shares(dataset, before).astype(np.float32))
    else:
        (final,) = _count(dataset, before, None, (early.half_life_s,))
    tables = tuple(
        _table(context, _context_counts(dataset, context, before, None), final.overall_I, *numbers)
        for context, numbers in contexts
    )
    return replace(final, entry_smoothing=early.entry_smoothing, contexts=tables)


def _held_out(dataset: SequenceDataset) -> _Held:
    """Return the first events of the sequences that begin in the validation part, or of the last ones before the test part."""
    warm = dataset.items.scored
    (row_M,) = np.nonzero(np.asarray(dataset.offset[:-1]) < np.asarray(dataset.valid_end))
    first_M = np.asarray(dataset.offset)[row_M]
    time_ms_M, item_M = np.asarray(dataset.time_ms[first_M]), np.asarray(dataset.item[first_M])
    if not len(row_M):
        return _Held(0, row_M, item_M, time_ms_M / 1000.0)
    cut_ms = dataset.split.get("train_end_ms")
    if cut_ms is None or ((time_ms_M >= cut_ms) & (item_M <= warm)).sum() < MIN_HELD_OUT:
        cut_ms = int(np.quantile(time_ms_M, 1 - HELD_OUT_SHARE))
    late_M = (time_ms_M >= cut_ms) & (item_M <= warm)
    return _Held(cut_ms, row_M[late_M], item_M[late_M] - 1, time_ms_M[late_M] / 1000.0)


def _event_shares(dataset: SequenceDataset, before: Part, until_ms: int | None = None) -> Float64Array:
    """Return the share of each item in all events before a part and before a time."""
    count_I = np.zeros(dataset.items.scored)
    for block in iter_blocks(dataset):
        wanted_E = (block.part_E < PARTS.index(before)) & (block.item_E <= len(count_I))
        if until_ms is not None:
            wanted_E &= block.time_ms_E < until_ms
        count_I += np.bincount(block.item_E[wanted_E] - 1, minlength=len(count_I))
    share_I: Float64Array = count_I / max(1.0, count_I.sum())
    return share_I


def _counted(dataset: SequenceDataset, before: Part, until_ms: int | None) -> Iterator[_Counted]:
    """Yield the events of scored items before a part and before a time, each item once a day for each sequence."""
    for block in iter_blocks(dataset):
        wanted_E = (block.part_E < PARTS.index(before)) & (block.item_E <= dataset.items.scored)
        if until_ms is not None:
            wanted_E &= block.time_ms_E < until_ms
        kept = block.select(wanted_E)
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
    dataset: SequenceDataset, before: Part, until_ms: int | None, half_lives_s: tuple[float, ...]
) -> list[PopularItems]:
    """Return the popularity for several half-lives, from the events before a part and before a time."""
    warm = dataset.items.scored
    end_s = (_last_ms(dataset, before) if until_ms is None else until_ms) / 1000.0
    overall_I = np.zeros(warm)
    recent_HI, entry_HI = np.zeros((2, len(half_lives_s), warm))
    for block in _counted(dataset, before, until_ms):
        overall_I += np.bincount(block.column_E, minlength=warm)
        for number, half_life_s in enumerate(half_lives_s):
            weight_E = np.exp2((block.time_s_E - end_s) / half_life_s)
            recent_HI[number] += np.bincount(block.column_E, weights=weight_E, minlength=warm)
            entry = block.entry_E
            entry_HI[number] += np.bincount(block.column_E[entry], weights=weight_E[entry], minlength=warm)
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


def _choose(dataset: SequenceDataset, held: _Held) -> PopularItems:
    """Return the popularity before the held-out events that predicts them best, without contexts."""
    plain_I = _event_shares(dataset, "test", held.cut_ms)
    chosen = PopularItems.static(plain_I.astype(np.float32))
    known_M = plain_I[held.column_M] > 0  # the other items are new after the cut, and no list can have them
    if not known_M.any():
        return chosen
    best = float(np.log(plain_I[held.column_M[known_M]]).mean())
    for one in _count(dataset, "test", held.cut_ms, HALF_LIVES_S):
        late_s_M = np.maximum(0.0, held.time_s_M - one.end_s)[known_M]
        decay_M, column_M = np.exp2(-late_s_M / one.half_life_s), held.column_M[known_M]
        recent_M = _smoothed_at(one.recent_I, decay_M, one.overall_I[column_M], column_M, SMOOTHING)
        for smoothing in ENTRY_SMOOTHING:
            share_M = _smoothed_at(one.entry_I, decay_M, recent_M, column_M, smoothing)
            mean = float(np.log(share_M).mean())
            if mean > best:
                best, chosen = mean, replace(one, entry_smoothing=smoothing)
    return chosen


def _smoothed_at(
    weight_I: Float32Array, decay_M: Float64Array, prior_M: AnyArray, column_M: AnyArray, smoothing: float
) -> AnyArray:
    """Return `smoothed` of decayed weights at some items."""
    if smoothing == inf:
        return prior_M
    total_M = decay_M * float(weight_I.sum(dtype=np.float64))
    shares_M: AnyArray = (decay_M * weight_I[column_M] + smoothing * prior_M) / (total_M + smoothing)
    return shares_M


def _choose_contexts(
    dataset: SequenceDataset, held: _Held, early: PopularItems
) -> list[tuple[_Context, tuple[float, float]]]:
    """Return the contexts that help to predict the held-out events, each with its smoothing and weight."""
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
    for context in contexts_of(dataset):
        code_M = context.codes(held.sequence_M[rows], held.time_s_M[rows])
        code_M1 = np.column_stack([code_MC, code_M])
        count_VN = _context_counts(dataset, context, "test", held.cut_ms)
        best: tuple[float, Any] = (0.0, None)
        for smoothing in CONTEXT_SMOOTHING:
            for weight in CONTEXT_WEIGHTS:
                table = _table(context, count_VN, early.overall_I, smoothing, weight)
                with_log_M = _log_shares(base_I, [*tables, table], code_M1, column_M)
                gain_M = with_log_M - log_M
                gain = float(gain_M.mean() - STANDARD_ERRORS * gain_M.std() / np.sqrt(len(gain_M)))
                if gain > best[0]:
                    best = gain, ((smoothing, weight), table, with_log_M)
        if best[1] is not None:
            numbers, table, log_M = best[1]
            chosen.append((context, numbers))
            tables.append(table)
            code_MC = code_M1
    return chosen


def _log_shares(
    base_I: Float64Array, tables: list[ContextTable], code_MC: AnyArray, column_M: AnyArray
) -> Float64Array:
    """Return the log share of an item in each of M moments, given their rows in some tables; -1: no row."""
    code_KC, moment_M = np.unique(code_MC, axis=0, return_inverse=True)
    log_K, factor_KN = np.zeros(len(code_KC)), np.ones((len(code_KC), len(tables[0].log_ratio_VN[0])))
    for number, code_C in enumerate(code_KC):
        for table, code in zip(tables, code_C.tolist(), strict=True):
            if code >= 0:
                factor_KN[number] *= np.exp(table.log_ratio_VN[code])
        head_N = base_I[: factor_KN.shape[1]]
        log_K[number] = np.log(1.0 + float((head_N * (factor_KN[number] - 1.0)).sum()))
    log_M = np.log(base_I[column_M]) - log_K[moment_M.ravel()]
    head_M = column_M < factor_KN.shape[1]
    log_M[head_M] += np.log(factor_KN[moment_M.ravel()[head_M], column_M[head_M]])
    return log_M


def attributes_of(dataset: SequenceDataset, row: int) -> dict[str, Any]:
    """Return the attributes of the user of a sequence."""
    if dataset.user_table is None:
        return {}
    return {name: dataset.user_table.column(name)[row].as_py() for name in dataset.user_table.column_names}


def contexts_of(dataset: SequenceDataset) -> list[_Context]:
    """Return the contexts that a dataset can have: columns of users with few values, the hour and the day of the week."""
    by_time = [_Context(name, tuple(range(one.rows))) for name, one in OF_TIME.items()]
    if dataset.user_table is None:
        return by_time
    columns = [_column_context(dataset, name) for name in dataset.user_table.column_names]
    return [*(one for one in columns if one is not None), *by_time]


def _column_context(dataset: SequenceDataset, name: str) -> _Context | None:
    """Return the most frequent values of a column before the test part; None if it is of another kind or constant."""
    assert dataset.user_table is not None
    column = dataset.user_table.column(name)
    (known,) = np.nonzero(np.asarray(dataset.valid_end) > np.asarray(dataset.offset[:-1]))
    values = frequent_values(column.take(known), MAX_VALUES)
    if len(values) < 2 or name in OF_TIME:
        return None
    return _Context(name, tuple(values), value_numbers(column, values))


def _context_counts(
    dataset: SequenceDataset, context: _Context, before: Part, until_ms: int | None
) -> Float64Array:
    """Count the most frequent items in each context, [V, N], in the events before a part and before a time."""
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
    """Return the weighted log ratio of the smoothed shares in each context to the shares in all of them."""
    overall_N = overall_I[: count_VN.shape[1]].astype(np.float64)
    overall_N = np.where(overall_N > 0, overall_N, 1.0 / max(1.0, count_VN.sum()))
    overall_N /= overall_N.sum()
    share_VN = np.stack([smoothed(overall_N, count_N, smoothing) for count_N in count_VN])
    return ContextTable(
        context.name, context.values, (weight * np.log(share_VN / overall_N)).astype(np.float32)
    )


def _last_ms(dataset: SequenceDataset, before: Part) -> int:
    """Return the time of the last event before a part, in milliseconds since 1970; 0 if there is none."""
    first_U, last_U = np.asarray(dataset.offset[:-1]), np.asarray(dataset.part(before)[0])
    return int(dataset.time_ms[last_U[last_U > first_U] - 1].max(initial=0))
