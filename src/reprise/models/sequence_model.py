"""The network as a scorer: item vectors, an encoder over them, and the fold that serving runs.

Shape letters: B rows, T steps, N targets, D width, I items.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event
from reprise.models.encoder import Encoder, keep_state
from reprise.models.items import ItemVectors
from reprise.nn.cells import State


class AtTargets(NamedTuple):
    """What the network knows at each target of a batch."""

    hidden_ND: Tensor
    """The hidden state just before each target, in row-major order of `target_BT != PAD`."""
    state: State
    """The state after the batch."""
    penalty: Tensor
    """A scalar for the loss, from the encoder."""


class SequenceModel(nn.Module):
    """Any encoder over tied item vectors; a `VectorScorer`.

    Its state is the encoder's and `hidden`, the encoder's last output: an answer needs no further pass.
    """

    def __init__(self, spec: Any, sizes: Sizes, encoder: Encoder, *, size: int, dropout: float) -> None:
        super().__init__()
        self.spec = spec
        self.sizes = sizes
        self.size = size
        self.items = ItemVectors(sizes.items, size)
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)

    @property
    def name(self) -> str:
        """How tables and reports call it."""
        return str(self.spec)

    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""
        hidden_BD = self.items.weight.new_zeros(batch, self.size)
        return {**self.encoder.initial_state(batch), "hidden": hidden_BD}

    def forward(self, batch: Batch, state: State | None = None) -> AtTargets:
        """Read a chunk of each row, from `state` where the row continues, and look at its targets."""
        start = self._start(batch, state)
        item_BT, valid_BT, seen_BT = _real_events_first(batch.item_BT)
        encoded = self.encoder(self._read(self.items(item_BT)), start, valid_BT)
        hidden_BD = start["hidden"].to(encoded.hidden_BTD.dtype)
        # position 0 of the longer rows is "before the chunk": where no event of the chunk has been read yet
        hidden_SD = torch.cat([hidden_BD.unsqueeze(1), encoded.hidden_BTD], dim=1).flatten(0, 1)
        row_B = torch.arange(len(item_BT), device=item_BT.device) * (item_BT.shape[1] + 1)
        place_BT = row_B.unsqueeze(1) + seen_BT
        hidden_ND = hidden_SD.index_select(0, place_BT[batch.target_BT != PAD])
        last_BD = hidden_SD.index_select(0, place_BT[:, -1]).to(start["hidden"].dtype)
        return AtTargets(hidden_ND, {**encoded.state, "hidden": last_BD}, encoded.penalty)

    def advance(self, state: State, event: Event) -> State:
        """The state after one more event of each row; `PAD` leaves a row as it is."""
        after = self.advance_vector(state, self.items(event.item_B))
        return keep_state(after, state, event.item_B != PAD)

    def advance_vector(self, state: State, x_BD: Tensor) -> State:
        """The state after an event whose item has the raw vector `x_BD`, known to the network or not."""
        hidden_BD, after = self.encoder.step(self._read(x_BD), state)
        return {**after, "hidden": hidden_BD}

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """What is compared with the item vectors, q_BD."""
        return state["hidden"]

    def scores(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """The logits of all items, s_BI."""
        return self.query(state, now_s_B) @ self.item_vectors().t()

    def query_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """q_ND at all targets of a batch, and the state after it."""
        at = self(batch, state)
        return at.hidden_ND, at.state

    def score_batch(self, batch: Batch, state: State | None = None) -> tuple[Tensor, State]:
        """s_NI at all targets of a batch, and the state after it."""
        query_ND, after = self.query_batch(batch, state)
        return query_ND @ self.item_vectors().t(), after

    def item_vectors(self) -> Tensor:
        """The vectors that score, v_ID."""
        return self.items.vectors_ID

    def input_vectors(self) -> Tensor:
        """The raw vectors that are read, [I, D]; tied: the same ones."""
        return self.items.vectors_ID

    def _read(self, x: Tensor) -> Tensor:
        # an item vector has unit norm at the start; the encoder wants unit variance
        out: Tensor = self.dropout(x * math.sqrt(self.size))
        return out

    def _start(self, batch: Batch, state: State | None) -> State:
        fresh = self.initial_state(len(batch.item_BT))
        if state is None or bool(batch.fresh_B.all()):
            return fresh
        return keep_state(state, fresh, ~batch.fresh_B)


def _real_events_first(item_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Move padding inside a row to its end: (item_BT, valid_BT, how many events each step has seen, [B, T])."""
    valid_BT = item_BT != PAD
    seen_BT = valid_BT.cumsum(1)
    if bool((valid_BT[:, 1:] > valid_BT[:, :-1]).any()):
        order_BT = (~valid_BT).to(torch.uint8).argsort(dim=1, stable=True)
        item_BT, valid_BT = item_BT.gather(1, order_BT), valid_BT.gather(1, order_BT)
    return item_BT, valid_BT, seen_BT
