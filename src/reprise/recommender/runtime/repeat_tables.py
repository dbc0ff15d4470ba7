"""The repeat head without torch: from the last events of users to the terms of the mixture.

Shape letters: B users, W events of the window (newest last).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.vocabulary import PAD
from reprise.recommender.runtime.cooccurrence_tables import RECENT
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.pointer_mixture import NO_ITEM, PointerMixture, allowed_places

RECENT_TIME, RECENT_KIND = "recent_time_s", "recent_kind"
"""Names of the arrays of a state that hold the timestamps and the kinds of the last events, [B, W]."""
NEWEST = 3
"""Number of newest events with a pointer weight of their own."""
POSITION_WEIGHTS = NEWEST + 3
"""Number of pointer weights that need items only: the newest events, log r, [c > 1] and log c."""


@dataclass(frozen=True)
class RepeatTables:
    """The fitted numbers of a `RepeatHead`, whose docstring has the equations."""

    window: AnyArray
    """Number of last events that are used, W, [1], int64."""
    position: AnyArray
    """Pointer weights w_1 to w_6, [6]."""
    own_weight: AnyArray
    """Weight of the item's own score in its pointer logit, w_l, [1]."""
    gate: AnyArray
    """Weights b_0, b_1 and b_2 of the log odds of a repeat, [3]."""
    scale: AnyArray
    """Factor s of all scores, [1]."""
    shift: AnyArray
    """Number u <= 0 that is added to the scaled scores of the window before the mixture, [1]."""
    time: AnyArray | None = None
    """Pointer weight w_t of log(1 + t), [1]; None if the head reads no times."""
    kind: AnyArray | None = None
    """Pointer weight of each kind of event; None if the head reads no kinds."""

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, AnyArray]) -> "RepeatTables | None":
        """Return the tables of an artefact, or None if it has none."""
        return cls(**tensors) if tensors else None

    def mixture(self, state: State, allowed: BoolArray | None = None) -> PointerMixture | None:
        """Return the terms of the mixture for users in these states; None if no user's recent item is a candidate.

        Args:
            state: States with the last events. Their window may be longer than W.
            allowed: Mask of the candidates, [I] for all users or [B, I]; None: all items are.
        """
        width = len(self._rank_terms_W)
        item_BW = state[RECENT][:, -width:]
        if not allowed_places(item_BW, allowed).any():
            return None
        # same_BWW[b, v, w]: the places v and w of user b have the same item, or none
        same_BWW = item_BW[:, :, None] == item_BW[:, None, :]
        event_BW = item_BW != PAD
        latest_BW = event_BW & ~(same_BWW & self._later_WW).any(axis=2)
        # by the number of places with the same item; at `PAD` the result is not used
        pointer_BW = self._rank_terms_W + self._count_terms_W[same_BWW.sum(axis=2)]
        pointer_BW += self._event_terms(state, width)
        return PointerMixture(
            np.where(latest_BW, item_BW, PAD),
            np.where(latest_BW, pointer_BW, NO_ITEM),
            self._gate_WW[event_BW.sum(axis=1), latest_BW.sum(axis=1)],
            float(self.own_weight[0]),
            float(self.scale[0]),
            float(self.shift[0]),
        )

    @cached_property
    def _later_WW(self) -> BoolArray:
        """Whether place w is later than place v."""
        width = int(self.window[0])
        return np.triu(np.ones((width, width), dtype=np.bool_), 1)

    @cached_property
    def _rank_terms_W(self) -> Float64Array:
        """Part of the pointer logits that depends on the position of an event."""
        rank_W = np.arange(int(self.window[0]), 0, -1)
        weight = self.position.astype(np.float64)
        newest_W = np.zeros(len(rank_W))
        newest_W[-NEWEST:] = weight[:NEWEST][::-1][-len(rank_W) :]
        terms_W: Float64Array = newest_W + weight[NEWEST] * np.log(rank_W)
        return terms_W

    @cached_property
    def _count_terms_W(self) -> Float64Array:
        """Part of the pointer logits of an item that occurs 0 to W times."""
        count_W = np.arange(int(self.window[0]) + 1)
        repeated, log_count = self.position[NEWEST + 1 :].astype(np.float64)
        terms_W: Float64Array = repeated * (count_W > 1) + log_count * np.log(np.maximum(count_W, 1))
        return terms_W

    @cached_property
    def _gate_WW(self) -> Float64Array:
        """Log odds of a repeat after a window with 0 to W events, of 0 to W different items."""
        events_WW, items_WW = np.indices((int(self.window[0]) + 1,) * 2)
        # there are never more items than events
        repeats_WW = np.log((np.maximum(events_WW - items_WW, 0) + 0.5) / (items_WW + 0.5))
        constant, by_length, by_repeats = self.gate.astype(np.float64)
        gate_WW: Float64Array = (
            constant + by_length * np.log(np.maximum(events_WW, 1)) + by_repeats * repeats_WW
        )
        return gate_WW

    def _event_terms(self, state: State, width: int) -> Float64Array | float:
        """Return the part of the pointer logits that depends on times and kinds, [B, W] or 0."""
        terms: Float64Array | float = 0.0
        if self.time is not None:
            time_s_BW = state[RECENT_TIME][:, -width:]
            # unknown times count as no time since, like the newest event
            age_s_BW = np.fmax(time_s_BW[:, -1:] - time_s_BW, 0.0)
            terms = float(self.time[0]) * np.log1p(age_s_BW)
        if self.kind is not None:
            terms = terms + self.kind[state[RECENT_KIND][:, -width:]]
        return terms
