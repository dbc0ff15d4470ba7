"""Where a network is trained, and in which precision."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger

from reprise.errors import ConfigError
from reprise.training.recipe import RunOptions


def fabric_for(options: RunOptions, loggers: Sequence[Logger] = ()) -> Fabric:
    """The device and the precision that were asked for, with loggers if there are any.

    Raises:
        ConfigError: there is no such device.
    """
    # it announces its precision on its own logger, to a person who did not ask
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        return Fabric(
            accelerator=options.accelerator, devices=1, precision=precision(options), loggers=list(loggers)
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"cannot train on accelerator {options.accelerator!r}: {error}") from None


def precision(options: RunOptions) -> Any:
    """What `auto` means on this machine: bfloat16 products where the hardware has them, else float32."""
    if options.precision != "auto":
        return options.precision
    if torch.cuda.is_available() and options.accelerator in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() else "32-true"
