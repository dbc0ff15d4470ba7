"""Transition counts over several distances: a scorer by itself, and a learned addition to the logits of a network.

Shape letters: N targets, W events before a target (the window, newest last), I items, P entries (pairs of a target and an
item that has followed one of its W events).
"""

import math

import torch
from torch import Tensor, nn

from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.counts import count_pairs, entries, item_counts
from reprise.models.items import SparseLogits

COUNTED = 20
"""Distance up to which pairs are counted."""
SCRATCH = 1 << 26
"""Targets times items up to which entries of one pair are added up in a table; above, they are sorted."""
LEAST = 1e-6
"""A count below this is none: what rounding leaves when an event's own pairs are taken out."""


class TransitionResidual(nn.Module):
    """What followed the last W items before, as an addition to the logits.

    s_j = sum over w of v_w c(i_w, j)^q / (c(i_w)^a p_j^b), with c the counts of `count_pairs`, p how often j occurs and v_w a
    weight of each distance; the logit of j grows by g log(1 + s_j / e). All of v, q, a, b, g and e are learned with the
    network. While it trains, an event's own pairs are taken out of the counts (leave-one-out), so that it learns how far
    the counts of other events can be trusted.
    """

    start: Tensor
    successor_P: Tensor
    count_P: Tensor
    total: Tensor
    log_popularity: Tensor
    own_W: Tensor

    def __init__(self, items: int, window: int, successors: int) -> None:
        super().__init__()
        self.items, self.window, self.successors = items, window, successors
        distance_W = torch.arange(window, 0, -1, dtype=torch.float32)
        self.distance = nn.Parameter(-distance_W.log())
        self.powers = nn.Parameter(torch.tensor([0.8, 0.5, 0.2]))
        self.floor = nn.Parameter(torch.tensor([math.log(0.05)]))
        self.gain = nn.Parameter(torch.tensor([0.5]))
        self.register_buffer("start", torch.zeros(items + 2, dtype=torch.int64), persistent=False)
        self.register_buffer("successor_P", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("count_P", torch.zeros(0), persistent=False)
        self.register_buffer("total", torch.zeros(items + 1), persistent=False)
        self.register_buffer("log_popularity", torch.zeros(items + 1), persistent=False)
        # what one event added to the count of each of the W pairs that end in it
        own_W = torch.where(distance_W <= COUNTED, 1 / distance_W, 0.0)
        self.register_buffer("own_W", own_W, persistent=False)

    def observe(self, dataset: SequenceDataset) -> None:
        """Count the pairs of the training part. Counts are data and no weights: they are made anew where a run is opened."""
        pairs = count_pairs(dataset, COUNTED, self.successors)
        log_popularity_I = item_counts(dataset).clamp(min=1.0).log().float()
        device = self.distance.device
        self.start = pairs.start.to(device)
        self.successor_P = pairs.successor_P.to(device)
        self.count_P = pairs.count_P.float().to(device)
        self.total = pairs.total.float().to(device)
        self.log_popularity = nn.functional.pad(log_popularity_I, (1, 0)).to(device)

    def forward(self, recent_NW: Tensor, target_N: Tensor | None = None) -> SparseLogits:
        """The additions to the logits after each window.

        Args:
            recent_NW: The last items before each target, newest last, `PAD` where there are fewer.
            target_N: What followed, where these events are among the counted ones: their own pairs are then left out.
        """
        with torch.autocast(recent_NW.device.type, enabled=False):
            place_P, pair_P = entries(self.start, recent_NW.flatten())
            row_P, item_P = place_P // self.window, self.successor_P[pair_P]
            score_P = self._pair_scores()[pair_P] * self.distance.exp().repeat(len(recent_NW))[place_P]
            if target_N is not None:
                score_P = score_P * self._without_own(recent_NW, target_N, place_P, pair_P)
            value_P = self._together(row_P * (self.items + 1) + item_P, score_P, len(recent_NW))
            return SparseLogits(row_P, item_P, value_P)

    def tables(self) -> dict[str, Tensor]:
        """What the additions of a trained network follow from, in a form that needs no powers: what serving keeps.

        `start` [I + 2] and `successor` [P] (int32) say which pairs there are, as in `PairCounts`; `score` [P] is
        c(i, j)^q / (c(i)^a p_j^b) and `weight` [W] the v_w, newest last; `floor` [1] is log e and `gain` [1] is g.
        """
        return {
            "start": self.start,
            "successor": self.successor_P.int(),
            "score": self._pair_scores(),
            "weight": self.distance.exp(),
            "floor": self.floor,
            "gain": self.gain,
        }

    def _pair_scores(self) -> Tensor:
        """c(i, j)^q / (c(i)^a p_j^b) of all counted pairs."""
        q, a, b = self.powers
        first_P = torch.repeat_interleave(self.start[1:] - self.start[:-1])
        log_total_P = self.total.clamp(min=LEAST).log()[first_P]
        log_P: Tensor = q * self.count_P.log() - a * log_total_P - b * self.log_popularity[self.successor_P]
        return log_P.exp()

    def _without_own(self, recent_NW: Tensor, target_N: Tensor, place_P: Tensor, pair_P: Tensor) -> Tensor:
        """The factor by which each entry changes when the event that ends in its target had not been counted."""
        q, a, _ = self.powers
        same_NWW = recent_NW.unsqueeze(2) == recent_NW.unsqueeze(1)
        own_NW = (same_NWW * self.own_W).sum(2)
        total_NW = self.total[recent_NW].clamp(min=LEAST)
        less_NW = (1 - own_NW / total_NW).clamp(min=LEAST).log()
        factor_P = (-a * less_NW.flatten()).exp()[place_P]
        hit_P = self.successor_P[pair_P] == target_N[place_P // self.window]
        hit = hit_P.nonzero().squeeze(1)
        left = 1 - own_NW.flatten()[place_P[hit]] / self.count_P[pair_P[hit]]
        kept = torch.where(left > LEAST, left.clamp(min=LEAST).log().mul(q).exp(), 0.0)
        changed_P: Tensor = factor_P.index_put((hit,), factor_P[hit] * kept)
        return changed_P

    def _together(self, key_P: Tensor, score_P: Tensor, rows: int) -> Tensor:
        """The value of each entry, such that entries of the same target and item add up to the log of their sum."""
        if rows * (self.items + 1) <= SCRATCH:
            place_P, size = key_P, rows * (self.items + 1)
        else:
            _, place_P = key_P.unique(return_inverse=True)  # type: ignore[no-untyped-call]
            size = len(key_P)
        sum_P = score_P.new_zeros(size).index_add(0, place_P, score_P)[place_P]
        with torch.no_grad():
            times_P = score_P.new_zeros(size).index_add(0, place_P, torch.ones_like(score_P))[place_P]
        return self.gain * torch.log1p(sum_P * (-self.floor).exp()) / times_P


def last_events(before_BW: Tensor, item_BT: Tensor) -> Tensor:
    """The window after each of the first 0..T events of a row, [B, T + 1, W]; events come first in a row, padding after."""
    window = before_BW.shape[1]
    return torch.cat([before_BW, item_BT], dim=1).unfold(1, window, 1)


def no_events(batch: int, window: int, device: torch.device) -> Tensor:
    """The window of users without events."""
    return torch.full((batch, window), PAD, dtype=torch.int64, device=device)
