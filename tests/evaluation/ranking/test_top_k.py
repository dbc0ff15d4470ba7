import pytest
import torch

from reprise.evaluation.ranking.tiles import cut
from reprise.evaluation.ranking.top_k import TopKSelection, first_mask


def listed(s_CI: torch.Tensor, k: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    selection = TopKSelection(k)
    for tile in cut(s_CI.shape[1], width):
        selection.observe(tile, s_CI[:, tile.begin : tile.end].clone())
    return selection.first()


@pytest.mark.parametrize("items", [31, 640, 641, 1000, 5003])
@pytest.mark.parametrize("levels", [1, 3, 40, 100_000])
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_lists_equal_those_of_a_stable_sort(items: int, levels: int, order: str):
    """With many, some and no ties; rising scores pass every threshold."""
    generator = torch.Generator().manual_seed(items + levels)
    s_CI = torch.randint(levels, (8, items), generator=generator).float()
    if order != "random":
        s_CI = s_CI.sort(dim=1, descending=order == "falling").values
    column_CK, s_CK = listed(s_CI, 20, 64)
    expected = s_CI.sort(dim=1, descending=True, stable=True).indices[:, :20].sort(1).values
    assert column_CK.tolist() == expected.tolist()
    assert torch.equal(s_CK, s_CI.gather(1, expected))


def test_fewer_candidates_than_places_leave_empty_places():
    """Three of 100 items are candidates, for a list of five."""
    s_CI = torch.full((2, 100), -torch.inf)
    s_CI[:, [7, 50, 99]] = torch.tensor([1.0, 2.0, 3.0])
    column_CK, s_CK = listed(s_CI, 5, 32)
    assert [sorted(row[~torch.isneginf(s)].tolist()) for row, s in zip(column_CK, s_CK, strict=True)] == [
        [7, 50, 99]
    ] * 2


def test_rising_scores_do_not_fill_the_memory():
    """20,000 rising scores: groups are dropped on the way, not only at the end."""
    s_CI = torch.arange(20_000.0)[None]
    selection = TopKSelection(2)
    largest = 0
    for tile in cut(20_000, 512):
        selection.observe(tile, s_CI[:, tile.begin : tile.end])
        largest = max(largest, selection._size)
    assert largest <= 16 * 2 + 17


def test_the_first_mask_takes_the_lower_column_among_equals():
    """The first two of 4, 7, 4, 4 are the 7 and the first 4."""
    assert first_mask(torch.tensor([[4.0, 7.0, 4.0, 4.0]]), 2).tolist() == [[True, True, False, False]]
