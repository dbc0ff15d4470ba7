"""The targets that an evaluation ranks: all events of a range in each sequence, or a sample of them.

Shape letters: U sequences, N sampled targets, B rows of a batch, T steps.
"""

from typing import NamedTuple

import numpy as np
import torch

from reprise.arrays import AnyArray
from reprise.data.batching import BatchPlan
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.models.batch import Batch


class EvaluatedTargets(NamedTuple):
    """Positions of the targets in a dataset."""

    first_U: AnyArray
    """Position of the first target of each sequence."""
    last_U: AnyArray
    """Position after the last target of each sequence; equal to `first_U` if it has none."""
    position_N: AnyArray | None = None
    """Positions of the targets, ascending; None: all events between the two bounds."""

    @classmethod
    def of(cls, protocol: EvaluationProtocol, dataset: SequenceDataset) -> "EvaluatedTargets":
        """Return the targets of a protocol. With a sample, a history is read up to its last sampled target only."""
        position_N = protocol.sampled_positions(dataset)
        if position_N is None:
            return cls(*protocol.target_bounds(dataset))
        row_N = np.searchsorted(dataset.offset, position_N, side="right") - 1
        row_S, begin_S, targets_S = np.unique(row_N, return_index=True, return_counts=True)
        first_U = np.array(dataset.offset[:-1])
        last_U = first_U.copy()
        first_U[row_S] = position_N[begin_S]
        last_U[row_S] = position_N[begin_S + targets_S - 1] + 1
        return cls(first_U, last_U, position_N)

    @property
    def is_sample(self) -> bool:
        """Whether some events between the bounds are not targets."""
        return self.position_N is not None

    def most_in_group(self, plan: BatchPlan) -> int:
        """Return the number of targets of the group of rows with the most; no batch has more."""
        end_U, begin_U = self.last_U, self.first_U
        if self.position_N is not None:
            end_U, begin_U = (np.searchsorted(self.position_N, bound_U) for bound_U in (end_U, begin_U))
        targets_U = end_U - begin_U
        return max((int(targets_U[rows].sum()) for rows in plan.row_groups), default=0)

    def keep(self, batch: Batch) -> Batch:
        """Return a batch with its targets between the bounds, without those that are not in the sample."""
        if self.position_N is None:
            return batch
        position_BT = batch.first_B.numpy()[:, None] + 1 + np.arange(batch.target_BT.shape[1])
        place_BT = np.searchsorted(self.position_N, position_BT).clip(max=len(self.position_N) - 1)
        sampled_BT = torch.from_numpy(self.position_N[place_BT] == position_BT)
        return batch._replace(target_BT=batch.target_BT.where(sampled_BT, PAD))
