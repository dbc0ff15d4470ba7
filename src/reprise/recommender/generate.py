"""Continuations of a history: choose an item, read it as if it had happened, choose the next.

Shape letters: T events of the history, I items, K those that can be drawn, W paths of a beam search, L items of a path,
N any numbers. Column j of what has I columns belongs to item index j + 1.
"""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array
from reprise.errors import ConfigError
from reprise.recommender.ranker import check_count
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import BLOCK


@dataclass(frozen=True)
class DecodingOptions:
    """How the next items are chosen: drawn from the softmax of the scores, or searched for with beams."""

    temperature: float = 1.0
    """The scores are divided by it before the softmax; 0 always takes the best."""
    top_k: int | None = None
    """Draw from the best so many only; None: from all."""
    top_p: float | None = None
    """Draw from the fewest items, best first, that together have this share of the probability; None: from all."""
    no_repeat: bool = True
    """No item is chosen twice. Items of the history may be."""
    seed: int | None = None
    """The same seed draws the same items; None draws anew each time."""
    beams: int | None = None
    """Draw nothing, and keep so many paths in the search for the likeliest one."""

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be at least 0, got {self.temperature!r}")
        if self.top_k is not None:
            check_count("top_k", self.top_k, "; None draws from all items")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(
                f"top_p must be above 0 and at most 1, got {self.top_p!r}; None draws from all items"
            )
        if self.seed is not None:
            check_count("seed", self.seed, "; None draws anew each time", least=0)
        if self.beams is not None:
            check_count("beams", self.beams, "; None draws instead of searching")
            self._check_nothing_is_drawn()

    def _check_nothing_is_drawn(self) -> None:
        asked = [name for name in ("top_k", "top_p", "seed") if getattr(self, name) is not None]
        if self.temperature != 1:
            asked.insert(0, "temperature")
        if asked:
            raise ConfigError(
                f"beams={self.beams} searches for the likeliest path and draws nothing, so {', '.join(asked)} would mean "
                "nothing; leave out one or the other"
            )


class Path(NamedTuple):
    """Items that follow one another."""

    index_L: list[int]
    log_probability_L: list[float]
    """Of each item after those before it, among all items, at a temperature of 1."""


def continue_history(
    network: OnnxNetwork,
    history: EventArrays,
    length: int,
    choice: DecodingOptions,
    popularity_I: Float32Array,
    available_I: BoolArray | None = None,
) -> Path:
    """Items that could follow. Without a history the first item has the probability of its popularity.

    What is chosen is read as an event of the commonest kind, at a time that is not known and without a value. Items that are
    not available are not chosen, and have their share of the probability.

    Raises:
        ConfigError: `length` is below 1, or above what can be chosen without a repetition.
    """
    state = network.fold([history])
    return continue_state(network, state, len(history) > 0, length, choice, popularity_I, available_I)


def continue_state(
    network: OnnxNetwork,
    state: State,
    known: bool,
    length: int,
    choice: DecodingOptions,
    popularity_I: Float32Array,
    available_I: BoolArray | None = None,
) -> Path:
    """`continue_history` from the state after it; `known` says whether the state has read anything."""
    closed_N = np.empty(0, dtype=np.int64) if available_I is None else np.flatnonzero(~available_I)
    _check_length(length, len(popularity_I) - len(closed_N), choice.no_repeat)
    shares_I = None if known else popularity_I
    if choice.beams is None:
        return _drawn(network, state, length, choice, shares_I, closed_N)
    return _likeliest(network, state, length, choice, shares_I, closed_N)


def _drawn(
    network: OnnxNetwork,
    state: State,
    length: int,
    choice: DecodingOptions,
    shares_I: Float32Array | None,
    closed_N: AnyArray,
) -> Path:
    generator = np.random.default_rng(choice.seed)
    path = Path([], [])
    for _ in range(length):
        log_I = _log_probabilities(network, state, None if path.index_L else shares_I)[0]
        open_I = log_I.copy()
        open_I[closed_N] = -np.inf
        if choice.no_repeat:
            open_I[np.array(path.index_L, dtype=np.int64) - 1] = -np.inf
        column = _draw(open_I, choice, generator)
        path.index_L.append(column + 1)
        path.log_probability_L.append(float(log_I[column]))
        state = network.advance(state, EventArrays.of_items(np.array([column + 1])))
    return path


def _draw(log_I: Float64Array, choice: DecodingOptions, generator: np.random.Generator) -> int:
    """The column of the drawn item."""
    if choice.temperature == 0:
        return int(log_I.argmax())
    column_K = _largest(log_I, choice.top_k or len(log_I))
    with np.errstate(
        over="ignore"
    ):  # at a tiny temperature all but the best become minus infinity, as they should
        scaled_K = (log_I[column_K] - log_I[column_K].max()) / choice.temperature
    if choice.top_p is not None:
        nucleus_K = _nucleus(scaled_K, choice.top_p)
        column_K, scaled_K = column_K[nucleus_K], scaled_K[nucleus_K]
    # the largest of logits with Gumbel noise is a draw from their softmax (Gumbel 1954)
    return int(column_K[(scaled_K + generator.gumbel(size=len(scaled_K))).argmax()])


