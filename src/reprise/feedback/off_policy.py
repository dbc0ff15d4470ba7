"""Off-policy estimates: how often a candidate model's choices would be clicked, from the logged choices of another policy.

Shape letters: N logged choices.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from reprise.argument_checks import number
from reprise.arrays import Float64Array
from reprise.errors import ConfigError, DataError
from reprise.feedback.outcomes import per_user
from reprise.feedback.user_ratios import RatioEstimate, check_level, ratio_of_sums

ASSUMPTIONS = (
    "each logged choice was drawn with the given probability, and these probabilities are above 0 for every choice that the "
    "candidate may make",
    "the reward of a choice depends on the context and the choice only, not on the other items of the list or on which model "
    "served it",
    "users behave as in the logged period",
)
"""What must hold for the estimates to be unbiased, apart from clipping."""


class OffPolicyEstimate(NamedTuple):
    """Estimated mean reward of a policy, from choices that another policy made."""

    logged: RatioEstimate
    """Mean reward of the logged choices themselves."""
    ips: RatioEstimate
    """Inverse propensity scoring."""
    snips: RatioEstimate | None
    """Self-normalised inverse propensity scoring; None: no logged choice has a weight above 0."""
    dr: RatioEstimate | None
    """Doubly robust estimate; None: there was no reward model."""
    choices: int
    """Number of logged choices."""
    users: int
    """Number of users."""
    effective: float
    """Effective sample size, (sum of weights)^2 / sum of squared weights. Below about 100 the intervals are too narrow."""
    clipped: float
    """Share of the choices whose weight was clipped. Clipping biases the estimates towards low rewards."""
    mean_weight: float
    """Mean weight. For a policy over the logged candidates it must be near 1; elsewhere the propensities are wrong."""


def off_policy(
    reward_N: ArrayLike,
    logging_N: ArrayLike,
    target_N: ArrayLike,
    user_N: ArrayLike,
    *,
    predicted_N: ArrayLike | None = None,
    expected_N: ArrayLike | None = None,
    clip: float | None = 100.0,
    level: float = 0.95,
) -> OffPolicyEstimate:
    """Return estimates of the mean reward that a target policy would have had in the logged contexts.

    With the weights w = min(target / logging, clip): IPS is mean(w * reward) (Horvitz & Thompson 1952), SNIPS is
    sum(w * reward) / sum(w) (Swaminathan & Joachims 2015, equation 8), and DR is mean(expected + w * (reward - predicted))
    (Dudik et al. 2011, equation 2). The intervals treat users, not choices, as independent. `ASSUMPTIONS` says what must hold.

    Args:
        reward_N: Reward of each logged choice, such as 1 for a click.
        logging_N: Probability with which it was drawn, above 0 and at most 1.
        target_N: Probability with which the target policy draws it in the same context. For SNIPS alone it may be known up to
            a constant factor.
        user_N: Number or id of the user.
        predicted_N: Reward that a model predicts for the logged choice, which must not have been fitted to it.
        expected_N: Mean predicted reward under the target policy in the context.
        clip: Largest weight; None: weights are not clipped.
        level: Confidence level of the intervals.

    Raises:
        DataError: the arrays are empty, differ in length or have values out of range.
        ConfigError: only one of `predicted_N` and `expected_N` is given, `clip` is not above 0, or the level is not valid.
    """
    level, largest = check_level(level), math.inf if clip is None else number("clip", clip)
    if largest <= 0:
        raise ConfigError(f"clip must be above 0, got {clip}; 100 is the default")
    if (predicted_N is None) != (expected_N is None):
        raise ConfigError(
            "predicted_N and expected_N belong together; pass both for a doubly robust estimate, or none"
        )
    users_N = np.unique(np.asarray(user_N), return_inverse=True)[1].reshape(-1)
    rewards_N, logged_N, wanted_N = _arrays(
        len(users_N), reward_N=reward_N, logging_N=logging_N, target_N=target_N
    )
    if logged_N.min() <= 0 or logged_N.max() > 1:
        raise DataError(
            f"logging_N has probabilities from {logged_N.min()} to {logged_N.max()}; "
            "leave out choices that were not drawn at random"
        )
    if wanted_N.min() < 0:
        raise DataError(f"target_N has the negative probability {wanted_N.min()}; pass probabilities")
    full_N = wanted_N / logged_N
    weight_N = np.minimum(full_N, largest)
    one_U = per_user(users_N, np.ones(len(users_N)))

    def mean(value_N: Float64Array) -> RatioEstimate:
        return ratio_of_sums(per_user(users_N, value_N), one_U, level)

    weight_U, gain_N = per_user(users_N, weight_N), weight_N * rewards_N
    dr = None
    if predicted_N is not None and expected_N is not None:
        model_N, mean_N = _arrays(len(users_N), predicted_N=predicted_N, expected_N=expected_N)
        dr = mean(mean_N + weight_N * (rewards_N - model_N))
    squares = float(np.dot(weight_N, weight_N))
    return OffPolicyEstimate(
        mean(rewards_N),
        mean(gain_N),
        ratio_of_sums(per_user(users_N, gain_N), weight_U, level) if squares else None,
        dr,
        len(users_N),
        len(one_U),
        float(weight_N.sum()) ** 2 / squares if squares else 0.0,
        float((full_N > largest).mean()),
        float(full_N.mean()),
    )


def _arrays(length: int, **given: ArrayLike) -> list[Float64Array]:
    """Return one-dimensional arrays of finite numbers with a length."""
    found = []
    for name, value in given.items():
        array_N = np.asarray(value, np.float64)
        if array_N.shape != (length,) or not length:
            raise DataError(
                f"{name} has the shape {array_N.shape} and user_N {length} values; "
                "pass one number for each choice, at least one"
            )
        if not np.isfinite(array_N).all():
            raise DataError(f"{name} has values that are not finite; leave out such choices")
        found.append(array_N)
    return found
