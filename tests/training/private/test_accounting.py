import math
import re
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant

from reprise.errors import ConfigError
from reprise.training.private.accounting import (
    MAX_SIGMA,
    SampledSteps,
    combined_sigma,
    epsilon_spent,
    release_sigma_for,
    round_up,
    step_sigma_for,
)

DELTA = 1e-5
RATE, STEPS = 0.17, 150
SIGMAS = [(1, 7.89), (2, 4.31), (4, 2.44), (8, 1.48)]
"""Epsilon and sigma of 150 steps that read 17 % of the users."""


def prv_epsilon(steps: SampledSteps, release_sigma: float | None = None) -> float:
    """Upper bound of the accountant of Opacus (Gopi et al. 2021), an independent implementation; its error is 0.01."""
    return prv_of(
        [(steps.sigma, steps.rate, steps.steps), *([(release_sigma, 1.0, 1)] if release_sigma else [])]
    )


def prv_of(history: list[tuple[float, float, int]]) -> float:
    """Epsilon of mechanisms (sigma, sampling rate, number)."""
    accountant = PRVAccountant()
    accountant.history = history
    # It takes log(1 - rate), also of a release that reads all users, and begins with a rough bound by Renyi divergences,
    # which warns about its orders; the result does not depend on them.
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order", category=UserWarning)
        return accountant.get_epsilon(DELTA, eps_error=0.01)


def rdp_epsilon(steps: SampledSteps, release_sigma: float | None = None) -> float:
    """Upper bound by Renyi divergences, which loses some of the budget."""
    sampled = SelfComposedDpEvent(
        PoissonSampledDpEvent(steps.rate, GaussianDpEvent(steps.sigma)), steps.steps
    )
    release = [] if release_sigma is None else [GaussianDpEvent(release_sigma)]
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(11, 200))
    return RdpAccountant(orders).compose(ComposedDpEvent([sampled, *release])).get_epsilon(DELTA)


def gaussian_delta(sigma: float, epsilon: float) -> float:
    """Exact delta of one Gaussian mechanism (Balle and Wang 2018, theorem 8)."""

    def cdf(x: float) -> float:
        return 0.5 * math.erfc(-x / math.sqrt(2))

    return cdf(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * cdf(-0.5 / sigma - epsilon * sigma)


@pytest.mark.parametrize("release_sigma", [None, 2.0])
@pytest.mark.parametrize(("epsilon", "sigma"), SIGMAS)
def test_two_accountants_agree_within_0_02_and_the_renyi_bound_is_looser(
    epsilon: float, sigma: float, release_sigma: float | None
) -> None:
    steps = SampledSteps(sigma, RATE, STEPS)
    spent = epsilon_spent(DELTA, release_sigma, steps)
    assert spent == pytest.approx(prv_epsilon(steps, release_sigma), abs=0.02)
    assert spent < rdp_epsilon(steps, release_sigma) - 0.05
    if release_sigma is None:
        assert spent == pytest.approx(epsilon, abs=0.02)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.7])
def test_the_epsilon_of_a_release_is_at_most_0_002_above_the_exact_one(sigma: float) -> None:
    spent = epsilon_spent(DELTA, sigma)
    assert gaussian_delta(sigma, spent) <= DELTA < gaussian_delta(sigma, spent - 0.002)


def test_steps_that_read_all_users_equal_one_release_with_less_noise() -> None:
    steps = SampledSteps(6.0, rate=1.0, steps=9)
    assert epsilon_spent(DELTA, None, steps) == pytest.approx(epsilon_spent(DELTA, 6.0 / math.sqrt(9)))
    # almost all users, by the composition of the steps one by one
    almost = SampledSteps(6.0, rate=1 - 1e-9, steps=9)
    assert epsilon_spent(DELTA, None, almost) == pytest.approx(epsilon_spent(DELTA, None, steps), abs=1e-3)


def test_without_a_release_and_without_steps_nothing_is_spent() -> None:
    assert epsilon_spent(DELTA, None, None) == 0


def test_the_release_adds_to_what_the_steps_spend() -> None:
    steps = SampledSteps(2.0, RATE, STEPS)
    together = epsilon_spent(DELTA, 1.5, steps)
    alone = epsilon_spent(DELTA, None, steps), epsilon_spent(DELTA, 1.5)
    assert max(alone) < together < sum(alone)


