"""Random samples of targets, which bound the cost of an evaluation. Items are never sampled.

Shape letters: N sampled targets.
"""

from dataclasses import dataclass

import numpy as np

from reprise.argument_checks import whole
from reprise.arrays import AnyArray

STREAM = 1
"""First word of the seed: a random stream other than those of the bootstrap and of the samples for diversity."""


@dataclass(frozen=True)
class TargetSample:
    """A simple random sample of targets, without replacement: every subset of this size is equally likely.

    So the mean of a metric over the sample is an unbiased estimate of its mean over all targets (Cochran, "Sampling
    Techniques", 1977, theorem 2.1). Single targets are drawn rather than whole sequences, because a metric is a mean
    over targets: with whole sequences its denominator would be random, and a few very long ones would decide the result.
    """

    targets: int
    """Number of targets to draw; if there are not more, all are evaluated."""
    seed: int = 0
    """Seed of the sample. Equal seeds draw the same targets of a dataset, for every model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", whole("targets", self.targets))
        object.__setattr__(self, "seed", whole("seed", self.seed, low=0, high=2**63 - 1))

    def draw(self, total: int) -> AnyArray | None:
        """Return the numbers of the drawn targets among `total`, [N], ascending; None if all of them are evaluated."""
        if total <= self.targets:
            return None
        generator = np.random.default_rng((STREAM, self.seed))
        return np.sort(generator.choice(total, self.targets, replace=False, shuffle=False))
