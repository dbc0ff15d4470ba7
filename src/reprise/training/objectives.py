"""Training objectives: predict the next item, masked items, or the whole history.

Shape letters: B rows, T steps, S = T + 1 positions (the steps and the one after the last), N targets, D width.
"""

from typing import Annotated, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from reprise.config import spec
from reprise.data.vocabulary import PAD
from reprise.errors import ConfigError
from reprise.models.batch import Batch
from reprise.models.networks.sequence_model import SequenceModel
from reprise.models.networks.transformer import BidirectionalEncoder
from reprise.nn.cells import State


class TrainingExamples(NamedTuple):
    """The predictions and targets of a batch, and the state after it."""

    query_ND: Tensor
    """Query vectors, which the loss compares with the item vectors."""
    target_N: Tensor
    """Target item of each query, 1..I."""
    state: State
    """Recurrent state after the batch, for rows that continue; empty if the objective carries no state."""
    penalty: Tensor
    """Scalar that the encoder adds to the loss."""


class Objective(Protocol):
    """Interface of a training objective: a frozen dataclass of its settings that can be called.

    Random numbers come from torch's global generator.
    """

    def check(self, model: SequenceModel) -> None:
        """Check that a network can be trained with this objective.

        Raises:
            ConfigError: It cannot.
        """
        ...

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Return the predictions and targets of a batch. Rows that are not fresh continue from `state`."""
        ...


@spec
class NextItem:
    """Predict the next item at every event."""

    def check(self, model: SequenceModel) -> None:
        """Accept every network."""

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Return the predictions and targets of a batch; see `Objective`."""
        output = model(batch, state)
        target_N = batch.target_BT[batch.target_BT != PAD]
        return TrainingExamples(output.query_ND, target_N, output.state, output.penalty)


@spec(renamed={"share": "mask_rate"})
class MaskedItem:
    """Mask random events and predict their items from both sides, together with the item after the last event.

    Sun et al. 2019, "BERT4Rec". No state is carried: each row of at most `training.bptt_steps` events is separate.
    """

    mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the events that are masked."""

    def check(self, model: SequenceModel) -> None:
        """Check that the network is bidirectional.

        Raises:
            ConfigError: The network is causal.
        """
        if not isinstance(model.encoder, BidirectionalEncoder):
            raise ConfigError(
                f"MaskedItem() needs a bidirectional network, and {model.name} reads only the events before; "
                "train it with NextItem(), or choose Transformer(causal=False)"
            )

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Return the predictions and targets of a batch; see `Objective`."""
        assert isinstance(model.encoder, BidirectionalEncoder)
        read = model.encoder_inputs(batch, model.initial_state(len(batch.item_BT)))
        next_B = _next(batch)
        end_B1 = read.valid_BT.sum(1, keepdim=True)
        masked_BT = read.valid_BT & (torch.rand(read.valid_BT.shape, device=end_B1.device) < self.mask_rate)
        # the position after the last event is masked too, if its item is a target: inference predicts exactly there
        masked_BS = pad(masked_BT, (0, 1)).scatter(1, end_B1, (next_B != PAD)[:, None])
        item_BS = pad(read.events.item_BT, (0, 1)).scatter(1, end_B1, next_B[:, None])
        x_BSD = pad(read.x_BTD, (0, 0, 0, 1))
        hidden_ND = model.encoder.masked(x_BSD, masked_BS, pad(read.valid_BT, (0, 1)) | masked_BS)
        unknown_gap_N = hidden_ND.new_full(hidden_ND.shape[:1], torch.nan)
        query_ND = model.head(hidden_ND, unknown_gap_N, unknown_gap_N.double())
        return TrainingExamples(query_ND, item_BS[masked_BS], {}, hidden_ND.new_zeros(()))


@spec
class Reconstruction:
    """Predict all items of a row and the next item from the state at its end.

    The multinomial likelihood of a whole history (Liang et al. 2018, equation 2). With `event_dropout` the network
    reconstructs events that were dropped from its input.
    """

    def check(self, model: SequenceModel) -> None:
        """Accept every network."""

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Return the predictions and targets of a batch; see `Objective`."""
        valid_BT, next_B = batch.valid_BT, _next(batch)
        any_B = valid_BT.any(1)
        last_BT = torch.zeros_like(batch.target_BT).scatter(1, _last_step(valid_BT)[:, None], 1)
        output = model(batch._replace(target_BT=last_BT * any_B[:, None]), state)
        item_BS = torch.cat([batch.item_BT, (next_B * any_B)[:, None]], dim=1)
        row_N, position_N = (item_BS != PAD).nonzero(as_tuple=True)
        # the output has one query per non-empty row: number these rows to find the query of each target
        query_ND = output.query_ND[(any_B.cumsum(0) - 1)[row_N]]
        return TrainingExamples(query_ND, item_BS[row_N, position_N], output.state, output.penalty)


def _last_step(valid_BT: Tensor) -> Tensor:
    """Return the last step with an event of each row, [B]; 0 if the row has no event."""
    step_T = torch.arange(valid_BT.shape[1], device=valid_BT.device)
    return (valid_BT * step_T).amax(1)


def _next(batch: Batch) -> Tensor:
    """Return the item after the last event of each row, [B]; `PAD` if it is not a target."""
    return batch.target_BT.gather(1, _last_step(batch.valid_BT)[:, None]).squeeze(1)
