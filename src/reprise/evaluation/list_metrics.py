"""Measures of the top-k lists beyond accuracy: coverage, inequality, novelty, popularity and diversity.

Shape letters: N targets, C rows of a span, I items (the scored ones), K places of a list, A list lengths, L sampled lists,
F features, P pairs of an item and a feature. Each list is made once, and a few numbers per target are kept of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.targets import ScoredBatch, TargetRanks
from reprise.evaluation.report import SequenceSums
from reprise.evaluation.stats.bootstrap import Interval, Ratio
from reprise.evaluation.target_histories import mean_before
from reprise.models.counts.counting import item_counts

DIVERSITY_LISTS = 2000
"""Maximum number of lists, drawn at random, from which diversity is measured."""
CATEGORY = "category"
"""Column of the item table with the category of an item, or a list of its categories."""
MAX_SIMILARITY_EVENTS = 1 << 22
"""Approximate maximum number of training events, of whole sequences drawn at random, that define item similarity."""


class ListStatistics(NamedTuple):
    """What is kept of the lists of some targets; one column per list length. NaN: the list was empty."""

    position_N: AnyArray
    """Positions of the targets in the dataset."""
    novelty_NA: Float64Array
    """Mean of -log2 of the share of training events of the listed items."""
    popularity_NA: Float64Array
    """Mean number of training events of the listed items."""


class RankedLists(NamedTuple):
    """The lists of some targets, best item first."""

    column_CK: Tensor
    """Columns of the items."""
    listed_CK: Tensor
    """Whether a place holds an item: one that scores -inf is never listed."""
    mean_2CA: Tensor
    """Means over the listed items at each length: of the novelty, and of the number of training events."""


class Exposure:
    """Counts how often each item is listed, at each list length.

    Args:
        count_I: Number of training events of each item.
        at: List lengths.
        device: Device of the scores.
    """

    def __init__(self, count_I: Tensor, at: tuple[int, ...], device: torch.device) -> None:
        self.at, self.longest = at, max(at)
        # an item without training events counts as novel as one with a single event, since -log2(0) is infinite
        share_I = count_I.clamp(min=1) / count_I.sum()
        self._value_2I = torch.stack([-torch.log2(share_I), count_I]).to(device)
        self._times_AI = torch.zeros(len(at), len(count_I), dtype=torch.int64, device=device)

    def add(self, column_CK: Tensor, s_CK: Tensor) -> RankedLists:
        """Sort some lists, count their items, and return them.

        Args:
            column_CK: Columns of the first items of each row, ascending.
            s_CK: Scores of these items; -inf if a place is empty.
        """
        column_CK, listed_CK = in_order(column_CK, s_CK, self.longest)
        for times_I, k in zip(self._times_AI, self.at, strict=True):
            times_I += torch.bincount(column_CK[:, :k][listed_CK[:, :k]], minlength=len(times_I))
        mean_2CK = torch.where(listed_CK, self._value_2I[:, column_CK], 0.0).cumsum(2) / listed_CK.cumsum(1)
        return RankedLists(column_CK, listed_CK, mean_2CK[:, :, [k - 1 for k in self.at]])

    def values(self) -> dict[str, Interval]:
        """Return 'coverage@k', the share of the catalogue in at least one list, and 'gini@k' of the exposure."""
        times = dict(zip(self.at, self._times_AI.cpu().numpy(), strict=True))
        return {
            **{f"coverage@{k}": Interval(float((times_I > 0).mean())) for k, times_I in times.items()},
            **{f"gini@{k}": Interval(gini(times_I)) for k, times_I in times.items()},
        }


class ListMetrics:
    """Measures the top-k list of every target; among equal scores the more popular item comes first.

    A `targets.TopKObserver`.

    Args:
        dataset: Dataset whose training events define popularity.
        protocol: Which events are targets, and the list lengths.
        seed: Seed of the sample of lists for diversity.
        device: Device of the scores.
    """

    def __init__(
        self, dataset: SequenceDataset, protocol: EvaluationProtocol, seed: int, device: torch.device
    ) -> None:
        self.dataset, self.at = dataset, protocol.at
        drawn = protocol.count_targets(dataset) > DIVERSITY_LISTS
        self._drawn_note = f" drawn with seed {seed}" if drawn else ""
        self._count_I = item_counts(dataset)
        self.exposure = Exposure(self._count_I, self.at, device)
        self._sampled = np.empty(0, np.int64)
        if max(self.at) > 1:
            self._sampled = protocol.sample_targets(dataset, DIVERSITY_LISTS, seed)
        self.similarity = ItemSimilarity.of(dataset, seed)
        self._statistics: list[ListStatistics] = []
        self._sampled_lists: list[tuple[AnyArray, AnyArray]] = []

    def top_k_consumer(self, batch: ScoredBatch) -> "BatchLists":
        """Return the consumer of the lists of a batch."""
        return BatchLists(self, batch.targets()[1])

    def keep(self, position_C: AnyArray, lists: RankedLists) -> None:
        """Keep the statistics of some targets, and the lists of those in the sample."""
        self._statistics.append(ListStatistics(position_C, *lists.mean_2CA.cpu().numpy()))
        sampled_C = np.isin(position_C, self._sampled, assume_unique=True)
        if sampled_C.any():
            column_CK = torch.where(lists.listed_CK, lists.column_CK, -1).cpu().numpy()
            self._sampled_lists.append((position_C[sampled_C], column_CK[sampled_C]))

    def notes(self) -> Iterator[str]:
        """Yield a sentence that says how diversity is measured."""
        if len(self._sampled):
            yield (
                f"Diversity is 1 - the mean cosine similarity of the pairs in a list, by {self.similarity.source}, over "
                f"{len(self._sampled):,} lists{self._drawn_note}."
            )

    def ratios(self, ranks: TargetRanks) -> Iterator[tuple[tuple[str, ...], Ratio]]:
        """Yield 'novelty@k', 'popularity_lift@k' and 'diversity@k' as ratios of sums over the sequences of all targets."""
        row_S = np.unique(ranks.row_N)
        found = self._in_dataset_order()
        listed_N = ~np.isnan(found.novelty_NA[:, 0])
        if listed_N.any():
            novelty = SequenceSums.of(
                ranks.row_N[listed_N], self._names("novelty"), found.novelty_NA[listed_N]
            )
            yield novelty.metrics, novelty.ratio(row_S)
        before_N = mean_before(self.dataset, ranks.row_N, ranks.position_N, self._count_I.numpy())
        known_N = listed_N & ~np.isnan(before_N)
        if known_N.any():
            pairs_NA1 = np.column_stack([found.popularity_NA, before_N])[known_N]
            lift = SequenceSums.of(ranks.row_N[known_N], self._names("popularity_lift"), pairs_NA1)
            ratio = lift.ratio(row_S)
            yield lift.metrics, ratio._replace(sum_SM=ratio.sum_SM[:, :-1], count_S=ratio.sum_SM[:, -1])
        yield from self._diversity(ranks, row_S)

    def _diversity(self, ranks: TargetRanks, row_S: AnyArray) -> Iterator[tuple[tuple[str, ...], Ratio]]:
        at = tuple(k for k in self.at if k > 1)
        if not at:
            return
        position_L, column_LK = (np.concatenate(parts) for parts in zip(*self._sampled_lists, strict=True))
        order_L = np.argsort(position_L)
        row_L = ranks.row_N[np.searchsorted(ranks.position_N, position_L[order_L])]
        diversity_LA = 1 - self.similarity.within(column_LK[order_L], at)
        undefined_L = np.isnan(diversity_LA).any(1)
        if not undefined_L.all():
            names = tuple(f"diversity@{k}" for k in at)
            sums = SequenceSums.of(row_L[~undefined_L], names, diversity_LA[~undefined_L])
            yield names, sums.ratio(row_S)

    def _in_dataset_order(self) -> ListStatistics:
        found = ListStatistics(*(np.concatenate(parts) for parts in zip(*self._statistics, strict=True)))
        order_N = np.argsort(found.position_N)
        return ListStatistics(*(part[order_N] for part in found))

    def _names(self, metric: str) -> tuple[str, ...]:
        return tuple(f"{metric}@{k}" for k in self.at)


class BatchLists:
    """Passes the lists of a batch, which come in the order of its targets, to `ListMetrics`. A `ranks.TopKConsumer`."""

    def __init__(self, metrics: ListMetrics, position_N: AnyArray) -> None:
        self.metrics, self.position_N = metrics, position_N
        self.k = metrics.exposure.longest
        """Length of the longest list."""
        self._done = 0

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        """Measure the lists of the next targets."""
        position_C = self.position_N[self._done : self._done + len(s_CK)]
        self.metrics.keep(position_C, self.metrics.exposure.add(column_CK, s_CK))
        self._done += len(s_CK)


def in_order(column_CK: Tensor, s_CK: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` first columns of each row by descending score, and a mask of the places that hold an item.

    Args:
        column_CK: Columns of `k` items or more, ascending.
        s_CK: Scores of these items. A column that scores -inf is never listed.
        k: Length of the lists to return.
    """
    # columns ascend and the sort is stable: among equal scores the more popular item, with the lower index, comes first
    s_CK, place_CK = s_CK.sort(dim=1, descending=True, stable=True)
    return column_CK.gather(1, place_CK[:, :k]), ~torch.isneginf(s_CK[:, :k])


