"""The privacy of a training: epsilon, delta and what the budget is spent on."""

import dataclasses
from typing import Annotated, Any

from pydantic import Field

from reprise.config import spec
from reprise.errors import ConfigError
from reprise.models.networks.linear_fold import LinearFold


@spec
class Privacy:
    """User-level differential privacy (Dwork and Roth 2014) of what a run learns from the log.

    Logs are neighbours if one has all events of one user more than the other. The model that is saved is
    (`epsilon`, `delta`)-differentially private for them.
    """

    epsilon: Annotated[float, Field(gt=0)]
    """Largest epsilon of the whole run."""
    users: Annotated[int, Field(ge=1)]
    """Public number of users, at least that of the log. It is the divisor of the averages and gives the sampling rate."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Delta of the whole run. It must be below 1 / users."""
    events: Annotated[int, Field(ge=2)] = 200
    """Maximum number of events that are read per user, the last ones of the training part."""
    release: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of epsilon for the release of item counts and similarities; the rest trains the recurrent blocks by DP-SGD.
    1: no blocks are trained."""
    keep: Annotated[int, Field(ge=2)] | None = None
    """Maximum number of items that get vectors: those with the highest noisy counts.
    Default: users / 10 / noise multiplier of the release, because more items have more noise."""
    batch: Annotated[int, Field(ge=1)] = 1024
    """Expected number of users per step of DP-SGD. Each user is drawn with the probability batch / users."""
    steps: Annotated[int, Field(ge=1)] = 60
    """Number of steps of DP-SGD."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Maximum norm of the gradient of a user; a larger one is scaled down to it."""
    catalogue: str = ""
    """Path of a public table of the items that may be recommended, with a column `item_id`.
    Default: the item ids of the log are declared public, which the model card states."""
    kinds: tuple[str, ...] = ()
    """Public names of the kinds of event that a request may have; the network does not read them.
    Default: `event` with a catalogue; without one, those of the log, which are then declared public too."""

    @property
    def sampling_rate(self) -> float:
        """Probability with which each step of DP-SGD reads a user."""
        return min(1.0, self.batch / self.users)

    def keep_for(self, release_sigma: float) -> int:
        """Return the maximum number of items that get vectors, for a noise multiplier of the release."""
        return self.keep or max(2, int(self.users / 10 / release_sigma))

    def check(self) -> None:
        """Check what no field can check alone.

        Raises:
            ConfigError: Delta is not below 1 / users, or a batch is larger than the number of users.
        """
        if self.delta >= 1 / self.users:
            raise ConfigError(
                f"training.privacy.delta is {self.delta:g}, which allows publishing all events of a user; it must be below "
                f"1 / users = {1 / self.users:.2g}"
            )
        if self.release < 1 and self.batch > self.users:
            raise ConfigError(
                f"training.privacy.batch is {self.batch}, more than training.privacy.users, {self.users}; choose a smaller "
                "batch"
            )


UNUSED = "private training does not use it"
WITHOUT_NOISE = {
    "patience": "early stopping looks at the validation part without noise",
    "refit": "the refit learns from the validation part without noise",
    "forecast": "the forecast heads are fitted without noise",
    "loss": "private training takes the softmax over all items with vectors, without negatives drawn by popularity",
    "epochs": "the number of steps is training.privacy.steps",
    "events_per_batch": "the number of users per step is training.privacy.batch",
    "max_grad_norm": "the norm of the gradient of a user is limited by training.privacy.clip",
    "bptt_steps": "the events of a user are read together, at most training.privacy.events of them",
    "metric": "no epoch is chosen by validation, which would look at events without noise",
    "exclude_seen": "no epoch is chosen by validation, which would look at events without noise",
    "validation_sequences": "no epoch is chosen by validation, which would look at events without noise",
    "cooccurrence": "its counts are taken without noise",
    "repeats": "the repeat head is fitted without noise",
    "content": "how content is read is fitted without noise",
    "users": "how attributes of users are read is fitted without noise",
    "members": "each member would spend the budget",
}
"""Why fields cannot be combined with privacy; the reason of other fields is `UNUSED`."""
OFF = {"patience": (0,), "refit": (0,), "forecast": (False,), "cooccurrence": (0,), "repeats": (0,)}
"""Values of fields, besides their defaults, that private training allows."""
USED = ("privacy", "learning_rate")
"""Fields of `TrainingConfig` that private training uses."""


def check_private_training(training: Any, default: Any) -> None:
    """Check that a `TrainingConfig` with privacy asks for nothing that looks at events without noise.

    Raises:
        ConfigError: A field has a value that private training cannot honour, or privacy itself is impossible.
    """
    training.privacy.check()
    for field in dataclasses.fields(training):
        if field.name not in USED:
            _check_value(
                f"training.{field.name}", getattr(training, field.name), getattr(default, field.name)
            )


def check_private_model(model: Any, privacy: Privacy, default: Any) -> None:
    """Check that the spec of a network is one that private training can train.

    Args:
        model: The spec.
        privacy: Privacy of the training.
        default: The network that is trained by default without privacy. Private training replaces it.

    Raises:
        ConfigError: It is another network, or its number of blocks contradicts `release`.
    """
    if type(model) is type(default):
        for field in dataclasses.fields(model):
            _check_value(f"model.{field.name}", getattr(model, field.name), getattr(default, field.name))
        return
    if not isinstance(model, LinearFold):
        reason = (
            "each member would spend the budget"
            if hasattr(model, "members")
            else "its gradients are not private"
        )
        raise ConfigError(
            f"model {type(model).__name__} cannot be combined with training.privacy: {reason}; leave out the model, or "
            "choose LinearFold(...)"
        )
    share = privacy.release
    if model.layers and share == 1:
        raise ConfigError(
            f"model.layers is {model.layers}, but no privacy budget is left to train recurrent blocks, because "
            "training.privacy.release is 1; set it below 1, such as 0.6, or leave out model.layers"
        )
    if model.layers == 0 and share < 1:
        raise ConfigError(
            f"training.privacy.release is {share:g}, but model.layers is 0, so nothing would use the rest of the budget; "
            "set training.privacy.release to 1, or leave out model.layers"
        )


def _check_value(name: str, value: Any, default: Any) -> None:
    field = name.partition(".")[2]
    if value != default and value not in OFF.get(field, ()):
        reason = WITHOUT_NOISE.get(field, UNUSED)
        raise ConfigError(
            f"{name}={value!r} cannot be combined with training.privacy: {reason}; leave out {name}"
        )
