"""Convolutional networks: stacked causal dilated filters, and Caser's filters over the last L events.

Shape letters: N windows, L events of a window, D width, F filters, P positions of a filter, H numbers a filter reads.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.network import Network
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.window_encoder import WindowEncoder, Windows
from reprise.nn.blocks import ResidualBlock
from reprise.nn.dilated_convolution import DilatedConvolution
from reprise.nn.dropout import Dropout


@spec
class Convolution(Network):
    """Stacked causal dilated convolutions (Yuan et al. 2019, "NextItNet"), each in a residual block."""

    kernel: Annotated[int, Field(ge=2)] = 3
    """Number of events that one filter reads."""
    dilations: tuple[int, ...] = (1, 2, 4)
    """Distance of the events that a filter reads, per layer.
    The layers together see 1 + (kernel - 1) sum(dilations) events."""

    def __str__(self) -> str:
        return f"convolution {self.kernel} x {','.join(map(str, self.dilations))}, {self.size}"

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: `dilations` is empty or contains a number below 1.
        """
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(
                f"dilations must hold a distance of 1 or more for each layer, got {self.dilations}"
            )
        dropout = self.dropout_of(sizes)
        cells = [
            ResidualBlock(DilatedConvolution(self.size, self.kernel, dilation), dropout)
            for dilation in self.dilations
        ]
        return self.build_model(Stack(cells), sizes)


@spec
class Caser(Network):
    """Horizontal and vertical filters over the last L events (Tang and Wang 2018), without the user embedding."""

    window: Annotated[int, Field(ge=2)] = 5
    """L: number of last events that are read."""
    horizontal: Annotated[int, Field(ge=1)] = 16
    """Number of horizontal filters of each height."""
    heights: tuple[int, ...] = ()
    """Heights of the horizontal filters; empty: all of 1 to L."""
    vertical: Annotated[int, Field(ge=1)] = 4
    """Number of vertical filters."""

    def __str__(self) -> str:
        return f"Caser of {self.window}, {self.size}"

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: A filter is higher than the window, or lower than 1.
        """
        heights = self.heights or tuple(range(1, self.window + 1))
        if not 1 <= min(heights) <= max(heights) <= self.window:
            raise ConfigError(
                f"heights must lie between 1 and the window of {self.window} events, got {heights}; "
                "choose lower filters or a longer window"
            )
        encoder = CaserEncoder(
            self.size, self.window, heights, (self.horizontal, self.vertical), dropout=self.dropout_of(sizes)
        )
        return self.build_model(encoder, sizes)


class CaserEncoder(WindowEncoder):
    """Caser (Tang and Wang 2018, equations 3 to 9), over an image E of L rows (events) and D columns.

    o = [max_t relu(F_h * E) for each height h; V E]; z = relu(W o + b); h = W' z.
    """

    def __init__(
        self, size: int, window: int, heights: tuple[int, ...], filters: tuple[int, int], *, dropout: float
    ) -> None:
        super().__init__(size, window)
        horizontal, vertical = filters
        self.horizontal = nn.ModuleList([nn.Linear(height * size, horizontal) for height in heights])
        self.heights = heights
        self.vertical = nn.Linear(window, vertical, bias=False)
        self.dropout = Dropout(dropout)
        self.hidden = nn.Linear(len(heights) * horizontal + vertical * size, size)
        self.output = nn.Linear(size, size)

    def encode(self, windows: Windows) -> Tensor:
        image_NLD = windows.vector_NLD
        outputs = []
        for height, filters in zip(self.heights, self.horizontal, strict=True):
            # each position of the filter becomes a row: one matrix product is faster than a convolution with
            # few channels
            places_NPH = image_NLD.unfold(1, height, 1).transpose(2, 3).flatten(2)
            outputs.append(torch.relu(filters(places_NPH)).amax(1))
        outputs.append(self.vertical(image_NLD.transpose(1, 2)).flatten(1))
        z_ND = torch.relu(self.hidden(self.dropout(torch.cat(outputs, dim=1))))
        hidden_ND: Tensor = self.output(z_ND)
        return hidden_ND
