"""What is asked of a network while it learns: the next item, items that were hidden, or the whole history.

Shape letters: B rows, T steps, S = T + 1 places (the steps and what comes after), N targets, D width.
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
from reprise.models.networks.transformer import TwoWayEncoder
from reprise.nn.cells import State


class TrainingExamples(NamedTuple):
    """What a batch asked, and where the network stood."""

    query_ND: Tensor
    """What is compared with the item vectors."""
    target_N: Tensor
    """The right items, 1..I."""
    state: State
    """The state after the batch, for rows that go on; empty where nothing is carried."""
    penalty: Tensor
    """A scalar for the loss, from the encoder."""


class Objective(Protocol):
    """What every objective is: a frozen dataclass of its settings that can be called. Chance comes from torch's generator."""

    def check(self, model: SequenceModel) -> None:
        """See that a network can be asked this.

        Raises:
            ConfigError: It cannot.
        """
        ...

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """Ask a batch, whose rows go on from `state` where they are not fresh."""
        ...


@spec
class NextItem:
    """At every event: which item comes next?"""

    def check(self, model: SequenceModel) -> None:
        """Every network can be asked."""

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """See `Objective`."""
        at = model(batch, state)
        return TrainingExamples(at.query_ND, batch.target_BT[batch.target_BT != PAD], at.state, at.penalty)


@spec
class MaskedItem:
    """Some events are hidden from both sides, and so is what comes after the last: which items are they?

    Sun et al. 2019, "BERT4Rec". Rows are read apart, without a carried state; `training.chunk` says how long they are.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Of the events, hidden."""

    def check(self, model: SequenceModel) -> None:
        """See that the network reads in both directions.

        Raises:
            ConfigError: It only looks back.
        """
        if not isinstance(model.encoder, TwoWayEncoder):
            raise ConfigError(
                f"MaskedItem() hides events that others follow, and {model.name} only looks back; "
                "train it on NextItem(), or choose Transformer(causal=False)"
            )

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """See `Objective`."""
        assert isinstance(model.encoder, TwoWayEncoder)
        read = model.read(batch, model.initial_state(len(batch.item_BT)))
        next_B = _next(batch)
        end_B1 = read.valid_BT.sum(1, keepdim=True)
        asked_BT = read.valid_BT & (torch.rand(read.valid_BT.shape, device=end_B1.device) < self.share)
        # the place after the last event asks where something is known to have come
        asked_BS = pad(asked_BT, (0, 1)).scatter(1, end_B1, (next_B != PAD)[:, None])
        item_BS = pad(read.events.item_BT, (0, 1)).scatter(1, end_B1, next_B[:, None])
        x_BSD = pad(read.x_BTD, (0, 0, 0, 1))
        hidden_ND = model.encoder.masked(x_BSD, asked_BS, pad(read.valid_BT, (0, 1)) | asked_BS)
        untold_N = hidden_ND.new_full(hidden_ND.shape[:1], torch.nan)
        query_ND = model.head(hidden_ND, untold_N)
        return TrainingExamples(query_ND, item_BS[asked_BS], {}, hidden_ND.new_zeros(()))


@spec
class Reconstruction:
    """At the end of each row: which items does it hold, the one that comes next included?

    The multinomial likelihood of a whole history (Liang et al. 2018, equation 2). With `event_dropout` the network gives back
    events that it did not see.
    """

    def check(self, model: SequenceModel) -> None:
        """Every network can be asked."""

    def __call__(self, model: SequenceModel, batch: Batch, state: State | None) -> TrainingExamples:
        """See `Objective`."""
        valid_BT, next_B = batch.valid_BT, _next(batch)
        any_B = valid_BT.any(1)
        last_BT = torch.zeros_like(batch.target_BT).scatter(1, _last_step(valid_BT)[:, None], 1)
        at = model(batch._replace(target_BT=last_BT * any_B[:, None]), state)
        item_BS = torch.cat([batch.item_BT, (next_B * any_B)[:, None]], dim=1)
        row_N, place_N = (item_BS != PAD).nonzero(as_tuple=True)
        query_ND = at.query_ND[(any_B.cumsum(0) - 1)[row_N]]
        return TrainingExamples(query_ND, item_BS[row_N, place_N], at.state, at.penalty)


def _last_step(valid_BT: Tensor) -> Tensor:
    """The last step of each row that has an event, [B]; 0 where there is none."""
    step_T = torch.arange(valid_BT.shape[1], device=valid_BT.device)
    return (valid_BT * step_T).amax(1)


def _next(batch: Batch) -> Tensor:
    """What comes after the last event of each row, [B]; `PAD` where that is not to be learned."""
    return batch.target_BT.gather(1, _last_step(batch.valid_BT)[:, None]).squeeze(1)
