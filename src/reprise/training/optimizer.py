"""The optimiser and the learning-rate schedule. Both depend on the configuration only."""

import math

import torch
from torch import Tensor, nn

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.recipe import TrainingConfig

BETAS = (0.9, 0.98)
"""Decay rates of the running averages of AdamW: of the gradients and of their squares.

With 0.98 instead of the usual 0.999 the squared gradients are averaged over about 50 steps instead of 1,000, so that the
vector of a rare item recovers faster after a large gradient."""
STEP = "step"


class Optimizer:
    """AdamW with fused kernels for dense parameters, and Adam by rows for an item table with sparse gradients.

    Weight decay applies to matrices, not to vectors (norms, biases, decay rates) nor to a sparse table. The caller passes
    the learning rate to each step.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        sparse = {
            module.weight
            for module in model.modules()
            if isinstance(module, ItemEmbeddings) and module.sparse
        }
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        dense = [parameter for parameter in self.parameters if parameter not in sparse]
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
        if sparse:
            # Lazy Adam: only the rows of the batch are read and written, in the gradient, its norm and the update, so a
            # step costs the same for any catalogue. Example: a batch with 2,000 distinct items of a million touches 2,000
            # rows; the running averages of the other rows do not decay. Weight decay would touch all rows, so there is none
            self.parts.append(torch.optim.SparseAdam(list(sparse), betas=BETAS))

    def zero_grad(self) -> None:
        """Delete the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self, max_norm: float) -> Tensor:
        """Scale all gradients together so that their norm is at most `max_norm`, and return the norm before."""
        grads = []
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.is_sparse:
                # a row that was looked up twice appears twice; its entries are added before the norm is computed.
                # Example: the entries 3 and 4 of one row have the norm |3 + 4| = 7, not sqrt(3^2 + 4^2) = 5
                parameter.grad = parameter.grad.coalesce()
                grads.append(parameter.grad.values())
            elif parameter.grad is not None:
                grads.append(parameter.grad)
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

    def slots(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the optimiser state of a parameter by name; empty before its first step."""
        found: dict[str, Tensor] = {}
        for part in self.parts:
            # `get`, because indexing the default dictionary would create an empty state
            found |= {name: torch.as_tensor(value) for name, value in part.state.get(parameter, {}).items()}
        return found

    def restore(self, parameter: nn.Parameter, slot: str, value: Tensor) -> None:
        """Set one entry of the optimiser state of a parameter, from `slots` of a former optimiser."""
        for part in self.parts:
            if any(parameter is known for group in part.param_groups for known in group["params"]):
                # SparseAdam counts its steps in an int, fused AdamW in a tensor on the device of the parameter
                is_int = isinstance(part, torch.optim.SparseAdam) and slot == STEP
                part.state[parameter][slot] = int(value) if is_int else value.to(parameter.device)


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
