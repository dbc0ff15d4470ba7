"""How common an item is: in the whole log, in its last days, or in the user's own sequence.

Shape letters: N targets, W last items, I items (the warm ones), E events of a block.
"""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.cooccurrence.counting import event_blocks, popularity

DEFAULT_RECENCY = "7d"
"""What counts as recent where nothing is said."""


@spec
class Popularity:
    """Scores every item by its share of all events, whatever came before. What every other model has to beat."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedPopularity":
        """Count the events before the test part.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedPopularity(str(self), window=0), dataset)


class FittedPopularity(WindowScorer):
    """`Popularity` of a log."""

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the items of the events before a part."""
        self._share_I = popularity(dataset, before)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """The share of each item, s_NI; one row of memory for all users."""
        return self._share_I.expand(len(recent_NW), -1)


@spec
class RecentPopularity:
    """Scores every item by how often it occurred of late: (c_j + p_j) / (c + 1), whatever came before.

    c_j sums the weights of the events of item j, c those of all, and p_j is the share of j in the whole log, which orders
    what was not seen of late. An event of age t, fitted back from the last event that is fitted, weighs 2^(-t / half-life)
    inside the window and nothing outside.
    """

    window: str | None = None
    """How far back events count, such as `12h` or `7d`. Left out: `7d`, or all of them where there is a half-life."""
    half_life: str | None = None
    """Age at which an event weighs half. Left out: all in the window weigh the same."""

    def __post_init__(self) -> None:
        self.durations_ms()

    def __str__(self) -> str:
        return short_name(self)

    def durations_ms(self) -> tuple[float, float]:
        """The window and the half-life in milliseconds; infinity where there is none."""
        # here, since it brings a table engine with it
        from reprise.data.timestamps import parse_duration

        window = self.window or (DEFAULT_RECENCY if self.half_life is None else None)
        window_ms, half_life_ms = (
            float("inf") if text is None else float(parse_duration(text)) for text in (window, self.half_life)
        )
        return window_ms, half_life_ms

    def fit(self, dataset: SequenceDataset) -> "FittedRecentPopularity":
        """Count the events before the test part.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedRecentPopularity(self), dataset)


class FittedRecentPopularity(WindowScorer):
    """`RecentPopularity` of a log."""

    def __init__(self, spec: RecentPopularity) -> None:
        super().__init__(str(spec), window=0)
        self._window_ms, self._half_life_ms = spec.durations_ms()

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Weigh the events before a part by their age."""
        share_I = popularity(dataset, before)
        end_ms = _last_ms(dataset, before)
        count_I = np.zeros(len(share_I))
        for block in event_blocks(dataset, before):
            age_ms_E = end_ms - block.time_ms_E
            weight_E = np.where(age_ms_E < self._window_ms, np.exp2(-age_ms_E / self._half_life_ms), 0.0)
            count_I += np.bincount(block.item_E - 1, weights=weight_E, minlength=len(count_I))
        self._score_I: Tensor = (torch.from_numpy(count_I) + share_I) / (float(count_I.sum()) + 1)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """The weight of each item, s_NI; one row of memory for all users."""
        return self._score_I.expand(len(recent_NW), -1)


@spec
class SessionPopularity:
    """Scores every item by how often it came in the user's own last events; among equals the commonest of the log comes first.

    The S-POP of Hidasi et al., "Session-based recommendations with recurrent neural networks" (2016), section 4.
    """

    window: Annotated[int, Field(ge=1)] = 100
    """Last events of the user that are fitted, W; the state holds them."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedSessionPopularity":
        """Count the events before the test part, which decide between equals.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedSessionPopularity(str(self), self.window), dataset)


class FittedSessionPopularity(WindowScorer):
    """`SessionPopularity` of a log."""

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the items of the events before a part."""
        # below a half, so that no difference of shares outweighs one event
        self._tie_I = popularity(dataset, before) / 2

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """How often each item stands in the window, plus half its share, s_NI."""
        s_NI = self._tie_I.repeat(len(recent_NW), 1)
        row_P, place_P = (recent_NW != PAD).nonzero(as_tuple=True)
        column_P = recent_NW[row_P, place_P] - 1
        s_NI.index_put_((row_P, column_P), torch.ones(len(row_P), dtype=s_NI.dtype), accumulate=True)
        return s_NI


def _last_ms(dataset: SequenceDataset, before: Part) -> int:
    """The time of the last event before a part."""
    first_U, last_U = dataset.offset[:-1], dataset.part(before)[0]
    last_E: AnyArray = np.asarray(last_U)[np.asarray(last_U) > np.asarray(first_U)] - 1
    return int(dataset.time_ms[last_E].max())