@pytest.mark.parametrize(
    "spend",
    [
        lambda i: epsilon_spent(10.0 ** -(3 + i), 2.0, SampledSteps(2.0, RATE, STEPS)),
        lambda i: epsilon_spent(DELTA, 3.0 - i, SampledSteps(2.0, RATE, STEPS)),
        lambda i: epsilon_spent(DELTA, 2.0, SampledSteps(3.0 - 0.9 * i, RATE, STEPS)),
        lambda i: epsilon_spent(DELTA, 2.0, SampledSteps(2.0, 0.1 + 0.3 * i, STEPS)),
        lambda i: epsilon_spent(DELTA, 2.0, SampledSteps(2.0, RATE, 10 + 40 * i)),
    ],
    ids=["delta", "sigma of the release", "sigma of the steps", "sampling rate", "number of steps"],
)
def test_epsilon_grows_with_each_argument_that_reveals_more(spend: Callable[[int], float]) -> None:
    epsilons = [spend(i) for i in range(3)]
    assert epsilons[0] < epsilons[1] < epsilons[2]


@pytest.mark.parametrize(("epsilon", "share"), [(0.3, 0.0), (2, 0.6)])
def test_a_search_finds_the_smallest_sigma_that_stays_within_the_budget(epsilon: float, share: float) -> None:
    release = release_sigma_for(share * epsilon, DELTA) if share else None
    sigma = step_sigma_for(epsilon, DELTA, RATE, 60, release)
    if release is not None:
        assert epsilon_spent(DELTA, release) <= share * epsilon
        assert epsilon_spent(DELTA, release * 0.99) > share * epsilon
    assert epsilon_spent(DELTA, release, SampledSteps(sigma, RATE, 60)) <= epsilon
    assert epsilon_spent(DELTA, release, SampledSteps(sigma * 0.99, RATE, 60)) > epsilon


def test_two_releases_are_as_private_as_one_with_the_combined_sigma() -> None:
    together = prv_of([(2.0, 1.0, 1), (3.0, 1.0, 1)])
    assert epsilon_spent(DELTA, combined_sigma(2.0, 3.0)) == pytest.approx(together, abs=0.02)
    assert combined_sigma(2.0) == 2.0


@pytest.mark.parametrize(
    ("epsilon", "expected"), [(3.9991, 4.0), (4.0, 4.0), (0.1, 0.1), (2.0000001, 2.001), (0, 0)]
)
def test_a_stated_epsilon_is_rounded_upwards(epsilon: float, expected: float) -> None:
    assert round_up(epsilon) == expected >= epsilon


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: release_sigma_for(0.05, DELTA), "epsilon is 0.05; choose a value from 0.1 to 100"),
        (lambda: release_sigma_for(math.nan, DELTA), "epsilon is nan"),
        (lambda: step_sigma_for(math.inf, DELTA, RATE, 10, None), "epsilon is inf"),
        (lambda: release_sigma_for(1, 0), "delta is 0; choose a probability of at least 1e-09"),
        (lambda: epsilon_spent(1, 2.0), "delta is 1"),
        (lambda: epsilon_spent(math.nan, 2.0), "delta is nan"),
        (lambda: epsilon_spent(DELTA, 0), "sigma of the release is 0; choose a value from 0.1"),
        (lambda: SampledSteps(0.0, RATE, 10), "sigma of the steps is 0.0"),
        (lambda: SampledSteps(1.0, 0, 10), "sampling rate of the steps is 0; it is batch / users"),
        (lambda: SampledSteps(1.0, 1.01, 10), "sampling rate of the steps is 1.01"),
        (lambda: step_sigma_for(1, DELTA, RATE, 0, None), "number of steps is 0; choose at least 1"),
        (lambda: step_sigma_for(1, DELTA, RATE, 10, 2.0), "spends an epsilon of 1.99., .* smaller share"),
        (
            lambda: step_sigma_for(0.1, 1e-9, 1.0, 10**10, None),
            re.escape(f"needs a sigma above {MAX_SIGMA:g}"),
        ),
    ],
)
def test_impossible_budgets_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_a_missing_accountant_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting.pld.privacy_loss_distribution", None)
    with pytest.raises(ConfigError, match=r'needs dp-accounting.*pip install "reprise\[privacy\]"'):
        epsilon_spent(DELTA, 2.0)
