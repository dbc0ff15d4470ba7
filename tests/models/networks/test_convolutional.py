import re

import pytest
import torch

from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.networks.convolutional import Caser, CaserEncoder, Convolution
from reprise.models.networks.window_encoder import Windows


@pytest.mark.parametrize(("kernel", "dilations", "reach"), [(3, (1, 2, 4), 15), (2, (1, 3), 5)])
def test_receptive_field_of_stacked_dilated_convolutions(
    kernel: int, dilations: tuple[int, ...], reach: int
) -> None:
    """The layers see 1 + (kernel - 1) sum(dilations) events."""
    torch.manual_seed(0)
    encoder = Convolution(size=6, kernel=kernel, dilations=dilations).build(Sizes(5, 1)).eval().encoder
    x_BTD = torch.randn(1, 20, 6, requires_grad=True)
    valid_BT = torch.ones(1, 20, dtype=torch.bool)
    encoder(x_BTD, encoder.initial_state(1), valid_BT).hidden_BTD[0, -1].sum().backward()
    assert x_BTD.grad is not None
    seen_T = x_BTD.grad[0].abs().sum(-1) > 0
    assert not seen_T[: 20 - reach].any()
    assert seen_T[20 - reach]


def test_caser_matches_conv2d() -> None:
    """Horizontal filters span all D columns of the L x D image, vertical filters all L rows."""
    torch.manual_seed(0)
    encoder = CaserEncoder(6, 4, (2, 3), (5, 2), dropout=0.0)
    image_NLD = torch.randn(7, 4, 6)
    outputs = []
    for height, filters in zip((2, 3), encoder.horizontal, strict=True):
        assert isinstance(filters, torch.nn.Linear)
        kernel = filters.weight.reshape(5, 1, height, 6)
        over_time = torch.nn.functional.conv2d(image_NLD[:, None], kernel, filters.bias).squeeze(3)
        outputs.append(torch.relu(over_time).max(dim=2).values)
    vertical = torch.nn.functional.conv2d(image_NLD[:, None], encoder.vertical.weight.reshape(2, 1, 4, 1))
    # our layer orders its outputs by column first, conv2d by filter first
    outputs.append(vertical.squeeze(2).transpose(1, 2).flatten(1))
    z_ND = torch.relu(encoder.hidden(torch.cat(outputs, dim=1)))
    filled_NL = torch.ones(7, 4, dtype=torch.bool)
    torch.testing.assert_close(encoder.encode(Windows(image_NLD, filled_NL)), encoder.output(z_ND))


def test_filter_heights_must_fit_the_window() -> None:
    message = "heights must lie between 1 and the window of 5 events, got {}; choose lower filters"
    for heights in ((2, 6), (0, 2)):
        with pytest.raises(ConfigError, match=re.escape(message.format(heights))):
            Caser(size=4, window=5, heights=heights).build(Sizes(5, 1))


@pytest.mark.parametrize("dilations", [(), (1, 0)])
def test_dilations_must_be_positive(dilations: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="dilations must hold a distance of 1 or more for each layer, got "):
        Convolution(size=4, dilations=dilations).build(Sizes(5, 1))
