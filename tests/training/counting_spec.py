"""Specs for tests of the search: a Markov chain, and a network that kills its process."""

import os
import signal
from pathlib import Path
from typing import Annotated

from pydantic import Field

from reprise.config import spec
from reprise.data.dataset import SequenceDataset, Sizes
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
