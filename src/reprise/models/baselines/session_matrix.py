"""A log as sessions, each item once in each: what nearest neighbours are found among.

Shape letters: S sessions, P pairs of a session and an item, E events of a block, B blocks, I items (the warm ones), R rows.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from reprise.arrays import AnyArray, BoolArray
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.sequence_blocks import EventBlock
from reprise.models.cooccurrence.counting import event_blocks, popularity

PAIRS_PER_CHUNK = 1 << 22
"""Pairs that `row_chunks` puts together: of targets and sessions, of these and items, of items."""
TIE_BREAK_SCALE = 1e-6
"""What the share of an item in the log counts beside neighbours: it orders those that nothing else does."""


class Sessions(NamedTuple):
    """Sessions as compressed sparse rows, the latest last."""

    start: AnyArray
    """[S + 1]: the pairs of session s are at `start[s]`..`start[s + 1]`."""
    item_P: AnyArray
    """Item indices, int32, in the order in which each item came last."""
    place_P: AnyArray
    """How many events of the session came before it, int32."""
    last_ms_S: AnyArray
    """When the last event of each happened; it never falls."""
    events: int
    """How many events there are, repeated items included."""

    @property
    def own(self) -> float:
        """What items that a session has had weigh beside others: three times the share of events that repeat one, 1 at most.

        Where nothing comes again, as in a log of ratings, it is 0. What was measured stands in docs/log.md.
        """
        return min(1.0, 3 * (1 - len(self.item_P) / max(1, self.events)))

    @property
    def length_S(self) -> AnyArray:
        """How many different items each session has."""
        return np.diff(self.start)

    @property
    def session_P(self) -> AnyArray:
        """Which session each pair belongs to."""
        return np.repeat(np.arange(len(self.last_ms_S)), self.length_S)

    def only(self, wanted_S: BoolArray) -> "Sessions":
        """Some of the sessions, in the same order."""
        wanted_P = np.repeat(wanted_S, self.length_S)
        start = np.concatenate([[0], self.length_S[wanted_S].cumsum()])
        columns = self.item_P[wanted_P], self.place_P[wanted_P], self.last_ms_S[wanted_S]
        return Sessions(start, *columns, self.events)


def find_sessions(dataset: SequenceDataset, before: Part, length: int) -> Sessions:
    """The events before a part as sessions.

    Args:
        dataset: Items that are not warm are passed over.
        before: The part.
        length: A sequence of more events is cut into sessions of so many, since a person's history of years says little
            about what belongs together, and a neighbour is read whole.
    """
    found = [_block_sessions(block, length, dataset.items.warm) for block in event_blocks(dataset, before)]
    length_S, item_P, place_P, last_ms_S, events_B = (
        np.concatenate(column) for column in zip(*found, strict=True)
    )
    order_S = np.argsort(last_ms_S, kind="stable")
    start_S = (length_S.cumsum() - length_S)[order_S]
    at_P = csr_positions(start_S, length_S[order_S])
    start = np.concatenate([[0], length_S[order_S].cumsum()])
    return Sessions(start, item_P[at_P], place_P[at_P], last_ms_S[order_S], int(events_B.sum()))


def _block_sessions(block: EventBlock, length: int, items: int) -> tuple[AnyArray, ...]:
    """The sessions of a block of whole sequences: items in each, items and places of the pairs, last times, [events]."""
    event_E = np.arange(len(block.item_E))
    begins = np.flatnonzero(np.diff(block.sequence_E, prepend=-1))
    place_E = event_E - np.repeat(begins, np.diff(begins, append=len(event_E)))
    place_E %= length
    session_E = (place_E == 0).cumsum() - 1
    # sorted by session and item, equal ones in their order: the last of them stays
    code_E = session_E * (items + 1) + block.item_E
    order_E = np.argsort(code_E, kind="stable")
    last_E = np.sort(order_E[np.diff(code_E[order_E], append=-1) != 0])
    length_S = np.bincount(session_E[last_E])
    last_ms_S = block.time_ms_E[np.flatnonzero(np.diff(session_E, append=-1))]
    place_P = place_E[last_E].astype(np.int32)
    return length_S, block.item_E[last_E], place_P, last_ms_S, np.array([len(event_E)])


def csr_positions(start_R: AnyArray, length_R: AnyArray) -> AnyArray:
    """The positions `start`..`start + length` of every row, one row after the other."""
    end_R = length_R.cumsum()
    position_P: AnyArray = np.repeat(start_R - (end_R - length_R), length_R)
    position_P += np.arange(len(position_P))
    return position_P


def top_k_per_row(start: AnyArray, value_P: AnyArray, k: int) -> BoolArray:
    """Which values are among the `k` highest of their row; row r is at `start[r]`..`start[r + 1]`."""
    kept_P = np.ones(len(value_P), dtype=np.bool_)
    for row in np.flatnonzero(np.diff(start) > k):
        first, last = start[row], start[row + 1]
        order = np.argpartition(value_P[first:last], last - first - k)
        kept_P[first + order[: last - first - k]] = False
    return kept_P


def popularity_tie_break(dataset: SequenceDataset, before: Part) -> Tensor:
    """Return popularity times `TIE_BREAK_SCALE`, which ranks items with equal scores, [I], float32."""
    return popularity(dataset, before).float() * TIE_BREAK_SCALE


def row_chunks(cost_R: AnyArray) -> list[slice]:
    """Rows in order, in chunks whose costs in pairs add up to `PAIRS_PER_CHUNK`, or of one row."""
    chunks, first, spent = [], 0, 0
    for row, cost in enumerate(cost_R.tolist()):
        if row > first and spent + cost > PAIRS_PER_CHUNK:
            chunks.append(slice(first, row))
            first, spent = row, 0
        spent += cost
    return [*chunks, slice(first, len(cost_R))] if len(cost_R) else chunks