def gini(exposure_I: AnyArray) -> float:
    """Return the Gini coefficient of the exposure: 0 if all items are listed equally often, near 1 if only one is.

    It is the mean absolute difference of two items over twice the mean.
    """
    items = len(exposure_I)
    rank_I = 2 * np.arange(1, items + 1) - items - 1
    return float((rank_I * np.sort(exposure_I)).sum() / (items * max(exposure_I.sum(), 1)))


@dataclass(frozen=True, eq=False)
class ItemSimilarity:
    """The similarity of items according to the data, not a model: the cosine of their sets of features.

    The features of an item are its categories, if the item table has them, or else the training sequences that contain it.
    They are stored as compressed sparse rows.
    """

    start: AnyArray
    """Offsets [I + 1]: the features of the item in column i are at `start[i]`..`start[i + 1]`."""
    feature_P: AnyArray
    """Features of all items, one after the other; an item has each feature once at most."""
    features: int
    """Number of different features, F."""
    source: str
    """What the features are, in words."""

    @classmethod
    def of(cls, dataset: SequenceDataset, seed: int) -> "ItemSimilarity":
        """Make it by category or by training sequences; `seed` draws the sequences of a large log."""
        if CATEGORY in dataset.table.column_names:
            return _by_category(dataset)
        return _by_sequences(dataset, seed)

    def within(self, column_LK: AnyArray, at: tuple[int, ...]) -> Float64Array:
        """Return the mean cosine of all pairs among the first k items of each list, [L, A]; NaN for fewer than two items.

        The sum of the cosines with several items is the inner product with the sum of their unit vectors, so each item is
        compared with one running sum instead of every item before it.

        Args:
            column_LK: Columns of the items; -1 if a place is empty.
            at: List lengths of 2 or more.
        """
        total_F = np.zeros(self.features)
        return np.array([self._within(column_K, at, total_F) for column_K in column_LK]).reshape(-1, len(at))

    def _within(self, column_K: AnyArray, at: tuple[int, ...], total_F: Float64Array) -> list[float]:
        """Return the means for one list; `total_F` is zero before and after."""
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


