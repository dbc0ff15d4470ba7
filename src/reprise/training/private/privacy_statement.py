"""What a run with differential privacy promises, for its directory and for the model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

from reprise.data.dataset import EVENT
from reprise.data.public_items import KINDS
from reprise.training.privacy_config import Privacy
from reprise.training.private.accounting import (
    SampledSteps,
    epsilon_spent,
    release_sigma_for,
    round_up,
    step_sigma_for,
)
from reprise.training.private.gram_release import COUNTS_SHARE

NOT_COVERED = (
    "what users send to a server that runs the model, and its answers to them",
    "what can be inferred about a user from the behaviour of others",
    "other runs on the same log: their epsilons add up",
    "the evaluation of the model on the log, which adds no noise to its results",
    "messages that refuse a training because of the log",
    "the limited precision of floating-point noise (Mironov 2012)",
    "a reader of the files of the run while it trains: they contain the seed of the noise",
)
"""What the promise does not cover."""


@dataclass(frozen=True)
class NoisePlan:
    """Noise of a run that spends at most its epsilon."""

    release_sigma: float
    """Noise multiplier of the release."""
    steps: SampledSteps | None
    """Noise multiplier, sampling rate and number of steps of DP-SGD; None without it."""
    epsilon: float
    """Epsilon that both spend together, rounded upwards."""


@cache
def noise_plan(privacy: Privacy) -> NoisePlan:
    """Return the smallest noise for the budget of a run. The release has its share of epsilon, and DP-SGD what is left."""
    share, rate = privacy.release, privacy.sampling_rate
    release = release_sigma_for(share * privacy.epsilon, privacy.delta)
    if share == 1:
        steps = None
    else:
        sigma = step_sigma_for(privacy.epsilon, privacy.delta, rate, privacy.steps, release)
        steps = SampledSteps(sigma, rate, privacy.steps)
    return NoisePlan(release, steps, round_up(epsilon_spent(privacy.delta, release, steps)))


def privacy_statement(privacy: Privacy, noise: NoisePlan, kinds: Sequence[str]) -> dict[str, Any]:
    """Return the statement of a run, made from what is public.

    Args:
        privacy: Privacy of the run.
        noise: Noise of the run.
        kinds: Names of the kinds of event of the log. They are used only if they are declared public.
    """
    release = {
        "noise multiplier of the release": noise.release_sigma,
        "share of the counts in its inverse variance": COUNTS_SHARE,
        "events per user": privacy.events,
        "items with vectors": privacy.keep_for(noise.release_sigma),
    }
    training = noise.steps and {
        "sampling": "Poisson",
        "sampling rate": noise.steps.rate,
        "steps": noise.steps.steps,
        "noise multiplier of a step": noise.steps.sigma,
        "clipping norm": privacy.clip,
    }
    public_kinds = privacy.kinds or ((EVENT,) if privacy.catalogue else sorted(kinds))
    catalogue = (
        "the table of items"
        if privacy.catalogue
        else "the item ids and kinds of event of the log, and its item table"
    )
    return {
        "guarantee": "user-level differential privacy of the training log",
        "unit": "user",
        "neighbouring logs": "one user with all events is added or removed",
        "epsilon": privacy.epsilon,
        "epsilon spent": noise.epsilon,
        "delta": privacy.delta,
        "accountant": f"privacy loss distribution (dp-accounting {version('dp-accounting')})",
        "users": privacy.users,
        "release": release,
        **({"DP-SGD": training} if training else {}),
        KINDS: list(public_kinds),
        "declared public": [
            catalogue,
            "the number of users",
            "the recipe",
            "the options of prepare and the times of its split",
        ],
        "not covered": list(NOT_COVERED),
    }
