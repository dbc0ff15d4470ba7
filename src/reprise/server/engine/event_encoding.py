"""From events as callers tell them to events that a network can read.

Over HTTP and in the log an item id is text, so that "17" and 17 are one item; a catalogue may have integers.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import nan

import numpy as np

from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.runtime.event_arrays import EventArrays


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """An event of somebody's past, from the log or from a question."""

    item_id: str
    time_ms: int | None = None
    """None: not known; such events come last, in their order."""
    kind: str | None = None
    value: float | None = None


@dataclass(frozen=True)
class EncodedHistory:
    """The events of a past that a network can read."""

    events: EventArrays
    position_T: np.ndarray[tuple[int], np.dtype[np.int64]]
    """Where each stands in what was told."""
    skipped: int
    """How many it cannot read: their items have no vector, or the model knows no such kind."""


def item_id(text: str, catalogue: Catalogue) -> ItemId | None:
    """The id as the catalogue has it; None where it can have no such id."""
    if not catalogue.items.integer_ids:
        return text
    with suppress(ValueError):
        number = int(text)
        if str(number) == text and abs(number) < 2**63:
            return number
    return None


def item_ids(texts: Iterable[str], catalogue: Catalogue) -> list[ItemId]:
    """Those of the ids that the catalogue could have. Others are known to nobody, as unknown ids are."""
    found = (item_id(text, catalogue) for text in texts)
    return [one for one in found if one is not None]


def read(told: Sequence[HistoryEvent], catalogue: Catalogue) -> EncodedHistory:
    """What a network can read of a past that is in order."""
    ids = [item_id(event.item_id, catalogue) for event in told]
    item_T = np.zeros(len(told), dtype=np.int64)
    (possible_N,) = np.nonzero([one is not None for one in ids])
    if len(possible_N):
        item_T[possible_N] = catalogue.indices([one for one in ids if one is not None])
    kind_T = np.array([_kind(event.kind, catalogue) for event in told], dtype=np.int64)
    (position_T,) = np.nonzero((item_T != PAD) & (kind_T >= 0))
    kept = [told[position] for position in position_T.tolist()]
    events = EventArrays(
        item=item_T[position_T],
        time_s=np.array(
            [nan if one.time_ms is None else one.time_ms / 1000 for one in kept], dtype=np.float64
        ),
        kind=kind_T[position_T],
        value=np.array([nan if one.value is None else one.value for one in kept], dtype=np.float32),
    )
    return EncodedHistory(events, position_T, len(told) - len(kept))


def _kind(name: str | None, catalogue: Catalogue) -> int:
    """The code of a kind, -1 where the model does not know it."""
    try:
        return catalogue.kind(name)
    except DataError:
        return -1
