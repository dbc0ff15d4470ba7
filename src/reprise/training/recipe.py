"""Recipes: a model spec with the hyper-parameters of its training, and separately the options of a run."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from reprise.argument_checks import instance
from reprise.class_names import NAMES_CLASS
from reprise.config import spec
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.models.corrections.fitting import GCE_Q
from reprise.models.networks.linear_fold import LinearFold
from reprise.models.networks.recurrent import Recurrent
from reprise.training.losses.loss import Loss
from reprise.training.losses.sampled_losses import Softmax
from reprise.training.objectives import NextItem, Objective
from reprise.training.privacy_config import Privacy, check_private_model, check_private_training

MAX_THREADS = 1024
"""Largest number of CPU threads. The thread library ends the process if it cannot create one."""
CHEAP_EVENTS = 100_000
"""Number of events that the validation of an epoch may read without a sample."""
CHEAP_SCORES = 10**10
"""Number of scores, targets times items, that the validation of an epoch may compute without a sample."""
MIN_SEQUENCES = 3000
"""Minimum number of sequences in a sample of the validation part."""
LONG = 50
"""Mean number of events per sequence from which sequences count as long."""
PATIENCE, REFIT = 3, 4
"""Defaults of `TrainingConfig.patience` and `TrainingConfig.refit` in training without differential privacy."""


@spec(
    renamed={"tokens": "events_per_batch", "chunk": "bptt_steps", "clip": "max_grad_norm", "focus": "gce_q"}
)
class TrainingConfig:
    """Hyper-parameters of training. With the model spec, the seed and the data they determine the result of a run."""

    epochs: Annotated[int, Field(ge=1)] = 12
    """Number of passes over the training part. The learning rate is annealed over all of them."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of AdamW; by default it depends on the width of the network, see `learning_rate_for`."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of all steps in which the learning rate rises from 0 to its peak, before it falls as a half cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay, applied to matrices only."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Maximum norm of the gradient; a larger gradient is scaled down to it."""
    compact_optimizer: bool | None = None
    """Whether the optimiser of a sparse item table stores one number per item, a second moment, instead of two per weight.
    Default: from 500,000 items on."""
    events_per_batch: Annotated[int, Field(ge=0)] = 0
    """Approximate number of events per batch; 0 derives it from the data, see `events_per_batch_for`."""
    bptt_steps: Annotated[int, Field(ge=1)] = 128
    """Number of events after which the gradient of a sequence is cut, while its state is carried on (truncated BPTT)."""
    loss: Loss = Softmax()
    """Loss of each target."""
    objective: Objective = NextItem()
    """Training objective: `NextItem()`, `MaskedItem()` for a bidirectional network, or `Reconstruction()`."""
    metric: Annotated[str, NAMES_CLASS] = ""
    """Validation metric that chooses the best epoch and decides about early stopping.
    Default: `ndcg@10`, or ndcg over all items of a smaller catalogue."""
    validation_sequences: Annotated[int, Field(ge=0)] | None = None
    """Maximum number of sequences on which each epoch is validated, drawn at random; 0: all.
    Default: depends on the size of the validation part, see `validation_sequences_for`."""
    patience: Annotated[int, Field(ge=0)] | None = None
    """Number of epochs without a better validation metric after which training stops; 0 disables early stopping.
    Default: 3, or 0 with `privacy`."""
    gce_q: Annotated[float, Field(ge=0, le=1)] = GCE_Q
    """q of the generalised cross-entropy that fits the co-occurrence correction (`fit_correction`); 0 is log loss.

    A larger q favours the top ranks, a smaller one long lists."""
    refit: Annotated[int, Field(ge=0)] | None = None
    """Maximum number of passes over the validation part after the epochs; the number that helps is used. 0: no refit.
    Default: 4, or 0 with `privacy`."""
    forecast: bool = False
    """Whether to fit heads for the kind and the time of the next event after training (`fit_forecast`).
    The ranking does not depend on them."""
    exclude_seen: bool = False
    """Whether validation ranks only unseen items. Use the setting that recommendations will use."""
    privacy: Privacy | None = None
    """Differential privacy of the training, see docs/privacy.md; None: training without it."""

    @property
    def max_patience(self) -> int:
        """`patience`, or its default."""
        return (0 if self.privacy else PATIENCE) if self.patience is None else self.patience

    @property
    def max_refit(self) -> int:
        """`refit`, or its default."""
        return (0 if self.privacy else REFIT) if self.refit is None else self.refit

    def metric_for(self, items: int) -> str:
        """Return the validation metric for a catalogue of `items` items; see `metric`."""
        return self.metric or f"ndcg@{min(10, items)}"

    def validation_sequences_for(self, sequences: int, events: int, scores: int = 0) -> int:
        """Return the number of sequences on which each epoch is validated.

        Without `validation_sequences`, a validation that reads up to `CHEAP_EVENTS` events and computes up to `CHEAP_SCORES`
        scores is complete. A larger one has as many sequences as need no more than that, but at least `MIN_SEQUENCES`. The
        standard error of a metric between 0 and 1 is then at most 0.5 / sqrt(3,000) = 0.009 with a target per sequence. The
        measurements are in docs/experiments.md.

        Args:
            sequences: Number of sequences with a validation target.
            events: Number of events that their validation reads, from the first event of each to its last target.
            scores: Number of scores that it computes: targets times items.
        """
        if self.validation_sequences is not None:
            return min(sequences, self.validation_sequences or sequences)
        by_events = sequences * CHEAP_EVENTS // max(CHEAP_EVENTS, events)
        affordable = min(by_events, sequences * CHEAP_SCORES // max(CHEAP_SCORES, scores))
        return min(sequences, max(MIN_SEQUENCES, affordable))

    def learning_rate_for(self, width: int) -> float:
        """Return the peak learning rate for a network of this width: 2e-3 at 256, inversely proportional, at most 8e-3.

        Each step of Adam moves every weight by a similar amount, so the change of a hidden unit grows with the number of its
        inputs (Yang et al. 2021, Tensor Programs V). The measurements are in docs/experiments.md.
        """
        return self.learning_rate or min(8e-3, 2e-3 * 256 / width)

    def events_per_batch_for(self, events: int, sequences: int) -> int:
        """Return the number of events per batch for a training part of this size: 256 to 4,096.

        The aim is about 240 steps per epoch, because a log of a few thousand events would have too few steps with large
        batches. If sequences are long (50 events on average), a batch has at most 1,024 events: the events of one history
        give similar gradients, so more steps help more than larger ones. The measurements are in docs/experiments.md.
        """
        largest = 1024 if events >= LONG * sequences else 4096
        return self.events_per_batch or min(largest, max(256, events // 240))


@spec
class RunOptions:
    """Options of a run that may change its speed but not the meaning of its result."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Seed of the initial weights, the order of the data and dropout."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device to train on; `auto` chooses the fastest that exists."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Precision of matrix products; `auto` is bfloat16 if the hardware multiplies it, else float32."""
    threads: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0
    """Number of CPU threads; 0 leaves the choice to torch. With several workers, the number of each; 0 shares them equally."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Number of processes that train the members of an ensemble, or the seeds of `train_seeds`, in parallel."""
    checkpoint_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between checkpoints inside an epoch, or more if writing them would take over 5 % of the time; 0: a checkpoint
    after every batch. A run that is killed loses at most the work of one interval."""
    logger: Literal["none", "tensorboard", "mlflow", "wandb"] = "none"
    """Tracking tool that receives each epoch. Its files go to the run directory unless its own variables say otherwise."""


@spec
class Recipe:
    """A model spec and its training: the content of a recipe file."""

    model: Any = Recurrent()
    """Spec of the network."""
    training: TrainingConfig = TrainingConfig()
    """Hyper-parameters of training."""


def recipe_for(model: Any, dataset: SequenceDataset, training: TrainingConfig | None = None) -> Recipe:
    """Return the recipe of a training on a dataset, with the defaults that depend on the dataset or on `privacy`.

    Args:
        model: The spec of a model, or a whole recipe.
        dataset: The dataset.
        training: Hyper-parameters of training, instead of those of the recipe.

    Raises:
        ConfigError: The dataset or the hyper-parameters are of another type, or contradict the privacy of the training.
    """
    check_dataset(dataset)
    recipe = model if isinstance(model, Recipe) else Recipe(model=model)
    if training is None:
        training = recipe.training
    instance("training", training, TrainingConfig, "write TrainingConfig(...)")
    if training.privacy is not None:
        check_private_training(training, TrainingConfig())
        recipe = replace(recipe, model=_private_model(recipe.model, training.privacy))
    resolved = replace(
        training,
        metric=training.metric if training.privacy else training.metric_for(dataset.items.warm),
        patience=training.max_patience,
        refit=training.max_refit,
    )
    return Recipe(model=recipe.model, training=resolved)


def _private_model(model: Any, privacy: Privacy) -> LinearFold:
    """Return the spec of the network of a private training. The default network is replaced by one that it can train."""
    check_private_model(model, privacy, Recurrent())
    fold = LinearFold() if type(model) is Recurrent else model
    blocks = 0 if privacy.release == 1 else 1
    return replace(fold, layers=blocks if fold.layers is None else fold.layers)
