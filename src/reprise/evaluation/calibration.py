"""Calibration: whether a network that is 30 % sure of its first item is right in 30 % of the cases.

Shape letters: N targets, C rows of a chunk, I items, M bins.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple


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
    log_loss: float
    """The mean of -log p of the target, in nats, over the targets that are candidates; exp of it is the perplexity."""

    def to_dict(self) -> dict[str, Any]:
        """`{"ece", "bins": [{"confidence", "accuracy", "targets"}], "log_loss"}`."""
        return {"ece": self.ece, "bins": [part.to_dict() for part in self.bins], "log_loss": self.log_loss}
