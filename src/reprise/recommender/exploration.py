"""Exploration: some slots of a list go to items that were shown rarely, drawn with known probabilities.

Shape letters: C candidates, I items.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from reprise.argument_checks import number
from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.recommender.recommendations import Recommendation, Recommendations

FEW_IMPRESSIONS = 100
"""Number of impressions from which an item is not explored any more."""
CANDIDATES = 50
"""Number of rarely shown items to draw from: those with the best scores for the user."""


class Impressions:
    """Number of impressions of each item, counted in memory. Safe to use from several threads."""

    def __init__(self) -> None:
        self._count_I = np.zeros(0, dtype=np.int64)
        self._added: list[ItemId | None] = []
        self._lock = threading.Lock()

    def add(self, index_N: AnyArray) -> None:
        """Count one impression for each entry of an array of item indices, [N]."""
        if not len(index_N):
            return
        with self._lock:
            self._resize(int(index_N.max()))
            np.add.at(self._count_I, index_N - 1, 1)

    def counts(self, items: int) -> AnyArray:
        """Return the number of impressions of the items with the indices 1 to `items`, int64 [I]."""
        with self._lock:
            self._resize(items)
            return self._count_I[:items].copy()

    def follow(self, items: int, added: Sequence[ItemId | None]) -> None:
        """Set the counts of the slots of added items to zero that hold another item than in the last call.

        Args:
            items: Number of items of the model, whose indices come before those of the slots.
            added: Id of the item in each slot; None: the slot is free.
        """
        with self._lock:
            # a request that began earlier may know fewer slots
            current = [*added, *self._added[len(added) :]]
            if current == self._added:
                return
            self._resize(items + len(current))
            for slot, (before, now) in enumerate(zip(self._added, current, strict=False)):
                if before != now:
                    self._count_I[items + slot] = 0
            self._added = current

    def _resize(self, items: int) -> None:
        if items > len(self._count_I):
            self._count_I = np.append(self._count_I, np.zeros(items - len(self._count_I), dtype=np.int64))


def share_of_slots(share: object) -> float:
    """Return the argument `explore`, the share of slots to explore, as a number.

    Raises:
        ConfigError: the argument is not a number from 0 to 1.
    """
    checked = number("explore", share)
    if not 0 <= checked <= 1:
        raise ConfigError(
            f"explore must be from 0 to 1, got {share!r}; 0.1 gives a tenth of the slots to rare items"
        )
    return checked


@dataclass(frozen=True, eq=False)
class Exploration:
    """A rule that gives a share of the slots of lists to rarely shown items, drawn at random.

    An item is drawn in proportion to sqrt(log(e + n) / (1 + n_i)), the width of the upper confidence bound of UCB1 (Auer et
    al. 2002, "Finite-time analysis of the multiarmed bandit problem"), for n impressions in total and n_i impressions of the
    item. UCB1 would take the largest bound. Here the draw is random, so that each item has a known probability, its
    propensity, by which clicks can be weighted.
    """

    share: float
    """Share of the slots of a list, from 0 to 1."""
    impressions: Impressions = field(default_factory=Impressions)
    """Impressions of the items so far."""
    generator: np.random.Generator = field(default_factory=np.random.default_rng)
    """Random numbers; a seeded generator gives the same lists for the same sequence of requests."""

    def few(self, items: int) -> BoolArray:
        """Return the mask of the items 1 to `items` with fewer than `FEW_IMPRESSIONS` impressions, [I]."""
        few_I: BoolArray = self.impressions.counts(items) < FEW_IMPRESSIONS
        return few_I

    def slots(self, k: int) -> int:
        """Return the number of slots to explore in a list of k: `share` times k on average, rounded up or down at random."""
        return math.floor(self.share * k + self.generator.random())

    def mix(
        self, best: Recommendations, candidates: Sequence[Recommendation], index_C: AnyArray
    ) -> Recommendations:
        """Return a list in which drawn candidates take slots drawn at random, and the best items keep their order.

        Args:
            best: The list without exploration.
            candidates: Rarely shown items that are not in this list.
            index_C: Their item indices.
        """
        count = min(self.slots(len(best)), len(candidates))
        if not count:
            return best
        drawn = self._draw(candidates, index_C, count)
        place_M = np.sort(self.generator.choice(len(best), count, replace=False))
        mixed: list[Recommendation] = list(best[: len(best) - count])
        for place, one in zip(place_M.tolist(), drawn, strict=True):
            mixed.insert(place, one)
        ranked = [one._replace(rank=rank) for rank, one in enumerate(mixed, 1)]
        return Recommendations(ranked, skipped=best.skipped, unknown_allowed=best.unknown_allowed)

    def _draw(
        self, candidates: Sequence[Recommendation], index_C: AnyArray, count: int
    ) -> list[Recommendation]:
        """Draw candidates without replacement; the propensity of each is its probability in its own draw."""
        shown_I = self.impressions.counts(int(index_C.max()))
        width_C: Float64Array = np.sqrt(math.log(math.e + int(shown_I.sum())) / (1.0 + shown_I[index_C - 1]))
        drawn = []
        for _ in range(count):
            probability_C = width_C / width_C.sum()
            place = int(self.generator.choice(len(width_C), p=probability_C))
            shown = int(shown_I[index_C[place] - 1])
            times = "once" if shown == 1 else f"{shown} times"
            reason = f"exploration: shown {times} before"
            drawn.append(candidates[place]._replace(reason=reason, propensity=float(probability_C[place])))
            width_C[place] = 0.0
        return drawn

    def seeded(self, seed: int | None) -> "Exploration":
        """Return the exploration with a new random generator and the same impressions; None: a random seed."""
        return replace(self, generator=np.random.default_rng(seed))


def exploration_of(share: object, seed: int | None = None) -> Exploration | None:
    """Return an exploration that starts without impressions; None for a share of 0, which explores nothing.

    Raises:
        ConfigError: `share` is not a number from 0 to 1.
    """
    checked = share_of_slots(share)
    return Exploration(checked).seeded(seed) if checked else None
