import pytest
import torch

from reprise.models.networks.feed_forward import Combine, FeedForwardEncoder
from reprise.models.networks.window_encoder import Windows


def encoder(combine: Combine, window: int = 4) -> FeedForwardEncoder:
    torch.manual_seed(0)
    return FeedForwardEncoder(6, window, combine, layers=2, dropout=0.0)


def whole(network: FeedForwardEncoder, x_BTD: torch.Tensor) -> torch.Tensor:
    """The last hidden state after a row."""
    valid_BT = torch.ones(x_BTD.shape[:2], dtype=torch.bool)
    return network(x_BTD, network.initial_state(len(x_BTD)), valid_BT).hidden_BTD[:, -1]


@pytest.mark.parametrize(("combine", "knows"), [("average", False), ("concatenation", True)])
def test_only_a_concatenation_knows_the_order(combine: Combine, knows: bool) -> None:
    network = encoder(combine)
    x_BTD = torch.randn(2, 4, 6)
    same = torch.allclose(whole(network, x_BTD), whole(network, x_BTD.flip(1)), atol=1e-6)
    assert same is not knows


@pytest.mark.parametrize("combine", ["average", "concatenation"])
def test_nothing_before_the_window_is_seen(combine: Combine) -> None:
    network = encoder(combine)
    x_BTD = torch.randn(2, 9, 6)
    other_BTD = torch.cat([torch.randn(2, 5, 6), x_BTD[:, 5:]], dim=1)
    torch.testing.assert_close(whole(network, other_BTD), whole(network, x_BTD))
    other_BTD[:, 5] += 1.0
    assert not torch.allclose(whole(network, other_BTD), whole(network, x_BTD))


def test_a_mean_is_over_the_events_there_are() -> None:
    network = encoder("average")
    x_ND = torch.randn(3, 6)
    once = Windows(
        torch.nn.functional.pad(x_ND[:, None], (0, 0, 3, 0)), torch.tensor([[False] * 3 + [True]] * 3)
    )
    often = Windows(x_ND[:, None].expand(-1, 4, -1), torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(network.encode(once), network.encode(often))


def test_a_concatenation_begins_as_a_sum_in_which_the_newest_weighs_most() -> None:
    x_NLD = torch.randn(2, 3, 6)
    begun = encoder("concatenation", window=3).input(x_NLD.flatten(1))
    torch.testing.assert_close(begun, x_NLD[:, 2] + x_NLD[:, 1] / 2 + x_NLD[:, 0] / 3)
