import pytest
import torch

from reprise.models.networks.feed_forward import Combine, FeedForwardEncoder
from reprise.models.networks.window_encoder import Windows


def make_encoder(combine: Combine, window: int = 4) -> FeedForwardEncoder:
    torch.manual_seed(0)
    return FeedForwardEncoder(6, window, combine, layers=2, dropout=0.0)


def last_hidden(network: FeedForwardEncoder, x_BTD: torch.Tensor) -> torch.Tensor:
    """Return the hidden state after each row."""
    valid_BT = torch.ones(x_BTD.shape[:2], dtype=torch.bool)
    return network(x_BTD, network.initial_state(len(x_BTD)), valid_BT).hidden_BTD[:, -1]


@pytest.mark.parametrize(("combine", "ordered"), [("average", False), ("concatenation", True)])
def test_only_concatenation_depends_on_the_order(combine: Combine, ordered: bool) -> None:
    network = make_encoder(combine)
    x_BTD = torch.randn(2, 4, 6)
    same = torch.allclose(last_hidden(network, x_BTD), last_hidden(network, x_BTD.flip(1)), atol=1e-6)
    assert same is not ordered


@pytest.mark.parametrize("combine", ["average", "concatenation"])
def test_events_before_the_window_have_no_effect(combine: Combine) -> None:
    network = make_encoder(combine)
    x_BTD = torch.randn(2, 9, 6)
    other_BTD = torch.cat([torch.randn(2, 5, 6), x_BTD[:, 5:]], dim=1)
    torch.testing.assert_close(last_hidden(network, other_BTD), last_hidden(network, x_BTD))
    other_BTD[:, 5] += 1.0
    assert not torch.allclose(last_hidden(network, other_BTD), last_hidden(network, x_BTD))


def test_average_ignores_empty_positions() -> None:
    network = make_encoder("average")
    x_ND = torch.randn(3, 6)
    padded = Windows(
        torch.nn.functional.pad(x_ND[:, None], (0, 0, 3, 0)), torch.tensor([[False] * 3 + [True]] * 3)
    )
    repeated = Windows(x_ND[:, None].expand(-1, 4, -1), torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(network.encode(padded), network.encode(repeated))


def test_initial_concatenation_is_a_sum_with_weights_1_1_2_1_3() -> None:
    x_NLD = torch.randn(2, 3, 6)
    found = make_encoder("concatenation", window=3).input(x_NLD.flatten(1))
    torch.testing.assert_close(found, x_NLD[:, 2] + x_NLD[:, 1] / 2 + x_NLD[:, 0] / 3)
