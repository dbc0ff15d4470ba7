"""Calibration: whether a network that is 30 % sure of its first item is right in 30 % of the cases.

Shape letters: N targets, C rows of a chunk, I items, M bins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray, Float64Array
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD
from reprise.evaluation.ranking.ranks import Watch
from reprise.evaluation.ranking.targets import EvaluationPlan, ScoredBatch
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.models.scorer import Scorer

BINS = 15
"""As many as Guo et al. took."""
TARGETS_ASKED = 1 << 16
"""Targets, drawn from all, whose probabilities are looked at: a softmax costs more than a rank."""


class Bin(NamedTuple):
    """Targets of like confidence: one point of a reliability plot."""

    confidence: float
    """The mean probability that the model gave its first item."""
    accuracy: float
    """The share of the targets for which that item was the right one."""
    targets: int
    """How many."""

    def to_dict(self) -> dict[str, float | int]:
        """`{"confidence", "accuracy", "targets"}`."""
        return self._asdict()


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities of a softmax may be taken at their word."""

    ece: float
    """Expected calibration error: the mean over targets of |accuracy - confidence| of their bin; 0 is perfect."""
    bins: tuple[Bin, ...]
    """Bins of equally many targets, by rising confidence."""
    log_loss: float | None = None
    """The mean of -log p of the target, in nats, over the targets that are candidates; exp of it is the perplexity."""

    def to_dict(self) -> dict[str, Any]:
        """`{"ece", "bins": [{"confidence", "accuracy", "targets"}], "log_loss"}`."""
        return {"ece": self.ece, "bins": [part.to_dict() for part in self.bins], "log_loss": self.log_loss}

    def __str__(self) -> str:
        loss = self.log_loss
        head = f"calibration: ECE {self.ece:.4f}"
        if loss is not None:
            head += f", log loss {loss:.4f} (perplexity {np.exp(loss):.1f})"
        points = "  ".join(f"{part.confidence:.3f}: {part.accuracy:.3f}" for part in self.bins)
        return f"{head}\nconfidence: accuracy of the first item, in bins of as many targets\n{points}"


def gives_logits(model: Scorer) -> bool:
    """Whether the softmax of its scores is meant as probabilities: networks, and scorers that say `logits = True`."""
    return bool(getattr(model, "logits", isinstance(model, NetworkScorer)))


class Confidences:
    """Looks at the softmax over the candidates of each target, of all or of a sample; keeps three numbers for each."""

    def __init__(self, dataset: SequenceDataset, walk: EvaluationPlan, seed: int) -> None:
        self.seed = seed
        self.all = walk.targets(dataset)
        self.position_N = walk.sample(dataset, TARGETS_ASKED, seed)
        self._confidence_N = np.zeros(len(self.position_N))
        self._right_N = np.zeros(len(self.position_N), dtype=bool)
        self._loss_N = np.full(len(self.position_N), np.nan)

    def chosen(self, asked: ScoredBatch) -> AnyArray:
        """Which targets of a batch are in the sample."""
        found: AnyArray = np.flatnonzero(np.isin(asked.targets()[1], self.position_N, assume_unique=True))
        return found

    def watch(self, asked: ScoredBatch, chosen_M: AnyArray) -> Watch:
        """Look at some targets of a batch."""
        target_M = asked.batch.target_BT[asked.batch.target_BT != PAD][torch.from_numpy(chosen_M)]
        place_M = np.searchsorted(self.position_N, asked.targets()[1][chosen_M])
        done = 0

        def look(s_CI: Tensor) -> None:
            nonlocal done
            part = slice(done, done + len(s_CI))
            done += len(s_CI)
            self._keep(place_M[part], s_CI, target_M[part])

        return look

    def _keep(self, place_C: AnyArray, s_CI: Tensor, target_C: Tensor) -> None:
        found = probabilities(s_CI, target_C)
        for kept_N, value_C in zip((self._confidence_N, self._right_N, self._loss_N), found, strict=True):
            kept_N[place_C] = value_C.cpu().numpy()

    def notes(self) -> Iterator[str]:
        """Which targets it looked at, if not at all."""
        if len(self.position_N) < self.all:
            yield f"Calibration is over {len(self.position_N):,} targets drawn with seed {self.seed}."

    def calibration(self) -> Calibration | None:
        """What was found; None where no target had a candidate."""
        known_N = ~np.isnan(self._confidence_N)
        if not known_N.any():
            return None
        bins = equal_mass(self._confidence_N[known_N], self._right_N[known_N], BINS)
        loss_N = self._loss_N[np.isfinite(self._loss_N)]
        return Calibration(expected_error(bins), bins, float(loss_N.mean()) if len(loss_N) else None)


def probabilities(s_CI: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each row the probability of its first item, whether that is the target, and -log p of the target, [C] each.

    Args:
        s_CI: Logits, column j for item index j + 1; -inf where an item is no candidate.
        target_C: Item indices; one above the number of columns (a cold item) has no probability.
    """
    column_C = (target_C - 1).clamp(max=s_CI.shape[1] - 1)
    cold_C = column_C != target_C - 1
    highest_C, own_C = s_CI.amax(1), s_CI.gather(1, column_C[:, None])[:, 0]
    confidence_C = s_CI.softmax(1).amax(1)
    # to seek the first item takes longer than the softmax, so only where the target may be it
    right_C = (own_C == highest_C) & ~cold_C
    right_C[right_C.clone()] = s_CI[right_C].argmax(1) == column_C[right_C]
    # from the highest, whose probability is never too small to be told from 0
    loss_C = highest_C - own_C - confidence_C.log()
    return confidence_C, right_C, loss_C.masked_fill(cold_C, torch.inf)


def equal_mass(confidence_N: Float64Array, right_N: Float64Array, bins: int) -> tuple[Bin, ...]:
    """Targets by rising confidence, in bins of as many; equal confidences may be divided by the border of two bins."""
    order_N = np.argsort(confidence_N, kind="stable")
    parts = [part_M for part_M in np.array_split(order_N, bins) if len(part_M)]
    return tuple(Bin(float(confidence_N[p].mean()), float(right_N[p].mean()), len(p)) for p in parts)


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error of bins.

    Guo et al., "On calibration of modern neural networks" (2017), equation 3, with bins of as many targets in place of equally
    wide ones: most confidences are small here, and wide bins would put nearly all targets into the first.
    """
    gap = sum(part.targets * abs(part.accuracy - part.confidence) for part in bins)
    return gap / sum(part.targets for part in bins)
