"""Measures of cold items: how often a model lists items that are not in the training part, and how well it ranks them.

Shape letters: N targets, M cold targets of a batch, C rows of a span, I items (the scored ones), K places of a list,
A list lengths.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray, BoolArray
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.list_metrics import in_order
from reprise.evaluation.metrics import RECALL, resolve_ties
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import ScoreCallback
from reprise.evaluation.ranking.target_split import TargetSplit
from reprise.evaluation.ranking.targets import ScoredBatch, TargetRanks
from reprise.evaluation.ranking.tiles import MISS
from reprise.evaluation.report import SequenceSums
from reprise.evaluation.stats.bootstrap import Ratio


def is_cold(dataset: SequenceDataset, ranks: TargetRanks) -> BoolArray:
    """Return a mask of the targets whose items are not in the training part, [N]."""
    cold_N: BoolArray = dataset.item[ranks.position_N] > dataset.items.warm
    return cold_N


class ColdItems:
    """Measures the cold items in the lists and among the targets of a model that scores cold items.

    A `targets.TopKObserver` and a `targets.ScoreObserver`. For a model without scores for cold items it observes nothing.

    Args:
        dataset: View of the dataset for the items that the model scores.
        protocol: Which events are targets, and the list lengths.
    """

    def __init__(self, dataset: SequenceDataset, protocol: EvaluationProtocol) -> None:
        self.protocol = protocol
        self.warm, self.scored = dataset.items.warm, dataset.items.scored
        self._slots: list[tuple[AnyArray, AnyArray]] = []
        self._ranks: list[tuple[AnyArray, AnyArray]] = []

    def top_k_consumer(self, batch: ScoredBatch) -> "ColdSlots | None":
        """Return the consumer of the lists of a batch; None if the model scores no cold item."""
        return ColdSlots(self, batch.targets()[1]) if self.scored > self.warm else None

    def keep_slots(self, position_C: AnyArray, share_CA: AnyArray) -> None:
        """Keep the share of cold items in the lists of some targets, at each list length; NaN for an empty list."""
        self._slots.append((position_C, share_CA))

    def select(self, batch: ScoredBatch) -> AnyArray:
        """Return the numbers of the cold targets of a batch that the model scores."""
        item_N = batch.target_items().cpu().numpy()
        found: AnyArray = np.flatnonzero((item_N > self.warm) & (item_N <= self.scored))
        return found

    def score_callback(self, batch: ScoredBatch, selected_M: AnyArray) -> ScoreCallback:
        """Return the callback that ranks the selected targets among the cold items only."""
        column_M = batch.target_items()[torch.from_numpy(selected_M)] - 1 - self.warm
        position_M = batch.targets()[1][selected_M]
        done = 0

        def count(s_CI: Tensor) -> None:
            nonlocal done
            part = slice(done, done + len(s_CI))
            done += len(s_CI)
            cold_CI = s_CI[:, self.warm :]
            own_C1 = cold_CI.gather(1, column_M[part][:, None])
            greater_C = (cold_CI > own_C1).sum(1).masked_fill(torch.isneginf(own_C1[:, 0]), MISS)
            equal_C = (cold_CI == own_C1).sum(1) - 1
            counts_2C = torch.stack([greater_C, equal_C.masked_fill(greater_C == MISS, 0)])
            self._ranks.append((position_M[part], counts_2C.cpu().numpy().T))

        return count

    def join(self, split: TargetSplit) -> None:
        """Add the targets that the other processes have measured."""
        none_N, lengths = np.empty(0, dtype=np.int64), len(self.protocol.at)
        # a process without such targets has arrays without rows, of the same type
        slots = [(none_N, np.empty((0, lengths), dtype=np.float32)), *self._slots]
        ranks = [(none_N, np.empty((0, 2), dtype=np.int64)), *self._ranks]
        for parts, joined in ((slots, self._slots), (ranks, self._ranks)):
            own_N, own_NX = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            position_N, (value_NX,) = split.join(own_N, [own_NX])
            joined[:] = [(position_N, value_NX)] if len(position_N) else []

    def ratios(self, dataset: SequenceDataset, ranks: TargetRanks) -> Iterator[tuple[tuple[str, ...], Ratio]]:
        """Yield the measures as ratios of sums over the sequences of all targets; see `metrics.COLD_METRICS`."""
        cold_N = is_cold(dataset, ranks)
        if not cold_N.any() and not self._slots:
            return
        counts = np.stack(resolve_ties(ranks.greater_N, ranks.equal_N, self.protocol.ties), 1)
        for name, mask_N in (("recall_cold", cold_N), ("recall_warm", ~cold_N)):
            if mask_N.any():
                yield self._ratio(name, ranks, ranks.position_N[mask_N], self._recall(counts[mask_N]))
        if self._ranks:
            position_M, counts_M2 = self._joined(self._ranks)
            greater_M, equal_M = counts_M2.T
            counts_M2 = np.stack(resolve_ties(greater_M, equal_M, self.protocol.ties), 1)
            yield self._ratio("recall_cold_among_cold", ranks, position_M, self._recall(counts_M2))
        if self._slots:
            position_N, share_NA = self._joined(self._slots)
            listed_N = ~np.isnan(share_NA[:, 0])
            if listed_N.any():
                yield self._ratio("cold_slots", ranks, position_N[listed_N], share_NA[listed_N])

    def _recall(self, counts_M2: AnyArray) -> AnyArray:
        """Return the recall of some targets at each list length, [M, A], given (greater, equal)."""
        greater_M, equal_M = counts_M2.T
        return np.column_stack([RECALL.at(greater_M, equal_M, k) for k in self.protocol.at])

    def _ratio(
        self, name: str, ranks: TargetRanks, position_M: AnyArray, value_MA: AnyArray
    ) -> tuple[tuple[str, ...], Ratio]:
        names = tuple(f"{name}@{k}" for k in self.protocol.at)
        row_M = ranks.row_N[np.searchsorted(ranks.position_N, position_M)]
        return names, SequenceSums.of(row_M, names, value_MA).ratio(np.unique(ranks.row_N))

    @staticmethod
    def _joined(parts: list[tuple[AnyArray, AnyArray]]) -> tuple[AnyArray, AnyArray]:
        """Return the positions and values of all batches, in the order of the dataset."""
        position_M, value_MX = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order_M = np.argsort(position_M)
        return position_M[order_M], value_MX[order_M]


class ColdSlots:
    """Passes the share of cold items in the lists of a batch to `ColdItems`; a `ranks.TopKConsumer`."""

    def __init__(self, items: ColdItems, position_N: AnyArray) -> None:
        self.items, self.position_N = items, position_N
        self.k = max(items.protocol.at)
        """Length of the longest list."""
        self._done = 0

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        """Measure the lists of the next targets."""
        column_CK, listed_CK = in_order(column_CK, s_CK, self.k)
        places = torch.tensor([k - 1 for k in self.items.protocol.at], device=s_CK.device)
        listed_CA = listed_CK.cumsum(1)[:, places]
        cold_CA = ((column_CK >= self.items.warm) & listed_CK).cumsum(1)[:, places]
        position_C = self.position_N[self._done : self._done + len(s_CK)]
        self._done += len(s_CK)
        # 0 / 0 is NaN: a list without items has no share
        self.items.keep_slots(position_C, (cold_CA / listed_CA).cpu().numpy())
