"""The inputs of a network: the features of an event, and the effect of the request time on a query.

Shape letters: B rows, T steps, N targets, U sequences, F features of users, D width, K knots. Functions of one event accept
tensors of any leading shape.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from reprise.content.fitted_content import FittedContent
from reprise.nn.dropout import Dropout
from reprise.nn.elementwise import unit_vectors

NUM_KNOTS = 32
"""Number of knots of a time gap embedding, one for each doubling of 1 + seconds, up to 136 years."""


GAP_DROPOUT = 0.1
"""Share of the request times that are hidden during training, so that a network also works without one."""
USER_DROPOUT = 0.1
"""Share of the users whose attributes are hidden in a training step, so that a network also works without them."""
PERIODS_S = (86_400.0, 604_800.0)
"""Periods in seconds: a day and a week."""
HARMONICS = 3
"""Number of sine waves per period; three waves can tell the seven days of a week apart."""


class TimeGapEmbedding(nn.Module):
    """Learned function of a time gap: vectors at 0, 1, 3, 7, ... seconds, interpolated linearly in log2(1 + gap).

    It is zero initially, and for an unknown gap (NaN).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.knot_KD = nn.Parameter(torch.zeros(NUM_KNOTS + 1, size))

    def forward(self, gap_s: Tensor) -> Tensor:
        """Return the vectors of gaps in seconds; the result has one more dimension, D."""
        known = ~torch.isnan(gap_s)
        # 6 s lies between the knots 2 (3 s) and 3 (7 s): log2(1 + 6) = 2.81, so the result is 0.19 of the one
        # plus 0.81 of the other
        position = (
            torch.log2(1 + torch.where(known, gap_s, 0.0).clamp(min=0)).clamp(max=NUM_KNOTS - 0.001).float()
        )
        low = position.floor()
        share = (position - low).unsqueeze(-1)
        index = low.long()
        between = self.knot_KD[index] * (1 - share) + self.knot_KD[index + 1] * share
        return between * known.unsqueeze(-1)


class CalendarEmbedding(nn.Module):
    """Learned periodic function of a time in UTC: a linear map of sine waves with the periods of a day and a week.

    It is zero initially, and for an unknown time (NaN). Fourier features of time: Kazemi et al., "Time2Vec: Learning a
    vector representation of time" (2019), equation 1, with given frequencies.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2 * HARMONICS * len(PERIODS_S), size))

    def forward(self, time_s: Tensor) -> Tensor:
        """Return the vectors of times in seconds since 1970, float64; the result has one more dimension, D."""
        known = ~torch.isnan(time_s)
        waves = []
        for period_s in PERIODS_S:
            turns = torch.where(known, time_s, 0.0) / period_s
            # the difference is computed in float64, because float32 has a precision of about two minutes at these times
            angle = ((turns - turns.floor()) * (2 * math.pi)).float()
            for harmonic in range(1, HARMONICS + 1):
                waves += [(harmonic * angle).sin(), (harmonic * angle).cos()]
        between: Tensor = torch.stack(waves, dim=-1) @ self.weight
        return between * known.unsqueeze(-1)


class TimeDecay(nn.Module):
    """Decay factor of a state after a time gap: (1 + gap)^-r, with a learned rate r for each of the D numbers.

    Initially r is 0.002. Human forgetting follows a power of time and not an exponential (Wixted and Ebbesen 1991): a
    day decays little more than an hour.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rate_D = nn.Parameter(torch.full((size,), -6.0))

    def forward(self, gap_s: Tensor) -> Tensor:
        """Return factors in (0, 1] for gaps in seconds, with one more dimension D; 1 if the gap is unknown (NaN)."""
        log_gap = torch.where(torch.isnan(gap_s), 0.0, gap_s).clamp(min=0).float().log1p()
        return torch.exp(-log_gap.unsqueeze(-1) * softplus(self.rate_D))


@dataclass(frozen=True)
class InputFeatures:
    """Features of an event that are read in addition to its item."""

    gap: bool = False
    """Whether the time since the previous event is read."""
    kinds: int = 0
    """Number of event kinds; 0: kinds are not read."""
    value: bool = False
    """Whether the value of the event is read."""
    calendar: bool = False
    """Whether the hour of the day and the day of the week are read."""


