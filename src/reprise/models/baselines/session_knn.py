"""Session-based nearest neighbours: sessions similar to the current one, and the items in them.

Shape letters: N targets, W last items (the window), S sessions, Q pairs of a target and a neighbour session, P pairs
of these and an item. Arrays over items have I + 1 entries; entry 0 belongs to `PAD`.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from reprise.arrays import AnyArray, BoolArray
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset, check_dataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.counts.session_matrix import (
    Sessions,
    csr_positions,
    find_sessions,
    popularity_tie_break,
    row_chunks,
    top_k_per_row,
)

RECENCY_TIE_BREAK = 1e-6
"""Relative advantage of the last session of the log over the first; it breaks ties in favour of later sessions."""


@spec(renamed={"own": "repeat_weight"})
class SessionKNN:
    """Session-based kNN: the score of an item is the weighted number of similar sessions that contain it.

    The similarity of a session n to the last W items i_w of the user is r(n) = sum over the items in common of exp(-w
    / d) idf(i_w)^2 / size(n)^p, with w events between i_w and the target and size(n) the number of items in n. Of each
    item the latest `sessions` sessions are compared, and the `neighbours` most similar ones are used; ties go to the
    later session. s_j = sum over the neighbours n that contain j of r(n)^q exp(-|x_j - x| / b) idf(j). Here x is the
    place in n of the latest item in common, x_j that of j, and idf(j) = log(1 + S / S_j), where S_j of all S sessions
    contain j. For items of the window s_j is multiplied by `repeat_weight`.

    Vector-multiplication session-based kNN as in Kersbergen, Sprangers and Schelter, "Serenade" (2022), after Ludewig
    and Jannach (2018), with the position weights of STAN (Garg et al. 2019) and the inverse document frequencies of
    VSTAN (Ludewig et al. 2021).
    """

    window: Annotated[int, Field(ge=1, le=50)] = 20
    """Number of last items that are compared, W."""
    sessions: Annotated[int, Field(ge=1)] = 500
    """Number of latest sessions per item that are compared."""
    neighbours: Annotated[int, Field(ge=1)] = 500
    """Number of most similar sessions that are used."""
    decay: Annotated[float, Field(gt=0)] = 4.0
    """d: number of events after which the weight of a common item is 1 / e."""
    size_power: Annotated[float, Field(ge=0)] = 0.25
    """p: exponent of the session size in the similarity; 0.5 is the cosine, 0 ignores the size."""
    sharpness: Annotated[float, Field(gt=0)] = 2.0
    """q: exponent of the similarity; a larger value favours the most similar sessions."""
    spread: Annotated[float, Field(gt=0)] | None = 8.0
    """b: number of places from the latest common item after which the weight of an item is 1 / e.
    None: items are not weighted by their place."""
    repeat_weight: Annotated[float, Field(ge=0)] | None = None
    """Factor of the scores of items in the window.
    Default: estimated from the share of events that repeat an item of their session."""
    half_life: str | None = None
    """Age at which the similarity of a session is halved, such as `30d`, relative to the last session.
    Default: the age is ignored."""
    length: Annotated[int, Field(ge=2)] = 50
    """Maximum number of events per session; longer sequences are split."""

    def __post_init__(self) -> None:
        self.half_life_ms()

    def __str__(self) -> str:
        return short_name(self)

    def half_life_ms(self) -> float:
        """Return the half-life in milliseconds; infinity if there is none."""
        # imported here, because it imports DuckDB
        from reprise.data.timestamps import parse_duration

        return float("inf") if self.half_life is None else float(parse_duration(self.half_life))

    def fit(self, dataset: SequenceDataset) -> "FittedSessionKNN":
        """Read the sessions before the test part; memory grows with the log.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedSessionKNN(self), dataset)


