"""Item co-occurrence at several distances, as a sparse additive correction of the logits.

Shape letters: B rows, T steps, N targets, W events before a target (the window, newest last), I items, P entries (pairs of a
target and an item that co-occurred with one of its W events).
"""

import math

import torch
from torch import Tensor, nn

from reprise.data.dataset import Part, SequenceDataset
from reprise.models.counts.counting import csr_entries, item_counts
from reprise.models.counts.neighbours import ItemNeighbours, find_neighbours
from reprise.models.sparse_logits import SparseLogits

MAX_DISTANCE = 20
"""Largest distance, in events, at which a pair of items is counted."""
MAX_PLACES_PER_ENTRY = 4
"""Entries are summed in a dense table of targets times items if it has at most this many places per entry; else sorted."""
MIN_COUNT = 1e-6
"""Lower bound of a count before its logarithm is taken."""


class CooccurrenceCorrection(nn.Module):
    """Logit correction from the co-occurrence of each candidate item with the last W items of the history.

    c(i, j) = c_after(i, j) + r c_before(i, j), with the counts of `count_neighbours`;
    s_j = sum over w of v_w c(i_w, j)^q / (c(i_w)^a p_j^b), with p_j the number of events of item j and v_w a weight for each
    distance; t_j = sum over w of v'_w cos(i_w, j), with the similarity of items over sessions of `ItemKNN`; the logit of j
    grows by g log(1 + s_j / e) + g' log(1 + t_j / e'). Initially g and g' are 0 and the correction has no effect.
    `fit_corrections` finds v, q, a, b, r, e, g, v', e' and g' on events that were not counted.

    Args:
        items: Number of items, I.
        window: Number of last events that are used, W.
        neighbours: Number of neighbours stored per item; of each of both sorts with `similarity`.
        similarity: Whether the second sum, over similarities, is used.
        pair_users: Minimum number of different users of a pair, in each order and each sum; see `find_neighbours`.
    """

    start: Tensor
    neighbour_P: Tensor
    after_P: Tensor
    before_P: Tensor
    cosine_P: Tensor
    after: Tensor
    before: Tensor
    log_popularity: Tensor

    def __init__(
        self, items: int, window: int, neighbours: int, *, similarity: bool = True, pair_users: int = 1
    ) -> None:
        super().__init__()
        self.items, self.window, self.neighbours = items, window, neighbours
        self.pair_users = pair_users
        self.uses_similarity = similarity
        # the names of these parameters are keys in saved weights
        self.distance = nn.Parameter(-torch.arange(window, 0, -1, dtype=torch.float32).log())
        self.powers = nn.Parameter(torch.tensor([0.8, 0.5, 0.3]))
        self.backward_share = nn.Parameter(torch.tensor([math.log(0.1)]))
        self.floor = nn.Parameter(torch.tensor([math.log(0.05)]))
        self.gain = nn.Parameter(torch.tensor([0.0]))
        self.cosine_distance = nn.Parameter(torch.zeros(window))
        self.cosine_floor = nn.Parameter(torch.tensor([math.log(0.05)]))
        self.cosine_gain = nn.Parameter(torch.tensor([0.0]))
        if not similarity:
            for parameter in (self.cosine_distance, self.cosine_floor, self.cosine_gain):
                parameter.requires_grad_(False)
        # counts are data and not weights: they are not saved, and `count` computes them again when a run is opened
        self.register_buffer("neighbour_P", torch.zeros(0, dtype=torch.int64), persistent=False)
        for name in ("after_P", "before_P", "cosine_P"):
            self.register_buffer(name, torch.zeros(0), persistent=False)
        self.resize(items)

    @property
    def is_zero(self) -> bool:
        """Whether the gains are 0, so that the correction never changes a logit."""
        return not bool(self.gain.any() or self.cosine_gain.any())

    def resize(self, items: int) -> None:
        """Set the number of items, I, and forget the counts."""
        self.items = items
        self.register_buffer("start", torch.zeros(items + 2, dtype=torch.int64), persistent=False)
        for name in ("after", "before", "log_popularity"):
            self.register_buffer(name, torch.zeros(items + 1), persistent=False)

    def count(self, dataset: SequenceDataset, before: Part = "test") -> None:
        """Count the co-occurrences in the events before a part, replacing any earlier counts."""
        near = find_neighbours(
            dataset,
            MAX_DISTANCE,
            self.neighbours,
            before,
            similarity=self.uses_similarity,
            pair_users=self.pair_users,
        )
        self.store(near, item_counts(dataset, before))

    def store(self, near: ItemNeighbours, count_I: Tensor) -> None:
        """Use these neighbours of each item and these numbers of events, replacing any earlier ones."""
        log_popularity_I = count_I.clamp(min=1.0).log().float()
        device = self.distance.device
        self.start, self.neighbour_P = near.start.to(device), near.item_P.to(device)
        for name in ("after_P", "before_P", "cosine_P", "after", "before"):
            setattr(self, name, getattr(near, name).float().to(device))
        self.log_popularity = nn.functional.pad(log_popularity_I, (1, 0)).to(device)

    def forward(self, recent_NW: Tensor) -> SparseLogits:
        """Return the logit correction after each window.

        Args:
            recent_NW: The last items before each target, newest last; `PAD` if there are fewer than W. Only the last W
                columns are used.
        """
        recent_NW = recent_NW[:, -self.window :]
        with torch.autocast(recent_NW.device.type, enabled=False):
            # Example with W = 2: the window of target 0 is (3, 5), item 3 has the neighbours 5 and 7, item 5 has 7.
            # The entries are (target 0, item 5), (0, 7), (0, 7): item 7 has two, and s_7 is the sum of both.
            position_P, pair_P = csr_entries(self.start, recent_NW.flatten())
            row_P, item_P = position_P // self.window, self.neighbour_P[pair_P]
            # A large batch may have more entries than there are stored pairs; then each pair is computed only once.
            if len(pair_P) < len(self.neighbour_P):
                score_P = self._pair_scores(recent_NW.flatten()[position_P], pair_P)
            else:
                score_P = self._all_scores()[pair_P]
            score_P = score_P * self.distance.exp().repeat(len(recent_NW))[position_P]
            cosine_P = self.cosine_P[pair_P] * self.cosine_distance.exp().repeat(len(recent_NW))[position_P]
            key_P = row_P * (self.items + 1) + item_P
            value_P = self._entry_values(key_P, score_P, cosine_P, len(recent_NW))
            return SparseLogits(row_P, item_P, value_P)

    def tables(self) -> dict[str, Tensor]:
        """Return the fitted correction as plain tables, which serving stores and evaluates without the powers.

        `start` [I + 2] and `neighbour` [P] (int32) are the stored pairs, as in `Neighbours`. `score` [P] is
        c(i, j)^q / (c(i)^a p_j^b), `weight` [W] is v_w, newest last, `floor` [1] is log e and `gain` [1] is g. `cosine` [P]
        is cos(i, j), and `cosine_weight`, `cosine_floor` and `cosine_gain` are those of the second sum. They are left out if
        its gain is 0.
        """
        tables = {
            "start": self.start,
            "neighbour": self.neighbour_P.int(),
            "score": self._all_scores(),
            "weight": self.distance.exp(),
            "floor": self.floor,
            "gain": self.gain,
        }
        if not bool(self.cosine_gain.any()):
            return tables
        return tables | {
            "cosine": self.cosine_P,
            "cosine_weight": self.cosine_distance.exp(),
            "cosine_floor": self.cosine_floor,
            "cosine_gain": self.cosine_gain,
        }

    def _all_scores(self) -> Tensor:
        """Return the scores of all stored pairs, [P]."""
        first_P = torch.repeat_interleave(self.start[1:] - self.start[:-1])
        return self._pair_scores(first_P, torch.arange(len(first_P), device=first_P.device))

    def _pair_scores(self, first_P: Tensor, pair_P: Tensor) -> Tensor:
        """Return c(i, j)^q / (c(i)^a p_j^b) for the pairs `pair_P`, whose first items are `first_P`."""
        q, a, b = self.powers
        r = self.backward_share.exp()
        log_count_P = (self.after_P[pair_P] + r * self.before_P[pair_P]).clamp(min=MIN_COUNT).log()
        log_total_P = (self.after + r * self.before).clamp(min=MIN_COUNT).log()[first_P]
        log_P: Tensor = q * log_count_P - a * log_total_P - b * self.log_popularity[self.neighbour_P[pair_P]]
        return log_P.exp()

    def _entry_values(self, key_P: Tensor, score_P: Tensor, cosine_P: Tensor, rows: int) -> Tensor:
        """Return the value of each entry; those of the same target and item (equal keys) add up to the correction."""
        if rows * (self.items + 1) <= MAX_PLACES_PER_ENTRY * len(key_P):
            slot_P, size = key_P, rows * (self.items + 1)
        else:
            _, slot_P = key_P.unique(return_inverse=True)  # type: ignore[no-untyped-call]
            size = len(key_P)
        # The logarithms are taken of the sums, so entries of one item cannot be computed one by one. Each gets an equal
        # share instead: two entries with scores 0.2 and 0.3 get g log(1 + 0.5 / e) / 2 each, and adding both to the
        # logit gives the right total without merging the entries.
        sum_P = score_P.new_zeros(size).index_add_(0, slot_P, score_P)[slot_P]
        cosine_sum_P = cosine_P.new_zeros(size).index_add_(0, slot_P, cosine_P)[slot_P]
        with torch.no_grad():
            entries_P = score_P.new_zeros(size).index_add_(0, slot_P, torch.ones_like(score_P))[slot_P]
        value_P = self.gain * torch.log1p(sum_P * (-self.floor).exp())
        return (
            value_P + self.cosine_gain * torch.log1p(cosine_sum_P * (-self.cosine_floor).exp())
        ) / entries_P