class EventInputs(nn.Module):
    """Maps the raw vector of an item and the other features of an event to the input of the encoder.

    Each feature adds a vector that is zero initially.
    """

    def __init__(self, size: int, features: InputFeatures, *, dropout: float, event_dropout: float) -> None:
        super().__init__()
        self.size, self.features, self.event_dropout = size, features, event_dropout
        self.dropout = Dropout(dropout)
        self.gap = TimeGapEmbedding(size) if features.gap else None
        self.kind = nn.Embedding(features.kinds, size) if features.kinds else None
        if self.kind is not None:
            nn.init.zeros_(self.kind.weight)
        self.value = nn.Linear(2, size, bias=False) if features.value else None
        if self.value is not None:
            nn.init.zeros_(self.value.weight)
        self.calendar = CalendarEmbedding(size) if features.calendar else None

    def forward(self, vector: Tensor, gap_s: Tensor, time_s: Tensor, kind: Tensor, value: Tensor) -> Tensor:
        """Return the encoder input [..., D] for item vectors [..., D] and features [...].

        `gap_s` is NaN if there is no previous event, and `time_s` and `value` are NaN if they are not known.
        """
        # item vectors have unit norm initially, and the encoder expects unit variance
        x = vector * math.sqrt(self.size)
        if self.training and self.event_dropout:
            x = x * (torch.rand(x.shape[:-1], device=x.device) >= self.event_dropout).unsqueeze(-1)
        if self.gap is not None:
            x = x + self.gap(gap_s)
        if self.kind is not None:
            x = x + self.kind(kind)
        if self.value is not None:
            x = x + self.value(_number(value))
        if self.calendar is not None:
            x = x + self.calendar(time_s)
        out: Tensor = self.dropout(x)
        return out


def _number(value: Tensor) -> Tensor:
    """Encode a number of any size as two numbers of moderate size: its signed logarithm, and whether it is known."""
    known = ~torch.isnan(value)
    finite = torch.where(known, value, 0.0)
    return torch.stack([finite.sign() * finite.abs().log1p(), known.to(finite.dtype)], dim=-1)


class UserVectors(nn.Module):
    """Vectors of users: a linear map of their features, zero initially and for a user without attributes.

    Args:
        content: How attributes are encoded.
        features_UF: Features of the user of each sequence of the dataset.
        size: Width of a vector, D.
    """

    features: Tensor

    def __init__(self, content: FittedContent, features_UF: Tensor, size: int) -> None:
        super().__init__()
        self.content = content
        self.weight = nn.Parameter(torch.zeros(features_UF.shape[1], size))
        # features are data and not weights: they are computed again when a run is opened
        self.register_buffer("features", features_UF, persistent=False)

    def forward(self, row_B: Tensor) -> Tensor:
        """Return the vectors of the users of sequences, [B, D]."""
        feature_BF = self.features[row_B]
        if self.training:
            kept_B1 = torch.rand(len(row_B), 1, device=row_B.device) >= USER_DROPOUT
            feature_BF = feature_BF * kept_B1
        vector_BD: Tensor = feature_BF @ self.weight
        return vector_BD


class QueryHead(nn.Module):
    """Maps a hidden state to the query vector, given the time since the last event and the time of the request.

    q = h (1 + s(gap)) + b(gap) + c(now); with a temperature, q / (|q| temperature). If item vectors have a bias as their
    last number, a query has 1, or 1 / temperature, there.
    """

    def __init__(self, size: int, *, time: bool, temperature: float, calendar: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.with_bias = False
        self.scale = TimeGapEmbedding(size) if time else None
        self.shift = TimeGapEmbedding(size) if time else None
        self.calendar = CalendarEmbedding(size) if calendar else None

    def forward(self, hidden: Tensor, gap_s: Tensor, now_s: Tensor) -> Tensor:
        """Return query vectors [..., D] for hidden states [..., D], gaps in seconds and times of requests [...].

        NaN is an unknown gap or time.
        """
        if self.training and (self.scale is not None or self.calendar is not None):
            hidden_time = torch.rand_like(gap_s) < GAP_DROPOUT
            gap_s, now_s = (time.masked_fill(hidden_time, torch.nan) for time in (gap_s, now_s))
        if self.scale is not None and self.shift is not None:
            hidden = hidden * (1 + self.scale(gap_s)) + self.shift(gap_s)
        if self.calendar is not None:
            hidden = hidden + self.calendar(now_s)
        if self.temperature:
            hidden = unit_vectors(hidden.float()) / self.temperature
        if self.with_bias:
            one = hidden.new_full((*hidden.shape[:-1], 1), 1 / self.temperature if self.temperature else 1.0)
            hidden = torch.cat([hidden, one], dim=-1)
        return hidden