def _nucleus(logit_K: Float64Array, top_p: float) -> AnyArray:
    """Positions, ascending, of the smallest set whose probability reaches `top_p` (Holtzman et al. 2020)."""
    order_K = np.argsort(-logit_K, kind="stable")
    reached_K = np.exp(logit_K[order_K]).cumsum()
    # the sum itself and not 1, which rounding may keep the last element from
    count = int(np.searchsorted(reached_K, top_p * reached_K[-1])) + 1
    return np.sort(order_K[:count])


def _likeliest(
    network: OnnxNetwork,
    state: State,
    length: int,
    choice: DecodingOptions,
    shares_I: Float32Array | None,
    closed_N: AnyArray,
) -> Path:
    """Beam search. The paths stay in the order of their items, so the first of equally likely ones comes first."""
    assert choice.beams is not None
    path_WL = np.empty((1, 0), dtype=np.int64)
    log_WL = np.empty((1, 0))
    for step in range(length):
        chosen_WL = path_WL if choice.no_repeat else path_WL[:, :0]
        known_I = None if step else shares_I
        from_W, column_W, log_W = _extensions(
            network, state, log_WL.sum(axis=1), chosen_WL, closed_N, choice.beams, known_I
        )
        path_WL = np.column_stack([path_WL[from_W], column_W + 1])
        log_WL = np.column_stack([log_WL[from_W], log_W])
        before = {name: array[from_W] for name, array in state.items()}
        state = network.advance(before, EventArrays.of_items(column_W + 1))
    best = log_WL.sum(axis=1).argmax()
    return Path(path_WL[best].tolist(), log_WL[best].tolist())


def _extensions(
    network: OnnxNetwork,
    state: State,
    total_W: Float64Array,
    chosen_WL: AnyArray,
    closed_N: AnyArray,
    beams: int,
    shares_I: Float32Array | None,
) -> tuple[AnyArray, AnyArray, Float64Array]:
    """The likeliest paths with one item more: (row of the path, column of the item, its log-probability).

    Only some rows of the scores exist at once, so that memory does not grow with beams times items.
    """
    row_N, column_N, log_N = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    rows = max(1, BLOCK // network.output_ID.shape[0])
    for start in range(0, len(total_W), rows):
        block = slice(start, start + rows)
        log_WI = _log_probabilities(network, {name: array[block] for name, array in state.items()}, shares_I)
        np.put_along_axis(log_WI, chosen_WL[block] - 1, -np.inf, axis=1)
        log_WI[:, closed_N] = -np.inf
        best_M = _largest((total_W[block, None] + log_WI).ravel(), beams)
        row_M, column_M = np.divmod(best_M, log_WI.shape[1])
        row_N, column_N = np.append(row_N, row_M + start), np.append(column_N, column_M)
        log_N = np.append(log_N, log_WI[row_M, column_M])
    kept_W = _largest(total_W[row_N] + log_N, beams)
    return row_N[kept_W], column_N[kept_W], log_N[kept_W]


def _log_probabilities(network: OnnxNetwork, state: State, shares_I: Float32Array | None) -> Float64Array:
    """The logarithm of the softmax of the scores, [W, I]; of `shares_I` where there is nothing to go by."""
    if shares_I is None:
        score_WI = network.scores(state).astype(np.float64)
    else:
        score_WI = np.log(np.maximum(shares_I, np.finfo(np.float32).tiny), dtype=np.float64)[None]
    score_WI -= score_WI.max(axis=1, keepdims=True)
    log_WI: Float64Array = score_WI - np.log(np.exp(score_WI).sum(axis=1, keepdims=True))
    return log_WI


def _largest(value_N: Float64Array, count: int) -> AnyArray:
    """Positions, ascending, of the `count` largest; the first of equal ones, and never minus infinity."""
    open_N = np.flatnonzero(value_N > -np.inf)
    if count >= len(open_N):
        return open_N
    value_N = value_N[open_N]
    floor = np.partition(value_N, -count)[-count]
    above_N, equal_N = np.flatnonzero(value_N > floor), np.flatnonzero(value_N == floor)
    return open_N[np.sort(np.append(above_N, equal_N[: count - len(above_N)]))]


def _check_length(length: int, items: int, no_repeat: bool) -> None:
    check_count("length", length)
    if items == 0:
        raise ConfigError("no item can be chosen: none is available")
    if no_repeat and length > items:
        raise ConfigError(
            f"length={length} is above the {items} items that can be chosen; ask for fewer, or pass no_repeat=False"
        )
