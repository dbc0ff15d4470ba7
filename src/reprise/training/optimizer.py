"""The optimiser and the learning-rate schedule. Both depend on the configuration only."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.training.recipe import TrainingConfig
from reprise.training.row_adam import COMPACT_ITEMS, RowAdam

BETAS = (0.9, 0.98)
"""Decay rates of the running averages of AdamW: of the gradients and of their squares.

With 0.98 instead of the usual 0.999 the squared gradients are averaged over about 50 steps instead of 1,000, so that the
vector of a rare item recovers faster after a large gradient."""


class Optimizer:
    """AdamW with fused kernels, which updates a sparse item table by rows (`RowAdam`).

    Weight decay applies to matrices, not to vectors (norms, biases, decay rates). The caller passes the learning rate to
    each step.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self.tables = {
            module.weight: RowAdam(module, BETAS, config.weight_decay, compact=_is_compact(module, config))
            for module in model.modules()
            if isinstance(module, ItemEmbeddings) and module.sparse
        }
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        dense = [parameter for parameter in self.parameters if parameter not in self.tables]
        matrices = [parameter for parameter in dense if parameter.dim() >= 2]
        vectors = [parameter for parameter in dense if parameter.dim() < 2]
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        self.parts: list[torch.optim.Optimizer] = []
        if groups:
            self.parts.append(torch.optim.AdamW(groups, betas=BETAS, fused=True))

    @contextmanager
    def reading(self, *items: Tensor) -> Iterator[None]:
        """Let a sparse item table look up these items only, of any shape, as a context manager.

        The forward pass runs inside. `step` updates these items. Every step needs its own call.
        """
        for table in self.tables.values():
            table.read(items)
        try:
            yield
        finally:
            for table in self.tables.values():
                table.table.use_table()

    def settle(self) -> None:
        """Make all postponed updates of sparse tables; call it before the network is evaluated or its weights saved."""
        for table in self.tables.values():
            table.settle()

    def zero_grad(self) -> None:
        """Delete the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients together so that their norm is at most `max_norm`, and return the norm before."""
        found = [parameter.grad for parameter in self.parameters]
        found += [table.grad_RD for table in self.tables.values()]
        grads = [grad for grad in found if grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        # the scale stays a tensor: comparing it in Python would wait for an accelerator
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale)
        return norm

    def step(self, learning_rate: float) -> None:
        """Update all parameters once."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
        for table in self.tables.values():
            table.step(learning_rate)

    def slots(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the optimiser state of a parameter by name; empty before its first step."""
        if parameter in self.tables:
            return dict(self.tables[parameter].slots)
        found: dict[str, Tensor] = {}
        for part in self.parts:
            # `get`, because indexing the default dictionary would create an empty state
            found |= part.state.get(parameter, {})
        return found

    def restore(self, parameter: nn.Parameter, slot: str, value: Tensor) -> None:
        """Set one entry of the optimiser state of a parameter, from `slots` of a former optimiser."""
        if parameter in self.tables:
            self.tables[parameter].restore(slot, value)
        for part in self.parts:
            if any(parameter is known for group in part.param_groups for known in group["params"]):
                part.state[parameter][slot] = value.to(parameter.device)


def _is_compact(table: ItemEmbeddings, config: TrainingConfig) -> bool:
    """Return whether the state of a sparse table is compact: as the recipe says, or by the size of the table."""
    is_large = len(table.weight) > COMPACT_ITEMS
    return is_large if config.compact_optimizer is None else config.compact_optimizer


def learning_rate(peak: float, warmup: float, step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`: linear warm-up, then a half cosine.

    Example: with `warmup` 0.02 and 1,000 steps, steps 0 to 19 have 1/20 to 20/20 of the peak, step 510 has half of it, and
    the last steps have 0.005 of it, the lower bound.
    """
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return peak * max(0.005, 0.5 + 0.5 * math.cos(math.pi * progress))
