"""The sum of the gradients of all processes, in one message."""

import torch
from torch import Tensor

from reprise.training.distributed.process_group import ProcessGroup
from reprise.training.optimizer import Optimizer


def sum_gradients(optimizer: Optimizer, group: ProcessGroup) -> None:
    """Replace every gradient by its sum over all processes. A process without a gradient adds zeros.

    The rows that a sparse table has read must be the same in all processes. A parameter without a gradient in any process
    keeps none, so that it is updated as with one process.
    """
    if group.is_alone:
        return
    weights: list[Tensor] = [weight for weight in optimizer.parameters if weight not in optimizer.tables]
    weights += [table.vector_RD for table in optimizer.tables.values()]
    found = [weight.grad is not None for weight in weights]
    flat = torch.cat([*(_gradient(weight).flatten() for weight in weights), weights[0].new_tensor(found)])
    group.sum(flat)
    *parts, found_by = torch.split(flat, [*(weight.numel() for weight in weights), len(weights)])
    for weight, part, processes in zip(weights, parts, found_by.tolist(), strict=True):
        if processes:
            weight.grad = part.view_as(weight)


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
