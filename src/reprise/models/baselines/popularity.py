"""Popularity baselines: over the whole log, over its last days, or within the user's own sequence.

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
from reprise.models.counts.counting import event_blocks, popularity

DEFAULT_RECENCY = "7d"
"""Default window of `RecentPopularity`."""


@spec
class Popularity:
    """Scores each item by its share of all events. The simplest baseline: every model should beat it."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedPopularity":
        """Count the events before the test part.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedPopularity(str(self), window=0), dataset)


class FittedPopularity(WindowScorer):
    """A fitted `Popularity` scorer."""

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the items in the events before a part."""
        self._share_I = popularity(dataset, before)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the share of each item, s_NI; all rows share one row of memory."""
        return self._share_I.expand(len(recent_NW), -1)


@spec
class RecentPopularity:
    """Scores each item by its recent events: (c_j + p_j) / (c + 1).

    c_j is the sum of the weights of the events of item j, and c that of all events. p_j is the share of j in the whole
    log; it ranks items without recent events. An event of age t, measured from the last event that is counted, has the
    weight 2^(-t / half-life) inside the window and 0 outside.
    """

    window: str | None = None
    """Maximum age of the events that count, such as `12h` or `7d`. Default: `7d`, or no limit if a half-life is set."""
    half_life: str | None = None
    """Age at which the weight of an event is one half. Default: all events in the window have equal weights."""

    def __post_init__(self) -> None:
        self.durations_ms()

    def __str__(self) -> str:
        return short_name(self)

    def durations_ms(self) -> tuple[float, float]:
        """Return the window and the half-life in milliseconds; infinity if there is none."""
        # imported here, because it imports DuckDB
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
    """A fitted `RecentPopularity` scorer."""

    def __init__(self, spec: RecentPopularity) -> None:
        super().__init__(str(spec), window=0)
        self._window_ms, self._half_life_ms = spec.durations_ms()

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Sum the weights of the events before a part."""
        share_I = popularity(dataset, before)
        end_ms = _last_ms(dataset, before)
        count_I = np.zeros(len(share_I))
        for block in event_blocks(dataset, before):
            age_ms_E = end_ms - block.time_ms_E
            weight_E = np.where(age_ms_E < self._window_ms, np.exp2(-age_ms_E / self._half_life_ms), 0.0)
            count_I += np.bincount(block.item_E - 1, weights=weight_E, minlength=len(count_I))
        self._score_I: Tensor = (torch.from_numpy(count_I) + share_I) / (float(count_I.sum()) + 1)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the score of each item, s_NI; all rows share one row of memory."""
        return self._score_I.expand(len(recent_NW), -1)


@spec
class SessionPopularity:
    """Scores each item by its number of occurrences in the user's last events; ties are broken by global popularity.

    The S-POP of Hidasi et al., "Session-based recommendations with recurrent neural networks" (2016), section 4.
    """

    window: Annotated[int, Field(ge=1)] = 100
    """Number of last events that are counted, W."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedSessionPopularity":
        """Count the events before the test part; the counts only break ties.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedSessionPopularity(str(self), self.window), dataset)


class FittedSessionPopularity(WindowScorer):
    """A fitted `SessionPopularity` scorer."""

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the items in the events before a part."""
        # at most 1 / 2, so that a difference of shares never outweighs one event
        self._tie_I = popularity(dataset, before) / 2

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return the number of occurrences of each item in the window plus half its share, s_NI."""
        s_NI = self._tie_I.repeat(len(recent_NW), 1)
        row_P, place_P = (recent_NW != PAD).nonzero(as_tuple=True)
        column_P = recent_NW[row_P, place_P] - 1
        s_NI.index_put_((row_P, column_P), torch.ones(len(row_P), dtype=s_NI.dtype), accumulate=True)
        return s_NI


def _last_ms(dataset: SequenceDataset, before: Part) -> int:
    """Return the timestamp of the last event before a part, in milliseconds."""
    first_U, last_U = dataset.offset[:-1], dataset.part(before)[0]
    last_E: AnyArray = np.asarray(last_U)[np.asarray(last_U) > np.asarray(first_U)] - 1
    return int(dataset.time_ms[last_E].max())
