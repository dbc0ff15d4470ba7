"""Sessions like the current one, and what happened in them.

Shape letters: N targets, W last items (the window), S sessions, Q pairs of a target and a session, P pairs of these and an
item. Arrays by item have I + 1 places: place 0 belongs to `PAD`.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from reprise.arrays import AnyArray, BoolArray
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.session_matrix import (
    Sessions,
    csr_positions,
    find_sessions,
    popularity_tie_break,
    row_chunks,
    top_k_per_row,
)
from reprise.models.baselines.window_scorer import WindowScorer, fitted

RECENCY_TIE_BREAK = 1e-6
"""How much nearer the last session of the log is than an equal one at its beginning: of equal ones the later are kept."""


@spec
class SessionKNN:
    """Nearest sessions: what happened in those that are like the user's last W items i_w, near the items in common.

    A session n is as near as r(n) = sum over the items in common of exp(-w / d) idf(i_w)^2 / size(n)^p, w the events between
    i_w and the target, size(n) the items in n. Of each item the latest `sessions` are compared; the `neighbours` nearest are
    kept, of equals the latest. Then s_j = sum over the neighbours n with j of r(n)^q exp(-|x_j - x| / b) idf(j), where x is the
    place in n of the latest item in common, x_j that of j, and idf(j) = log(1 + S / S_j), where S_j of all S sessions have j.
    For items of the window s_j is multiplied by `own`.

    Vector-multiplication session-based kNN as in Kersbergen, Sprangers and Schelter, "Serenade" (2022), after Ludewig and
    Jannach (2018), with the weights by position of STAN (Garg et al. 2019) and the inverse frequencies of VSTAN (Ludewig et
    al. 2021).
    """

    window: Annotated[int, Field(ge=1, le=50)] = 20
    """Last items that are compared, W."""
    sessions: Annotated[int, Field(ge=1)] = 500
    """Latest sessions of each item that are looked at."""
    neighbours: Annotated[int, Field(ge=1)] = 500
    """Nearest sessions that are asked."""
    decay: Annotated[float, Field(gt=0)] = 4.0
    """d: events after which an item in common weighs 1 / e."""
    size_power: Annotated[float, Field(ge=0)] = 0.25
    """p: how much a large session is marked down; 0.5 is the cosine, 0 not at all."""
    sharpness: Annotated[float, Field(gt=0)] = 2.0
    """q: how much more the nearer sessions say than the others."""
    spread: Annotated[float, Field(gt=0)] | None = 8.0
    """b: places from the latest item in common after which an item weighs 1 / e."""
    own: Annotated[float, Field(ge=0)] | None = None
    """What items of the window weigh beside others. Left out: by how often an item comes again, see `Sessions.own`."""
    half_life: str | None = None
    """Age, back from the last session, at which a session is half as near, such as `30d`. Left out: age plays no role."""
    length: Annotated[int, Field(ge=2)] = 50
    """Events of a session at most; longer sequences are cut."""

    def __post_init__(self) -> None:
        self.half_life_ms()

    def __str__(self) -> str:
        return short_name(self)

    def half_life_ms(self) -> float:
        """The half-life in milliseconds; infinity where there is none."""
        # here, since it brings a table engine with it
        from reprise.data.timestamps import parse_duration

        return float("inf") if self.half_life is None else float(parse_duration(self.half_life))

    def fit(self, dataset: SequenceDataset) -> "FittedSessionKNN":
        """Read the sessions before the test part; memory grows with the log.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedSessionKNN(self), dataset)


class _Neighbours(NamedTuple):
    """The sessions that are asked, of all targets, those of one target together."""

    row_Q: AnyArray
    """Which target."""
    session_Q: AnyArray
    """Which session."""
    near_Q: AnyArray
    """r(n)^q, float64."""
    common_Q: AnyArray
    """The latest item in common."""


