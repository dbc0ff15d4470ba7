"""Transition counts over several distances, as an addition to the logits of whatever scores.

Shape letters: N targets, W events before a target (the window, newest last), I items, P entries (pairs of a target and an
item that was counted near one of its W events).
"""

import math

import torch
from torch import Tensor, nn

from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.cooccurrence.counting import count_neighbours, entries, item_counts
from reprise.models.sparse_logits import SparseLogits

COUNTED = 20
"""Distance up to which pairs are counted."""
SCRATCH = 1 << 26
"""Targets times items up to which entries of one pair are added up in a table; above, they are sorted."""
LEAST = 1e-6
"""A count below this is none."""


class CooccurrenceCorrection(nn.Module):
    """What came after the last W items before, and what came near them, as an addition to the logits.

    c(i, j) = c_after(i, j) + r c_before(i, j), the counts of `count_neighbours`;
    s_j = sum over w of v_w c(i_w, j)^q / (c(i_w)^a p_j^b), with p how often j occurs and v_w a weight of each distance;
    the logit of j grows by g log(1 + s_j / e). g is 0 at first: nothing is added until `fit_residual` has found v, q, a, b, r,
    e and g on events that were not counted.
    """

    start: Tensor
    neighbour_P: Tensor
    after_P: Tensor
    before_P: Tensor
    after: Tensor
    before: Tensor
    log_popularity: Tensor

    def __init__(self, items: int, window: int, neighbours: int) -> None:
        super().__init__()
        self.items, self.window, self.neighbours = items, window, neighbours
        self.distance = nn.Parameter(-torch.arange(window, 0, -1, dtype=torch.float32).log())
        self.powers = nn.Parameter(torch.tensor([0.8, 0.5, 0.3]))
        self.backward_share = nn.Parameter(torch.tensor([math.log(0.1)]))
        self.floor = nn.Parameter(torch.tensor([math.log(0.05)]))
        self.gain = nn.Parameter(torch.tensor([0.0]))
        self.register_buffer("start", torch.zeros(items + 2, dtype=torch.int64), persistent=False)
        self.register_buffer("neighbour_P", torch.zeros(0, dtype=torch.int64), persistent=False)
        for name in ("after_P", "before_P"):
            self.register_buffer(name, torch.zeros(0), persistent=False)
        for name in ("after", "before", "log_popularity"):
            self.register_buffer(name, torch.zeros(items + 1), persistent=False)

    @property
    def silent(self) -> bool:
        """Whether nothing is ever added."""
        return not bool(self.gain.any())

    def observe(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the pairs of the events before a part. Counts are no weights: they are made anew where a run is opened."""
        near = count_neighbours(dataset, COUNTED, self.neighbours, before)
        log_popularity_I = item_counts(dataset, before).clamp(min=1.0).log().float()
        device = self.distance.device
        self.start, self.neighbour_P = near.start.to(device), near.item_P.to(device)
        for name in ("after_P", "before_P", "after", "before"):
            setattr(self, name, getattr(near, name).float().to(device))
        self.log_popularity = nn.functional.pad(log_popularity_I, (1, 0)).to(device)

    def forward(self, recent_NW: Tensor) -> SparseLogits:
        """The additions to the logits after each window.

        Args:
            recent_NW: The last items before each target, newest last, `PAD` where there are fewer.
        """
        with torch.autocast(recent_NW.device.type, enabled=False):
            place_P, pair_P = entries(self.start, recent_NW.flatten())
            row_P, item_P = place_P // self.window, self.neighbour_P[pair_P]
            if len(pair_P) < len(self.neighbour_P):
                score_P = self._pair_scores(recent_NW.flatten()[place_P], pair_P)
            else:
                score_P = self._all_scores()[pair_P]
            score_P = score_P * self.distance.exp().repeat(len(recent_NW))[place_P]
            value_P = self._together(row_P * (self.items + 1) + item_P, score_P, len(recent_NW))
            return SparseLogits(row_P, item_P, value_P)

    def tables(self) -> dict[str, Tensor]:
        """What the additions of a trained network follow from, in a form that needs no powers: what serving keeps.

        `start` [I + 2] and `neighbour` [P] (int32) say which pairs there are, as in `Neighbours`; `score` [P] is
        c(i, j)^q / (c(i)^a p_j^b) and `weight` [W] the v_w, newest last; `floor` [1] is log e and `gain` [1] is g.
        """
        return {
            "start": self.start,
            "neighbour": self.neighbour_P.int(),
            "score": self._all_scores(),
            "weight": self.distance.exp(),
            "floor": self.floor,
            "gain": self.gain,
        }

    def _all_scores(self) -> Tensor:
        """The scores of all counted pairs."""
        first_P = torch.repeat_interleave(self.start[1:] - self.start[:-1])
        return self._pair_scores(first_P, torch.arange(len(first_P), device=first_P.device))

    def _pair_scores(self, first_P: Tensor, pair_P: Tensor) -> Tensor:
        """c(i, j)^q / (c(i)^a p_j^b) of some counted pairs, given the item that each begins with."""
        q, a, b = self.powers
        back = self.backward_share.exp()
        log_count_P = (self.after_P[pair_P] + back * self.before_P[pair_P]).clamp(min=LEAST).log()
        log_total_P = (self.after + back * self.before).clamp(min=LEAST).log()[first_P]
        log_P: Tensor = q * log_count_P - a * log_total_P - b * self.log_popularity[self.neighbour_P[pair_P]]
        return log_P.exp()

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


def windows(before_BW: Tensor, item_BT: Tensor, seen_BT: Tensor, wanted_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The last items at each target of some rows, [N, W], and after the rows, [B, W].

    Args:
        before_BW: The windows before the rows.
        item_BT: Their items, padding last.
        seen_BT: How many of them each step has seen.
        wanted_BT: Which steps have a target.
    """
    # window k of a row is the one after its first k items
    window_BSW = torch.cat([before_BW, item_BT], dim=1).unfold(1, before_BW.shape[1], 1)
    row_N, step_N = wanted_BT.nonzero(as_tuple=True)
    row_B = torch.arange(len(item_BT), device=item_BT.device)
    return window_BSW[row_N, seen_BT[row_N, step_N]], window_BSW[row_B, seen_BT[:, -1]]


def after_event(before_BW: Tensor, item_B: Tensor) -> Tensor:
    """The windows after one more event of each row."""
    return torch.cat([before_BW, item_B.unsqueeze(1)], dim=1)[:, 1:]


def no_events(batch: int, window: int, device: torch.device) -> Tensor:
    """The window of users without events."""
    return torch.full((batch, window), PAD, dtype=torch.int64, device=device)
