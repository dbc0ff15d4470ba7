"""Ranks, lists and rows with a repeat head equal those of the table of all scores.

Shape letters: N targets, I items, W events of a window, D width, P pairs.
"""

from typing import NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from reprise.data.vocabulary import PAD
from reprise.evaluation.ranking import ranks
from reprise.evaluation.ranking.ranks import ExclusionMask, rank, score_rows
from reprise.evaluation.ranking.scores import VectorScores
from reprise.evaluation.ranking.tiles import MISS
from reprise.models.corrections.repeat_mixture import NO_ITEM, RepeatMixture
from reprise.models.corrections.score_corrections import ScoreCorrections
from reprise.models.sparse_logits import SparseLogits


class Lists:
    """Records the top-k lists; a `ranks.TopKConsumer`."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.received: list[tuple[Tensor, Tensor]] = []

    def receive(self, column_CK: Tensor, s_CK: Tensor) -> None:
        self.received.append((column_CK, s_CK))

    def joined(self) -> tuple[Tensor, Tensor]:
        column_NK, s_NK = (torch.cat(parts) for parts in zip(*self.received, strict=True))
        return column_NK, s_NK


class Case(NamedTuple):
    """Scores with a mixture, targets and a mask."""

    scores: VectorScores
    target_N: Tensor
    mask: ExclusionMask | None

    def table(self) -> Tensor:
        """Return the final scores of all items, -inf if an item is not a candidate."""
        table_NI = self.scores.corrections.apply(self.scores.query_ND @ self.scores.vector_ID.T)
        if self.mask is not None:
            table_NI[self.mask(0, len(table_NI))] = -torch.inf
        return table_NI


def windows(generator: torch.Generator, rows: int, window: int, items: int) -> Tensor:
    """Return windows of different items with gaps, some of them empty."""
    item_NW = 1 + torch.rand(rows, max(window, items), generator=generator).argsort(1)[:, :window]
    share_N1 = torch.rand(rows, 1, generator=generator)
    hidden_NW = (torch.rand(rows, window, generator=generator) > share_N1) | (item_NW > items)
    return item_NW.masked_fill(hidden_NW, PAD)


def case(seed: int, items: int, rows: int, window: int, masked: bool, gate: float) -> Case:
    """Return integer scores in float64, which are exact, with many ties; added values; and cold targets."""
    generator = torch.Generator().manual_seed(seed)
    number = lambda high, *size: torch.randint(high, size, generator=generator)  # noqa: E731
    query_ND, vector_ID = number(3, rows, 4).double() - 1, number(5, items, 4).double() - 2
    row_P = number(max(rows, 1), 4 * rows).sort().values
    added = SparseLogits(row_P, 1 + number(items, 4 * rows), number(3, 4 * rows).float())
    item_NW = windows(generator, rows, window, items)
    pointer_NW = torch.randn(item_NW.shape, generator=generator).masked_fill(item_NW == PAD, NO_ITEM)
    scalars = (torch.tensor(value) for value in (0.3, 0.7, -0.4))
    repeats = RepeatMixture(item_NW, pointer_NW, torch.randn(rows, generator=generator) + gate, *scalars)
    target_N = 1 + number(items + 2, rows)
    # about half of the targets are in their window
    recent_N = item_NW.gather(1, number(window, rows, 1))[:, 0]
    target_N = torch.where((number(2, rows) == 0) & (recent_N != PAD), recent_N, target_N)
    row_P, column_P = number(max(rows, 1), 4 * rows).sort().values, number(items, 4 * rows)

    def mask(first: int, last: int) -> tuple[Tensor, Tensor]:
        here_P = (row_P >= first) & (row_P < last)
        return row_P[here_P] - first, column_P[here_P]

    scores = VectorScores(query_ND, vector_ID, ScoreCorrections(added, repeats))
    return Case(scores, target_N, mask if masked else None)


def table_ranks(case: Case) -> tuple[list[int], list[int]]:
    """Return (greater, equal) from the table of all scores."""
    table_NI, items = case.table(), case.scores.items
    own_N1 = table_NI.gather(1, (case.target_N - 1).clamp(max=items - 1)[:, None])
    missed_N = (case.target_N > items) | torch.isneginf(own_N1[:, 0])
    greater_N, equal_N = (table_NI > own_N1).sum(1), (table_NI == own_N1).sum(1) - 1
    return greater_N.masked_fill(missed_N, MISS).tolist(), equal_N.masked_fill(missed_N, 0).tolist()


def check(case: Case, k: int | None = None) -> None:
    """Compare the ranks, the lists if there are any, and the rows."""
    lists = None if k is None else Lists(k)
    found = rank(case.scores, case.target_N, case.mask, lists)
    assert (found.greater_N.tolist(), found.equal_N.tolist()) == table_ranks(case)
    table_NI = case.table()
    if lists is not None and len(table_NI):
        column_NK, s_NK = lists.joined()
        listed_NK = ~torch.isneginf(s_NK)
        first_NK = table_NI.sort(dim=1, descending=True, stable=True).indices[:, : lists.k].sort(1).values
        for row in range(len(table_NI)):
            candidates = first_NK[row][~torch.isneginf(table_NI[row, first_NK[row]])]
            assert column_NK[row, listed_NK[row]].tolist() == candidates.tolist()
            torch.testing.assert_close(s_NK[row, listed_NK[row]], table_NI[row, candidates])
    seen: list[Tensor] = [table_NI[:0]]
    score_rows(case.scores, case.mask, lambda s_CI: seen.append(s_CI.clone()))
    # the mixture of fewer rows may differ in the last bits
    torch.testing.assert_close(torch.cat(seen), table_NI)


@pytest.mark.parametrize("threads", [1, 3])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 200),
    st.integers(0, 200),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from([-20.0, -3.0, 0.0, 5.0]),
    st.sampled_from([None, 1, 5, 30]),
    st.booleans(),
)
def test_ranks_equal_those_of_the_table(
    monkeypatch, threads, seed, items, rows, window, masked, gate, k, small
) -> None:
    """Small and large tiles, masks, cold targets, `PAD` in the windows, and lists longer and shorter than 20."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with monkeypatch.context() as patch:
        if small:
            patch.setitem(ranks.SCORES_PER_TILE, "cpu", 1)
            patch.setitem(ranks.COLUMNS_PER_TILE, "cpu", 32)
        try:
            check(case(seed, items, rows, window, masked, gate), None if k is None else min(k, items))
        finally:
            torch.set_num_threads(before)
