"""Examples for peers that learn from prefixes of sessions: the items so far, and the next one.

A batch is a random part of all prefixes. Its rows are computed in groups of similar length, because these peers hold
scores or indicators of all items at every place of a padded group. Shape letters: N targets, B rows of a batch,
C rows of a group, L places, E events, W events with a warm item, I items.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from protocol import Array, Log, Targets

GROUPS = 16
"""Groups of a batch."""
ROWS = 64
"""Rows of a group in evaluation."""
CHUNK = 1024
"""Targets that are sorted by length together in evaluation."""


class Prefixes:
    """All prefixes of the training sequences, cut to their last `length` items."""

    def __init__(self, log: Log, length: int) -> None:
        row_E, self.item_E, _ = log.training()
        start_E = np.searchsorted(row_E, row_E)
        self.target_N = np.flatnonzero(np.arange(len(row_E)) > start_E)
        self.first_N = np.maximum(start_E[self.target_N], self.target_N - length)

    def batches(self, size: int) -> Iterator[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Yield the groups of one batch after another without end: (items [C, L], next item [C])."""
        while True:
            order_N = np.random.permutation(len(self.target_N))
            for start in range(0, len(order_N), size):
                rows_B = order_N[start : start + size]
                length_B = self.target_N[rows_B] - self.first_N[rows_B]
                rows_B = rows_B[np.argsort(length_B, kind="stable")]
                yield [self._group(rows_C) for rows_C in np.array_split(rows_B, GROUPS) if len(rows_C)]

    def _group(self, rows_C: Array) -> tuple[torch.Tensor, torch.Tensor]:
        target_C = self.target_N[rows_C]
        return padded(self.item_E, self.first_N[rows_C], target_C), torch.from_numpy(self.item_E[target_C])


def padded(item_W: Array, first_C: Array, last_C: Array) -> torch.Tensor:
    """Return the items of ranges, with zeros after them, [C, L]."""
    length_C = last_C - first_C
    place_L = np.arange(length_C.max())
    inside_CL = place_L < length_C[:, None]
    place_CL = np.where(inside_CL, first_C[:, None] + place_L, 0)
    return torch.from_numpy(np.where(inside_CL, item_W[place_CL], 0))


def scores_of_prefixes(
    log: Log, targets: Targets, length: int, answer: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[Array]:
    """Yield the scores of all warm items after each target's context, zeros after an empty one.

    Args:
        log: Where the contexts are.
        targets: What is ranked.
        length: Number of last items that the peer reads.
        answer: Scores [C, I + 1] of padding and of all items after items [C, L].
    """
    warm_item = log.warm_item.astype(np.int64)
    for start in range(0, len(targets.row_N), CHUNK):
        last_N = targets.last_N[start : start + CHUNK]
        first_N = np.maximum(targets.first_N[start : start + CHUNK], last_N - length)
        s_NI = np.zeros((len(last_N), log.warm), dtype=np.float32)
        order_N = np.argsort(last_N - first_N, kind="stable")
        order_N = order_N[(last_N > first_N)[order_N]]
        for group in range(0, len(order_N), ROWS):
            rows_C = order_N[group : group + ROWS]
            with torch.no_grad():
                s_NI[rows_C] = answer(padded(warm_item, first_N[rows_C], last_N[rows_C]))[:, 1:].numpy()
        yield s_NI
