"""One optimiser step: forward pass, loss, backward pass, clipping and update, on a device and in a precision.

Shape letters: N targets.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import Tensor

from reprise.errors import ConfigError, DivergedError
from reprise.models.batch import Batch
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import Optimizer
from reprise.training.recipe import RunOptions, TrainingConfig

TOO_LARGE = ("allocate memory", "overflow", "Overflow")
"""Parts of torch's messages about tensors that are too large."""


@dataclass
class TrainStep:
    """A network with its optimiser. Each call trains on one batch and keeps the recurrent state for the next."""

    model: SequenceModel
    config: TrainingConfig
    fabric: Fabric
    sampler: NegativeSampler | None
    """Sampler of the negatives, for a loss that needs them."""
    state: State | None = None
    """Recurrent state of each row after the last batch."""
    optimizer: Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = Optimizer(self.model, self.config)

    def __call__(
        self, batch: Batch, *, seed: int, learning_rate: float, description: str
    ) -> tuple[float, int]:
        """Train on a batch and return (sum of the losses, number of targets).

        A batch without a target only advances the state.

        Args:
            batch: Rows that are new, or that continue the rows of the last batch.
            seed: Seed of all random numbers of this step, so that a resumed run draws the same.
            learning_rate: Learning rate of this step.
            description: Which step this is, for error messages.

        Raises:
            DivergedError: The loss or the gradient is not finite. The weights are unchanged.
        """
        batch = batch.to(self.fabric.device)
        torch.manual_seed(seed)
        # drawn before dropout masks, so that the negatives depend on the seed only and agree between processes
        sample = self.sampler.draw() if self.sampler else None
        read = (batch.item_BT, batch.target_BT, *([sample.item_K] if sample else []))
        with (
            self.optimizer.reading(*read),
            self.fabric.autocast(),
            torch.set_grad_enabled(batch.targets > 0),
        ):
            examples = self.config.objective(self.model, batch, self.state)
            # an objective that draws its targets (MaskedItem) may draw none from a batch that has some
            targets, loss = len(examples.target_N) if batch.targets else 0, torch.zeros(())
            if targets:
                loss = self.config.loss(examples.query_ND, self.model.items, examples.target_N, sample)
        if targets:
            _check_finite("the loss", loss, batch, learning_rate, description)
            self.optimizer.zero_grad()
            self.fabric.backward(loss / targets + examples.penalty)
            norm = self.optimizer.clip(self.config.max_grad_norm)
            _check_finite("the norm of the gradient", norm, batch, learning_rate, description)
            self.optimizer.step(learning_rate)
        # truncated back-propagation through time: the state continues into the next batch, its gradient does not
        self.state = {name: tensor.detach() for name, tensor in examples.state.items()}
        return float(loss.detach()), targets


def _check_finite(what: str, value: Tensor, batch: Batch, learning_rate: float, description: str) -> None:
    if not bool(torch.isfinite(value)):
        rows = batch.row_B[:5].tolist()
        raise DivergedError(
            f"{what} became {float(value.detach())} at {description} (sequences {rows}"
            f"{'...' if len(batch.row_B) > 5 else ''}); the weights were not changed by this step. "
            f"The learning rate was {learning_rate:g}; lower training.learning_rate or training.max_grad_norm"
        )


def step_seed(*path: int) -> int:
    """Return the seed of one step, a function of the seed of the run and the position of the step in it."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> 1)


def fabric_for(options: RunOptions, loggers: Sequence[Logger] = ()) -> Fabric:
    """Return a Fabric with the device, the precision and the loggers of a run.

    Raises:
        ConfigError: The accelerator does not exist on this machine.
    """
    # Fabric logs the chosen precision at level INFO, which would appear among the output of the caller
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        return Fabric(
            accelerator=options.accelerator,
            devices=1,
            precision=precision_for(options),
            loggers=list(loggers),
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot train on accelerator {options.accelerator!r}: {error}") from None


@contextmanager
def memory_errors() -> Iterator[None]:
    """Replace torch's error for a tensor that is too large for the memory by a `ConfigError` that names the remedy."""
    try:
        yield
    except (MemoryError, RuntimeError, TypeError) as error:
        text = str(error).strip().partition("\n")[0]
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(
            part in text for part in TOO_LARGE
        ):
            raise
        raise ConfigError(
            f"the network or a batch does not fit into memory ({text}); reduce model.size or training.events_per_batch"
        ) from error


def precision_for(options: RunOptions) -> Any:
    """Return Fabric's name of the precision. `auto` means bfloat16 products if the hardware has them, else float32."""
    if options.precision != "auto":
        return options.precision
    if torch.cuda.is_available() and options.accelerator in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"


@contextmanager
def torch_threads(options: RunOptions) -> Iterator[None]:
    """Set the number of torch's threads for the duration of the block; 0 keeps the current number."""
    before = torch.get_num_threads()
    torch.set_num_threads(options.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
