"""Membership inference: who was in the training log, judged by losses. Rates of success with intervals.

Shape letters: M members, O others, R resamples, U users.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

from reprise.arrays import AnyArray, Float64Array
from reprise.errors import DataError
from reprise.evaluation.stats.bootstrap import Bootstrap, Interval
from reprise.privacy.auditing.user_losses import COUNTS, NETWORK, UserLosses, mean_losses

FALSE_POSITIVE_RATES = (0.01, 0.001)
"""False positive rates at which the true positive rate is reported."""
MIN_USERS = 100
"""Smallest number of members and of others: a false positive rate of 1 % needs a hundred others."""
DRAWS_PER_BLOCK = 1 << 21
"""Largest number of users drawn in one block of resamples, which limits the memory."""


class OperatingPoint(NamedTuple):
    """The success of an attack at a bound on its false positive rate."""

    fpr: float
    """Bound on the share of the others that are taken for members."""
    false_positives: int
    """Number of others on which the bound rests: that many score above the threshold, and no more may."""
    tpr: Interval
    """Share of the members that score above the threshold."""

    def to_dict(self) -> dict[str, Any]:
        """Return `{"fpr", "false_positives", "tpr": {"value", "low", "high"}}`."""
        return {"fpr": self.fpr, "false_positives": self.false_positives, "tpr": self.tpr.to_dict()}


@dataclass(frozen=True)
class AttackResult:
    """The success of one attack."""

    name: str
    """Name of the attack, such as `loss/network`."""
    members: int
    """Number of users of the training log that were attacked."""
    others: int
    """Number of other users."""
    auc: Interval
    """Area under the ROC curve: the probability that a member scores higher than another user; 0.5 is chance."""
    points: tuple[OperatingPoint, ...]
    """True positive rates, for each of `FALSE_POSITIVE_RATES`."""

    def tpr_at(self, fpr: float) -> Interval:
        """Return the true positive rate at a false positive rate of `FALSE_POSITIVE_RATES`."""
        return next(point.tpr for point in self.points if point.fpr == fpr)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {
            "name": self.name,
            "members": self.members,
            "others": self.others,
            "auc": self.auc.to_dict(),
            "points": [point.to_dict() for point in self.points],
        }

    def __str__(self) -> str:
        rates = ", ".join(f"TPR {point.tpr} at {point.fpr:.1%} FPR" for point in self.points)
        return f"{self.name}: AUC {self.auc}, {rates} ({self.members} members, {self.others} others)"


def membership_attacks(
    members: UserLosses, others: UserLosses, bootstrap: Bootstrap | None = None
) -> list[AttackResult]:
    """Attack the membership of users by their losses alone, without a reference model.

    `loss/...` takes users with a small mean loss for members (Yeom et al. 2018), with the network alone and with each
    correction of its logits. `difference/counts` is an attack of who holds the saved model: the loss without counts minus
    the loss with counts, which is large if the user's own transitions were counted.

    Args:
        members: Losses of users of the training log, from `user_losses`.
        others: Losses of other users from the same model.
        bootstrap: Settings of the intervals.

    Raises:
        DataError: There are fewer than `MIN_USERS` members or others.
    """
    check_enough(len(members), len(others))
    return [
        attack_result(name, _known(member_M), _known(other_O), bootstrap)
        for name, member_M, other_O in _scores(members, others)
    ]


def attack_result(
    name: str, member_M: Float64Array, other_O: Float64Array, bootstrap: Bootstrap | None = None
) -> AttackResult:
    """Return the success of an attack from its scores; a higher score means a member.

    The interval of the AUC is a percentile bootstrap over members and others. That of a true positive rate is the union of
    such an interval, which varies the threshold too, and of Clopper and Pearson's (1934), which does not collapse at 0.
    The threshold at a false positive rate f is the lowest with at most f O others above it; users with equal scores are not
    above it, so ties never help the attack.
    """
    bootstrap = bootstrap or Bootstrap()
    scores = _SortedScores(np.sort(member_M), np.sort(other_O))
    resampled = [*scores.resampled(bootstrap)]
    tail = (1 - bootstrap.level) / 2
    points = []
    for number, fpr in enumerate(FALSE_POSITIVE_RATES):
        threshold = scores.threshold(fpr)
        found = int((member_M > threshold).sum())
        exact = binomtest(found, len(member_M)).proportion_ci(bootstrap.level, method="exact")
        ends = [float(exact.low), float(exact.high)]
        if resampled:
            tpr_R = np.concatenate([block.tpr_FR[number] for block in resampled])
            ends += np.quantile(tpr_R, [tail, 1 - tail]).tolist()
        rate = Interval(found / len(member_M), min(ends), max(ends))
        points.append(OperatingPoint(fpr, int((other_O > threshold).sum()), rate))
    auc = float(scores.auc(np.ones((1, len(member_M))), np.ones((1, len(other_O))))[0])
    area = Interval(auc)
    if resampled:
        low, high = np.quantile(np.concatenate([block.auc_R for block in resampled]), [tail, 1 - tail])
        area = Interval(auc, float(low), float(high))
    return AttackResult(name, len(member_M), len(other_O), area, tuple(points))


def check_enough(members: int, others: int) -> None:
    """Check that a false positive rate of 1 % can be measured.

    Raises:
        DataError: There are too few members or others.
    """
    for what, users in (("members", members), ("others", others)):
        if users < MIN_USERS:
            raise DataError(
                f"{users} {what} with a known target are too few: a false positive rate of 1 % needs {MIN_USERS} "
                f"or more; give the audit more users"
            )


def _scores(members: UserLosses, others: UserLosses) -> Iterator[tuple[str, Float64Array, Float64Array]]:
    for stage in members.losses:
        yield f"loss/{stage}", -mean_losses(members.losses[stage]), -mean_losses(others.losses[stage])
    if COUNTS in members.losses:
        yield "difference/counts", count_difference(members), count_difference(others)


def count_difference(users: UserLosses) -> Float64Array:
    """Return by how much the counts lower the mean loss of each user, [U]."""
    difference_U: Float64Array = mean_losses(users.losses[NETWORK] - users.losses[COUNTS])
    return difference_U


def _known(score_U: Float64Array) -> Float64Array:
    known: Float64Array = score_U[~np.isnan(score_U)]
    return known


class _Resamples(NamedTuple):
    """The measures of a block of resamples."""

    auc_R: Float64Array
    tpr_FR: list[Float64Array]


class _SortedScores(NamedTuple):
    """Scores of members and others, ascending. A weight is the number of times that a resample drew the user."""

    member_M: Float64Array
    other_O: Float64Array

    def threshold(self, fpr: float) -> float:
        """Return the lowest score above which there are at most a share `fpr` of the others."""
        return float(self.other_O[-1 - _allowed(fpr, len(self.other_O))])

    def resampled(self, bootstrap: Bootstrap) -> Iterator[_Resamples]:
        """Yield the measures of resamples of both groups, in blocks."""
        generator = np.random.default_rng(bootstrap.seed)
        sizes = len(self.member_M), len(self.other_O)
        block = max(1, DRAWS_PER_BLOCK // max(sizes))
        for first in range(0, bootstrap.resamples, block):
            count = min(block, bootstrap.resamples - first)
            weight_RM, weight_RO = (
                generator.multinomial(size, np.full(size, 1 / size), size=count) for size in sizes
            )
            yield _Resamples(
                self.auc(weight_RM, weight_RO),
                [self._tpr(weight_RM, weight_RO, fpr) for fpr in FALSE_POSITIVE_RATES],
            )

    def auc(self, weight_RM: AnyArray, weight_RO: AnyArray) -> Float64Array:
        """Return the AUC of each resample; a tie counts half."""
        below_RO = np.pad(weight_RO.cumsum(1), ((0, 0), (1, 0)))
        low_M, high_M = (np.searchsorted(self.other_O, self.member_M, side) for side in ("left", "right"))
        pairs_RM = (below_RO[:, low_M] + below_RO[:, high_M]) / 2
        area: Float64Array = (weight_RM * pairs_RM).sum(1) / (weight_RM.sum(1) * below_RO[:, -1])
        return area

    def _tpr(self, weight_RM: AnyArray, weight_RO: AnyArray, fpr: float) -> Float64Array:
        """Return the true positive rate of each resample."""
        above_RO = weight_RO[:, ::-1].cumsum(1)
        # the first other, from the top, that is one too many
        index_R = (above_RO > _allowed(fpr, len(self.other_O))).argmax(1)
        threshold_R = self.other_O[::-1][index_R]
        begin_R = np.searchsorted(self.member_M, threshold_R, "right")
        below_RM = np.pad(weight_RM.cumsum(1), ((0, 0), (1, 0)))
        total_R = below_RM[:, -1]
        rate: Float64Array = (total_R - below_RM[np.arange(len(begin_R)), begin_R]) / total_R
        return rate


def _allowed(fpr: float, others: int) -> int:
    """Return the largest number of false positives. Rounding errors do not count: 0.001 of 3,000 others are 3."""
    return int(np.floor(fpr * others + 1e-9))
