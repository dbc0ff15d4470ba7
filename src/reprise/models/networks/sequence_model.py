"""The network as a scorer: item vectors, an encoder over them, and the fold that serving runs.

Shape letters: B rows, T steps, N targets, W events of a window, D width, I items.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reprise.data.dataset import Sizes
from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event, Inputs, move_padding_last
from reprise.models.cooccurrence.correction import (
    CooccurrenceCorrection,
    append_item,
    empty_windows,
    target_windows,
)
from reprise.models.encoder import Encoder, select_state
from reprise.models.networks.event_inputs import EventInputs, QueryHead, TimeDecay
from reprise.models.networks.item_embeddings import ItemEmbeddings
from reprise.models.networks.network_scorer import NetworkScorer, TargetQueries
from reprise.models.networks.state_attention import AttentiveEncoder
from reprise.models.networks.window_encoder import WindowEncoder
from reprise.nn.cells import State, decay_args


@dataclass(frozen=True)
class Components:
    """What a network is put together from."""

    items: ItemEmbeddings
    inputs: EventInputs
    encoder: Encoder
    head: QueryHead
    decay: TimeDecay | None = None
    """How the state fades with time, where it does."""
    cooccurrence: CooccurrenceCorrection | None = None
    """Added to the logits, where there is one."""


class EncoderInputs(NamedTuple):
    """The events of a batch, padding last, and what the encoder reads of them."""

    events: Inputs
    valid_BT: Tensor
    """Where there is one."""
    seen_BT: Tensor
    """How many each step of the batch has seen."""
    time_BS: Tensor
    """When the last event before the chunk was, and each event of it, float64 seconds; [B, 1 + T]."""
    x_BTD: Tensor
    gap_BT: Tensor
    """Seconds since the event before, NaN where there is none."""


class SequenceModel(NetworkScorer):
    """Any encoder over item vectors.

    Its state is the encoder's and `hidden`, the encoder's last output: an answer needs no further pass. Where the network
    reads times it holds `time_s` of the last event (NaN: none), and for cooccurrence the last items, `recent`.
    """

    def __init__(self, spec: Any, sizes: Sizes, parts: Components) -> None:
        super().__init__(spec, sizes, parts.cooccurrence)
        self.items = parts.items
        self.inputs = parts.inputs
        self.encoder = parts.encoder
        self.head = parts.head
        self.decay = parts.decay
        self.size = parts.inputs.size
        self.timed = parts.inputs.read.gap or parts.head.scale is not None or parts.decay is not None

    @property
    def reads(self) -> tuple[str, ...]:
        """What it uses besides vectors: of an event `item`, `time_s`, `kind` and `value`, of a question `now_s`."""
        read = self.inputs.read
        used = {
            "item": self.cooccurrence is not None,
            "time_s": self.timed,
            "kind": read.kinds > 0,
            "value": read.value,
            "now_s": self.head.scale is not None,
        }
        return tuple(name for name, use in used.items() if use)

    def initial_state(self, batch: int) -> State:
        """The state of `batch` users without events."""
        weight = self.items.weight
        state = {**self.encoder.initial_state(batch), "hidden": weight.new_zeros(batch, self.size)}
        if self.timed:
            state["time_s"] = weight.new_full((batch,), torch.nan, dtype=torch.float64)
        if self.cooccurrence is not None:
            state["recent"] = empty_windows(batch, self.cooccurrence.window, weight.device)
        return state

    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """Read a chunk of each row, from `state` where the row continues, and look at its targets."""
        start = self._start(batch, state)
        events, valid_BT, seen_BT, time_BS, x_BTD, gap_BT = self.read(batch, start)
        wanted_BT = batch.target_BT != PAD
        if isinstance(self.encoder, WindowEncoder):
            encoded = self.encoder(
                x_BTD, start, valid_BT, wanted_BT=_needed_steps(valid_BT, seen_BT, wanted_BT)
            )
        else:
            decay_BTD = None if self.decay is None else self.decay(gap_BT)
            encoded = self.encoder(x_BTD, start, valid_BT, *decay_args(decay_BTD))
        hidden_BD = start["hidden"].to(encoded.hidden_BTD.dtype)
        # position 0 of the longer rows is "before the chunk": where no event of the chunk has been read yet
        hidden_SD = torch.cat([hidden_BD.unsqueeze(1), encoded.hidden_BTD], dim=1).flatten(0, 1)
        row_B = torch.arange(len(seen_BT), device=seen_BT.device) * (seen_BT.shape[1] + 1)
        place_BT = row_B.unsqueeze(1) + seen_BT
        place_N = place_BT[wanted_BT]
        now_BT = batch.time_s_BT + batch.query_gap_s_BT
        query_gap_N = (now_BT[wanted_BT] - time_BS.flatten()[place_N]).float()
        query_ND = self.head(hidden_SD.index_select(0, place_N), query_gap_N)
        last_B = place_BT[:, -1]
        after = {**encoded.state, "hidden": hidden_SD.index_select(0, last_B).to(start["hidden"].dtype)}
        if self.timed:
            after["time_s"] = time_BS.flatten()[last_B]
        recent_NW = None
        if self.cooccurrence is not None:
            recent_NW, after["recent"] = target_windows(start["recent"], events.item_BT, seen_BT, wanted_BT)
        return TargetQueries(query_ND, recent_NW, after, encoded.penalty)

    def read(self, batch: Batch, start: State) -> "EncoderInputs":
        """What the encoder reads of a batch whose rows are in these states."""
        events, valid_BT, seen_BT = move_padding_last(batch)
        time_BS = self._times(events, start)
        gap_BT = (time_BS[:, 1:] - time_BS[:, :-1]).float()
        x_BTD = self.inputs(self.items(events.item_BT), gap_BT, events.kind_BT, events.value_BT)
        return EncoderInputs(events, valid_BT, seen_BT, time_BS, x_BTD, gap_BT)

    def advance(self, state: State, event: Event) -> State:
        """The state after one more event of each row; `PAD` leaves a row as it is."""
        after = self.advance_vector(state, self.items(event.item_B), event)
        return select_state(after, state, event.item_B != PAD)

    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """The state after an event whose item has the raw vector `x_BD`, known to the network or not."""
        gap_B = (event.time_s_B - state["time_s"]).float() if self.timed else torch.zeros_like(x_BD[:, 0])
        read_BD = self.inputs(x_BD, gap_B, event.kind_B, event.value_B)
        decay_BD = None if self.decay is None else self.decay(gap_B)
        hidden_BD, after = self.encoder.step(read_BD, state, *decay_args(decay_BD))
        after = {**after, "hidden": hidden_BD}
        if self.timed:
            after["time_s"] = event.time_s_B
        if self.cooccurrence is not None:
            after["recent"] = append_item(state["recent"], event.item_B)
        return after

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """What is compared with the item vectors, q_BD."""
        if now_s_B is None or not self.timed:
            gap_B = state["hidden"].new_full(state["hidden"].shape[:1], torch.nan)
        else:
            gap_B = (now_s_B - state["time_s"]).float()
        query_BD: Tensor = self.head(state["hidden"], gap_B)
        return query_BD

    def attention(self, state: State) -> Tensor | None:
        """How much the network looks at each of the last W events, newest last, [B, W]; None where it has no attention.

        The weights of a user sum to 1; those of a user without events are 0.
        """
        if not isinstance(self.encoder, AttentiveEncoder):
            return None
        return self.encoder.weights(state["states"][:, -1], state).nan_to_num(0.0)

    def item_vectors(self) -> Tensor:
        """The vectors that score, v_ID."""
        return self.items.scoring_ID()

    def input_vectors(self) -> Tensor:
        """The raw vectors that are read, [I, D]."""
        return self.items.vectors_ID

    def _times(self, events: Inputs, start: State) -> Tensor:
        """When the last event before the chunk was, and each event of it, [B, 1 + T], float64 seconds."""
        if not self.timed:
            return torch.zeros_like(events.time_s_BT[:, :1]).expand(-1, events.time_s_BT.shape[1] + 1)
        return torch.cat([start["time_s"].unsqueeze(1), events.time_s_BT], dim=1)


def _needed_steps(valid_BT: Tensor, seen_BT: Tensor, wanted_BT: Tensor) -> Tensor:
    """The events, padding last, after which a target is asked for or the row ends: what a window need be encoded for."""
    asked_BS = torch.zeros_like(torch.nn.functional.pad(valid_BT, (1, 0)))
    asked_BS.scatter_(1, torch.where(wanted_BT, seen_BT, 0), True)
    asked_BS.scatter_(1, seen_BT[:, -1:], True)
    return asked_BS[:, 1:]
