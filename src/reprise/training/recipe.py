"""What a training run is told: the hyper-parameters, and apart from them the circumstances of the run."""

from typing import Annotated, Any, Literal

from pydantic import Field

from reprise.config import spec
from reprise.models.cooccurrence.fitting import FOCUS
from reprise.models.networks.recurrent import Recurrent
from reprise.training.losses.loss import Loss
from reprise.training.losses.sampled_losses import Softmax
from reprise.training.objectives import NextItem, Objective

LONG = 50
"""Events a sequence, on average, from which on sequences are called long."""


@spec
class TrainingConfig:
    """Hyper-parameters of training: together with the model's spec, the seed and the data they determine the result."""

    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training part. The learning rate is annealed over all of them."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of AdamW. Left out: by the width of the network, see `learning_rate_for`."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of all steps in which the learning rate rises from 0 to its peak; then it falls as a half cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay, on matrices only."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient; a larger one is scaled down."""
    tokens: Annotated[int, Field(ge=0)] = 0
    """Events a step, about: many short rows or a few long ones. 0: by the log, see `tokens_for`."""
    chunk: Annotated[int, Field(ge=1)] = 128
    """Steps after which a long row is cut; its state is carried on, its gradient is not (truncated backpropagation)."""
    loss: Loss = Softmax()
    """What is minimised, at every position."""
    objective: Objective = NextItem()
    """What is asked: `NextItem()`, `MaskedItem()` of a network that reads both ways, or `Reconstruction()` of the history."""
    metric: str = "ndcg@10"
    """The validation metric that chooses the best epoch and stops early."""
    patience: Annotated[int, Field(ge=0)] = 3
    """Epochs without a better validation metric after which training stops; 0: never stop early."""
    focus: Annotated[float, Field(ge=0, le=1)] = FOCUS
    """q of the loss by which counted transitions are fitted (`fit_residual`): 0 for long lists, more for their top."""
    refit: Annotated[int, Field(ge=0)] = 4
    """Passes over the validation part at most, once it has chosen everything: as many as help; 0: it is never learned."""
    exclude_seen: bool = False
    """Whether validation ranks only items the user has not had, as the answers will be asked for."""

    def learning_rate_for(self, width: int) -> float:
        """Peak learning rate of a network so wide: 2e-3 at 256 and by its inverse elsewhere, 8e-3 at most.

        A step of Adam moves every weight about as far, so that what a hidden unit gains by one grows with the number of its
        inputs (Yang et al. 2021, Tensor Programs V). What was measured stands in docs/log.md.
        """
        return self.learning_rate or min(8e-3, 2e-3 * 256 / width)

    def tokens_for(self, events: int, sequences: int) -> int:
        """Events a step for a training part of so many, in so many sequences: 256 to 4,096.

        An epoch has some 240 steps, since with 4,096 events a step a log of a few thousand would be over before the network
        had moved. Where sequences are long, 50 events on average, a step holds 1,024 at most: the events of one history say
        much the same, and more steps are worth more than longer ones. What was measured stands in docs/log.md.
        """
        most = 1024 if events >= LONG * sequences else 4096
        return self.tokens or min(most, max(256, events // 240))


@spec
class RunOptions:
    """Circumstances of a run. They may change its speed, and not what it means."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Initial weights, order of the data and dropout are drawn from it."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: the best one there is."""
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    """Precision of the matrix products. `auto`: bfloat16 where the processor multiplies it in hardware."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the processor; 0: torch's choice."""
    checkpoint_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between checkpoints inside an epoch. A run that is killed loses no more than these."""
    logger: Literal["none", "tensorboard", "mlflow", "wandb"] = "none"
    """A tool that is told every epoch too. It writes into the run directory, unless its own variables say otherwise."""


@spec
class Recipe:
    """A model and how it is trained: what a recipe file holds."""

    model: Any = Recurrent()
    """The spec of the network."""
    training: TrainingConfig = TrainingConfig()
    """The hyper-parameters of training."""
