"""The training floor: losses, the loop, checkpoints."""

from reprise.training.recipe import Recipe, RunOptions, TrainingConfig
from reprise.training.run_directory import load_run
from reprise.training.trainer import train

__all__ = ["Recipe", "RunOptions", "TrainingConfig", "load_run", "train"]
