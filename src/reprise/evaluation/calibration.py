"""Calibration: whether a network that gives its first item a probability of 30 % is right in 30 % of the cases.

Shape letters: N targets, M selected targets, C rows of a span, I items.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.evaluation.protocol import EvaluationProtocol
from reprise.evaluation.ranking.ranks import ScoreCallback
from reprise.evaluation.ranking.targets import ScoredBatch
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.scorer import Scorer

BINS = 15
"""Number of bins, as in Guo et al."""
MAX_TARGETS = 1 << 16
"""Maximum number of targets, drawn at random, that are measured: a softmax costs more than a rank."""


class Bin(NamedTuple):
    """Targets of similar confidence: one point of a reliability diagram."""

    confidence: float
    """Mean probability that the model gave its first item."""
    accuracy: float
    """Share of the targets for which that item was the right one."""
    targets: int
    """Number of targets in the bin."""

    def to_dict(self) -> dict[str, float | int]:
        """Return `{"confidence", "accuracy", "targets"}`."""
        return self._asdict()


@dataclass(frozen=True)
class Calibration:
    """How well the softmax probabilities of a model agree with the observed frequencies."""

    ece: float
    """Expected calibration error: the mean over targets of |accuracy - confidence| of their bin; 0 is perfect."""
    bins: tuple[Bin, ...]
    """Bins with equally many targets, by rising confidence."""
    log_loss: float | None = None
    """Mean of -log p of the target, in nats, over targets that are candidates; its exponential is the perplexity."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"ece", "bins": [{"confidence", "accuracy", "targets"}], "log_loss"}`."""
        return {"ece": self.ece, "bins": [part.to_dict() for part in self.bins], "log_loss": self.log_loss}

    def __str__(self) -> str:
        loss = self.log_loss
        head = f"calibration: ECE {self.ece:.4f}"
        if loss is not None:
            head += f", log loss {loss:.4f} (perplexity {np.exp(loss):.1f})"
        points = "  ".join(f"{part.confidence:.3f}: {part.accuracy:.3f}" for part in self.bins)
        return f"{head}\nconfidence: accuracy of the first item, in bins of equally many targets\n{points}"


def gives_logits(model: Scorer) -> bool:
    """Return whether a scorer's softmax is a probability: for networks, and for scorers with `logits = True`."""
    return bool(getattr(model, "logits", isinstance(model, NetworkScorer)))


class CalibrationObserver:
    """Measures the softmax over the candidates of each target, or of a sample; keeps three numbers per target.

    A `targets.ScoreObserver`.

    Args:
        dataset: Dataset that holds the targets.
        protocol: Which events are targets.
        seed: Seed of the sample.
    """

    def __init__(self, dataset: SequenceDataset, protocol: EvaluationProtocol, seed: int) -> None:
        self.seed = seed
        self.all_targets = protocol.count_targets(dataset)
        self.position_N = protocol.sample_targets(dataset, MAX_TARGETS, seed)
        self._confidence_N = np.full(len(self.position_N), np.nan)
        self._right_N = np.zeros(len(self.position_N), dtype=bool)
        self._loss_N = np.full(len(self.position_N), np.nan)

    def select(self, batch: ScoredBatch) -> AnyArray:
        """Return the numbers of the targets of a batch that are in the sample and whose scores are logits."""
        sampled_N = np.isin(batch.targets()[1], self.position_N, assume_unique=True)
        # the answer for a user without known events is the popular items, not those of the network
        found: AnyArray = np.flatnonzero(sampled_N & ~batch.without_known_events())
        return found

    def score_callback(self, batch: ScoredBatch, selected_M: AnyArray) -> ScoreCallback:
        """Return the callback that measures the selected targets of a batch."""
        target_M = batch.target_items()[torch.from_numpy(selected_M)]
        place_M = np.searchsorted(self.position_N, batch.targets()[1][selected_M])
        done = 0

        def measure(s_CI: Tensor) -> None:
            nonlocal done
            part = slice(done, done + len(s_CI))
            done += len(s_CI)
            self._keep(place_M[part], s_CI, target_M[part])

        return measure

    def _keep(self, place_C: AnyArray, s_CI: Tensor, target_C: Tensor) -> None:
        found = probabilities(s_CI, target_C)
        for kept_N, value_C in zip((self._confidence_N, self._right_N, self._loss_N), found, strict=True):
            kept_N[place_C] = value_C.cpu().numpy()

    def notes(self) -> Iterator[str]:
        """Yield a sentence that says how many targets were measured, if not all."""
        if len(self.position_N) < self.all_targets:
            yield f"Calibration is over {len(self.position_N):,} targets drawn with seed {self.seed}."

    def calibration(self) -> Calibration | None:
        """Return the result; None if no target had a candidate."""
        known_N = ~np.isnan(self._confidence_N)
        if not known_N.any():
            return None
        bins = equal_mass(self._confidence_N[known_N], self._right_N[known_N], BINS)
        loss_N = self._loss_N[np.isfinite(self._loss_N)]
        return Calibration(expected_error(bins), bins, float(loss_N.mean()) if len(loss_N) else None)


def probabilities(s_CI: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probability of each row's first item, whether it is the target, and -log p of the target, [C] each.

    Args:
        s_CI: Logits; column j belongs to item index j + 1; -inf if an item is not a candidate.
        target_C: Item indices; an index above the number of columns (a cold item) has no probability.
    """
    column_C = (target_C - 1).clamp(max=s_CI.shape[1] - 1)
    cold_C = column_C != target_C - 1
    highest_C, own_C = s_CI.amax(1), s_CI.gather(1, column_C[:, None])[:, 0]
    confidence_C = s_CI.softmax(1).amax(1)
    # argmax takes longer than the softmax, so it runs only for rows in which the target has the highest logit
    right_C = (own_C == highest_C) & ~cold_C
    right_C[right_C.clone()] = s_CI[right_C].argmax(1) == column_C[right_C]
    # relative to the first item, since the probability of the target itself may underflow to 0
    loss_C = highest_C - own_C - confidence_C.log()
    return confidence_C, right_C, loss_C.masked_fill(cold_C, torch.inf)


def equal_mass(confidence_N: Float64Array, right_N: Float64Array, bins: int) -> tuple[Bin, ...]:
    """Return bins of equally many targets by rising confidence; equal confidences may fall into two bins."""
    order_N = np.argsort(confidence_N, kind="stable")
    parts = [part_M for part_M in np.array_split(order_N, bins) if len(part_M)]
    return tuple(Bin(float(confidence_N[p].mean()), float(right_N[p].mean()), len(p)) for p in parts)


def expected_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error of bins.

    Guo et al., "On calibration of modern neural networks" (2017), equation 3, but with bins of equally many targets instead
    of equally wide ones: most confidences are small here, and nearly all targets would fall into the first wide bin.
    """
    gap = sum(part.targets * abs(part.accuracy - part.confidence) for part in bins)
    return gap / sum(part.targets for part in bins)
