"""Intra-list diversity: how little the items of a list are alike, by what the data say and no model.

Shape letters: I items (the warm ones), F features, P pairs of an item and a feature, L lists, K places, A lengths of lists.
An item is the set of its features: its category where the item table has that column, else the training sequences it
occurs in. Likeness is the cosine of two such sets.
"""

from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset

CATEGORY = "category"
"""The column of the item table that says what kind of thing an item is."""
EVENTS_COUNTED = 1 << 22
"""Training events, of whole sequences drawn at random, that likeness by sequences is made from, at most about."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """The features of every item, as compressed sparse rows."""

    start: AnyArray
    """[I + 1]: the features of item column i are at `start[i]`..`start[i + 1]`."""
    feature_P: AnyArray
    """No feature twice in an item."""
    features: int
    """F: how many there are."""
    source: str
    """What the features are, in words."""

    @classmethod
    def of(cls, dataset: SequenceDataset, seed: int) -> "Likeness":
        """By category where the item table says one, else by the training sequences; `seed` draws those of a large log."""
        if CATEGORY in dataset.table.column_names:
            return _by_category(dataset)
        return _by_sequences(dataset, seed)

    def within(self, column_LK: AnyArray, at: tuple[int, ...]) -> Float64Array:
        """The mean cosine of all pairs among the first k of each list, [L, A]; NaN for a list of fewer than two.

        A cosine is linear in its items, so each item is compared with the sum of those before it, not with each.

        Args:
            column_LK: Columns of the items, -1 where nothing is shown.
            at: Lengths of 2 or more.
        """
        total_F = np.zeros(self.features)
        return np.array([self._within(column_K, at, total_F) for column_K in column_LK]).reshape(-1, len(at))

    def _within(self, column_K: AnyArray, at: tuple[int, ...], total_F: Float64Array) -> list[float]:
        """For one list; `total_F` is zero before and after."""
        column_K = column_K[column_K >= 0]
        of_K = [self.feature_P[self.start[column] : self.start[column + 1]] for column in column_K.tolist()]
        sums = np.zeros(len(of_K) + 1)
        for place, feature in enumerate(of_K):
            weight = 1 / np.sqrt(max(len(feature), 1))
            sums[place + 1] = sums[place] + weight * total_F[feature].sum()
            total_F[feature] += weight
        for feature in of_K:
            total_F[feature] = 0
        lengths = [min(k, len(of_K)) for k in at]
        return [sums[k] / (k * (k - 1) / 2) if k > 1 else np.nan for k in lengths]


def _by_category(dataset: SequenceDataset) -> Likeness:
    """A feature for each category of an item, of which it may have a list; none where it is not known."""
    found = dataset.table.column(CATEGORY).to_pylist()[: dataset.items.warm]
    own = [{*value} if isinstance(value, list) else {value} for value in found]
    code = {value: place for place, value in enumerate(sorted(set().union(*own) - {None}, key=str))}
    codes = [[code[value] for value in values if value is not None] for values in own]
    start = np.cumsum([0, *map(len, codes)])
    flat = np.array([place for places in codes for place in places], dtype=np.int64)
    return Likeness(start, flat, len(code), "the category of the items")


def _by_sequences(dataset: SequenceDataset, seed: int) -> Likeness:
    first_U, last_U = dataset.part("train")
    order_U = np.random.default_rng(seed).permutation(len(first_U))
    length_U = (last_U - first_U)[order_U]
    kept = max(1, int(np.searchsorted(np.cumsum(length_U), EVENTS_COUNTED, side="right")))
    row_V = np.sort(order_U[:kept])
    length_V = (last_U - first_U)[row_V]
    moved_V = np.cumsum(length_V) - length_V
    position_E = np.arange(length_V.sum()) + np.repeat(np.asarray(first_U)[row_V] - moved_V, length_V)
    key_P = np.unique(
        (dataset.item[position_E].astype(np.int64) - 1) * kept + np.repeat(np.arange(kept), length_V)
    )
    start = np.searchsorted(key_P // kept, np.arange(dataset.items.warm + 1))
    part = "" if kept == len(first_U) else f" (of {kept:,} of {len(first_U):,}, drawn at random)"
    return Likeness(start, key_P % kept, kept, f"the training sequences the items occur in{part}")
