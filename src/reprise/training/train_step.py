"""One optimiser step after another: the network, its optimiser, and the state that batches hand on.

Shape letters: N targets.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from reprise.errors import DivergedError
from reprise.models.batch import Batch
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import Optimizer
from reprise.training.recipe import TrainingConfig


@dataclass
class TrainSteps:
    """A network that learns, batch by batch."""

    model: SequenceModel
    config: TrainingConfig
    fabric: Fabric
    sampler: NegativeSampler | None
    """What draws negatives, for a loss that wants them."""
    state: State | None = None
    """Of the rows of the last batch."""
    optimizer: Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = Optimizer(self.model, self.config)

    def __call__(self, batch: Batch, *, seed: int, rate: float, where: str) -> tuple[float, int]:
        """One step: (the sum of the losses, how many targets). A batch without a target only moves the state.

        Args:
            batch: Rows that begin, or that go on where those of the last batch ended.
            seed: All chance of this step comes from it, so a resumed run draws the same.
            rate: Learning rate.
            where: For an error: which step this is.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights are as they were.
        """
        batch = batch.to(self.fabric.device)
        torch.manual_seed(seed)
        # drawn first: the same negatives whatever else is drawn, and so in every process
        sample = self.sampler.draw() if self.sampler else None
        with self.fabric.autocast(), torch.set_grad_enabled(batch.targets > 0):
            asked = self.config.objective(self.model, batch, self.state)
            # a batch with targets may still ask nothing, where what is asked is drawn
            targets, loss = len(asked.target_N) if batch.targets else 0, torch.zeros(())
            if targets:
                loss = self.config.loss(asked.query_ND, self.model.items, asked.target_N, sample)
        if targets:
            _check("the loss", loss, batch, rate, where)
            self.optimizer.zero_grad()
            self.fabric.backward(loss / targets + asked.penalty)
            _check("the norm of the gradient", self.optimizer.clip(self.config.clip), batch, rate, where)
            self.optimizer.step(rate)
        # the gradient ends here, the state goes on: truncated backpropagation through time
        self.state = {name: tensor.detach() for name, tensor in asked.state.items()}
        return float(loss.detach()), targets


def _check(what: str, value: Tensor, batch: Batch, rate: float, where: str) -> None:
    if not bool(torch.isfinite(value)):
        rows = batch.row_B[:5].tolist()
        raise DivergedError(
            f"{what} became {float(value.detach())} at {where} (sequences {rows}"
            f"{'...' if len(batch.row_B) > 5 else ''}); the weights were not changed by it. "
            f"The learning rate was {rate:g} there: set training.learning_rate lower, or training.clip"
        )


def step_seed(*place: int) -> int:
    """The seed of all random numbers of one step: of the run's seed, and where in it the step is."""
    return int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0] >> 1)
