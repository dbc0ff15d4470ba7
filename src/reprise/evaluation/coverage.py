"""Where the lists are: the first k of many items, without sorting them all.

Shape letters: C rows of a chunk, I items, M columns of any kind, G groups of neighbouring items,
K places of the longest list.
"""

import torch
from torch import Tensor

WIDTH = 32
"""Items in a group. One pass finds the best of each group; only the best groups are then looked into."""


def candidates(s_CI: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Few columns of each row, ascending, among which its first `k` items are: (columns, their scores).

    The first k items lie in the k groups with the highest maxima: a group outside has k groups before it, each
    with an item that is before all of its own.
    """
    items = s_CI.shape[1]
    groups = -(-items // WIDTH)
    if groups <= k:
        return torch.arange(items, device=s_CI.device).expand_as(s_CI), s_CI
    whole = items // WIDTH * WIDTH
    best_CG = s_CI[:, :whole].reshape(len(s_CI), -1, WIDTH).amax(2)
    if whole < items:
        best_CG = torch.cat([best_CG, s_CI[:, whole:].amax(1, keepdim=True)], 1)
    group_CK = first_mask(best_CG, k).nonzero()[:, 1].view(len(s_CI), k)
    column_CM = (group_CK[:, :, None] * WIDTH + torch.arange(WIDTH, device=s_CI.device)).flatten(1)
    s_CM = s_CI.gather(1, column_CM.clamp(max=items - 1)).masked_fill(column_CM >= items, -torch.inf)
    return column_CM, s_CM


def first_mask(s_CM: Tensor, k: int) -> Tensor:
    """Exactly the first `k` of each row, bool: higher scores first, among equals the lower column."""
    threshold_C1 = s_CM.topk(k, dim=1).values[:, -1:]
    higher_CM = s_CM > threshold_C1
    level_CM = s_CM == threshold_C1
    free_C1 = k - higher_CM.sum(1, keepdim=True)
    return higher_CM | (level_CM & (level_CM.cumsum(1) <= free_C1))
