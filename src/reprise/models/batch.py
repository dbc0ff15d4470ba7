"""Inputs of a network: batches of chunks of sequences, and single events.

Shape letters: B rows, T steps, U sequences of the dataset. Rows are right-padded with `PAD`. An item for which
the model has no vector is also `PAD` as an input, anywhere in a row. Padding leaves the state unchanged.
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
    """One chunk of B sequences. A row may continue the row of the previous batch; then its state is carried over."""

    item_BT: Tensor
    """Input items, int64."""
    target_BT: Tensor
    """The next item at each step, int64; `PAD` if it is not a target."""
    time_s_BT: Tensor
    """Timestamp of the input event, float64 seconds since 1970."""
    kind_BT: Tensor
    """Kind of the input event, int64."""
    value_BT: Tensor
    """Value of the input event, float32; NaN if it has none."""
    query_gap_s_BT: Tensor
    """Seconds from the input event to the target, float32; NaN if unknown.
    When serving, the gap to the request is known."""
    fresh_B: Tensor
    """Whether the row starts a new sequence, bool.
    False: the row continues the previous chunk, and its state is carried over."""
    row_B: Tensor
    """Index of the sequence in the dataset, int64."""
    first_B: Tensor
    """Position in the dataset of the first input event of the row, int64; step t is event `first_B + t`."""

    @property
    def valid_BT(self) -> Tensor:
        """Whether each step has an input event, bool."""
        return self.item_BT != PAD

    @property
    def targets(self) -> int:
        """Number of targets."""
        return int((self.target_BT != PAD).sum())

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


class Event(NamedTuple):
    """One event of each of B users."""

    item_B: Tensor
    """Item index, int64; `PAD` leaves the state of the row unchanged."""
    time_s_B: Tensor
    """Timestamp, float64 seconds since 1970."""
    kind_B: Tensor
    """Kind of the event, int64."""
    value_B: Tensor
    """Value of the event, float32; NaN if it has none."""


class Inputs(NamedTuple):
    """The input events of a batch, without targets; the fields are those of `Batch`."""

    item_BT: Tensor
    time_s_BT: Tensor
    kind_BT: Tensor
    value_BT: Tensor


def move_padding_last(batch: Batch) -> tuple[Inputs, Tensor, Tensor]:
    """Move padding inside a row to the end of the row.

    Padding inside a row comes from cold items, and cells accept right padding only. Returns the events, `valid_BT`,
    and the number of events of the row that each step of the batch has seen, [B, T]. For the row 5 PAD 7 the events
    are 5 7 PAD and the numbers 1 1 2.
    """
    events = Inputs(batch.item_BT, batch.time_s_BT, batch.kind_BT, batch.value_BT)
    valid_BT = batch.item_BT != PAD
    seen_BT = valid_BT.cumsum(1)
    if bool((valid_BT[:, 1:] > valid_BT[:, :-1]).any()):
        order_BT = (~valid_BT).to(torch.uint8).argsort(dim=1, stable=True)
        events = Inputs(*(column_BT.gather(1, order_BT) for column_BT in events))
        valid_BT = valid_BT.gather(1, order_BT)
    return events, valid_BT, seen_BT


def events_at_step(batch: Batch, step: int) -> Event:
    """Return the events of all rows at one step of a batch."""
    return Event(
        batch.item_BT[:, step], batch.time_s_BT[:, step], batch.kind_BT[:, step], batch.value_BT[:, step]
    )


def gather(dataset: SequenceDataset, chunk: RowSegments, first_U: AnyArray, last_U: AnyArray) -> Batch:
    """Read a batch from the dataset.

    Args:
        dataset: The events. Items beyond `dataset.items.scored` are `PAD` as inputs.
        chunk: Positions of the input events.
        first_U: First position of each sequence whose event may be a target, ...
        last_U: ... and the position after the last one.
    """
    step_T = np.arange(chunk.steps)
    valid_BT = step_T < chunk.steps_B[:, None]
    position_BT = np.where(valid_BT, chunk.first_B[:, None] + step_T, 0)
    next_BT = np.where(valid_BT, position_BT + 1, 0)
    rows = chunk.row_B
    target_BT = valid_BT & (next_BT >= first_U[rows, None]) & (next_BT < last_U[rows, None])
    item_BT = dataset.item[position_BT]
    known_BT = valid_BT & (item_BT <= dataset.items.scored)
    time_ms_BT = dataset.time_ms[position_BT]
    gap_ms_BT = np.where(valid_BT, dataset.time_ms[next_BT] - time_ms_BT, 0)
    return Batch(
        item_BT=torch.from_numpy(np.where(known_BT, item_BT, PAD).astype(np.int64)),
        target_BT=torch.from_numpy(np.where(target_BT, dataset.item[next_BT], PAD).astype(np.int64)),
        time_s_BT=torch.from_numpy(np.where(valid_BT, time_ms_BT, 0) / 1000.0),
        kind_BT=torch.from_numpy(np.where(valid_BT, dataset.kind[position_BT], 0).astype(np.int64)),
        value_BT=torch.from_numpy(np.where(valid_BT, dataset.value[position_BT], np.nan).astype(np.float32)),
        query_gap_s_BT=torch.from_numpy((gap_ms_BT / 1000.0).astype(np.float32)),
        fresh_B=torch.full((len(rows),), chunk.fresh),
        row_B=torch.from_numpy(np.array(rows, dtype=np.int64)),
        first_B=torch.from_numpy(np.array(chunk.first_B, dtype=np.int64)),
    )
