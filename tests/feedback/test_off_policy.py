"""Off-policy estimates on simulated logs, whose true values are known."""

from typing import Any

import numpy as np
import pytest

from reprise.errors import ConfigError, DataError
from reprise.feedback import OffPolicyEstimate, off_policy

CONTEXTS, ACTIONS = 4, 5
RNG = np.random.default_rng(3)
REWARD_CA = RNG.uniform(0.05, 0.9, (CONTEXTS, ACTIONS))
LOGGING_CA = RNG.dirichlet(np.full(ACTIONS, 3.0), CONTEXTS) * 0.8 + 0.2 / ACTIONS
TARGET_CA = RNG.dirichlet(np.full(ACTIONS, 1.0), CONTEXTS)
TRUE_VALUE = float((TARGET_CA * REWARD_CA).sum(1).mean())
"""Mean reward of the target policy, with contexts of equal probability."""


def log(
    seed: int, users: int = 300, propensity: np.ndarray = LOGGING_CA, **options: Any
) -> OffPolicyEstimate:
    """Simulate four choices of each user, who has one context, and estimate; `model` is a table of predictions."""
    rng = np.random.default_rng(seed)
    user_N = np.repeat(np.arange(users), 4)
    context_N = np.repeat(rng.integers(CONTEXTS, size=users), 4)
    action_N = (rng.random(len(user_N))[:, None] > LOGGING_CA.cumsum(1)[context_N]).sum(1)
    reward_N = rng.random(len(user_N)) < REWARD_CA[context_N, action_N]
    model = options.pop("model", None)
    if model is not None:
        options["predicted_N"] = model[context_N, action_N]
        options["expected_N"] = (TARGET_CA * model).sum(1)[context_N]
    return off_policy(
        reward_N, propensity[context_N, action_N], TARGET_CA[context_N, action_N], user_N, **options
    )


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_intervals_cover_the_true_value(name: str) -> None:
    found = [getattr(log(seed, model=np.full((CONTEXTS, ACTIONS), 0.4)), name) for seed in range(300)]
    spread = np.std([one.value for one in found]) / np.sqrt(300)
    assert abs(np.mean([one.value for one in found]) - TRUE_VALUE) < 4 * spread + 0.003
    covered = np.mean([one.low <= TRUE_VALUE <= one.high for one in found])
    assert 0.91 <= covered <= 0.99


def test_wrong_propensities_are_noticed_by_value_and_mean_weight() -> None:
    """The negative control: uniform propensities were logged although the draws were not uniform."""
    uniform = np.full((CONTEXTS, ACTIONS), 1 / ACTIONS)
    right, wrong = log(0, 5_000), log(0, 5_000, uniform)
    assert right.ips.low is not None and wrong.ips.low is not None
    assert right.ips.low <= TRUE_VALUE <= right.ips.high  # type: ignore[operator]
    assert not wrong.ips.low <= TRUE_VALUE <= wrong.ips.high  # type: ignore[operator]
    assert abs(right.mean_weight - 1) < 0.05 < abs(wrong.mean_weight - 1)


def test_a_doubly_robust_estimate_survives_wrong_propensities_with_a_right_model() -> None:
    uniform = np.full((CONTEXTS, ACTIONS), 1 / ACTIONS)
    found = log(0, 5_000, uniform, model=REWARD_CA).dr
    assert found is not None and found.low is not None and found.high is not None
    assert found.low <= TRUE_VALUE <= found.high


def test_a_good_reward_model_narrows_the_interval() -> None:
    found = log(0, model=REWARD_CA)
    assert found.dr is not None and found.dr.high is not None and found.ips.high is not None
    assert found.dr.high - found.dr.value < 0.9 * (found.ips.high - found.ips.value)


def test_the_estimates_follow_their_formulas() -> None:
    found = off_policy(
        [1, 0, 1], [0.5, 0.5, 0.25], [0.5, 0.25, 1.0], [1, 2, 3],
        predicted_N=[0.5, 0.5, 0.5], expected_N=[0.2, 0.3, 0.4], clip=3,
    )  # fmt: skip
    # weights 1, 1/2 and 4, which is clipped to 3
    assert found.ips.value == pytest.approx((1 * 1 + 3 * 1) / 3)
    assert found.snips is not None and found.dr is not None
    assert found.snips.value == pytest.approx((1 + 3) / (1 + 0.5 + 3))
    assert found.dr.value == pytest.approx((0.2 + 0.5 + 0.3 - 0.25 + 0.4 + 1.5) / 3)
    assert found.effective == pytest.approx((1 + 0.5 + 3) ** 2 / (1 + 0.25 + 9))
    assert found.clipped == 1 / 3 and found.mean_weight == pytest.approx((1 + 0.5 + 4) / 3)
    assert found.logged.value == pytest.approx(2 / 3) and (found.choices, found.users) == (3, 3)


def test_a_target_policy_without_common_choices_has_no_normalised_estimate() -> None:
    found = off_policy([1, 0], [0.5, 0.5], [0, 0], [1, 2])
    assert found.snips is None and found.effective == 0 and found.ips.value == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logging_N": [0.0, 0.5]}, DataError, "leave out choices that were not drawn"),
        ({"logging_N": [0.5, np.nan]}, DataError, "not finite"),
        ({"target_N": [-0.5, 0.5]}, DataError, "negative"),
        ({"reward_N": [1]}, DataError, "one number for each choice"),
        ({"predicted_N": [0, 0]}, ConfigError, "belong together"),
        ({"clip": 0}, ConfigError, "clip"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given: dict[str, Any] = {
        "reward_N": [1, 0],
        "logging_N": [0.5, 0.5],
        "target_N": [0.5, 0.5],
        "user_N": [1, 2],
    }
    with pytest.raises(error, match=message):
        off_policy(**(given | change))
