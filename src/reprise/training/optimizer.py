"""The optimiser and its schedule, both functions of the configuration alone."""

import math

import torch
from torch import Tensor, nn

from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.training.recipe import TrainingConfig

BETAS = (0.9, 0.98)
"""A shorter memory of squared gradients than the usual 0.999: rare items' vectors recover faster from a large step."""
STEP = "step"


class Optimizer:
    """AdamW in one fused pass, and Adam by rows for an item table with sparse gradients.

    Weight decay is on matrices and not on vectors (norms, biases, decays), nor on a sparse table: only the rows of a step
    are touched, in the gradient, its norm and the update, so that a step costs the same for any number of items. A row
    that is not touched keeps its moments as they are (lazy Adam). The learning rate comes with each step.
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
            self.parts.append(torch.optim.SparseAdam(list(sparse), betas=BETAS))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def clip(self, most: float) -> Tensor:
        """Scale all gradients down to a norm of `most` together, where it is larger, and return what it was."""
        grads = []
        for parameter in self.parameters:
            if parameter.grad is not None and parameter.grad.is_sparse:
                # the rows of several look-ups are added up, or the norm would be of something else
                parameter.grad = parameter.grad.coalesce()
                grads.append(parameter.grad.values())
            elif parameter.grad is not None:
                grads.append(parameter.grad)
        norm = torch.nn.utils.get_total_norm(grads)
        scale = (most / (norm + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale)
        return norm

    def step(self, rate: float) -> None:
        """One step at a learning rate."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def slots(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What is remembered of a parameter, by name; nothing before its first step."""
        found: dict[str, Tensor] = {}
        for part in self.parts:
            # `get`: to look must not make an entry
            found |= {name: torch.as_tensor(value) for name, value in part.state.get(parameter, {}).items()}
        return found

    def restore(self, parameter: nn.Parameter, slot: str, value: Tensor) -> None:
        """Put back what was remembered."""
        for part in self.parts:
            if any(parameter is known for group in part.param_groups for known in group["params"]):
                # by rows the count of steps is a number, fused it is a tensor beside the parameter
                number = isinstance(part, torch.optim.SparseAdam) and slot == STEP
                part.state[parameter][slot] = int(value) if number else value.to(parameter.device)


def learning_rate(peak: float, warmup: float, step: int, steps: int) -> float:
    """The rate of step `step` of `steps`: a linear rise for a share `warmup`, then half a cosine down to almost nothing."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return peak * max(0.005, 0.5 + 0.5 * math.cos(math.pi * progress))
