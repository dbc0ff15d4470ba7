"""The lower bound on epsilon: closed forms, randomised response with a known epsilon, and no bound from chance."""

from math import exp, log

import numpy as np
import pytest

from reprise.privacy.auditing.epsilon_bound import (
    SHARES,
    epsilon_lower_bound,
    guess_probability,
    refuted_epsilon,
)


def test_all_guesses_right_refute_the_epsilon_of_the_closed_form() -> None:
    # all of r guesses are right with probability q^r = 0.05 under the largest epsilon that is refuted
    q = 0.05 ** (1 / 100)
    assert refuted_epsilon(100, 100, 100, 0.0, 0.05) == pytest.approx(log(q / (1 - q)), abs=1e-5)


def test_the_probability_with_delta_is_the_sum_of_the_theorem() -> None:
    # m = 4, r = 2, v = 2, q = 3/4: beta = 9/16; P[2 > B >= 2 - i] / i = 6/16 for i = 1 and (7/16) / 2 for i = 2
    found = guess_probability(4, 2, 2, log(3), 0.01)
    assert found == pytest.approx(9 / 16 + 2 * 4 * 0.01 * 6 / 16)
    assert guess_probability(4, 2, 2, log(3), 0.0) == pytest.approx(9 / 16)


def test_a_larger_delta_refutes_less() -> None:
    bounds = [refuted_epsilon(1000, 600, 590, delta, 0.05) for delta in (0.0, 1e-5, 1e-3)]
    assert bounds[0] > bounds[1] > bounds[2] > 0


def test_half_of_the_guesses_right_refute_nothing() -> None:
    assert refuted_epsilon(100, 100, 55, 1e-5, 0.05) == 0.0


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_the_bound_for_randomised_response_exceeds_its_epsilon_in_one_of_twenty_runs(epsilon: float) -> None:
    """Each canary's score is its bit, which is flipped with the probability that epsilon allows, and a tie-breaker."""
    generator, exceeded = np.random.default_rng(0), 0
    for _ in range(40):
        inserted = generator.random(400) < 0.5
        kept = generator.random(400) < exp(epsilon) / (1 + exp(epsilon))
        score = np.where(kept, inserted, ~inserted) + 0.01 * generator.random(400)
        exceeded += epsilon_lower_bound(inserted, score).epsilon > epsilon
    assert exceeded <= 0.05 * 40 + 3 * (40 * 0.05 * 0.95) ** 0.5


def test_the_bound_for_randomised_response_comes_near_its_epsilon() -> None:
    generator = np.random.default_rng(1)
    inserted = generator.random(4000) < 0.5
    kept = generator.random(4000) < exp(2) / (1 + exp(2))
    bound = epsilon_lower_bound(inserted, np.where(kept, inserted, ~inserted).astype(float))
    assert 1.7 < bound.epsilon < 2
    assert bound.canaries == 4000 and bound.largest > 6


def test_abstaining_finds_the_few_that_are_certain() -> None:
    """Only an eighth of the scores say anything: guesses about all canaries would show less."""
    generator = np.random.default_rng(2)
    inserted = generator.random(800) < 0.5
    certain = np.arange(800) < 100
    score = np.where(certain, np.where(inserted, 5.0, -5.0), generator.normal(size=800))
    bound = epsilon_lower_bound(inserted, score)
    assert bound.guesses < 800
    error = 0.05 / len(SHARES)
    assert bound.epsilon > refuted_epsilon(800, 800, 450, 1e-5, error)
