"""What a network reads of an event, and what it makes of the moment of asking.

Shape letters: B rows, T steps, N targets, D width, K knots. Functions of one event take tensors of any leading shape.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

NUM_KNOTS = 32
"""Knots of a function of a gap: one for each doubling of 1 + seconds, up to 136 years."""


GAP_DROPOUT = 0.1
"""Share of the moments of asking that are hidden while training, so that a network can also answer without one."""


class TimeGapEmbedding(nn.Module):
    """A learned function of a time gap: vectors at 0, 1, 3, 7, ... seconds, straight lines in log2(1 + gap) between them.

    Zero at the start, and zero for a gap that is not known (NaN).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.knot_KD = nn.Parameter(torch.zeros(NUM_KNOTS + 1, size))

    def forward(self, gap_s: Tensor) -> Tensor:
        """Gaps in seconds of any shape; the vectors, with a last dimension D."""
        known = ~torch.isnan(gap_s)
        place = (
            torch.log2(1 + torch.where(known, gap_s, 0.0).clamp(min=0)).clamp(max=NUM_KNOTS - 0.001).float()
        )
        low = place.floor()
        share = (place - low).unsqueeze(-1)
        index = low.long()
        between = self.knot_KD[index] * (1 - share) + self.knot_KD[index + 1] * share
        return between * known.unsqueeze(-1)


class TimeDecay(nn.Module):
    """How much of a state is left after a time gap: (1 + gap)^-r, r a learned rate of each of D numbers, 0.002 at the start.

    Forgetting follows a power of time (Wixted and Ebbesen 1991), not an exponential: a day costs little more than an hour.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rate_D = nn.Parameter(torch.full((size,), -6.0))

    def forward(self, gap_s: Tensor) -> Tensor:
        """Gaps in seconds of any shape; factors in (0, 1] with a last dimension D, 1 where the gap is not known (NaN)."""
        past = torch.where(torch.isnan(gap_s), 0.0, gap_s).clamp(min=0).float().log1p()
        return torch.exp(-past.unsqueeze(-1) * softplus(self.rate_D))


@dataclass(frozen=True)
class InputFeatures:
    """What is read of an event besides its item."""

    gap: bool = False
    """The time since the event before."""
    kinds: int = 0
    """How many kinds of event there are; 0: they are not read."""
    value: bool = False
    """The event's number."""


class EventInputs(nn.Module):
    """From the raw vector of an item, and what else is known of the event, to what the encoder reads.

    The parts besides the item are sums of vectors that are zero at the start.
    """

    def __init__(self, size: int, read: InputFeatures, *, dropout: float, event_dropout: float) -> None:
        super().__init__()
        self.size, self.read, self.event_dropout = size, read, event_dropout
        self.dropout = nn.Dropout(dropout)
        self.gap = TimeGapEmbedding(size) if read.gap else None
        self.kind = nn.Embedding(read.kinds, size) if read.kinds else None
        if self.kind is not None:
            nn.init.zeros_(self.kind.weight)
        self.value = nn.Linear(2, size, bias=False) if read.value else None
        if self.value is not None:
            nn.init.zeros_(self.value.weight)

    def forward(self, vector: Tensor, gap_s: Tensor, kind: Tensor, value: Tensor) -> Tensor:
        """`vector` [..., D] with `gap_s` (NaN: no event before), `kind` and `value` (NaN: none), each [...]; [..., D]."""
        # an item vector has unit norm at the start; the encoder wants unit variance
        x = vector * math.sqrt(self.size)
        if self.training and self.event_dropout:
            x = x * (torch.rand(x.shape[:-1], device=x.device) >= self.event_dropout).unsqueeze(-1)
        if self.gap is not None:
            x = x + self.gap(gap_s)
        if self.kind is not None:
            x = x + self.kind(kind)
        if self.value is not None:
            x = x + self.value(_number(value))
        out: Tensor = self.dropout(x)
        return out


def _number(value: Tensor) -> Tensor:
    """A number of any size as two that are near 1: its signed logarithm, and whether there is one."""
    known = ~torch.isnan(value)
    given = torch.where(known, value, 0.0)
    return torch.stack([given.sign() * given.abs().log1p(), known.to(given.dtype)], dim=-1)


class QueryHead(nn.Module):
    """From a hidden state to what is compared with the item vectors, given the time since the last event.

    q = h (1 + s(gap)) + b(gap); with a temperature, q / (|q| temperature).
    """

    def __init__(self, size: int, *, time: bool, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.scale = TimeGapEmbedding(size) if time else None
        self.shift = TimeGapEmbedding(size) if time else None

    def forward(self, hidden: Tensor, gap_s: Tensor) -> Tensor:
        """`hidden` [..., D] and `gap_s` [...], NaN where the moment of asking is not known; [..., D]."""
        if self.scale is not None and self.shift is not None:
            if self.training:
                gap_s = gap_s.masked_fill(torch.rand_like(gap_s) < GAP_DROPOUT, torch.nan)
            hidden = hidden * (1 + self.scale(gap_s)) + self.shift(gap_s)
        if self.temperature:
            hidden = normalize(hidden.float(), dim=-1) / self.temperature
        return hidden
