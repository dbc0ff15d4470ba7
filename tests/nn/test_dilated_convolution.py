import torch
from torch.nn.functional import conv1d, pad

from reprise.nn.dilated_convolution import DilatedConvolution


def test_dilated_convolution_matches_torch_conv1d() -> None:
    torch.manual_seed(0)
    cell = DilatedConvolution(5, 3, 2)
    x_BTD, valid_BT = torch.randn(2, 9, 5), torch.ones(2, 9, dtype=torch.bool)
    kernel = cell.taps.weight.reshape(5, 3, 5).transpose(1, 2)
    filtered = conv1d(pad(x_BTD.transpose(1, 2), (4, 0)), kernel, cell.taps.bias, dilation=2)
    expected = cell.output(torch.relu(filtered).transpose(1, 2))
    torch.testing.assert_close(cell.scan(x_BTD, cell.initial_state(2), valid_BT)[0], expected)