class _Neighbours(NamedTuple):
    """The neighbour sessions of all targets, grouped by target."""

    row_Q: AnyArray
    """Index of the target."""
    session_Q: AnyArray
    """Index of the neighbour session."""
    weight_Q: AnyArray
    """r(n)^q, float64."""
    common_Q: AnyArray
    """The latest item of the window that the session also contains."""


class FittedSessionKNN(WindowScorer):
    """A fitted `SessionKNN` scorer."""

    def __init__(self, spec: SessionKNN) -> None:
        super().__init__(str(spec), spec.window)
        self._spec = spec
        self._weight_W = np.exp(-np.arange(spec.window)[::-1] / spec.decay)
        # exp(-distance / b), indexed by the distance of two events in a session
        self._proximity_L = np.exp(-np.arange(spec.length) / (spec.spread or np.inf))

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Read the sessions before a part, and keep those that are among the latest sessions of some item."""
        spec, items = self._spec, check_dataset(dataset).items.warm + 1
        self._tie_I = popularity_tie_break(dataset, before)
        sessions = find_sessions(dataset, before, spec.length)
        # the document frequencies are those of all sessions, also of those that are dropped below
        sessions_I = np.bincount(sessions.item_P, minlength=items)
        self._idf_I = np.log1p(len(sessions.last_ms_S) / np.maximum(sessions_I, 1))
        self._repeat_weight = sessions.repeat_weight if spec.repeat_weight is None else spec.repeat_weight
        # A popular item is in very many sessions, and comparing all of them would make a query slow. Only the latest
        # `spec.sessions` of each item are compared; a session that is not among them for any item is never found.
        latest_P = latest_of_items(sessions, spec.sessions)
        kept_S = np.zeros(len(sessions.last_ms_S), dtype=np.bool_)
        kept_S[sessions.session_P[latest_P]] = True
        latest_P = latest_P[np.repeat(kept_S, sessions.length_S)]
        self._sessions = sessions = sessions.select(kept_S)
        columns = sessions.item_P[latest_P], sessions.session_P[latest_P]
        ones_P = np.ones(len(columns[0]), dtype=np.complex128)
        self._latest_IS = sparse.csr_array((ones_P, columns), shape=(items, len(sessions.last_ms_S)))
        self._length_S, self._factor_S = sessions.length_S, self._factors(sessions)

    def _factors(self, sessions: Sessions) -> AnyArray:
        """Return the factor of each session's similarity that does not depend on the query, [S]."""
        # The age is measured from the last session of the log. Measured from the time of the request, it
        # would be larger by the same amount for all sessions, which multiplies all similarities by one
        # constant.
        age_ms_S = sessions.last_ms_S[-1] - sessions.last_ms_S
        later_S = 1 + RECENCY_TIE_BREAK * np.arange(len(age_ms_S)) / len(age_ms_S)
        factor_S: AnyArray = np.exp2(-age_ms_S / self._spec.half_life_ms()) * later_S
        return factor_S / sessions.length_S**self._spec.size_power

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the scores from the nearest sessions of each window, s_NI, float32."""
        s_NI = self._tie_I.repeat(len(recent_NW), 1)
        pairs = self._spec.neighbours * int(self._length_S.max())
        cost_N = (recent_NW != PAD).sum(1).numpy() * self._spec.sessions + pairs
        for rows in row_chunks(cost_N):
            self._add_scores(s_NI[rows], recent_NW[rows].numpy())
        return s_NI

    def _add_scores(self, s_NI: Tensor, item_NW: AnyArray) -> None:
        """Add the scores of some windows to `s_NI`, in place."""
        near = self._nearest(item_NW)
        start_Q, length_Q = self._sessions.start[near.session_Q], self._length_S[near.session_Q]
        index_P, pair_P = csr_positions(start_Q, length_Q), np.repeat(np.arange(len(length_Q)), length_Q)
        item_P = self._sessions.item_P[index_P]
        value_P = near.weight_Q[pair_P] * self._idf_I[item_P]
        if self._spec.spread is not None:
            # Example: the session 4 7 9 and the latest common item 7, at place 1. With b = 8 the items 4 and 9, one
            # place away, get the weight exp(-1/8), and 7 itself 1.
            place_P = self._sessions.place_P[index_P]
            # a session contains an item only once, so this selects exactly one place for each neighbour, in order
            common_Q = place_P[item_P == near.common_Q[pair_P]]
            value_P *= self._proximity_L[np.abs(place_P - common_Q[pair_P])]
        cell_P = near.row_Q[pair_P] * s_NI.shape[1] + item_P - 1
        s_NI.view(-1).index_add_(0, torch.from_numpy(cell_P), torch.from_numpy(value_P.astype(np.float32)))
        row_P, column_P = np.nonzero(item_NW != PAD)
        own = torch.from_numpy(row_P), torch.from_numpy(item_NW[row_P, column_P] - 1)
        # an indexed read and then an indexed write: an item that is in the window twice is multiplied only once
        s_NI[own] = s_NI[own] * self._repeat_weight

    def _nearest(self, item_NW: AnyArray) -> _Neighbours:
        """Return the nearest sessions of each window."""
        item_NW = _keep_latest(item_NW)
        row_P, place_P = np.nonzero(item_NW)
        item_P = item_NW[row_P, place_P]
        start = np.searchsorted(row_P, np.arange(len(item_NW) + 1)).astype(np.int32)
        # One sparse product of complex numbers computes two sums together. The real part is the similarity.
        # The imaginary part adds the bit 2^place for each item in common, and its highest bit is the place of
        # the latest one. Example: items in common at the places 3 and 5 give 8 + 32 = 40, and frexp(40) =
        # 0.625 * 2^6, so the latest place is 6 - 1 = 5. Windows have at most 50 places, so a float64 holds
        # such a sum exactly.
        weight_P = self._weight_W[place_P] * self._idf_I[item_P] ** 2 + 1j * np.exp2(place_P)
        query_NI = sparse.csr_array(
            (weight_P, item_P.astype(np.int32), start), shape=(len(item_NW), len(self._idf_I))
        )
        found_NS = query_NI @ self._latest_IS
        similarity_Q = found_NS.data.real * self._factor_S[found_NS.indices]
        kept_Q = top_k_per_row(found_NS.indptr, similarity_Q, self._spec.neighbours)
        row_Q = np.repeat(np.arange(len(item_NW)), np.diff(found_NS.indptr))[kept_Q]
        latest_Q = np.frexp(found_NS.data.imag[kept_Q])[1] - 1
        session_Q, common_Q = found_NS.indices[kept_Q], item_NW[row_Q, latest_Q]
        return _Neighbours(row_Q, session_Q, similarity_Q[kept_Q] ** self._spec.sharpness, common_Q)


def latest_of_items(sessions: Sessions, limit: int) -> BoolArray:
    """Return a mask of the pairs (session, item) that belong to the `limit` latest sessions of their item, [P]."""
    order_P = np.argsort(sessions.item_P, kind="stable")[::-1]
    item_P = sessions.item_P[order_P]
    begins = np.flatnonzero(np.diff(item_P, prepend=-1))
    rank_P = np.arange(len(item_P)) - np.repeat(begins, np.diff(begins, append=len(item_P)))
    latest_P = np.zeros(len(item_P), dtype=np.bool_)
    latest_P[order_P[rank_P < limit]] = True
    return latest_P


def _keep_latest(item_NW: AnyArray) -> AnyArray:
    """Replace all but the latest occurrence of each item in a window by `PAD`."""
    item_NW = item_NW.copy()
    first = int((item_NW != PAD).any(0).argmax())
    for place in range(first, item_NW.shape[1] - 1):
        again_N = (item_NW[:, place, None] == item_NW[:, place + 1 :]).any(1)
        item_NW[again_N, place] = PAD
    return item_NW
