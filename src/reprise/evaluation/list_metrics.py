"""Beyond accuracy: what the lists show, whether it is right or not.

Shape letters: N targets, C rows of a chunk, I items (the warm ones), K places of the longest list, A lengths of lists,
L sampled lists. The lists are made once, and what is kept of them is a few numbers for each target.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.list_diversity import Likeness
from reprise.evaluation.ranking.targets import EvaluationPlan, ScoredBatch, TargetRanks
from reprise.evaluation.report import SequenceSums
from reprise.evaluation.stats.bootstrap import Interval, Ratio
from reprise.evaluation.target_histories import mean_before
from reprise.models.cooccurrence.counting import item_counts

LISTS_COMPARED = 2000
"""Lists, drawn from all, of which the diversity is taken."""


class Shown(NamedTuple):
    """What is kept of some lists; the columns are the lengths. NaN: nothing was left to show."""

    position_N: AnyArray
    """Which targets the lists were made for."""
    novelty_NA: Float64Array
    """The mean of -log2 of the share of training events of what is shown."""
    popularity_NA: Float64Array
    """The mean number of training events of what is shown."""


class Seen(NamedTuple):
    """The lists of a chunk."""

    column_CK: Tensor
    """Columns of the items, the first first."""
    shown_CK: Tensor
    """Which of them are: an item that scores -inf is never shown."""
    worth_2CA: Tensor
    """The means over what is shown at each length: of the novelty, and of the number of training events."""


class Exposure:
    """How often each item is shown, in lists of each length.

    Args:
        count_I: The training events of each item.
        at: Lengths of the lists.
        device: Where the scores are.
    """

    def __init__(self, count_I: Tensor, at: tuple[int, ...], device: torch.device) -> None:
        self.at, self.longest = at, max(at)
        # an item that training does not have is as new as one that it has once
        share_I = count_I.clamp(min=1) / count_I.sum()
        self._worth_2I = torch.stack([-torch.log2(share_I), count_I]).to(device)
        self._times_AI = torch.zeros(len(at), len(count_I), dtype=torch.int64, device=device)

    def add(self, column_CK: Tensor, s_CK: Tensor) -> Seen:
        """Count what some lists show.

        Args:
            column_CK: Columns of the first items of each row, ascending.
            s_CK: Their scores; -inf where nothing is to be shown.
        """
        column_CK, shown_CK = in_order(column_CK, s_CK)
        for times_I, k in zip(self._times_AI, self.at, strict=True):
            times_I += torch.bincount(column_CK[:, :k][shown_CK[:, :k]], minlength=len(times_I))
        worth_2CK = torch.where(shown_CK, self._worth_2I[:, column_CK], 0.0).cumsum(2) / shown_CK.cumsum(1)
        return Seen(column_CK, shown_CK, worth_2CK[:, :, [k - 1 for k in self.at]])

    def values(self) -> dict[str, Interval]:
        """'coverage@k', the share of the catalogue in at least one list, and 'gini@k' of how often each item is shown."""
        times = dict(zip(self.at, self._times_AI.cpu().numpy(), strict=True))
        return {
            **{f"coverage@{k}": Interval(float((times_I > 0).mean())) for k, times_I in times.items()},
            **{f"gini@{k}": Interval(gini(times_I)) for k, times_I in times.items()},
        }


class Lists:
    """Looks at the list of every target; among equal scores the first of the catalogue stands first.

    Args:
        dataset: Whose training events say how common an item is.
        walk: Which targets there are.
        at: Lengths of the lists.
        seed: Of the sample of lists for diversity.
        device: Where the scores are.
    """

    def __init__(
        self,
        dataset: SequenceDataset,
        walk: EvaluationPlan,
        at: tuple[int, ...],
        seed: int,
        device: torch.device,
    ) -> None:
        self.dataset, self.at = dataset, at
        self._drawn = f" drawn with seed {seed}" if walk.targets(dataset) > LISTS_COMPARED else ""
        self._count_I = item_counts(dataset)
        self.exposure = Exposure(self._count_I, at, device)
        """What has been shown so far."""
        self._sampled = walk.sample(dataset, LISTS_COMPARED, seed) if max(at) > 1 else np.empty(0, np.int64)
        self.likeness = Likeness.of(dataset, seed)
        """By which diversity judges."""
        self._shown: list[Shown] = []
        self._compared: list[tuple[AnyArray, AnyArray]] = []

    def lists(self, asked: ScoredBatch) -> "ListsOfBatch":
        """What is shown the lists of a batch."""
        return ListsOfBatch(self, asked.targets()[1])

    def keep(self, position_C: AnyArray, seen: Seen) -> None:
        """Keep the numbers of some targets, and the lists of those that are compared."""
        self._shown.append(Shown(position_C, *seen.worth_2CA.cpu().numpy()))
        chosen_C = np.isin(position_C, self._sampled, assume_unique=True)
        if chosen_C.any():
            column_CK = torch.where(seen.shown_CK, seen.column_CK, -1).cpu().numpy()
            self._compared.append((position_C[chosen_C], column_CK[chosen_C]))

    def notes(self) -> Iterator[str]:
        """Where diversity comes from."""
        if len(self._sampled):
            yield (
                f"Diversity is 1 - the mean cosine of the pairs in a list, by {self.likeness.source}; over "
                f"{len(self._sampled):,} lists{self._drawn}."
            )

    def ratios(self, ranks: TargetRanks) -> Iterator[tuple[tuple[str, ...], Ratio]]:
        """'novelty@k', 'popularity_lift@k' and 'diversity@k' as ratios of sums over the sequences of all targets."""
        row_S = np.unique(ranks.row_N)
        shown = self._in_order()
        some_N = ~np.isnan(shown.novelty_NA[:, 0])
        if some_N.any():
            novelty = SequenceSums.of(ranks.row_N[some_N], self._names("novelty"), shown.novelty_NA[some_N])
            yield novelty.metrics, novelty.ratio(row_S)
        before_N = mean_before(self.dataset, ranks.row_N, ranks.position_N, self._count_I.numpy())
        known_N = some_N & ~np.isnan(before_N)
        if known_N.any():
            pairs_NA1 = np.column_stack([shown.popularity_NA, before_N])[known_N]
            lift = SequenceSums.of(ranks.row_N[known_N], self._names("popularity_lift"), pairs_NA1)
            ratio = lift.ratio(row_S)
            yield lift.metrics, ratio._replace(sum_SM=ratio.sum_SM[:, :-1], count_S=ratio.sum_SM[:, -1])
        yield from self._diversity(ranks, row_S)

    def _diversity(self, ranks: TargetRanks, row_S: AnyArray) -> Iterator[tuple[tuple[str, ...], Ratio]]:
        at = tuple(k for k in self.at if k > 1)
        if not at:
            return
        position_L, column_LK = (np.concatenate(parts) for parts in zip(*self._compared, strict=True))
        order_L = np.argsort(position_L)
        row_L = ranks.row_N[np.searchsorted(ranks.position_N, position_L[order_L])]
        unlike_LA = 1 - self.likeness.within(column_LK[order_L], at)
        lone_L = np.isnan(unlike_LA).any(1)
        if not lone_L.all():
            names = tuple(f"diversity@{k}" for k in at)
            sums = SequenceSums.of(row_L[~lone_L], names, unlike_LA[~lone_L])
            yield names, sums.ratio(row_S)

    def _in_order(self) -> Shown:
        shown = Shown(*(np.concatenate(parts) for parts in zip(*self._shown, strict=True)))
        order_N = np.argsort(shown.position_N)
        return Shown(*(part[order_N] for part in shown))

    def _names(self, metric: str) -> tuple[str, ...]:
        return tuple(f"{metric}@{k}" for k in self.at)


class ListsOfBatch:
    """Follows the targets of a batch, whose lists come in their order: `ranks.Lists`."""

    def __init__(self, lists: Lists, position_N: AnyArray) -> None:
        self.lists, self.position_N = lists, position_N
        self.longest = lists.exposure.longest
        """How many items of each target it wants."""
        self._done = 0

    def show(self, column_CM: Tensor, s_CM: Tensor) -> None:
        """Look at the lists of the next targets."""
        position_C = self.position_N[self._done : self._done + len(s_CM)]
        self.lists.keep(position_C, self.lists.exposure.add(column_CM, s_CM))
        self._done += len(s_CM)


def in_order(column_CK: Tensor, s_CK: Tensor) -> tuple[Tensor, Tensor]:
    """Lists, whose columns ascend, by their scores, the highest first; and which of their places show something.

    A column that scores -inf is never shown.
    """
    # columns ascend, and the sort is stable: among equals the commoner item comes first
    s_CK, place_CK = s_CK.sort(dim=1, descending=True, stable=True)
    return column_CK.gather(1, place_CK), ~torch.isneginf(s_CK)


def gini(exposure_I: AnyArray) -> float:
    """How unequally items are shown: 0, all alike; near 1, one item only. The mean difference over twice the mean."""
    items = len(exposure_I)
    rank_I = 2 * np.arange(1, items + 1) - items - 1
    return float((rank_I * np.sort(exposure_I)).sum() / (items * max(exposure_I.sum(), 1)))
