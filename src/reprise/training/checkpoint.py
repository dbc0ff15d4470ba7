"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is replaced at once.

A checkpoint resumes (weights, optimiser, carried states, place in the data); the artefact of a recommender ships. Random
numbers need no saving: those of step n are drawn from a generator seeded by the run's seed and n.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reprise.errors import ArtefactError
from reprise.nn.cells import State
from reprise.training.optimizer import Optimizer

PROGRESS = "progress"


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    """The epoch under way, from 0."""
    chunk: int = 0
    """Chunks of it that are done."""
    step: int = 0
    """Optimiser steps done in all epochs."""
    loss_sum: float = 0.0
    """Sum of the losses of this epoch's targets so far."""
    targets: int = 0
    """How many there were."""
    seconds: float = 0.0
    """Training time of this epoch so far."""
    best: float | None = None
    """The best validation metric so far."""
    best_epoch: int = -1
    """The epoch that reached it."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One record an epoch: loss, validation metrics, times."""
    finished: bool = False
    """Whether the run has ended, by its last epoch or early."""


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, state: State | None, progress: Progress
) -> None:
    """Write a checkpoint over the one before. A kill at any moment leaves the old one or the new one whole."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"state.{name}": tensor for name, tensor in (state or {}).items()}
    for name, parameter in model.named_parameters():
        slots = optimizer.slots(parameter)
        tensors |= {f"optimizer.{slot}.{name}": tensor for slot, tensor in slots.items()}
    write_tensors(path, tensors, {PROGRESS: json.dumps(asdict(progress))})


def load_checkpoint(path: Path, model: nn.Module, optimizer: Optimizer) -> tuple[State | None, Progress]:
    """Put a checkpoint's weights and optimiser back, and return the carried state and the progress.

    Raises:
        ArtefactError: the file is damaged or belongs to another network.
    """
    tensors, metadata = read_tensors(path)
    load_weights(path, model, _under(tensors, "model."))
    for slot_name, tensor in _under(tensors, "optimizer.").items():
        slot, _, name = slot_name.partition(".")
        optimizer.restore(model.get_parameter(name), slot, tensor)
    device = next(model.parameters()).device
    state = {name: tensor.to(device) for name, tensor in _under(tensors, "state.").items()}
    return state or None, Progress(**json.loads(metadata[PROGRESS]))


def load_weights(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put weights into a network, all of them.

    Raises:
        ArtefactError: names or shapes differ.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtefactError(f"{path} holds the weights of another network: {error}") from None


def write_text(path: Path, text: str) -> None:
    """Write a file in place of the one before, durably: a kill at any moment leaves the one or the other."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and facts as one safetensors file, in place of the one before, durably.

    Raises:
        ArtefactError: the disk does not take it; what was there before is still there.
    """
    partial = path.with_suffix(".partial")
    own = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        save_file(own, partial, metadata)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise ArtefactError(
            f"cannot write {path} ({error}); make room and run the same again: it goes on from the last checkpoint"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and facts of such a file.

    Raises:
        ArtefactError: it is missing, truncated or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise ArtefactError(f"{path} is missing; train again, or copy the whole run directory") from None
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged ({error}); train again in another directory") from None


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
