"""The repeat head: a pointer over the items of the last events, mixed with the softmax over the catalogue.

Shape letters: N targets, W events of a window (newest last).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from reprise.data.vocabulary import PAD
from reprise.models.corrections.recent_events import RecentEvents
from reprise.models.corrections.repeat_mixture import NO_ITEM, RepeatMixture

NEWEST = 3
"""Number of newest events with a pointer weight of their own."""
POSITION_FEATURES = NEWEST + 3
"""Number of pointer weights that need items only: the newest events, log r, [c > 1] and log c."""


class RepeatHead(nn.Module):
    """Mixture of the softmax over the catalogue with a pointer over the different items of the last W events.

    For each different item i of the window: r_i events ago (1 = newest), c_i times; n events in the window, d different
    items; l_j the logits with all other corrections; s a scale.

        a_i  = w_1 [r_i = 1] + w_2 [r_i = 2] + w_3 [r_i = 3] + w_4 log r_i + w_5 [c_i > 1] + w_6 log c_i + w_l s l_i
               + w_t log(1 + t_i) + w_k
        pi_i = softmax of a over the items of the window
        y    = b_0 + b_1 log n + b_2 log((n - d + 1/2) / (d + 1/2))
        L    = log of the sum of e^(s l_j) over the 20 largest logits of the catalogue
        l'_i = log(e^(s l_i + u) + e^(L + y + log pi_i)) / s, for the items of the window; all others keep l_j

    t_i is the time from the last event with the item to the last event of the window, in seconds, and w_k a weight of
    the kind of that event; both exist only if the network reads times or kinds. The mixture of repeating and exploring
    with a gate is that of RepeatNet (Ren et al. 2019, section 3); there both parts are networks that are trained
    together. Here the terms are fitted after training (`fit_corrections`). u <= 0 lowers the items of the window, which a
    mixture alone cannot: in a log in which nothing comes back, y and u become very negative.

    Args:
        window: Number of last events that are used, W.
        times: Whether the time since an item was last seen is a feature.
        kinds: Number of kinds of event; 0: the kind is not a feature.
    """

    scale: Tensor
    enabled: Tensor

    def __init__(self, window: int, *, times: bool = False, kinds: int = 0) -> None:
        super().__init__()
        self.window = window
        # the names of these parameters are keys in saved weights
        self.position = nn.Parameter(torch.tensor([0.0, 0.0, 0.0, -0.3, 0.3, 0.6]))
        self.time = nn.Parameter(torch.zeros(1)) if times else None
        self.kind = nn.Parameter(torch.zeros(kinds)) if kinds else None
        self.own_weight = nn.Parameter(torch.tensor(0.3))
        self.gate = nn.Parameter(torch.tensor([-1.0, 0.0, 0.5]))
        self.lowering = nn.Parameter(torch.tensor(-3.0))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("enabled", torch.zeros(()))

    @property
    def is_zero(self) -> bool:
        """Whether the head is off: it was not fitted, or the validation part did not prefer it."""
        return not bool(self.enabled)

    def forward(self, recent: RecentEvents) -> RepeatMixture:
        """Return the terms of the mixture after each window; the windows may be longer than W."""
        item_NW = recent.item_NW[:, -self.window :]
        with torch.autocast(item_NW.device.type, enabled=False):
            event_NW = item_NW != PAD
            # same_NWW[n, v, w]: the events v and w of window n have the same item
            same_NWW = (item_NW.unsqueeze(2) == item_NW.unsqueeze(1)) & event_NW.unsqueeze(2)
            count_NW = same_NWW.sum(2).clamp(min=1).float()
            latest_NW = event_NW & ~same_NWW.triu(diagonal=1).any(2)
            pointer_NW = self._position_terms(count_NW)
            pointer_NW = pointer_NW + self._event_terms(recent)
            events_N, items_N = event_NW.sum(1).float(), latest_NW.sum(1).float()
            repeats_N = ((events_N - items_N + 0.5) / (items_N + 0.5)).log()
            gate_N = self.gate[0] + self.gate[1] * events_N.clamp(min=1).log() + self.gate[2] * repeats_N
            return RepeatMixture(
                item_NW.masked_fill(~latest_NW, PAD),
                pointer_NW.masked_fill(~latest_NW, NO_ITEM),
                gate_N,
                self.own_weight,
                self.scale,
                -softplus(self.lowering),
            )

    def tables(self) -> dict[str, Tensor]:
        """Return the fitted numbers as plain arrays, which serving stores.

        `window` [1] (int64) is W, `position` [6] are w_1 to w_6, `own_weight` [1] is w_l, `gate` [3] are b_0 to b_2, `scale`
        [1] is s and `shift` [1] is u. `time` [1] is w_t and `kind` [kinds] the weights of the kinds, if the head reads them.
        """
        optional = {"time": self.time, "kind": self.kind}
        return {
            "window": torch.tensor([self.window]),
            "position": self.position,
            "own_weight": self.own_weight.reshape(1),
            "gate": self.gate,
            "scale": self.scale.reshape(1),
            "shift": -softplus(self.lowering).reshape(1),
            **{name: weight for name, weight in optional.items() if weight is not None},
        }

    def _position_terms(self, count_NW: Tensor) -> Tensor:
        """Return the part of the pointer logits that depends on positions and counts, [N, W]."""
        width = count_NW.shape[1]
        rank_W = torch.arange(width, 0, -1, device=count_NW.device)
        newest_W = nn.functional.pad(self.position[:NEWEST], (1, max(0, width - NEWEST)))[rank_W]
        log_rank, repeated, log_count = self.position[NEWEST:]
        by_rank_W = newest_W + log_rank * rank_W.float().log()
        terms_NW: Tensor = by_rank_W + repeated * (count_NW > 1) + log_count * count_NW.log()
        return terms_NW

    def _event_terms(self, recent: RecentEvents) -> Tensor:
        """Return the part of the pointer logits that depends on times and kinds, [N, W] or a scalar 0."""
        terms: Tensor = self.own_weight.new_zeros(())
        if self.time is not None:
            assert recent.time_s_NW is not None
            time_s_NW = recent.time_s_NW[:, -self.window :]
            # unknown times count as no time since, like the newest event
            age_s_NW = (time_s_NW[:, -1:] - time_s_NW).clamp(min=0).nan_to_num(0.0).float()
            terms = terms + self.time * age_s_NW.log1p()
        if self.kind is not None:
            assert recent.kind_NW is not None
            terms = terms + self.kind[recent.kind_NW[:, -self.window :]]
        return terms
