"""Summary statistics of a prepared dataset, for printing and for JSON.

Shape letters: U sequences, E events.
"""

from typing import Any

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import PARTS, Part, SequenceDataset, check_dataset
from reprise.data.leakage.checks import FACT, find_leaks, leak_facts, leak_warnings
from reprise.data.sequence_blocks import BLOCK_EVENTS, block_ranges
from reprise.data.timestamps import format_iso

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


def describe(dataset: SequenceDataset) -> dict[str, Any]:
    """Return counts, times, parts, sequence lengths, repeats, leaks and warnings of a dataset, as JSON values.

    `repeat_share` is the share of events whose item occurred before in the same sequence. `tied_share` is the share of
    events with the same time as the event before them. `cold_target_share` is the share of the targets of a part whose
    item does not occur in training. `value_share` is the share of events with a value.
    """
    events = check_dataset(dataset).events
    repeats, ties = _repeats_and_ties(dataset)
    return {
        "fingerprint": dataset.fingerprint,
        "sequences": len(dataset),
        "events": events,
        "items": {
            "vocabulary": len(dataset.items),
            "warm": dataset.items.warm,
            "cold": len(dataset.items) - dataset.items.warm,
            "ids": "integer" if dataset.items.integer_ids else "string",
        },
        "kinds": _kinds(dataset),
        "times": _times(dataset),
        "split": dict(dataset.split),
        "parts": {part: _part(dataset, part) for part in PARTS},
        "length": _quantiles(np.diff(dataset.offset)),
        "repeat_share": repeats / max(1, events),
        "tied_share": ties / max(1, events),
        "density": events / max(1, len(dataset) * len(dataset.items)),
        "value_share": _value_share(dataset),
        "facts": {name: fact for name, fact in dataset.facts.items() if name != FACT},
        "leaks": [leak_facts(leak) for leak in find_leaks(dataset)],
        "warnings": [*dataset.facts.get("warnings", []), *leak_warnings(dataset)],
    }


def _quantiles(length_U: AnyArray) -> dict[str, float]:
    values = np.quantile(length_U, QUANTILES) if len(length_U) else np.zeros(len(QUANTILES))
    return {f"{share:.0%}": float(value) for share, value in zip(QUANTILES, values, strict=True)}


def _kinds(dataset: SequenceDataset) -> dict[str, int]:
    counts = np.zeros(len(dataset.kinds), np.int64)
    for start in range(0, dataset.events, BLOCK_EVENTS):
        counts += np.bincount(dataset.kind[start : start + BLOCK_EVENTS], minlength=len(counts))
    return dict(zip(dataset.kinds, counts.tolist(), strict=True))


def _times(dataset: SequenceDataset) -> dict[str, str | None]:
    if not dataset.events:
        return {"first": None, "last": None}
    return {"first": format_iso(int(dataset.time_ms.min())), "last": format_iso(int(dataset.time_ms.max()))}


def _part(dataset: SequenceDataset, part: Part) -> dict[str, Any]:
    """Return the counts of a part. A target is an event of the part with an earlier event in its sequence."""
    first_U, last_U = dataset.part(part)
    present_U = last_U > first_U
    targets = cold = 0
    for start, stop in block_ranges(dataset):
        target_E = _targets_mask(dataset, (first_U, last_U), start, stop)
        item_E = dataset.item[dataset.offset[start] : dataset.offset[stop]]
        targets += int(target_E.sum())
        cold += int((target_E & (item_E > dataset.items.warm)).sum())
    return {
        "events": int((last_U - first_U).sum()),
        "sequences": int(present_U.sum()),
        "targets": targets,
        "cold_target_share": cold / max(1, targets),
    }


def _targets_mask(
    dataset: SequenceDataset, bounds_U: tuple[AnyArray, AnyArray], start: int, stop: int
) -> AnyArray:
    """Return whether each event of the sequences `start` to `stop` is a target within `bounds_U`, [E]."""
    begin_U = dataset.offset[start:stop]
    length_U = np.diff(dataset.offset[start : stop + 1])
    position_E = np.arange(int(begin_U[0]), int(dataset.offset[stop]))
    first_E = np.repeat(np.maximum(bounds_U[0][start:stop], begin_U + 1), length_U)
    target_E: AnyArray = (position_E >= first_E) & (position_E < np.repeat(bounds_U[1][start:stop], length_U))
    return target_E


def _repeats_and_ties(dataset: SequenceDataset) -> tuple[int, int]:
    """Count events that repeat an item of their sequence, and events at the same time as the event before."""
    repeats = ties = 0
    for start, stop in block_ranges(dataset):
        span = slice(int(dataset.offset[start]), int(dataset.offset[stop]))
        sequence_E = np.repeat(np.arange(stop - start), np.diff(dataset.offset[start : stop + 1]))
        # sorted, because `np.unique` puts a million integers into a hash table, which takes many times as long
        pair_E = np.sort(sequence_E.astype(np.int64) * (len(dataset.items) + 1) + dataset.item[span])
        repeats += int((np.diff(pair_E) == 0).sum())
        ties += int(((np.diff(dataset.time_ms[span]) == 0) & (np.diff(sequence_E) == 0)).sum())
    return repeats, ties


def _value_share(dataset: SequenceDataset) -> float:
    """Return the share of events that have a value."""
    count = 0
    for start in range(0, dataset.events, BLOCK_EVENTS):
        count += int((~np.isnan(dataset.value[start : start + BLOCK_EVENTS])).sum())
    return count / max(1, dataset.events)