def _by_category(dataset: SequenceDataset) -> ItemSimilarity:
    """Use the categories of an item as its features; an item of unknown category has none."""
    found = dataset.table.column(CATEGORY).to_pylist()[: dataset.items.scored]
    own = [{*value} if isinstance(value, list) else {value} for value in found]
    code = {value: place for place, value in enumerate(sorted(set().union(*own) - {None}, key=str))}
    codes = [[code[value] for value in values if value is not None] for values in own]
    start = np.cumsum([0, *map(len, codes)])
    flat = np.array([place for places in codes for place in places], dtype=np.int64)
    return ItemSimilarity(start, flat, len(code), "the category of the items")


def _by_sequences(dataset: SequenceDataset, seed: int) -> ItemSimilarity:
    """Use the training sequences that contain an item as its features."""
    first_U, last_U = dataset.part("train")
    order_U = np.random.default_rng(seed).permutation(len(first_U))
    length_U = (last_U - first_U)[order_U]
    kept = max(1, int(np.searchsorted(np.cumsum(length_U), MAX_SIMILARITY_EVENTS, side="right")))
    row_V = np.sort(order_U[:kept])
    length_V = (last_U - first_U)[row_V]
    moved_V = np.cumsum(length_V) - length_V
    position_E = np.arange(length_V.sum()) + np.repeat(np.asarray(first_U)[row_V] - moved_V, length_V)
    # one number per pair of item and sequence: sorting it groups by item. `np.unique` takes many times as long, since it
    # puts large arrays of integers into a hash table
    key_P = np.sort(
        (dataset.item[position_E].astype(np.int64) - 1) * kept + np.repeat(np.arange(kept), length_V)
    )
    key_P = key_P[np.diff(key_P, prepend=-1) > 0]
    start = np.searchsorted(key_P // kept, np.arange(dataset.items.scored + 1))
    part = "" if kept == len(first_U) else f" ({kept:,} of {len(first_U):,}, drawn at random)"
    return ItemSimilarity(start, key_P % kept, kept, f"the training sequences that contain an item{part}")
