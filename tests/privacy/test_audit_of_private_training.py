"""Private training is attacked: a lower bound on epsilon must stay below the epsilon that the run states.

An audit that finds nothing proves nothing, so each test has a control, in which the same attack must find more.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from audited_log import SMALL, USERS, habits
from torch import Tensor, nn

from reprise.models.networks.linear_fold import LinearFold
from reprise.privacy.auditing.canaries import audit_canaries
from reprise.privacy.auditing.epsilon_bound import EpsilonBound, epsilon_lower_bound
from reprise.testing.worlds import world
from reprise.training.privacy_config import Privacy
from reprise.training.private.accounting import step_sigma_for
from reprise.training.private.dp_sgd import PrivateSgd, PrivateSteps
from reprise.training.private.secret_noise import SecretNoise
from reprise.training.recipe import Recipe, RunOptions, TrainingConfig

EPSILON, DELTA = 2.0, 1e-5
CANARIES = 1000


def attacked_steps(plan: PrivateSteps) -> EpsilonBound:
    """Attack DP-SGD by users with the most revealing gradients: each has a weight of its own, and a gradient above the bound.

    The attacker sees the noisy gradient of every step.
    """
    inserted_N = np.random.default_rng(0).random(CANARIES) < 0.5
    canary_R = torch.from_numpy(np.flatnonzero(inserted_N))
    module = nn.Linear(CANARIES, 1, bias=False)

    def loss_of(row_B: Tensor, step: int) -> Tensor:
        x_BN = 7.0 * torch.nn.functional.one_hot(canary_R[row_B], CANARIES)
        loss_B: Tensor = module(x_BN.unsqueeze(1)).flatten()
        return loss_B

    sgd = PrivateSgd(module, loss_of, len(canary_R), plan, SecretNoise(bytes(32)))
    score_N = np.zeros(CANARIES)
    for sgd.step in range(plan.steps):
        score_N += sgd.noisy_gradient()["weight"].double().flatten().numpy()
    return epsilon_lower_bound(inserted_N, score_N, delta=DELTA)


@pytest.mark.parametrize(("batch", "steps", "less"), [(CANARIES, 1, 4), (CANARIES // 2, 4, 10)])
def test_the_steps_reveal_no_more_than_the_accountant_says(batch: int, steps: int, less: int) -> None:
    sigma = step_sigma_for(EPSILON, DELTA, batch / CANARIES, steps, release_sigma=None)
    plan = PrivateSteps(CANARIES, batch, steps, clip=1.0, sigma=sigma, learning_rate=0.1)
    assert 0 < attacked_steps(plan).epsilon <= EPSILON
    # the control: with less noise the attack refutes the same epsilon
    assert attacked_steps(replace(plan, sigma=sigma / less)).epsilon > EPSILON


def bounds_by_canaries(recipe: Recipe, folder: Path) -> list[float]:
    """Lower bounds on epsilon from a copy of a small log with canaries, by each kind of loss."""
    members = world(habits(USERS, seed=1))
    options = RunOptions(seed=0)
    found = audit_canaries(
        recipe, members, 400, folder, options, comparisons=200, delta=DELTA, progress=False
    )
    return [result.epsilon.epsilon for result in found.results.values()]


@pytest.mark.parametrize("release", [0.6, 1.0])
def test_a_private_run_reveals_no_more_about_canaries_than_its_epsilon(
    release: float, tmp_path: Path
) -> None:
    privacy = Privacy(epsilon=EPSILON, users=600, delta=DELTA, release=release, keep=60, batch=150, steps=15)
    recipe = Recipe(model=LinearFold(size=16), training=TrainingConfig(privacy=privacy))
    bounds = bounds_by_canaries(recipe, tmp_path)
    assert bounds and max(bounds) <= EPSILON


def test_the_same_canaries_reveal_more_than_that_about_a_plain_run(tmp_path: Path) -> None:
    assert min(bounds_by_canaries(SMALL, tmp_path)) > EPSILON
