"""Plausible continuations of a history: draw an item, read it as if it had happened, draw the next.

Shape letters: T events of the history, I items.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from reprise.errors import ConfigError
from reprise.recommender.catalogue import Indices
from reprise.recommender.index import Floats
from reprise.recommender.network import Network


@dataclass(frozen=True)
class Sampling:
    """How the next item is drawn from the scores."""

    temperature: float = 1.0
    """The scores are divided by it before the softmax; 0 always takes the best."""
    top_k: int | None = None
    """Draw from the best so many only; None: from all."""
    no_repeat: bool = True
    """No item is drawn twice. Items of the history may be."""
    seed: int | None = None
    """The same seed draws the same items; None draws anew each time."""

    def __post_init__(self) -> None:
        if not (isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be at least 0, got {self.temperature!r}")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k must be at least 1, got {self.top_k!r}; None draws from all items")


def continue_history(
    network: Network, index_T: Indices, length: int, sampling: Sampling, popularity_I: Floats
) -> list[int]:
    """Item indices that could follow. Without a history the first is drawn by popularity.

    Raises:
        ConfigError: `length` is below 1, or above what can be drawn without a repetition.
    """
    _check_length(length, len(popularity_I), sampling.no_repeat)
    generator = np.random.default_rng(sampling.seed)
    state = network.fold([index_T])
    drawn: list[int] = []
    for _ in range(length):
        informed = len(index_T) or drawn
        score_I = network.scores(state)[0] if informed else _logits(popularity_I)
        if sampling.no_repeat:
            score_I[np.array(drawn, dtype=np.int64) - 1] = -np.inf
        drawn.append(_draw(score_I, sampling, generator))
        state = network.advance(state, np.array(drawn[-1:]))
    return drawn


def _logits(share_I: Floats) -> Floats:
    """The scores whose softmax at a temperature of 1 is `share_I`."""
    logit_I: Floats = np.log(np.maximum(share_I, np.finfo(np.float32).tiny))
    return logit_I


def _draw(score_I: Floats, sampling: Sampling, generator: np.random.Generator) -> int:
    if sampling.temperature == 0:
        return int(score_I.argmax()) + 1
    if sampling.top_k is not None and sampling.top_k < len(score_I):
        floor = np.partition(score_I, -sampling.top_k)[-sampling.top_k]
        score_I = np.where(score_I >= floor, score_I, -np.inf)
    # the largest of logits with Gumbel noise is a draw from their softmax (Gumbel 1954)
    return int((score_I / sampling.temperature + generator.gumbel(size=len(score_I))).argmax()) + 1


def _check_length(length: int, items: int, no_repeat: bool) -> None:
    if length < 1:
        raise ConfigError(f"length must be at least 1, got {length!r}")
    if no_repeat and length > items:
        raise ConfigError(
            f"length={length} is above the catalogue of {items} items; ask for fewer, or pass no_repeat=False"
        )
