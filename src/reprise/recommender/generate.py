"""Generation of continuations: choose an item, read it as an event, choose the next one.

Shape letters: T events of the history, I items, K items to sample from, W paths of a beam search, L items of a path, M best
extensions of some paths, N any numbers. Column j of an array with I columns belongs to item index j + 1.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np

from reprise.argument_checks import flag, number, whole
from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array
from reprise.data.popular_items import Moment
from reprise.errors import ConfigError
from reprise.recommender.history import History
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommendations import Continuation
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_network import OnnxNetwork
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import MAX_SCORES


@dataclass(frozen=True)
class DecodingOptions:
    """Options of the decoding: sampling from the softmax of the scores, or beam search."""

    temperature: float = 1.0
    """Number that divides the scores before the softmax; 0 always chooses the best item."""
    top_k: int | None = None
    """Number of best items to sample from; None: all items."""
    top_p: float | None = None
    """Probability of the items to sample from: the fewest best items that together reach it; None: all items."""
    no_repeat: bool = True
    """Whether no item is generated twice. Items of the history can be generated."""
    seed: int | None = None
    """Seed of the random numbers; the same seed gives the same items. None: a different result in each call."""
    beams: int | None = None
    """Number of paths that a beam search keeps; None: sampling."""

    def __post_init__(self) -> None:
        checked: dict[str, object] = {
            "temperature": number("temperature", self.temperature),
            "no_repeat": flag("no_repeat", self.no_repeat),
        }
        if self.temperature < 0:
            raise ConfigError(f"temperature must be at least 0, got {self.temperature!r}")
        if self.top_k is not None:
            checked["top_k"] = whole("top_k", self.top_k, high=inf, remedy="None samples from all items")
        if self.top_p is not None:
            checked["top_p"] = number("top_p", self.top_p)
            if not 0 < self.top_p <= 1:
                raise ConfigError(
                    f"top_p must be above 0 and at most 1, got {self.top_p!r}; None samples from all items"
                )
        if self.seed is not None:
            remedy = "None gives a different result in each call"
            checked["seed"] = whole("seed", self.seed, low=0, high=inf, remedy=remedy)
        if self.beams is not None:
            checked["beams"] = whole(
                "beams", self.beams, high=inf, remedy="None samples instead of searching"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.beams is not None:
            self._check_no_sampling_options()

    def _check_no_sampling_options(self) -> None:
        sampling = [name for name in ("top_k", "top_p", "seed") if getattr(self, name) is not None]
        if self.temperature != 1:
            sampling.insert(0, "temperature")
        if sampling:
            raise ConfigError(
                f"beams={self.beams} is for beam search, which does not use {', '.join(sampling)}; leave out beams to sample, "
                "or leave out the other options to search"
            )


class Path(NamedTuple):
    """A generated sequence of items."""

    index_L: list[int]
    """Indices of the items, in order."""
    log_probability_L: list[float]
    """Log-probability of each item after the items before it, among all items, at a temperature of 1."""


def generate_after(ranker: Ranker, history: History, length: int, options: DecodingOptions) -> Continuation:
    """Return the ids of items that could follow a history, as `continue_state` finds them."""
    share_I = ranker.popular_at(Moment(attributes=history.attributes)).share_I
    network, catalogue = ranker.network, ranker.catalogue
    state = network.with_attributes(network.fold([history.events]), [history.attributes])
    path = continue_state(network, state, len(history) > 0, length, options, share_I, catalogue.available_I)
    return Continuation(catalogue.item_ids(path.index_L), path.log_probability_L)


def continue_state(
    network: OnnxNetwork,
    state: State,
    known: bool,
    length: int,
    options: DecodingOptions,
    popularity_I: Float32Array,
    available_I: BoolArray | None = None,
) -> Path:
    """Return items that could follow the history of a state; `known` says whether the state has read an event.

    If it has not, the first item's probability is its popularity. A chosen item is read as an event of the most frequent kind,
    without a time and a value. Items that are not available are not chosen; the probabilities of the others stay as they are.
    A state that has become infinite or NaN is continued like that of a user without events.

    Raises:
        ConfigError: `length` is below 1, or above the number of items that can be chosen without repetition.
    """
    if known:
        score_1I = network.scores(state)
        if np.isnan(score_1I).any() or np.isposinf(score_1I).any():
            state, known = network.runtime.initial_state(1), False
    excluded_N = np.empty(0, dtype=np.int64) if available_I is None else np.flatnonzero(~available_I)
    _check_length(length, len(popularity_I) - len(excluded_N), options.no_repeat)
    shares_I = None if known else popularity_I
    decode = _sample if options.beams is None else _beam_search
    return decode(network, state, length, options, shares_I, excluded_N)


def _sample(
    network: OnnxNetwork,
    state: State,
    length: int,
    options: DecodingOptions,
    shares_I: Float32Array | None,
    excluded_N: AnyArray,
) -> Path:
    generator = np.random.default_rng(options.seed)
    path = Path([], [])
    for _ in range(length):
        log_I = log_probabilities(network, state, None if path.index_L else shares_I)[0]
        allowed_log_I = log_I.copy()
        allowed_log_I[excluded_N] = -np.inf
        if options.no_repeat:
            allowed_log_I[np.array(path.index_L, dtype=np.int64) - 1] = -np.inf
        column = _sample_item(allowed_log_I, options, generator)
        path.index_L.append(column + 1)
        path.log_probability_L.append(float(log_I[column]))
        state = network.advance(state, EventArrays.of_items(np.array([column + 1])))
    return path


def _sample_item(log_I: Float64Array, options: DecodingOptions, generator: np.random.Generator) -> int:
    """Return the column of a sampled item."""
    if options.temperature == 0:
        return int(log_I.argmax())
    column_K = _largest(log_I, options.top_k or len(log_I))
    # at a very small temperature the quotients overflow to minus infinity, which is the right limit: only the best remains
    with np.errstate(over="ignore"):
        scaled_K = (log_I[column_K] - log_I[column_K].max()) / options.temperature
    if options.top_p is not None:
        nucleus_K = _nucleus(scaled_K, options.top_p)
        column_K, scaled_K = column_K[nucleus_K], scaled_K[nucleus_K]
    # the argmax of logits plus Gumbel noise is a sample from their softmax (Gumbel 1954), without a cumulative sum
    return int(column_K[(scaled_K + generator.gumbel(size=len(scaled_K))).argmax()])


def _nucleus(logit_K: Float64Array, top_p: float) -> AnyArray:
    """Return positions, ascending, of the smallest set whose probability reaches `top_p` (Holtzman et al. 2020).

    Example: probabilities of 0.5, 0.3, 0.15 and 0.05 have the cumulative sums 0.5, 0.8, 0.95 and 1. `top_p=0.6` is reached by
    the second sum, so the set has the first two items.
    """
    order_K = np.argsort(-logit_K, kind="stable")
    cumulative_K = np.exp(logit_K[order_K]).cumsum()
    # relative to the last sum and not to 1: the logits are not normalised, and rounding could keep the sum below `top_p`
    count = int(np.searchsorted(cumulative_K, top_p * cumulative_K[-1])) + 1
    return np.sort(order_K[:count])


def _beam_search(
    network: OnnxNetwork,
    state: State,
    length: int,
    options: DecodingOptions,
    shares_I: Float32Array | None,
    excluded_N: AnyArray,
) -> Path:
    """Return the most probable path that a beam search finds.

    The paths are always in the order of their items, so `argmax` finds the first of equally probable ones.

    Example: after the history, item 2 has the probability 0.5 and item 3 has 0.4. The best continuation of 2 is 1, with 0.4;
    the best one of 3 is 3, with 0.96. One beam keeps only item 2 and finds 2 1, with 0.5 * 0.4 = 0.2. Two beams keep both
    items and find 3 3, with 0.4 * 0.96 = 0.384.
    """
    assert options.beams is not None
    path_WL = np.empty((1, 0), dtype=np.int64)
    log_WL = np.empty((1, 0))
    for step in range(length):
        generated_WL = path_WL if options.no_repeat else path_WL[:, :0]
        first_shares_I = None if step else shares_I
        from_W, column_W, log_W = _best_extensions(
            network, state, log_WL.sum(axis=1), generated_WL, excluded_N, options.beams, first_shares_I
        )
        path_WL = np.column_stack([path_WL[from_W], column_W + 1])
        log_WL = np.column_stack([log_WL[from_W], log_W])
        before = {name: array[from_W] for name, array in state.items()}
        state = network.advance(before, EventArrays.of_items(column_W + 1))
    best = log_WL.sum(axis=1).argmax()
    return Path(path_WL[best].tolist(), log_WL[best].tolist())


def _best_extensions(
    network: OnnxNetwork,
    state: State,
    total_W: Float64Array,
    generated_WL: AnyArray,
    excluded_N: AnyArray,
    beams: int,
    shares_I: Float32Array | None,
) -> tuple[AnyArray, AnyArray, Float64Array]:
    """Return the most probable paths with one more item: row of the path, column of the item, log-probability of the item.

    The paths are extended in blocks, so memory does not grow with beams times items. The best `beams` extensions of a block
    include all its extensions that are among the best `beams` of all blocks.
    """
    row_N, column_N, log_N = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    rows = max(1, MAX_SCORES // network.size)
    for start in range(0, len(total_W), rows):
        block = slice(start, start + rows)
        log_WI = log_probabilities(network, {name: array[block] for name, array in state.items()}, shares_I)
        np.put_along_axis(log_WI, generated_WL[block] - 1, -np.inf, axis=1)
        log_WI[:, excluded_N] = -np.inf
        best_M = _largest((total_W[block, None] + log_WI).ravel(), beams)
        row_M, column_M = np.divmod(best_M, log_WI.shape[1])
        row_N, column_N = np.append(row_N, row_M + start), np.append(column_N, column_M)
        log_N = np.append(log_N, log_WI[row_M, column_M])
    kept_W = _largest(total_W[row_N] + log_N, beams)
    return row_N[kept_W], column_N[kept_W], log_N[kept_W]


def log_probabilities(
    network: OnnxNetwork, state: State, shares_I: Float32Array | None, now_s: float | AnyArray = np.nan
) -> Float64Array:
    """Return the log-softmax of the scores, [W, I]; with `shares_I`, their logarithms instead of scores, [1, I]."""
    if shares_I is None:
        score_WI = network.scores(state, now_s).astype(np.float64)
    else:
        score_WI = np.log(np.maximum(shares_I, np.finfo(np.float32).tiny), dtype=np.float64)[None]
    score_WI -= score_WI.max(axis=1, keepdims=True)
    log_WI: Float64Array = score_WI - np.log(np.exp(score_WI).sum(axis=1, keepdims=True))
    return log_WI


def _largest(value_N: Float64Array, count: int) -> AnyArray:
    """Return positions, ascending, of the `count` largest values: the first of equal ones, and never minus infinity."""
    finite_N = np.flatnonzero(value_N > -np.inf)
    if count >= len(finite_N):
        return finite_N
    value_N = value_N[finite_N]
    # a partition alone would keep arbitrary ones of several equal values, and the result would depend on the NumPy version
    threshold = np.partition(value_N, -count)[-count]
    above_N, equal_N = np.flatnonzero(value_N > threshold), np.flatnonzero(value_N == threshold)
    return finite_N[np.sort(np.append(above_N, equal_N[: count - len(above_N)]))]


def _check_length(length: int, items: int, no_repeat: bool) -> None:
    whole("length", length, high=inf)
    if items == 0:
        raise ConfigError("no item can be chosen, because no item is available")
    if no_repeat and length > items:
        raise ConfigError(
            f"length={length} is above the {items} items that can be chosen; choose a smaller length, or pass no_repeat=False"
        )
