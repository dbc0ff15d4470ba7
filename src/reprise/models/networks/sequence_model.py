"""A network with one encoder as a scorer: item vectors, an encoder over them, and a query head.

Shape letters: B rows, T steps, S = T + 1 positions (before the chunk, then its events), N targets, W events of a
window, D width, I items.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reprise.content.fitted_content import FittedContent
from reprise.content.fitting_users import fit_users
from reprise.data.dataset import SequenceDataset, Sizes
from reprise.data.popular_items import PopularItems
from reprise.data.vocabulary import PAD
from reprise.models.batch import Batch, Event, Inputs, move_padding_last
from reprise.models.corrections.cooccurrence import CooccurrenceCorrection
from reprise.models.corrections.repeat_head import RepeatHead
from reprise.models.encoder import Encoder, select_state
from reprise.models.items.content_embeddings import ContentEmbeddings, ItemContent
from reprise.models.items.item_embeddings import ItemEmbeddings
from reprise.models.items.released_embeddings import ReleasedEmbeddings
from reprise.models.networks.event_inputs import EventInputs, QueryHead, TimeDecay, UserVectors
from reprise.models.networks.network_scorer import NetworkScorer, TargetQueries
from reprise.models.networks.state_attention import AttentiveEncoder
from reprise.models.networks.window_encoder import WindowEncoder
from reprise.nn.cells import State, decay_args


@dataclass(frozen=True)
class Components:
    """The modules of a network."""

    items: ItemEmbeddings
    inputs: EventInputs
    encoder: Encoder
    head: QueryHead
    decay: TimeDecay | None = None
    """Decay of the state with time, if any."""
    cooccurrence: CooccurrenceCorrection | None = None
    """Correction of the logits by item co-occurrence, if any."""
    repeat_head: RepeatHead | None = None
    """Mixture of the logits with a pointer over recent items, if any."""
    users: tuple[str, ...] = ()
    """Columns of the user table that are read; the features are added by `add_users`."""
    content: ItemContent | None = None
    """How the content of items is read; the features are added by `add_content`. None: not at all."""


class EncoderInputs(NamedTuple):
    """The events of a batch, with padding last, and the encoder inputs computed from them."""

    events: Inputs
    valid_BT: Tensor
    """Whether each step has an event."""
    seen_BT: Tensor
    """Number of events of the row that each step of the batch has seen."""
    time_BS: Tensor
    """Timestamps of the last event before the chunk and of each event of it, float64 seconds."""
    x_BTD: Tensor
    """Inputs of the encoder."""
    gap_BT: Tensor
    """Seconds since the previous event, NaN if there is none."""


class SequenceModel(NetworkScorer):
    """A network with one encoder over item vectors.

    The state is that of the encoder and its last output, `hidden`, so that a query needs no further pass. A network
    that uses times also stores the timestamp of the last event, `time_s` (NaN: none), one with corrections of its
    logits the last events, `recent`, and one that reads attributes of users their vector, `user`.
    """

    def __init__(self, spec: Any, sizes: Sizes, components: Components) -> None:
        super().__init__(spec, sizes, components.cooccurrence, components.repeat_head)
        self.items = components.items
        self.inputs = components.inputs
        self.encoder = components.encoder
        self.head = components.head
        self.decay = components.decay
        self.item_content = components.content
        self.size = components.inputs.size
        self.user_columns = components.users
        self.users: UserVectors | None = None
        self.uses_time = (
            components.inputs.features.gap
            or components.head.scale is not None
            or components.decay is not None
        )

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the inputs in use besides vectors.

        Of an event `item`, `time_s`, `kind` and `value`, and of a request `now_s`.
        """
        features, window = self.inputs.features, self.recent_window
        in_use = {
            "item": window is not None,
            "time_s": self.uses_time or features.calendar or (window is not None and window.times),
            "kind": features.kinds > 0 or (window is not None and window.kinds),
            "value": features.value,
            "now_s": self.head.scale is not None or self.head.calendar is not None,
        }
        return tuple(name for name, use in in_use.items() if use)

    @property
    def scored_items(self) -> int:
        """Number of items that the network reads and scores: all of the vocabulary if it reads their content."""
        return len(self.items.weight) - 1

    def add_content(self, content: FittedContent, features_IF: Tensor) -> None:
        """Let the items be represented by their content too.

        Args:
            content: How items are encoded; it becomes `self.content`.
            features_IF: Content features of all items of the vocabulary, warm ones first.
        """
        assert self.item_content is not None
        items = self.items
        self.content = content
        self.items = ContentEmbeddings(
            len(features_IF), self.size, self.item_content, features_IF, self.sizes.items,
            feature_scale=len(content.blocks) ** -0.5, unit=items.unit, sparse=items.sparse,
        )  # fmt: skip
        self.head.with_bias = True
        if self.cooccurrence is not None:
            self.cooccurrence.resize(len(features_IF))

    def initial_state(self, batch: int) -> State:
        """Return the state of `batch` users without events."""
        weight = self.items.weight
        state = {**self.encoder.initial_state(batch), "hidden": weight.new_zeros(batch, self.size)}
        if self.users is not None:
            state["user"] = weight.new_zeros(batch, self.size)
        if self.uses_time:
            state["time_s"] = weight.new_full((batch,), torch.nan, dtype=torch.float64)
        if (window := self.recent_window) is not None:
            state |= window.initial_state(batch, weight.device)
        return state

    def add_users(self, dataset: SequenceDataset) -> None:
        """Let queries depend on the attributes of the users of a dataset, if the spec names columns of them.

        How attributes are read is fitted on the training part. It depends on the dataset only, so a run does not store it.
        """
        if self.user_columns:
            fitted = fit_users(self.user_columns, dataset)
            self.users = UserVectors(fitted, torch.from_numpy(fitted.encode(dataset.user_table)), self.size)

    def forward(self, batch: Batch, state: State | None = None) -> TargetQueries:
        """Read a chunk of each row and return the queries at its targets.

        Rows that are not fresh continue from `state`.
        """
        start = self._start(batch, state)
        if (
            self.users is not None
        ):  # also for rows that continue: the map has changed since their state was computed
            start = {**start, "user": self.users(batch.row_B)}
        events, valid_BT, seen_BT, time_BS, x_BTD, gap_BT = self.encoder_inputs(batch, start)
        wanted_BT = batch.target_BT != PAD
        if isinstance(self.encoder, WindowEncoder):
            # a window is encoded from scratch, so only the steps that are used are encoded
            encoded = self.encoder(
                x_BTD, start, valid_BT, wanted_BT=_needed_steps(valid_BT, seen_BT, wanted_BT)
            )
        else:
            decay_BTD = None if self.decay is None else self.decay(gap_BT)
            encoded = self.encoder(x_BTD, start, valid_BT, *decay_args(decay_BTD))
        hidden_BD = start["hidden"].to(encoded.hidden_BTD.dtype)
        # A target may come before the first event of a row or after a cold item, so its step is not the step
        # of the hidden state that predicts it. Position 0 of the longer rows is the state before the chunk,
        # position k that after its first k events. Example: the row 5 ? 7 with ? cold is encoded as 5 7 PAD,
        # and seen is 1 1 2: the target after ? uses position 1, like the target after 5. Rows are flattened,
        # so position k of row b is b * (T + 1) + k.
        hidden_SD = torch.cat([hidden_BD.unsqueeze(1), encoded.hidden_BTD], dim=1).flatten(0, 1)
        row_B = torch.arange(len(seen_BT), device=seen_BT.device) * (seen_BT.shape[1] + 1)
        index_BT = row_B.unsqueeze(1) + seen_BT
        index_N = index_BT[wanted_BT]
        # the gap of a request is measured from the last event that the state has read, not from a cold item after it
        now_BT = batch.time_s_BT + batch.query_gap_s_BT
        query_gap_N = (now_BT[wanted_BT] - time_BS.flatten()[index_N]).float()
        hidden_ND = hidden_SD.index_select(0, index_N)
        if self.users is not None:
            hidden_ND = hidden_ND + start["user"].index_select(0, wanted_BT.nonzero()[:, 0])
        query_ND = self.head(hidden_ND, query_gap_N, now_BT[wanted_BT])
        last_B = index_BT[:, -1]
        after = {**encoded.state, "hidden": hidden_SD.index_select(0, last_B).to(start["hidden"].dtype)}
        if self.users is not None:
            after["user"] = start["user"]
        if self.uses_time:
            after["time_s"] = time_BS.flatten()[last_B]
        recent = None
        if (window := self.recent_window) is not None:
            recent, last_events = window.at_targets(start, events, seen_BT, wanted_BT)
            after |= last_events
        return TargetQueries(query_ND, recent, after, encoded.penalty)

    def encoder_inputs(self, batch: Batch, start: State) -> EncoderInputs:
        """Return the encoder inputs for a batch whose rows are in the states `start`."""
        events, valid_BT, seen_BT = move_padding_last(batch)
        time_BS = self._times(events, start)
        gap_BT = (time_BS[:, 1:] - time_BS[:, :-1]).float()
        self.items.draw()
        x_BTD = self.inputs(
            self.items(events.item_BT), gap_BT, events.time_s_BT, events.kind_BT, events.value_BT
        )
        return EncoderInputs(events, valid_BT, seen_BT, time_BS, x_BTD, gap_BT)

    def advance(self, state: State, event: Event) -> State:
        """Return the state after one more event of each row; `PAD` leaves a row unchanged."""
        after = self.advance_vector(state, self.items(event.item_B), event)
        return select_state(after, state, event.item_B != PAD)

    def advance_vector(self, state: State, x_BD: Tensor, event: Event) -> State:
        """Return the state after an event whose item has the raw vector `x_BD`; the item may be a cold one."""
        gap_B = (event.time_s_B - state["time_s"]).float() if self.uses_time else torch.zeros_like(x_BD[:, 0])
        input_BD = self.inputs(x_BD, gap_B, event.time_s_B, event.kind_B, event.value_B)
        decay_BD = None if self.decay is None else self.decay(gap_B)
        hidden_BD, after = self.encoder.step(input_BD, state, *decay_args(decay_BD))
        after = {**after, "hidden": hidden_BD}
        if self.users is not None:
            after["user"] = state["user"]
        if self.uses_time:
            after["time_s"] = event.time_s_B
        if (window := self.recent_window) is not None:
            after |= window.advance(state, event)
        return after

    def query(self, state: State, now_s_B: Tensor | None = None) -> Tensor:
        """Return the query vectors, q_BD."""
        unknown_B = state["hidden"].new_full(state["hidden"].shape[:1], torch.nan)
        now_s_B = unknown_B.double() if now_s_B is None else now_s_B
        gap_B = (now_s_B - state["time_s"]).float() if self.uses_time else unknown_B
        hidden_BD = state["hidden"] if self.users is None else state["hidden"] + state["user"]
        query_BD: Tensor = self.head(hidden_BD, gap_B, now_s_B)
        return query_BD

    def attention(self, state: State) -> Tensor | None:
        """Return the attention weights of the last W events, newest last, [B, W]; None without attention.

        The weights of a user sum to 1; those of a user without events are 0.
        """
        if not isinstance(self.encoder, AttentiveEncoder):
            return None
        return self.encoder.weights(state["states"][:, -1], state).nan_to_num(0.0)

    def item_vectors(self) -> Tensor:
        """Return the item vectors that queries are compared with, v_ID."""
        return self.items.scoring_ID()

    def input_vectors(self) -> Tensor:
        """Return the raw item vectors that are inputs of the network, [I, D]."""
        return self.items.vectors_ID

    def released_popularity(self) -> PopularItems | None:
        items = self.items
        return items.popular_items() if isinstance(items, ReleasedEmbeddings) else None

    def _times(self, events: Inputs, start: State) -> Tensor:
        """Return the timestamps of the last event before the chunk and of its events, float64 seconds, [B, S]."""
        if not self.uses_time:
            return torch.zeros_like(events.time_s_BT[:, :1]).expand(-1, events.time_s_BT.shape[1] + 1)
        return torch.cat([start["time_s"].unsqueeze(1), events.time_s_BT], dim=1)


def _needed_steps(valid_BT: Tensor, seen_BT: Tensor, wanted_BT: Tensor) -> Tensor:
    """Return the steps whose hidden state is used: those before a target, and the last one of each row, [B, T]."""
    # position k is "after the first k events" (see `forward`); position 0 needs no encoding and is cut off at the end
    needed_BS = torch.zeros_like(torch.nn.functional.pad(valid_BT, (1, 0)))
    needed_BS.scatter_(1, torch.where(wanted_BT, seen_BT, 0), True)
    needed_BS.scatter_(1, seen_BT[:, -1:], True)
    return needed_BS[:, 1:]
