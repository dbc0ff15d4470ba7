"""One optimiser step: forward pass, loss, backward pass, clipping and update, on a device and in a precision.

Several processes share a step: each reads some of its rows, and their losses and gradients are summed.

Shape letters: N targets.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import Tensor

from reprise.errors import ConfigError, DivergedError
from reprise.models.batch import Batch
from reprise.models.networks.sequence_model import SequenceModel
from reprise.nn.cells import State
from reprise.training.distributed.gradient_sum import sum_gradients
from reprise.training.distributed.process_group import ALONE, ProcessGroup
from reprise.training.distributed.row_split import own_rows, own_state, whole_state
from reprise.training.losses.negatives import NegativeSampler
from reprise.training.optimizer import Optimizer
from reprise.training.recipe import RunOptions, TrainingConfig

TOO_LARGE = ("allocate memory", "overflow", "Overflow")
"""Parts of torch's messages about tensors that are too large."""


@dataclass
class TrainStep:
    """A network with its optimiser. Each call trains on one batch and keeps the recurrent state for the next.

    In a group of processes, each calls this with the same whole batch and seed, and ends with the same weights.
    """

    model: SequenceModel
    config: TrainingConfig
    fabric: Fabric
    sampler: NegativeSampler | None
    """Sampler of the negatives, for a loss that needs them."""
    group: ProcessGroup = ALONE
    """Processes that share each step."""
    state: State | None = None
    """Recurrent state of each row of this process after the last batch."""
    optimizer: Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = Optimizer(self.model, self.config)
        self._rows = 0

    def __call__(
        self, batch: Batch, *, seed: int, learning_rate: float, description: str
    ) -> tuple[float, int]:
        """Train on a batch and return (sum of the losses, number of targets) of all its rows.

        A batch without a target only advances the state.

        Args:
            batch: Rows that are new, or that continue the rows of the last batch.
            seed: Seed of all random numbers of this step, so that a resumed run draws the same.
            learning_rate: Learning rate of this step.
            description: Which step this is, for error messages.

        Raises:
            DivergedError: The loss or the gradient is not finite. The weights are unchanged, in all processes.
        """
        batch = batch.to(self.fabric.device)
        own, self._rows = own_rows(batch, self.group), len(batch.row_B)
        torch.manual_seed(seed)
        # drawn before dropout masks, so that the negatives depend on the seed only and agree between processes
        sample = self.sampler.draw() if self.sampler else None
        if self.group.rank:
            torch.manual_seed(step_seed(seed, self.group.rank))
        # the items of the whole batch: then a sparse table has the same rows in all processes, whose gradients are summed
        read = (batch.item_BT, batch.target_BT, *([sample.item_K] if sample else []))
        with (
            self.optimizer.reading(*read),
            self.fabric.autocast(),
            torch.set_grad_enabled(batch.targets > 0),
        ):
            examples = self.config.objective(self.model, own, self.state)
            # an objective that draws its targets (MaskedItem) may draw none from a batch that has some
            targets, loss = len(examples.target_N) if batch.targets else 0, torch.zeros(())
            if targets:
                loss = self.config.loss(examples.query_ND, self.model.items, examples.target_N, sample)
        total = self._total(loss, targets, own)
        if total.targets:
            is_cause = not bool(torch.isfinite(loss))
            self._check_finite("the loss", total.loss, own.row_B[: 6 * is_cause], learning_rate, description)
            self.optimizer.zero_grad()
            mean = loss / total.targets + examples.penalty * total.event_share
            if (
                mean.requires_grad
            ):  # not without targets and penalty, as in a process without a row that has some
                self.fabric.backward(mean)
            sum_gradients(self.optimizer, self.group)
            norm = self.optimizer.clip(self.config.max_grad_norm)
            self._check_finite("the norm of the gradient", norm, own.row_B[:6], learning_rate, description)
            self.optimizer.step(learning_rate)
        # truncated back-propagation through time: the state continues into the next batch, its gradient does not
        self.state = {name: tensor.detach() for name, tensor in examples.state.items()}
        return float(total.loss), total.targets

    def whole_state(self) -> State | None:
        """Return the recurrent state of all rows of the last batch, for a checkpoint. Every process must call it."""
        return whole_state(self.state, self._rows, self.group)

    def restore(self, state: State | None) -> None:
        """Continue from the recurrent state of all rows, from `whole_state` of a former run."""
        self.state = own_state(state, self.group)
        self._rows = len(next(iter(state.values()))) if state else 0

    def _total(self, loss: Tensor, targets: int, own: Batch) -> "_Total":
        """Return the loss and the targets of the whole batch."""
        if self.group.is_alone:
            return _Total(loss.detach(), targets, 1.0)
        events = float(own.valid_BT.sum())
        sums = torch.tensor(
            [float(loss.detach()), targets, events], dtype=torch.float64, device=self.fabric.device
        )
        self.group.sum(sums)
        return _Total(sums[0], int(sums[1]), events / max(1.0, float(sums[2])))

    def _check_finite(
        self, what: str, value: Tensor, rows: Tensor, learning_rate: float, description: str
    ) -> None:
        """Check that a value of the whole batch is finite. It is the same in all processes: all raise the error together.

        Args:
            what: Name of the value.
            value: The value.
            rows: Some sequences of this process that may be the cause.
            learning_rate: Learning rate of this step.
            description: Which step this is.
        """
        if not bool(torch.isfinite(value)):
            found = torch.cat(self.group.gather(rows)).tolist()
            raise DivergedError(
                f"{what} became {float(value.detach())} at {description} (sequences {found[:5]}"
                f"{'...' if len(found) > 5 else ''}); the weights were not changed by this step. "
                f"The learning rate was {learning_rate:g}; lower training.learning_rate or training.max_grad_norm"
            )


class _Total(NamedTuple):
    """Sums over all processes that share a step."""

    loss: Tensor
    """Sum of the losses of the targets."""
    targets: int
    """Number of targets."""
    event_share: float
    """Share of the events of the batch that this process has read, which is the weight of its penalty."""


def step_seed(*path: int) -> int:
    """Return the seed of one step, a function of the seed of the run and the position of the step in it."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> 1)


def fabric_for(options: RunOptions, loggers: Sequence[Logger] = (), group: ProcessGroup = ALONE) -> Fabric:
    """Return a Fabric with the device, the precision and the loggers of a run.

    On a machine with CUDA, each process of a group takes the device of its local rank.

    Raises:
        ConfigError: The accelerator does not exist on this machine, or has fewer devices than there are processes.
    """
    # Fabric logs the chosen precision at level INFO, which would appear among the output of the caller
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    accelerator = options.accelerator if group.is_alone else _shared_accelerator(options, group)
    try:
        return Fabric(
            accelerator=accelerator,
            devices=[group.local_rank] if accelerator == "cuda" and not group.is_alone else 1,
            precision=precision_for(options),
            loggers=list(loggers),
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot train on accelerator {options.accelerator!r}: {error}") from None


def _shared_accelerator(options: RunOptions, group: ProcessGroup) -> str:
    """Return the accelerator of one of several processes."""
    if options.accelerator == "mps":
        raise ConfigError(
            "several processes train on cpu or cuda; choose one of them as the accelerator, not mps"
        )
    devices = torch.cuda.device_count()
    if options.accelerator == "cpu" or (options.accelerator == "auto" and not devices):
        return "cpu"
    if group.local_rank >= devices:
        raise ConfigError(
            f"process {group.local_rank} of this machine has no CUDA device of its own: there are {devices}; start at most "
            f"one process for each with --nproc-per-node, or choose the accelerator cpu"
        )
    return "cuda"


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
