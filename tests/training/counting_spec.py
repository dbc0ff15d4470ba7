"""A spec that is fitted by counting, and one of a network that ends its process: for searches."""

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
    """A Markov chain as a spec."""

    smoothing: Annotated[float, Field(gt=0)] = 1.0

    def fit(self, dataset: SequenceDataset) -> Markov:
        return Markov(self.smoothing).fit(dataset)


@spec
class Dying:
    """A network whose process is killed while it trains, as often as a file says."""

    file: str
    layers: int = 1

    def build(self, sizes: Sizes) -> SequenceModel:
        lives = Path(self.file)
        # not when its space is tried out, in the process of the search
        if sizes.items > 2 and int(lives.read_text()) > 0:
            lives.write_text(str(int(lives.read_text()) - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return Recurrent(size=8, layers=self.layers, transitions=0).build(sizes)
