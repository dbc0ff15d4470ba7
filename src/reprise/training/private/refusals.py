"""What cannot be combined with training with differential privacy, besides fields of the recipe.

A refusal because of the log says something about the log to the person who starts the training. It is not part of the model.
"""

from reprise.data.dataset import SequenceDataset
from reprise.errors import ConfigError
from reprise.training.parallel.worker_pool import check_not_distributed
from reprise.training.privacy_config import Privacy
from reprise.training.recipe import Recipe, RunOptions
from reprise.training.tracking.callbacks import EpochCallback


def check_private_run(
    privacy: Privacy, dataset: SequenceDataset, options: RunOptions, on_epoch: EpochCallback | None
) -> None:
    """Check that a private run can be made of a dataset, with options that reveal nothing without noise.

    Raises:
        ConfigError: The log has more users than `privacy.users`, its sequences are not users, or an option is refused.
    """
    check_not_distributed("training.privacy")
    if options.logger != "none":
        raise ConfigError(
            f"logger {options.logger!r} cannot be combined with training.privacy: it would receive losses without noise; "
            "leave out the logger"
        )
    if on_epoch is not None:
        raise ConfigError(
            "on_epoch cannot be combined with training.privacy: there are no epochs, and losses are not shown without "
            "noise; leave it out"
        )
    by = dataset.facts.get("sequence_by", "user")
    if by != "user":
        raise ConfigError(
            f"training.privacy protects users, but the sequences of this dataset are those of {by!r}, and one user may have "
            "several; prepare it with --sequence-by user"
        )
    rare = dataset.facts.get("options", {}).get("min_item_events", 1)
    if rare > 1:
        raise ConfigError(
            f"this dataset is without items of fewer than {rare} events, which depends on all users and not on each alone; "
            "for training.privacy prepare it with --min-item-events 1"
        )
    if len(dataset) > privacy.users:
        raise ConfigError(
            f"training.privacy.users is {privacy.users}, but the log has more users; state a public number that is at least "
            "as large as the log"
        )


def check_not_private(recipe: Recipe, what: str) -> None:
    """Check that a recipe has no privacy, for what would train several times on the same log.

    Raises:
        ConfigError: It has privacy.
    """
    if recipe.training.privacy is not None:
        raise ConfigError(
            f"{what} cannot be combined with training.privacy: each training spends the budget of epsilon again; train once"
        )
