"""The division of the targets of a validation among the processes that train a network together.

Each process ranks the targets of some sequences, and all of them receive all ranks. So the metrics and their intervals are
computed from the same numbers as with one process.

Shape letters: U sequences, N targets.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.protocol import EvaluationProtocol


@dataclass(frozen=True)
class TargetSplit:
    """The part of the targets that this process ranks: those of every `of`-th sequence with a target."""

    number: int
    """Number of this process, from 0."""
    of: int
    """Number of processes."""
    gather: Callable[[AnyArray], AnyArray]
    """Function that joins an array [n, ...] of each process along its first dimension. All processes must call it."""

    def own(self, dataset: SequenceDataset, protocol: EvaluationProtocol) -> SequenceDataset:
        """Return a view of a dataset in which only the sequences of this process have validation targets."""
        assert protocol.part == "valid"
        first_U, last_U = protocol.target_bounds(dataset)
        row_S = np.flatnonzero(last_U > first_U)
        begin_U, end_U = dataset.part("valid")
        valid_end = np.array(begin_U)
        own_S = row_S[self.number :: self.of]
        valid_end[own_S] = end_U[own_S]
        return replace(dataset, valid_end=valid_end)

    def join(self, position_N: AnyArray, columns: Iterable[AnyArray]) -> tuple[AnyArray, list[AnyArray]]:
        """Return the positions of the targets of all processes, ascending, and the columns that belong to them."""
        joined_N = self.gather(position_N)
        order_N = np.argsort(joined_N)
        return joined_N[order_N], [self.gather(column)[order_N] for column in columns]
