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
def test_the_first_k_of_all_tiles(items: int, levels: int, order: str):
    """Against a stable sort of all items, with heavy, some and no ties; rising scores beat every bar."""
    generator = torch.Generator().manual_seed(items + levels)
    s_CI = torch.randint(levels, (8, items), generator=generator).float()
    if order != "random":
        s_CI = s_CI.sort(dim=1, descending=order == "falling").values
    column_CK, s_CK = listed(s_CI, 20, 64)
    expected = s_CI.sort(dim=1, descending=True, stable=True).indices[:, :20].sort(1).values
    assert column_CK.tolist() == expected.tolist()
    assert torch.equal(s_CK, s_CI.gather(1, expected))


def test_too_few_candidates_leave_places_without():
    """Three of 100 items are candidates, for a list of five."""
    s_CI = torch.full((2, 100), -torch.inf)
    s_CI[:, [7, 50, 99]] = torch.tensor([1.0, 2.0, 3.0])
    column_CK, s_CK = listed(s_CI, 5, 32)
    assert [sorted(row[~torch.isneginf(s)].tolist()) for row, s in zip(column_CK, s_CK, strict=True)] == [
        [7, 50, 99]
    ] * 2


def test_little_is_kept_even_if_scores_rise():
    """20 thousand rising scores: groups are dropped again, not only at the end."""
    s_CI = torch.arange(20_000.0)[None]
    selection = TopKSelection(2)
    most = 0
    for tile in cut(20_000, 512):
        selection.observe(tile, s_CI[:, tile.begin : tile.end])
        most = max(most, selection._size)
    assert most <= 16 * 2 + 17


def test_first_mask_takes_the_lower_column_among_equals():
    """Places 1 and 2 of 4, 7, 4, 4: item 2, and of the three fours the first."""
    assert first_mask(torch.tensor([[4.0, 7.0, 4.0, 4.0]]), 2).tolist() == [[True, True, False, False]]
