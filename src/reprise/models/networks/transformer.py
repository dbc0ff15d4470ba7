"""Transformers: causal attention over the last W events, or bidirectional attention trained on masked items.

Shape letters: B rows, T steps, N windows, L events of a window, S = L + 1 positions (the window, then a mask token), Q
positions that are computed, D width, H heads.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.errors import ConfigError
from reprise.models.encoder import Encoder
from reprise.models.networks.cell_stack import Stack
from reprise.models.networks.network import Network
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.window_encoder import WindowEncoder, Windows
from reprise.nn.attention import WindowAttention, split_heads
from reprise.nn.blocks import GatedFeedForward, ResidualBlock
from reprise.nn.dropout import Dropout
from reprise.nn.elementwise import RootMeanSquareNorm


@spec
class Transformer(Network):
    """Attention over the last W events: SASRec, or bidirectional as in BERT4Rec.

    Kang and McAuley 2018, with pre-norm and a gated feed-forward layer; Sun et al. 2019. Positions enter as distances
    (`WindowAttention`), so a causal transformer has a bounded state and reads events one by one.
    """

    layers: Annotated[int, Field(ge=1)] = 2
    """Number of blocks of attention and feed-forward layer."""
    heads: Annotated[int, Field(ge=1)] = 2
    """H: number of heads of each attention; it must divide `size`."""
    window: Annotated[int, Field(ge=1)] = 50
    """W: number of last events that each layer attends to, including the current one."""
    causal: bool = True
    """Whether attention is causal. False: bidirectional, with a mask token after the window that predicts the next
    item.
    Train it with `training.objective = MaskedItem()`; a request then costs a pass over the whole window."""

    def __str__(self) -> str:
        way = "transformer" if self.causal else "bidirectional transformer"
        return f"{way} {self.layers} x {self.size}, {self.heads} heads, {self.window} events"

    def build(self, sizes: Sizes) -> SequenceModel:
        """Build a network with initial weights for a dataset of these sizes.

        Raises:
            ConfigError: `heads` does not divide `size`.
        """
        if self.size % self.heads:
            raise ConfigError(
                f"heads={self.heads} does not divide size={self.size}; choose a number of heads that divides it"
            )
        dropout = self.dropout_of(sizes)
        encoder: Encoder
        if self.causal:
            cells = [WindowAttention(self.size, self.heads, self.window) for _ in range(self.layers)]
            encoder = Stack([ResidualBlock(cell, dropout) for cell in cells])
        else:
            blocks = [
                BidirectionalBlock(self.size, self.heads, self.window, dropout=dropout)
                for _ in range(self.layers)
            ]
            encoder = BidirectionalEncoder(self.size, self.window, blocks)
        return self.build_model(encoder, sizes)


class BidirectionalBlock(nn.Module):
    """Bidirectional pre-norm block: x + dropout(attention(norm(x))), then x + dropout(feed-forward(norm(x))).

    The attention scores are those of `WindowAttention`, with a learned bias for each signed distance up to `reach`.
    """

    def __init__(self, size: int, heads: int, reach: int, *, dropout: float) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.scale = 1 / math.sqrt(size // heads)
        self.attention_norm = RootMeanSquareNorm(size)
        self.query = nn.Linear(size, size, bias=False)
        self.memory = nn.Linear(size, 2 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        slope_H = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.distance = nn.Parameter(-slope_H[:, None] * torch.arange(-reach, reach + 1).abs())
        self.forward_norm = RootMeanSquareNorm(size)
        self.feed_forward = GatedFeedForward(size)
        self.dropout = Dropout(dropout)
        for weight in (self.query.weight, self.memory.weight[:size]):
            nn.init.normal_(weight, std=1 / math.sqrt(size))
        for weight in (self.memory.weight[size:], self.output.weight):
            nn.init.eye_(weight)

    def forward(self, x_NSD: Tensor, seen_NS: Tensor, last: bool = False) -> Tensor:
        """Return the outputs at all positions, [N, S, D]; with `last`, at the last position only, [N, 1, D].

        Args:
            x_NSD: The inputs.
            seen_NS: Positions that others may attend to. Each position also attends to itself.
            last: Whether only the last position is needed.
        """
        target_NQD = x_NSD[:, -1:] if last else x_NSD
        normed_NSD = self.attention_norm(x_NSD)
        query_NHQD = self._split(self.query(normed_NSD[:, -1:] if last else normed_NSD))
        key_NHSD, value_NHSD = (self._split(part) for part in self.memory(normed_NSD).chunk(2, dim=-1))
        position_S = torch.arange(x_NSD.shape[1], device=x_NSD.device)
        distance_QS = (position_S - position_S[-target_NQD.shape[1] :, None]).clamp(-self.reach, self.reach)
        score_NHQS = (query_NHQD @ key_NHSD.transpose(-1, -2)).to(self.distance.dtype) * self.scale
        score_NHQS = score_NHQS + self.distance[:, distance_QS + self.reach]
        # each position sees itself, so that the softmax is never taken over an empty set
        visible_NQS = seen_NS[:, None, :] | (distance_QS == 0)
        weight_NHQS = score_NHQS.masked_fill(~visible_NQS.unsqueeze(1), -torch.inf).softmax(-1)
        mixed_NHQD = weight_NHQS.to(value_NHSD.dtype) @ value_NHSD
        mixed_NQD = self.output(mixed_NHQD.transpose(1, 2).flatten(2))
        x_NQD = self.dropout.add(target_NQD, mixed_NQD)
        return self.dropout.add(x_NQD, self.feed_forward(self.forward_norm(x_NQD)))

    def _split(self, x_NSD: Tensor) -> Tensor:
        return split_heads(x_NSD, self.heads).transpose(1, 2)


class BidirectionalEncoder(WindowEncoder):
    """Encodes the last L events followed by a mask token; h is the output at the mask token.

    During training on masked items (`masked`) the same token replaces events within a row.
    """

    def __init__(self, size: int, window: int, blocks: list[BidirectionalBlock]) -> None:
        super().__init__(size, window)
        self.blocks = nn.ModuleList(blocks)
        # a small norm, since a large one would dominate the vectors of the events
        self.question = nn.Parameter(0.1 * torch.randn(size))
        self.norm = RootMeanSquareNorm(size)

    def encode(self, windows: Windows) -> Tensor:
        mask_N1D = self.question.to(windows.vector_NLD.dtype).expand(windows.vector_NLD.shape[0], 1, -1)
        x_NSD = torch.cat([windows.vector_NLD, mask_N1D], dim=1)
        seen_NS = pad(windows.filled_NL, (0, 1))
        for number, block in enumerate(self.blocks, start=1):
            x_NSD = block(x_NSD, seen_NS, number == len(self.blocks))
        hidden_ND: Tensor = self.norm(x_NSD[:, -1])
        return hidden_ND

    def masked(self, x_BTD: Tensor, masked_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """Return the hidden states at the masked positions of whole rows, [N, D], in row-major order.

        No position attends to a masked one: mask tokens carry no information, and a request has only one of them.
        """
        x_BTD = torch.where(masked_BT.unsqueeze(-1), self.question.to(x_BTD.dtype), x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, valid_BT & ~masked_BT)
        hidden_ND: Tensor = self.norm(x_BTD[masked_BT])
        return hidden_ND
