"""Checkpoints: all that a run needs to continue exactly where it stopped, in one file that is replaced atomically.

A checkpoint (weights, optimiser state, recurrent state, position in the data) resumes a run; a saved model is for
serving. Random numbers need no saving: each step seeds its generator from the seed of the run and its own number.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reprise.atomic_files import writing
from reprise.errors import ArtefactError
from reprise.models.corrections.recent_events import ITEM, KIND, TIME
from reprise.models.networks.network_scorer import NetworkScorer
from reprise.nn.cells import State
from reprise.training.optimizer import Optimizer

MAX_SHARE = 0.05
"""Largest share of the time that writing checkpoints inside an epoch takes."""
PROGRESS = "progress"
RESUMES = "run the same command again: it resumes from the last checkpoint"
"""End of the message for a file of a run that cannot be written."""
LATER_WEIGHTS = ("repeat_head.", "cooccurrence.cosine_")
"""Prefixes of the names of weights that files of earlier versions lack. With their initial values they have no effect."""
FORMER_KEY = re.compile(r"^(model\.|optimizer\.\w+\.)?transitions\.")
"""Keys of the co-occurrence correction in files of earlier versions, which named it `transitions` instead of `cooccurrence`."""


@dataclass
class RunProgress:
    """Position of a run: its epoch, its step in the epoch, and the results so far."""

    epoch: int = 0
    """Number of the current epoch, from 0."""
    chunk: int = 0
    """Number of batches of the current epoch that are done."""
    step: int = 0
    """Number of batches that are done in all epochs."""
    loss_sum: float = 0.0
    """Sum of the losses of the targets of the current epoch so far."""
    targets: int = 0
    """Number of targets of the current epoch so far."""
    seconds: float = 0.0
    """Training time of the current epoch so far."""
    best: float | None = None
    """Best value of the validation metric so far."""
    best_epoch: int = -1
    """Number of the epoch with the best validation metric, from 0; -1 before the first validation."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record per finished epoch: loss, validation metrics, times."""
    finished: bool = False
    """Whether the last epoch is done or early stopping has ended the run."""


class CheckpointTimer:
    """Decides when the next checkpoint inside an epoch is due.

    The interval is at least `interval_s` seconds, and so long that writing takes at most `MAX_SHARE` of the time: after a
    checkpoint of 10 seconds, training continues for 190. With `interval_s` 0, a checkpoint is due after every batch.
    """

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._wait_s = interval_s
        self._written_s = time.monotonic()

    def is_due(self) -> bool:
        """Return whether the interval since the last checkpoint, or since the start, is over."""
        return time.monotonic() - self._written_s >= self._wait_s

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long a checkpoint takes, as a context manager, and begin the next interval."""
        started_s = time.monotonic()
        yield
        self._written_s = time.monotonic()
        if self.interval_s:
            self._wait_s = max(self.interval_s, (self._written_s - started_s) * (1 / MAX_SHARE - 1))


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, state: State | None, progress: RunProgress
) -> None:
    """Replace the checkpoint. If the process is killed meanwhile, either the old or the new file remains, complete."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"state.{name}": tensor for name, tensor in (state or {}).items()}
    for name, parameter in model.named_parameters():
        slots = optimizer.slots(parameter)
        tensors |= {f"optimizer.{slot}.{name}": tensor for slot, tensor in slots.items()}
    write_tensors(path, tensors, {PROGRESS: json.dumps(asdict(progress))})


def load_checkpoint(
    path: Path, model: NetworkScorer, optimizer: Optimizer
) -> tuple[State | None, RunProgress]:
    """Load the weights and the optimiser state of a checkpoint, and return its recurrent state and its progress.

    Raises:
        ArtefactError: The file is damaged or belongs to another network.
    """
    tensors, metadata = read_tensors(path)
    load_weights(path, model, _with_prefix(tensors, "model."))
    for slot_name, tensor in _with_prefix(tensors, "optimizer.").items():
        slot, _, name = slot_name.partition(".")
        optimizer.restore(model.get_parameter(name), slot, tensor)
    device = next(model.parameters()).device
    state = {name: tensor.to(device) for name, tensor in _with_prefix(tensors, "state.").items()}
    if state:
        # files of earlier versions keep fewer of the last events, which training does not read
        empty = model.initial_state(len(next(iter(state.values()))))
        for name in (ITEM, TIME, KIND):
            if name in empty and (name not in state or state[name].shape != empty[name].shape):
                state[name] = empty[name]
    return state or None, RunProgress(**json.loads(metadata[PROGRESS]))


def load_weights(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load all weights of a network. `path` is the file they came from, for the error message.

    Corrections that the file does not have keep their initial values, with which they have no effect.

    Raises:
        ArtefactError: Names or shapes differ from those of the network.
    """
    later = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(LATER_WEIGHTS)}
    try:
        model.load_state_dict({**later, **weights})
    except RuntimeError as error:
        raise ArtefactError(f"{path} holds the weights of another network: {error}") from None


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Replace a safetensors file of tensors and metadata atomically and durably.

    Raises:
        ArtefactError: The file cannot be written, for instance on a full disk. The former file is unchanged.
    """
    partial = path.with_suffix(".partial")
    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        with writing(path, RESUMES):
            save_file(contiguous, partial, metadata)
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    except SafetensorError as error:  # it holds the error of the operating system as text only
        raise ArtefactError(f"cannot write {path} ({error}); free some space and {RESUMES}") from error
    finally:
        with suppress(OSError):  # the file is left only after an error
            partial.unlink()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file.

    Raises:
        ArtefactError: The file is missing, truncated or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {
                FORMER_KEY.sub(r"\1cooccurrence.", name): file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
            }
            return tensors, file.metadata() or {}
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; train again, or copy the whole run directory") from None
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); train again in another directory") from None


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
