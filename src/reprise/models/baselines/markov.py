"""A smoothed first-order Markov chain.

Shape letters: N targets, W last items (here one), I items (the warm ones), P pairs of an item and its successor.
Scores are float64, so that the smoothing still breaks ties between large counts.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from reprise.config import short_name, spec
from reprise.data.dataset import Part, SequenceDataset
from reprise.models.baselines.window_scorer import WindowScorer, fitted
from reprise.models.counts.counting import count_pairs, csr_entries, popularity


@spec
class Markov:
    """A first-order Markov chain: p(j | i) = (c_ij + a p_j) / (c_i + a).

    c_ij counts how often j directly follows i in a sequence, c_i is its sum over j, p_j is the popularity of j, and a
    is the `smoothing`. Without a history, or after an item that was never followed by another, the scores are
    popularity. Additive smoothing towards a prior: MacKay and Peto, "A hierarchical Dirichlet language model" (1995).
    """

    smoothing: Annotated[float, Field(gt=0)] = 1.0
    """a, in counts; a small value stays close to the plain counts."""

    def __str__(self) -> str:
        return short_name(self)

    def fit(self, dataset: SequenceDataset) -> "FittedMarkov":
        """Count the transitions before the test part; memory grows with the number of distinct pairs.

        Raises:
            DataError: The training part is empty.
        """
        return fitted(FittedMarkov(self), dataset)


class FittedMarkov(WindowScorer):
    """A fitted `Markov` scorer."""

    def __init__(self, spec: Markov) -> None:
        super().__init__(str(spec), window=1)
        self._smoothing = spec.smoothing

    def count_events(self, dataset: SequenceDataset, before: Part) -> None:
        """Count the transitions before a part."""
        self._share_I = popularity(dataset, before)
        self._pairs = count_pairs(dataset, before=before)

    def score_windows(self, recent_NW: Tensor) -> Tensor:
        """Return p(j | last item), s_NI."""
        pairs, last_N = self._pairs, recent_NW[:, -1]
        row_P, pair_P = csr_entries(pairs.start, last_N)
        c_P = pairs.count_P[pair_P]
        norm_N = self._smoothing + torch.zeros_like(last_N, dtype=c_P.dtype).index_add_(0, row_P, c_P)
        s_NI = (self._smoothing / norm_N)[:, None] * self._share_I
        s_NI[row_P, pairs.successor_P[pair_P] - 1] += c_P / norm_N[row_P]
        return s_NI
