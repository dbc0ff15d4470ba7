"""Specs for tests of searches and seeds: a Markov chain, and networks that kill their process or fail."""

import os
import signal
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from reprise.config import spec
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.errors import DivergedError
from reprise.models.baselines.markov import Markov
from reprise.models.networks.recurrent import Recurrent
from reprise.models.networks.sequence_model import SequenceModel


@spec
class Counting:
    """The spec of a Markov chain."""

    smoothing: Annotated[float, Field(gt=0)] = 1.0

    def fit(self, dataset: SequenceDataset) -> Markov:
        return Markov(self.smoothing).fit(dataset)


@spec
class KillsItself:
    """A network that kills its process in training, as many times as the number in a file."""

    file: str
    layers: int = 1

    def build(self, sizes: Sizes) -> SequenceModel:
        counter = Path(self.file)
        # the process of the search builds it too, with two items, to check its space
        if sizes.items > 2 and int(counter.read_text()) > 0:
            counter.write_text(str(int(counter.read_text()) - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return Recurrent(size=8, layers=self.layers, cooccurrence=0, repeats=0).build(sizes)


@spec
class FailsForSeeds:
    """A network that fails once for some seeds: a file `kill-2` or `diverge-3` in a folder says how and for which."""

    folder: str

    def build(self, sizes: Sizes) -> SequenceModel:
        # a trainer sets the seed of the run before it builds the network
        kill, diverge = (Path(self.folder) / f"{how}-{torch.initial_seed()}" for how in ("kill", "diverge"))
        if kill.exists():
            kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if diverge.exists():
            diverge.unlink()
            raise DivergedError("the loss became nan")
        return Recurrent(size=8, layers=1, cooccurrence=0, repeats=0).build(sizes)
