"""A log as sessions in which each item occurs once; the data of the nearest-neighbour scorers.

Shape letters: S sessions, P pairs of a session and an item, E events of a block, B blocks, I items (the scored ones), R
rows.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from reprise.arrays import AnyArray, BoolArray
from reprise.data.dataset import Part, SequenceDataset
from reprise.data.sequence_blocks import EventBlock
from reprise.models.counts.counting import event_blocks, popularity

PAIRS_PER_CHUNK = 1 << 22
"""Cost of a chunk of rows in `row_chunks`, in pairs: of targets and sessions, of these and items, or of items."""
TIE_BREAK_SCALE = 1e-6
"""Weight of popularity in the scores of neighbour models; it only orders items with equal scores."""


class Sessions(NamedTuple):
    """Sessions as compressed sparse rows (CSR), ordered by the time of their last event."""

    start: AnyArray
    """Row offsets, [S + 1]: the pairs of session s are at `start[s]`..`start[s + 1]`."""
    item_P: AnyArray
    """Item indices, int32, in the order of the last occurrence in the session."""
    place_P: AnyArray
    """Number of events of the session before this one, int32."""
    last_ms_S: AnyArray
    """Timestamp of the last event of each session in milliseconds, ascending."""
    user_S: AnyArray
    """Number of the user of each session, int64: that of the sequence, or its `SequenceDataset.owner`."""
    events: int
    """Number of events, including repeated items."""

    @property
    def repeat_weight(self) -> float:
        """Default weight of items in the current session: three times the share of repeats, at most 1.

        The share of repeats is that of events whose item occurs again later in the session. In a log without repeats,
        such as one of ratings, the weight is 0. The factor three was measured on the validation parts of several logs
        ("Nearest neighbours and repeated items" in docs/experiments.md).
        """
        return min(1.0, 3 * (1 - len(self.item_P) / max(1, self.events)))

    @property
    def length_S(self) -> AnyArray:
        """Number of distinct items of each session."""
        return np.diff(self.start)

    @property
    def session_P(self) -> AnyArray:
        """Session index of each pair."""
        return np.repeat(np.arange(len(self.last_ms_S)), self.length_S)

    def select(self, mask_S: BoolArray) -> "Sessions":
        """Return the sessions selected by a mask, in the same order."""
        mask_P = np.repeat(mask_S, self.length_S)
        start = np.concatenate([[0], self.length_S[mask_S].cumsum()])
        columns = self.item_P[mask_P], self.place_P[mask_P], self.last_ms_S[mask_S], self.user_S[mask_S]
        return Sessions(start, *columns, self.events)


def find_sessions(dataset: SequenceDataset, before: Part, length: int) -> Sessions:
    """Split the events before a part into sessions.

    Args:
        dataset: Events of cold items are skipped.
        before: The part.
        length: Maximum number of events per session; a longer sequence is split. The history of a user over years says
            little about which items belong together, and a neighbour is read as a whole, so its size bounds the cost
            of a query.
    """
    found = [_block_sessions(block, length, dataset.items.scored) for block in event_blocks(dataset, before)]
    length_S, item_P, place_P, last_ms_S, user_S, events_B = (
        np.concatenate(column) for column in zip(*found, strict=True)
    )
    order_S = np.argsort(last_ms_S, kind="stable")
    start_S = (length_S.cumsum() - length_S)[order_S]
    index_P = csr_positions(start_S, length_S[order_S])
    start = np.concatenate([[0], length_S[order_S].cumsum()])
    user_S = user_S if dataset.owner is None else np.asarray(dataset.owner)[user_S]
    columns = item_P[index_P], place_P[index_P], last_ms_S[order_S], user_S[order_S]
    return Sessions(start, *columns, int(events_B.sum()))


def _block_sessions(block: EventBlock, length: int, items: int) -> tuple[AnyArray, ...]:
    """Return the sessions of a block of whole sequences.

    The arrays are the number of items of each session, the items and places of all pairs, the time of the last event
    and the sequence of each session, and the number of events, [1].
    """
    event_E = np.arange(len(block.item_E))
    begins = np.flatnonzero(np.diff(block.sequence_E, prepend=-1))
    place_E = event_E - np.repeat(begins, np.diff(begins, append=len(event_E)))
    place_E %= length
    session_E = (place_E == 0).cumsum() - 1
    # A session contains each item once, at its latest event. The sort is stable, so the last of equal
    # (session, item) codes is the latest event. Example: the session 4 7 4 9 has the events 0 .. 3; sorted by
    # item they are 0 2 1 3 (4 4 7 9), the last of each item are the events 2 1 3, in order of time 1 2 3. So
    # the session is 7 4 9 with the places 1 2 3.
    code_E = session_E * (items + 1) + block.item_E
    order_E = np.argsort(code_E, kind="stable")
    last_E = np.sort(order_E[np.diff(code_E[order_E], append=-1) != 0])
    length_S = np.bincount(session_E[last_E])
    ends = np.flatnonzero(np.diff(session_E, append=-1))
    place_P = place_E[last_E].astype(np.int32)
    columns = block.item_E[last_E], place_P, block.time_ms_E[ends], block.sequence_E[ends]
    return length_S, *columns, np.array([len(event_E)])


def csr_positions(start_R: AnyArray, length_R: AnyArray) -> AnyArray:
    """Return the positions `start`..`start + length` of all rows, concatenated.

    `start` = [5, 0] with `length` = [2, 3] gives [5, 6, 0, 1, 2].
    """
    end_R = length_R.cumsum()
    position_P: AnyArray = np.repeat(start_R - (end_R - length_R), length_R)
    position_P += np.arange(len(position_P))
    return position_P


def top_k_per_row(start: AnyArray, value_P: AnyArray, k: int) -> BoolArray:
    """Return a mask of the k highest values of each row; row r is at `start[r]`..`start[r + 1]`."""
    kept_P = np.ones(len(value_P), dtype=np.bool_)
    for row in np.flatnonzero(np.diff(start) > k):
        first, last = start[row], start[row + 1]
        order = np.argpartition(value_P[first:last], last - first - k)
        kept_P[first + order[: last - first - k]] = False
    return kept_P


def popularity_tie_break(dataset: SequenceDataset, before: Part) -> Tensor:
    """Return popularity times `TIE_BREAK_SCALE`, which orders items with equal scores, float32 [I]."""
    return popularity(dataset, before).float() * TIE_BREAK_SCALE


def row_chunks(cost_R: AnyArray) -> list[slice]:
    """Split rows into consecutive chunks whose costs add up to at most `PAIRS_PER_CHUNK`, but at least one row each."""
    chunks, first, spent = [], 0, 0
    for row, cost in enumerate(cost_R.tolist()):
        if row > first and spent + cost > PAIRS_PER_CHUNK:
            chunks.append(slice(first, row))
            first, spent = row, 0
        spent += cost
    return [*chunks, slice(first, len(cost_R))] if len(cost_R) else chunks
