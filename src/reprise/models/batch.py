"""What a network is fed: batches of chunks of sequences, and single events.

Shape letters: B rows, T steps. Rows are right-padded with `PAD`. An item the network has no vector for (a cold
one) is `PAD` as an input too, wherever it stands: padding is "keep the old state".
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprise.arrays import AnyArray
from reprise.data.batching import RowSegments
from reprise.data.dataset import SequenceDataset
from reprise.data.vocabulary import PAD


class Batch(NamedTuple):
    """One step's rows. A row may continue the row of the batch before it: then its state is kept."""

    item_BT: Tensor
    """Inputs, int64."""
    target_BT: Tensor
    """The next item at each step, int64; `PAD` where there is none to predict."""
    time_s_BT: Tensor
    """When the input happened, float64 seconds since 1970."""
    kind_BT: Tensor
    """Kind of the input event, int64."""
    value_BT: Tensor
    """Value of the input event, float32; NaN where it has none."""
    query_gap_s_BT: Tensor
    """Seconds from the input to the target, float32: at serving time the moment of asking is known. NaN: it is not told."""
    fresh_B: Tensor
    """bool; False: this row continues the previous chunk, keep its state."""
    row_B: Tensor
    """Which sequence of the dataset the row comes from, int64."""
    first_B: Tensor
    """Position in the dataset of the row's first input event, int64; step t is event `first_B + t`."""

    @property
    def valid_BT(self) -> Tensor:
        """Where there is an input, bool."""
        return self.item_BT != PAD

    @property
    def targets(self) -> int:
        """How many targets there are."""
        return int((self.target_BT != PAD).sum())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Event(NamedTuple):
    """One event of each of B users."""

    item_B: Tensor
    """int64; `PAD` leaves the state of that row as it is."""
    time_s_B: Tensor
    """float64 seconds since 1970."""
    kind_B: Tensor
    """int64."""
    value_B: Tensor
    """float32; NaN where there is none."""


class Inputs(NamedTuple):
    """The input events of a batch."""

    item_BT: Tensor
    time_s_BT: Tensor
    kind_BT: Tensor
    value_BT: Tensor


def move_padding_last(batch: Batch) -> tuple[Inputs, Tensor, Tensor]:
    """Move padding inside a row to its end: (events, valid_BT, how many events each step has seen, [B, T])."""
    events = Inputs(batch.item_BT, batch.time_s_BT, batch.kind_BT, batch.value_BT)
    valid_BT = batch.item_BT != PAD
    seen_BT = valid_BT.cumsum(1)
    if bool((valid_BT[:, 1:] > valid_BT[:, :-1]).any()):
        order_BT = (~valid_BT).to(torch.uint8).argsort(dim=1, stable=True)
        events = Inputs(*(column_BT.gather(1, order_BT) for column_BT in events))
        valid_BT = valid_BT.gather(1, order_BT)
    return events, valid_BT, seen_BT


def events_at_step(batch: Batch, step: int) -> Event:
    """The events at one step of a batch."""
    return Event(
        batch.item_BT[:, step], batch.time_s_BT[:, step], batch.kind_BT[:, step], batch.value_BT[:, step]
    )


def gather(dataset: SequenceDataset, chunk: RowSegments, first_U: AnyArray, last_U: AnyArray) -> Batch:
    """Read a chunk from the dataset.

    Args:
        dataset: Where the events are.
        chunk: Which of them are inputs.
        first_U: Only events at this position of their sequence or later are targets, ...
        last_U: ... and before this one.
    """
    step_T = np.arange(chunk.steps)
    valid_BT = step_T < chunk.steps_B[:, None]
    position_BT = np.where(valid_BT, chunk.first_B[:, None] + step_T, 0)
    next_BT = np.where(valid_BT, position_BT + 1, 0)
    rows = chunk.row_B
    wanted_BT = valid_BT & (next_BT >= first_U[rows, None]) & (next_BT < last_U[rows, None])
    item_BT = dataset.item[position_BT]
    known_BT = valid_BT & (item_BT <= dataset.items.warm)
    time_ms_BT = dataset.time_ms[position_BT]
    gap_ms_BT = np.where(valid_BT, dataset.time_ms[next_BT] - time_ms_BT, 0)
    return Batch(
        item_BT=torch.from_numpy(np.where(known_BT, item_BT, PAD).astype(np.int64)),
        target_BT=torch.from_numpy(np.where(wanted_BT, dataset.item[next_BT], PAD).astype(np.int64)),
        time_s_BT=torch.from_numpy(np.where(valid_BT, time_ms_BT, 0) / 1000.0),
        kind_BT=torch.from_numpy(np.where(valid_BT, dataset.kind[position_BT], 0).astype(np.int64)),
        value_BT=torch.from_numpy(np.where(valid_BT, dataset.value[position_BT], np.nan).astype(np.float32)),
        query_gap_s_BT=torch.from_numpy((gap_ms_BT / 1000.0).astype(np.float32)),
        fresh_B=torch.full((len(rows),), chunk.fresh),
        row_B=torch.from_numpy(np.array(rows, dtype=np.int64)),
        first_B=torch.from_numpy(np.array(chunk.first_B, dtype=np.int64)),
    )
