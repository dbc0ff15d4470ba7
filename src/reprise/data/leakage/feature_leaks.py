"""Leaks in features of events: values and kinds that belong to the next event.

Shape letters: N pairs of adjacent training events.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array
from reprise.data.dataset import SequenceDataset
from reprise.data.leakage.findings import MAX_EXAMPLES, Leak, event_row, item_id

MAX_PAIRS, STRETCHES = 100_000, 50
"""Largest number of adjacent pairs that are examined, and the number of places in the log from which they are taken."""
MIN_PAIRS = 100
"""Smallest number of pairs for which a dependence is reported."""
HIGH_ACCURACY, LOW_ACCURACY = 0.95, 0.75
"""A feature depends on the next item if that predicts it at least this often, and its own item at most that often."""
MIN_KNOWN_SHARE = 0.1
"""Smallest share of pairs with a known value of the feature for which its prediction of the next item is reported."""


class EventPairs(NamedTuple):
    """Adjacent training events of one sequence that have different items."""

    position_N: AnyArray
    """Position in the dataset of the first event of each pair."""
    own_N: AnyArray
    """Item of the first event."""
    next_N: AnyArray
    """Item of the second event."""
    half_N: BoolArray
    """Whether the sequence has an even index; predictions are learned on one half and measured on the other."""


def find_feature_leaks(dataset: SequenceDataset) -> Iterator[Leak]:
    """Find values and kinds of events that belong to the next event."""
    pairs = _adjacent_pairs(dataset)
    value_N = dataset.value[pairs.position_N]
    features: list[tuple[str, AnyArray, AnyArray]] = []
    valued = np.flatnonzero(~np.isnan(value_N))
    if len(valued):
        features.append(("value", valued, _encode(value_N[valued])))
    if len(dataset.kinds) > 1:
        features.append(("kind", np.arange(len(value_N)), dataset.kind[pairs.position_N].astype(np.int64)))
    for name, which, feature_N in features:
        selected = EventPairs(*(column[which] for column in pairs))
        dependence = _describe_dependence(selected, feature_N)
        if dependence:
            rows = tuple(
                event_row(dataset, position, _remark(dataset, name, position))
                for position in selected.position_N[:MAX_EXAMPLES].tolist()
            )
            column = dataset.facts.get("columns", {}).get(name, name)
            yield Leak(
                "giveaway",
                f"column {column!r} of the events {dependence}, in {len(feature_N):,} pairs of adjacent events",
                len(feature_N),
                f"move it to the event to which it belongs, or leave it out: {name}='' (--{name}-column '')",
                rows,
            )


def _encode(value_N: Float32Array) -> AnyArray:
    """Replace each value by its index among the distinct values."""
    code_N: AnyArray = np.unique(value_N, return_inverse=True)[1]
    return code_N.astype(np.int64)


def _remark(dataset: SequenceDataset, name: str, position: int) -> str:
    """Return the feature of an event and the next item, for an example row."""
    feature = (
        dataset.kinds[int(dataset.kind[position])]
        if name == "kind"
        else f"{float(dataset.value[position]):.6g}"
    )
    following = item_id(dataset, int(dataset.item[position + 1]))
    return f"{name} {feature}, next item {following!r}"


def _describe_dependence(pairs: EventPairs, feature_N: AnyArray) -> str:
    """Describe how a feature of an event depends on the next item; "" if it does not.

    There are two cases. A price stored with the event before its own is determined by the next item. A feature such as
    "next item and hour" is not determined by it, but predicts it. In both cases the event's own item must not explain the
    dependence: if mug is always followed by pot, a price of the mug also predicts the pot.
    """
    known, by_next = _accuracy(pairs.next_N, feature_N, pairs.half_N)
    _, by_own = _accuracy(pairs.own_N, feature_N, pairs.half_N)
    most_frequent = np.bincount(feature_N).max(initial=0) / max(1, len(feature_N))
    if known and by_next >= HIGH_ACCURACY and max(by_own, most_frequent) <= LOW_ACCURACY:
        return f"depends on the item of the next event ({by_next:.1%}), not on its own item ({by_own:.1%})"
    known, by_feature = _accuracy(feature_N, pairs.next_N, pairs.half_N)
    _, by_item = _accuracy(pairs.own_N, pairs.next_N, pairs.half_N)
    # a feature whose values rarely repeat, such as a price with cents, is known in few pairs and then right by chance
    enough_known = known >= MIN_KNOWN_SHARE * len(feature_N) / 2
    if enough_known and by_feature >= HIGH_ACCURACY and by_item <= LOW_ACCURACY:
        return f"predicts the item of the next event ({by_feature:.1%}), which its own item does not ({by_item:.1%})"
    return ""


def _accuracy(key_N: AnyArray, target_N: AnyArray, half_N: BoolArray) -> tuple[int, float]:
    """Return how many pairs of one half have a key known from the other half, and how often their target is predicted.

    The prediction for a key is its most frequent target in the first half. For example, keys 7, 7, 7, 9 with targets
    1, 1, 2, 5 in the first half predict 7 -> 1 and 9 -> 5. Keys 7, 9, 8 with targets 1, 3, 5 in the second half then give
    two known keys, of which one is right: (2, 0.5). Keys and targets are small non-negative integers. If fewer than
    `MIN_PAIRS` pairs are known, the result is (0, 0.0).
    """
    # count each distinct (key, target), encoded as one number so that one sort is enough
    targets = int(target_N.max(initial=0)) + 1
    pair = np.sort(key_N[half_N] * targets + target_N[half_N])
    begins = np.flatnonzero(np.diff(pair, prepend=-1))
    count, pair = np.diff(np.append(begins, len(pair))), pair[begins]
    key_begins = np.flatnonzero(np.diff(pair // targets, prepend=-1))
    # The index of the largest count of each key: reduceat gives only the maximum, so the index is put into the low digits
    # of the number. With 4 pairs and counts 2, 1 of a key, 2 * 4 + 0 = 8 and 1 * 4 + 1 = 5 give 8, and 8 % 4 = 0.
    best = (
        np.maximum.reduceat(count * len(pair) + np.arange(len(pair)), key_begins) % len(pair)
        if len(pair)
        else key_begins
    )
    key, predicted = pair[best] // targets, pair[best] % targets
    test_key, test_target = key_N[~half_N], target_N[~half_N]
    place = np.searchsorted(key, test_key).clip(max=max(0, len(key) - 1))
    found = key[place] == test_key if len(key) else np.zeros(len(test_key), dtype=bool)
    known = int(found.sum())
    if known < MIN_PAIRS:
        return 0, 0.0
    return known, float((predicted[place[found]] == test_target[found]).mean())


def _adjacent_pairs(dataset: SequenceDataset) -> EventPairs:
    """Return adjacent training events: all of them or, in a long log, those of equally spaced stretches."""
    events = dataset.events
    if events <= MAX_PAIRS:
        position_N = np.arange(max(0, events - 1))
    else:
        begins = np.linspace(0, events - 1 - MAX_PAIRS // STRETCHES, STRETCHES).astype(np.int64)
        position_N = (begins[:, None] + np.arange(MAX_PAIRS // STRETCHES)).ravel()
    sequence_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
    trained = position_N + 1 < np.asarray(dataset.train_end)[sequence_N]
    own_N, next_N = dataset.item[position_N], dataset.item[position_N + 1]
    kept = trained & (own_N != next_N)
    columns = position_N, own_N.astype(np.int64), next_N.astype(np.int64), sequence_N % 2 == 0
    return EventPairs(*(column[kept] for column in columns))