class FittedSessionKNN(WindowScorer):
    """`SessionKNN` of a log."""

    def __init__(self, spec: SessionKNN) -> None:
        super().__init__(str(spec), spec.window)
        self._spec = spec
        self._weight_W = np.exp(-np.arange(spec.window)[::-1] / spec.decay)
        # by the places between two events of a session
        self._fade_L = np.exp(-np.arange(spec.length) / (spec.spread or np.inf))

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Read the sessions before a part; only those that are among the latest of an item are kept."""
        spec, items = self._spec, dataset.items.warm + 1
        self._tie_I = popularity_tie_break(dataset, before)
        sessions = find_sessions(dataset, before, spec.length)
        has_I = np.bincount(sessions.item_P, minlength=items)
        self._idf_I = np.log1p(len(sessions.last_ms_S) / np.maximum(has_I, 1))
        self._own = sessions.own if spec.own is None else spec.own
        latest_P = latest_of_items(sessions, spec.sessions)
        kept_S = np.zeros(len(sessions.last_ms_S), dtype=np.bool_)
        kept_S[sessions.session_P[latest_P]] = True
        latest_P = latest_P[np.repeat(kept_S, sessions.length_S)]
        self._sessions = sessions = sessions.only(kept_S)
        columns = sessions.item_P[latest_P], sessions.session_P[latest_P]
        ones_P = np.ones(len(columns[0]), dtype=np.complex128)
        self._latest_IS = sparse.csr_array((ones_P, columns), shape=(items, len(sessions.last_ms_S)))
        self._length_S, self._factor_S = sessions.length_S, self._factors(sessions)

    def _factors(self, sessions: Sessions) -> AnyArray:
        """What the nearness of each session is multiplied by, whoever asks.

        The age is fitted from the last session and not from the moment of asking: by that all sessions would fade alike.
        """
        age_ms_S = sessions.last_ms_S[-1] - sessions.last_ms_S
        later_S = 1 + RECENCY_TIE_BREAK * np.arange(len(age_ms_S)) / len(age_ms_S)
        factor_S: AnyArray = np.exp2(-age_ms_S / self._spec.half_life_ms()) * later_S
        return factor_S / sessions.length_S**self._spec.size_power

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """The scores by what happened in the nearest sessions, s_NI, float32."""
        s_NI = self._tie_I.repeat(len(recent_NW), 1)
        read = self._spec.neighbours * int(self._length_S.max())
        cost_N = (recent_NW != PAD).sum(1).numpy() * self._spec.sessions + read
        for rows in row_chunks(cost_N):
            self._add(s_NI[rows], recent_NW[rows].numpy())
        return s_NI

    def _add(self, s_NI: Tensor, item_NW: AnyArray) -> None:
        """Add the scores after some target_windows."""
        near = self._nearest(item_NW)
        start_Q, length_Q = self._sessions.start[near.session_Q], self._length_S[near.session_Q]
        at_P, pair_P = csr_positions(start_Q, length_Q), np.repeat(np.arange(len(length_Q)), length_Q)
        item_P = self._sessions.item_P[at_P]
        value_P = near.near_Q[pair_P] * self._idf_I[item_P]
        if self._spec.spread is not None:
            place_P = self._sessions.place_P[at_P]
            # an item is in a session once, so there is one such place for each pair, in their order
            common_Q = place_P[item_P == near.common_Q[pair_P]]
            value_P *= self._fade_L[np.abs(place_P - common_Q[pair_P])]
        place_P = near.row_Q[pair_P] * s_NI.shape[1] + item_P - 1
        s_NI.view(-1).index_add_(0, torch.from_numpy(place_P), torch.from_numpy(value_P.astype(np.float32)))
        row_P, column_P = np.nonzero(item_NW != PAD)
        own = torch.from_numpy(row_P), torch.from_numpy(item_NW[row_P, column_P] - 1)
        # read, then written: an item that is there twice is weighed once
        s_NI[own] = s_NI[own] * self._own

    def _nearest(self, item_NW: AnyArray) -> _Neighbours:
        """The nearest sessions of each window."""
        item_NW = _latest_only(item_NW)
        row_P, place_P = np.nonzero(item_NW)
        item_P = item_NW[row_P, place_P]
        start = np.searchsorted(row_P, np.arange(len(item_NW) + 1)).astype(np.int32)
        # one product for two sums: nearness, and one bit for each place, the highest of which is the latest item in common
        weight_P = self._weight_W[place_P] * self._idf_I[item_P] ** 2 + 1j * np.exp2(place_P)
        asked_NI = sparse.csr_array(
            (weight_P, item_P.astype(np.int32), start), shape=(len(item_NW), len(self._idf_I))
        )
        found_NS = asked_NI @ self._latest_IS
        near_Q = found_NS.data.real * self._factor_S[found_NS.indices]
        kept_Q = top_k_per_row(found_NS.indptr, near_Q, self._spec.neighbours)
        row_Q = np.repeat(np.arange(len(item_NW)), np.diff(found_NS.indptr))[kept_Q]
        latest_Q = np.frexp(found_NS.data.imag[kept_Q])[1] - 1
        session_Q, common_Q = found_NS.indices[kept_Q], item_NW[row_Q, latest_Q]
        return _Neighbours(row_Q, session_Q, near_Q[kept_Q] ** self._spec.sharpness, common_Q)


def latest_of_items(sessions: Sessions, limit: int) -> BoolArray:
    """Which pairs belong to the `most` latest sessions of their item."""
    order_P = np.argsort(sessions.item_P, kind="stable")[::-1]
    item_P = sessions.item_P[order_P]
    begins = np.flatnonzero(np.diff(item_P, prepend=-1))
    rank_P = np.arange(len(item_P)) - np.repeat(begins, np.diff(begins, append=len(item_P)))
    latest_P = np.zeros(len(item_P), dtype=np.bool_)
    latest_P[order_P[rank_P < limit]] = True
    return latest_P


def _latest_only(item_NW: AnyArray) -> AnyArray:
    """The target_windows with each item where it came last, and `PAD` where it came before."""
    item_NW = item_NW.copy()
    first = int((item_NW != PAD).any(0).argmax())
    for place in range(first, item_NW.shape[1] - 1):
        again_N = (item_NW[:, place, None] == item_NW[:, place + 1 :]).any(1)
        item_NW[again_N, place] = PAD
    return item_NW
