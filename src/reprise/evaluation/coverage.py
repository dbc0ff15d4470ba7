"""Coverage: which share of the catalogue stands in at least one list.

Shape letters: C rows of a chunk, I items, M columns of any kind, G groups of neighbouring items,
K places of the longest list.
"""

import torch
from torch import Tensor

WIDTH = 32
"""Items in a group. One pass finds the best of each group; only the best groups are then looked into."""


class Coverage:
    """Marks the items of every list it is shown; among equal scores the first of the catalogue stands first."""

    def __init__(self, items: int, at: tuple[int, ...], device: torch.device) -> None:
        self.at = at
        self.longest = max(at)
        self._shown = {k: torch.zeros(items, dtype=torch.bool, device=device) for k in at}

    def __call__(self, s_CI: Tensor) -> None:
        """Mark the first k items of each row, for each k; an item scored -inf is never shown."""
        self.show(*candidates(s_CI, self.longest))

    def show(self, column_CM: Tensor, s_CM: Tensor) -> None:
        """The same from columns, ascending, among which the first of each row are."""
        for k, shown_I in self._shown.items():
            mark_CM = first_mask(s_CM, k) & ~torch.isneginf(s_CM)
            shown_I[column_CM[mark_CM]] = True

    def shares(self) -> dict[str, float]:
        """'coverage@k' for each k: items shown at least once, of all items."""
        return {f"coverage@{k}": float(shown_I.double().mean()) for k, shown_I in self._shown.items()}


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
