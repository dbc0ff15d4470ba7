"""The training floor: losses, the loop, checkpoints."""

from reprise.training.config import Recipe, RunOptions, TrainingConfig
from reprise.training.run import load_run
from reprise.training.trainer import train

__all__ = ["Recipe", "RunOptions", "TrainingConfig", "load_run", "train"]
