"""The optimiser and its schedule, both functions of the configuration alone."""

import math

import torch
from torch import nn

from reprise.training.config import TrainingConfig

BETAS = (0.9, 0.98)
"""A shorter memory of squared gradients than the usual 0.999: rare items' vectors recover faster from a large step."""


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in one fused pass, with weight decay on matrices and none on vectors (norms, biases, decays)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    vectors = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=BETAS, fused=True
    )


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The rate of step `step` of `steps`: a linear rise, then half a cosine down to almost nothing."""
    rising = max(1, round(config.warmup * steps))
    if step < rising:
        return config.learning_rate * (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return config.learning_rate * max(0.005, 0.5 + 0.5 * math.cos(math.pi * progress))
