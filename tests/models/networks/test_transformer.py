import pytest
import torch

from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.networks.transformer import BidirectionalBlock, BidirectionalEncoder, Transformer
from reprise.models.networks.window_encoder import Windows


def make_encoder(window: int = 4) -> BidirectionalEncoder:
    torch.manual_seed(0)
    return BidirectionalEncoder(6, window, [BidirectionalBlock(6, 2, window, dropout=0.0) for _ in range(2)])


def test_heads_must_divide_the_size() -> None:
    with pytest.raises(ConfigError, match="heads=3 does not divide size=8"):
        Transformer(size=8, heads=3).build(Sizes(5, 1))


@pytest.mark.parametrize(("layers", "sees"), [(1, 4), (2, 7)])
def test_receptive_field_grows_by_the_window_per_layer(layers: int, sees: int) -> None:
    torch.manual_seed(0)
    encoder = Transformer(size=6, layers=layers, window=4).build(Sizes(5, 1)).eval().encoder
    x_BTD = torch.randn(1, 12, 6, requires_grad=True)
    encoder(x_BTD, encoder.initial_state(1), torch.ones(1, 12, dtype=torch.bool)).hidden_BTD[
        0, -1
    ].sum().backward()
    assert x_BTD.grad is not None
    seen_T = x_BTD.grad[0].abs().sum(-1) > 0
    assert not seen_T[: 12 - sees].any()
    assert seen_T[12 - sees :].all()


def test_encode_equals_masked_training_at_the_end() -> None:
    """A request encodes the events followed by a mask token, as in training with a mask at the end."""
    encoder = make_encoder()
    x_NLD = torch.randn(3, 4, 6)
    encoded = encoder.encode(Windows(x_NLD, torch.ones(3, 4, dtype=torch.bool)))
    row_BSD = torch.nn.functional.pad(x_NLD, (0, 0, 0, 1))
    masked_BS = torch.tensor([[False] * 4 + [True]] * 3)
    trained = encoder.masked(row_BSD, masked_BS, torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(encoded, trained)


def test_masked_position_attends_to_both_sides_but_not_to_its_event() -> None:
    encoder = make_encoder()
    x_BTD = torch.randn(1, 6, 6, requires_grad=True)
    masked_BT = torch.tensor([[False, False, True, False, False, False]])
    encoder.masked(x_BTD, masked_BT, torch.ones(1, 6, dtype=torch.bool)).sum().backward()
    assert x_BTD.grad is not None
    seen_T = x_BTD.grad[0].abs().sum(-1) > 0
    assert seen_T.tolist() == [True, True, False, True, True, True]


def test_empty_positions_are_not_attended() -> None:
    encoder = make_encoder()
    x_NLD = torch.randn(2, 4, 6)
    filled_NL = torch.tensor([[False, False, True, True]] * 2)
    other_NLD = torch.cat([torch.randn(2, 2, 6), x_NLD[:, 2:]], dim=1)
    first, other = (encoder.encode(Windows(rows, filled_NL)) for rows in (x_NLD, other_NLD))
    torch.testing.assert_close(first, other)


def test_masked_positions_are_not_attended() -> None:
    """A mask token does not affect the output at another mask token."""
    encoder = make_encoder()
    x_BTD = torch.randn(1, 6, 6)
    valid_BT = torch.tensor([[True, True, True, True, False, True]])
    both_BT = torch.tensor([[False, False, True, False, True, False]])
    both = encoder.masked(x_BTD, both_BT, torch.ones(1, 6, dtype=torch.bool))
    alone = encoder.masked(x_BTD, both_BT & valid_BT, valid_BT)
    torch.testing.assert_close(both[:1], alone)
