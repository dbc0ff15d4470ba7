import pytest
import torch

from reprise.evaluation.coverage import candidates, first_mask


def test_first_mask_takes_the_lower_column_among_equals():
    """Places 1 and 2 of 4, 7, 4, 4: item 2, and of the three fours the first."""
    assert first_mask(torch.tensor([[4.0, 7.0, 4.0, 4.0]]), 2).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("items", [31, 640, 641, 1000, 5003])
@pytest.mark.parametrize("levels", [3, 40, 100_000])
def test_candidates_hold_the_first_k(items: int, levels: int):
    """Against a stable sort of all items, with heavy, some and no ties."""
    generator = torch.Generator().manual_seed(items + levels)
    s_CI = torch.randint(levels, (8, items), generator=generator).float()
    column_CM, s_CM = candidates(s_CI, 20)
    assert column_CM.shape[1] <= max(20 * 32, items if items <= 640 else 0)
    shown = column_CM[first_mask(s_CM, 20)].view(8, 20)
    expected = s_CI.sort(dim=1, descending=True, stable=True).indices[:, :20]
    assert shown.tolist() == expected.sort(1).values.tolist()
