"""Privacy accounting: the epsilon that releases with Gaussian noise and the steps of DP-SGD spend together.

A run has at most one Gaussian release, which reads all users, and T Gaussian steps, each of which reads a Poisson sample of
the users. Two logs are neighbours if one has a user that the other does not have (add or remove one). The privacy loss
distributions (PLD) of all mechanisms are composed numerically (Koskela et al. 2020, "Computing tight differential privacy
guarantees using FFT"; Doroshenko et al. 2022, "Connect the dots"). All distributions are rounded upwards, so a computed
epsilon is an upper bound. Noise is stated as sigma, a multiple: the standard deviation divided by the sensitivity, which is
the largest norm that one user can contribute.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from reprise.errors import ConfigError

INSTALL = 'pip install "reprise[privacy]"'
"""Command that installs the accountant."""
INTERVAL = 5e-4
"""Distance of two values of a discretised privacy loss. Below an epsilon of 1 it is multiplied by epsilon."""
SEARCH_TOLERANCE = 1e-4
"""Relative distance of a sigma that is found from the smallest one."""
MIN_SIGMA, MAX_SIGMA = 0.1, 1e6
"""Range of sigma. Less noise costs the accountant gigabytes of memory, and does not protect anyone."""
MIN_EPSILON, MAX_EPSILON = 0.1, 100.0
"""Range of the epsilons that are accepted as a target."""
MIN_DELTA = 1e-9
"""Smallest delta. Much below it, the probability of losses that the accountant cuts off is no longer negligible."""


@dataclass(frozen=True)
class SampledSteps:
    """The steps of DP-SGD. All three numbers are public.

    Raises:
        ConfigError: A number is out of its range.
    """

    sigma: float
    """Standard deviation of the noise, divided by the norm to which the gradient of a user is clipped."""
    rate: float
    """q: probability that a step reads a user, independent of the other users and steps."""
    steps: int
    """T: number of steps."""

    def __post_init__(self) -> None:
        _check_sigma("sigma of the steps", self.sigma)
        _check_sampling(self.rate, self.steps)


def epsilon_spent(delta: float, release_sigma: float | None, steps: SampledSteps | None = None) -> float:
    """Return the epsilon of a release and of the steps of DP-SGD, for users that are added or removed.

    Args:
        delta: Probability with which epsilon may be exceeded.
        release_sigma: Sigma of the release that reads all users; None without a release. See `combined_sigma`.
        steps: The steps; None without steps.

    Returns:
        An upper bound; 0 without a release and without steps.

    Raises:
        ConfigError: An argument is out of its range, or dp-accounting is not installed.
    """
    _check_delta(delta)
    if release_sigma is not None:
        _check_sigma("sigma of the release", release_sigma)

    def at(interval: float) -> float:
        loss = _compose(_gaussian(release_sigma, interval), _sampled(steps, interval))
        return 0.0 if loss is None else float(loss.get_epsilon_for_delta(delta))

    epsilon = at(INTERVAL)
    # Both are upper bounds. Half of the interval of a search: a sigma that was found never seems to spend more here.
    return min(epsilon, at(_interval(epsilon) / 2)) if 0 < epsilon < 1 else epsilon


def release_sigma_for(epsilon: float, delta: float) -> float:
    """Return the smallest sigma with which one Gaussian release spends at most epsilon.

    Args:
        epsilon: Largest epsilon of the release.
        delta: Probability with which epsilon may be exceeded.

    Raises:
        ConfigError: An argument is out of its range, or dp-accounting is not installed.
    """
    _check_target(epsilon, delta)
    interval = _interval(epsilon)
    return _smallest_sigma(
        lambda sigma: _gaussian(sigma, interval), epsilon, delta, _classical_sigma(epsilon, delta)
    )


def step_sigma_for(
    epsilon: float, delta: float, rate: float, steps: int, release_sigma: float | None
) -> float:
    """Return the smallest sigma of the steps with which a release and the steps spend at most epsilon together.

    If the release alone spends a share of epsilon, then more than the rest is left for the steps: the squares of the
    privacy losses of Gaussian mechanisms add up, rather than the losses.

    Args:
        epsilon: Largest epsilon of the release and the steps together.
        delta: Probability with which epsilon may be exceeded.
        rate: Probability that a step reads a user.
        steps: Number of steps.
        release_sigma: Sigma of the release; None without a release.

    Raises:
        ConfigError: An argument is out of its range, the release leaves nothing to the steps, or dp-accounting is not
            installed.
    """
    _check_target(epsilon, delta)
    _check_sampling(rate, steps)
    if release_sigma is not None:
        spent = epsilon_spent(delta, release_sigma)
        if spent >= epsilon:
            raise ConfigError(
                f"the release with sigma {release_sigma:g} spends an epsilon of {spent:.3f}, and the whole run may spend "
                f"{epsilon:g}; give the release a smaller share of the budget, or train without steps"
            )
    interval = _interval(epsilon)
    release = _gaussian(release_sigma, interval)
    return _smallest_sigma(
        lambda sigma: _compose(release, _sampled(SampledSteps(sigma, rate, steps), interval)),
        epsilon,
        delta,
        _classical_sigma(epsilon, delta) * rate * math.sqrt(steps),
    )


def combined_sigma(*sigmas: float) -> float:
    """Return the sigma of one Gaussian release that is as private as several ones together.

    The equivalence is exact: s^-2 is the sum of the s_i^-2 (Dong et al. 2022, "Gaussian differential privacy", corollary
    3.3). Two releases with a sigma of 3 are as private as one with 3 / sqrt(2).
    """
    return 1 / math.sqrt(sum(1 / sigma**2 for sigma in sigmas))


def round_up(epsilon: float, digits: int = 3) -> float:
    """Return epsilon rounded upwards: a stated epsilon is never smaller than the one that was spent.

    >>> round_up(3.9991)
    4.0
    """
    scale = 10.0**digits
    steps = math.ceil(epsilon * scale)
    return (steps if steps / scale >= epsilon else steps + 1) / scale


def _check_target(epsilon: float, delta: float) -> None:
    _check_delta(delta)
    if not MIN_EPSILON <= epsilon <= MAX_EPSILON:
        raise ConfigError(
            f"epsilon is {epsilon}; choose a value from {MIN_EPSILON} to {MAX_EPSILON:g}: a smaller one leaves nothing but "
            f"noise, and a larger one does not protect anyone"
        )


def _check_delta(delta: float) -> None:
    if not MIN_DELTA <= delta < 1:
        raise ConfigError(
            f"delta is {delta}; choose a probability of at least {MIN_DELTA} and below 1 / users"
        )


def _check_sigma(name: str, sigma: float) -> None:
    if not MIN_SIGMA <= sigma <= MAX_SIGMA:
        raise ConfigError(f"the {name} is {sigma}; choose a value from {MIN_SIGMA} to {MAX_SIGMA:g}")


def _check_sampling(rate: float, steps: int) -> None:
    if not 0 < rate <= 1:
        raise ConfigError(
            f"the sampling rate of the steps is {rate}; it is batch / users, above 0 and at most 1"
        )
    if steps < 1:
        raise ConfigError(f"the number of steps is {steps}; choose at least 1")


def _interval(epsilon: float) -> float:
    """Return the interval of the discretised loss for a target."""
    return INTERVAL * min(1.0, epsilon)


def _classical_sigma(epsilon: float, delta: float) -> float:
    """Return the sigma of the classical Gaussian mechanism, at which a search begins.

    sigma = sqrt(2 log(1.25 / delta)) / epsilon (Dwork and Roth 2014, theorem A.1).
    """
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


def _smallest_sigma(loss_of: Callable[[float], Any], epsilon: float, delta: float, guess: float) -> float:
    """Return the smallest sigma in the range, up to `SEARCH_TOLERANCE`, whose loss spends at most epsilon.

    The result is the upper end of the last interval of a bisection, so it satisfies the bound itself.
    """

    def is_enough(sigma: float) -> bool:
        return float(loss_of(sigma).get_epsilon_for_delta(delta)) <= epsilon

    # a large sigma first: little noise has a wide range of losses, which takes long to compose
    high = min(max(guess, MIN_SIGMA), MAX_SIGMA / 2)
    while not is_enough(high):
        high *= 2
        if high > MAX_SIGMA:
            raise ConfigError(
                f"an epsilon of {epsilon:g} at a delta of {delta:g} needs a sigma above {MAX_SIGMA:g}; choose a larger "
                f"epsilon or delta, a smaller share of the release, or fewer steps"
            )
    low = max(high / 2, MIN_SIGMA)
    while low > MIN_SIGMA and is_enough(low):
        low, high = max(low / 2, MIN_SIGMA), low
    while high > low * (1 + SEARCH_TOLERANCE):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _gaussian(sigma: float | None, interval: float, rate: float = 1.0) -> Any:
    """Return the PLD of a Gaussian mechanism of sensitivity 1; None for no mechanism."""
    if sigma is None:
        return None
    return _distributions().from_gaussian_mechanism(
        sigma,
        sensitivity=1.0,
        pessimistic_estimate=True,
        value_discretization_interval=interval,
        sampling_prob=rate,
    )


def _sampled(steps: SampledSteps | None, interval: float) -> Any:
    """Return the PLD of all steps; None without steps."""
    if steps is None:
        return None
    if steps.rate == 1:
        return _gaussian(steps.sigma / math.sqrt(steps.steps), interval)
    return _gaussian(steps.sigma, interval, steps.rate).self_compose(steps.steps)


def _compose(release: Any, steps: Any) -> Any:
    if release is None or steps is None:
        return steps if release is None else release
    return release.compose(steps)


def _distributions() -> Any:
    """Return the module of the library, which is imported only if a run is private.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module("dp_accounting.pld.privacy_loss_distribution")
    except ImportError as error:
        raise ConfigError(
            f"differential privacy needs dp-accounting, which computes the noise: {INSTALL}"
        ) from error
