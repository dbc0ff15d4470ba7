"""A network that is not a `SequenceModel`: its vectors are not tied, and its state has arrays of two shapes."""

import torch
from pydantic import Field
from torch import Tensor, nn

from reprise.config import spec
from reprise.data.dataset import Sizes
from reprise.models.batch import Event

State = dict[str, Tensor]


@spec
class Counting:
    """A GRU that also counts its events."""

    size: int = Field(default=8, ge=1)

    def build(self, sizes: Sizes) -> "CountingModel":
        return CountingModel(self, sizes)


class CountingModel(nn.Module):
    """Scores from a GRU's state and the logarithm of the number of events."""

    name = "counting"
    reads = ()
    cooccurrence = repeat_head = None

    def __init__(self, spec: Counting, sizes: Sizes) -> None:
        super().__init__()
        self.spec, self.sizes = spec, sizes
        self.read = nn.Parameter(torch.randn(sizes.items, spec.size))
        self.score = nn.Parameter(torch.randn(sizes.items, spec.size + 1))
        self.cell = nn.GRUCell(spec.size, spec.size)
        self.dropout = nn.Dropout(0.5)

    def initial_state(self, batch: int) -> State:
        return {"h": self.read.new_zeros(batch, self.spec.size), "x": self.read.new_ones(batch, 1, 1)}

    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        return {"h": self.cell(self.dropout(x_BD), state["h"]), "x": state["x"] + 1}

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return torch.cat([state["h"], state["x"].log().flatten(1)], dim=1)

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        return self.query(state) @ self.score.t()

    def input_vectors(self) -> Tensor:
        return self.read

    def item_vectors(self) -> Tensor:
        return self.score
