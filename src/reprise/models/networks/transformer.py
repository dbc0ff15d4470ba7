"""The transformer family: causal attention over the last W events, or attention in both directions trained on masked items.

Shape letters: B rows, T steps, N windows, L events of a window, S = L + 1 places (the window and the question), Q of them that
are wanted, D width, H heads.
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


@spec
class Transformer(Network):
    """Attention over the last W events: SASRec with pre-norm and a gated feed-forward, or BERT4Rec's two directions.

    Kang and McAuley 2018; Sun et al. 2019. Positions are distances (`WindowAttention`), so that a causal transformer is a fold
    with a bounded state.
    """

    layers: Annotated[int, Field(ge=1)] = 2
    """Blocks of attention and feed-forward."""
    heads: Annotated[int, Field(ge=1)] = 2
    """H: heads of each attention; they divide `size`."""
    window: Annotated[int, Field(ge=1)] = 50
    """W: events that each layer looks back at, its own included."""
    causal: bool = True
    """False: every event of a window sees every other, and a last place asks what comes next. Train it with
    `training.objective = MaskedItem()`; an answer costs the whole window."""

    def __str__(self) -> str:
        way = "transformer" if self.causal else "transformer both ways"
        return f"{way} {self.layers} x {self.size}, {self.heads} heads, {self.window} events"

    def build(self, sizes: Sizes) -> SequenceModel:
        """A network with fresh weights for data of these sizes.

        Raises:
            ConfigError: the heads do not divide the width.
        """
        if self.size % self.heads:
            raise ConfigError(
                f"heads={self.heads} does not divide size={self.size}; each head reads the same number of columns"
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
    """x + dropout(attention(norm(x))), then x + dropout(feed-forward(norm(x))), with attention in both directions.

    The energies are those of `WindowAttention`, with a learned bias of each signed distance up to `reach`.
    """

    def __init__(self, size: int, heads: int, reach: int, *, dropout: float) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.scale = 1 / math.sqrt(size // heads)
        self.attention_norm = nn.RMSNorm(size)
        self.query = nn.Linear(size, size, bias=False)
        self.memory = nn.Linear(size, 2 * size, bias=False)
        self.output = nn.Linear(size, size, bias=False)
        slope_H = 2.0 ** (-8.0 * torch.arange(1, heads + 1) / heads)
        self.distance = nn.Parameter(-slope_H[:, None] * torch.arange(-reach, reach + 1).abs())
        self.forward_norm = nn.RMSNorm(size)
        self.feed_forward = GatedFeedForward(size)
        self.dropout = nn.Dropout(dropout)
        for weight in (self.query.weight, self.memory.weight[:size]):
            nn.init.normal_(weight, std=1 / math.sqrt(size))
        for weight in (self.memory.weight[size:], self.output.weight):
            nn.init.eye_(weight)

    def forward(self, x_NSD: Tensor, seen_NS: Tensor, last: bool = False) -> Tensor:
        """The places after the block, [N, S, D]; with `last`, the last one only, [N, 1, D].

        Args:
            x_NSD: The places before it.
            seen_NS: Which of them hold something. Each sees those, and itself.
            last: Whether nothing but the last place is wanted.
        """
        asked_NQD = x_NSD[:, -1:] if last else x_NSD
        normed_NSD = self.attention_norm(x_NSD)
        query_NHQD = self._split(self.query(normed_NSD[:, -1:] if last else normed_NSD))
        key_NHSD, value_NHSD = (self._split(part) for part in self.memory(normed_NSD).chunk(2, dim=-1))
        place_S = torch.arange(x_NSD.shape[1], device=x_NSD.device)
        apart_QS = (place_S - place_S[-asked_NQD.shape[1] :, None]).clamp(-self.reach, self.reach)
        energy_NHQS = (query_NHQD @ key_NHSD.transpose(-1, -2)).to(self.distance.dtype) * self.scale
        energy_NHQS = energy_NHQS + self.distance[:, apart_QS + self.reach]
        # itself too: the softmax of a place that sees nothing else stays finite
        seen_NQS = seen_NS[:, None, :] | (apart_QS == 0)
        weight_NHQS = energy_NHQS.masked_fill(~seen_NQS.unsqueeze(1), -torch.inf).softmax(-1)
        mixed_NHQD = weight_NHQS.to(value_NHSD.dtype) @ value_NHSD
        x_NQD = asked_NQD + self.dropout(self.output(mixed_NHQD.transpose(1, 2).flatten(2)))
        out_NQD: Tensor = x_NQD + self.dropout(self.feed_forward(self.forward_norm(x_NQD)))
        return out_NQD

    def _split(self, x_NSD: Tensor) -> Tensor:
        return split_heads(x_NSD, self.heads).transpose(1, 2)


class BidirectionalEncoder(WindowEncoder):
    """The last L events and a place that asks, attending to each other; h is what the asking place becomes.

    While training on masked items (`masked`), places within a row are asked about that have the same vector.
    """

    def __init__(self, size: int, window: int, blocks: list[BidirectionalBlock]) -> None:
        super().__init__(size, window)
        self.blocks = nn.ModuleList(blocks)
        # short beside what is read, which it would hide
        self.question = nn.Parameter(0.1 * torch.randn(size))
        self.norm = nn.RMSNorm(size)

    def encode(self, windows: Windows) -> Tensor:
        asking_N1D = self.question.to(windows.vector_NLD.dtype).expand(windows.vector_NLD.shape[0], 1, -1)
        x_NSD = torch.cat([windows.vector_NLD, asking_N1D], dim=1)
        seen_NS = pad(windows.filled_NL, (0, 1))
        for number, block in enumerate(self.blocks, start=1):
            x_NSD = block(x_NSD, seen_NS, number == len(self.blocks))
        hidden_ND: Tensor = self.norm(x_NSD[:, -1])
        return hidden_ND

    def masked(self, x_BTD: Tensor, masked_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """The hidden states at some places of whole rows whose events are hidden, [N, D], in row-major order.

        Only the places that hold an event are looked at: one that asks has nothing to tell, and when the network answers it is
        asked at one place only.
        """
        x_BTD = torch.where(masked_BT.unsqueeze(-1), self.question.to(x_BTD.dtype), x_BTD)
        for block in self.blocks:
            x_BTD = block(x_BTD, valid_BT & ~masked_BT)
        hidden_ND: Tensor = self.norm(x_BTD[masked_BT])
        return hidden_ND
