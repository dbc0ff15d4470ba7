"""Encode events of users as the arrays that a network reads.

In HTTP requests and in the log an item id is text, so `"17"` and 17 are the same item. A catalogue may hold integer ids.

Shape letters: T events of one history.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf, nan

import numpy as np

from reprise.arrays import Int64Array
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.server.store.records import UserEvent


@dataclass(frozen=True)
class EncodedHistory:
    """The events of a history that a network can read."""

    events: EventArrays
    position_T: Int64Array
    """Position of each encoded event in the history it came from."""
    skipped_count: int
    """Number of events left out: the model has no vector for their item, or does not know their kind."""


def item_id(text: str, catalogue: Catalogue) -> ItemId | None:
    """Return an id in the type of the catalogue's ids; None if the catalogue holds integers and the text is not one."""
    if not catalogue.items.integer_ids:
        return text
    with suppress(ValueError):
        number = int(text)
        if str(number) == text and abs(number) < 2**63:
            return number
    return None


def is_known(text: str, catalogue: Catalogue) -> bool:
    """Return whether the model has a vector for an item."""
    found = item_id(text, catalogue)
    return found is not None and bool(catalogue.indices([found])[0] != PAD)


def changeable_items(events: Iterable[UserEvent], catalogue: Catalogue) -> set[str]:
    """Return the ids of the items of events whose vectors can change while the model is served.

    These are the items without training events, including unknown items, which may be added later. The result is empty if the
    model reads ids only, because no vector changes then.
    """
    if not catalogue.content:
        return set()
    texts = {event.item_id for event in events}
    found = {text: item_id(text, catalogue) for text in texts}
    return {
        text
        for text, one in found.items()
        if one is not None and not PAD < catalogue.items.index(one) <= catalogue.warm
    }


def item_ids(texts: Iterable[str], catalogue: Catalogue) -> list[ItemId]:
    """Return ids in the type of the catalogue's ids, without those that cannot be converted: no item has such an id."""
    found = (item_id(text, catalogue) for text in texts)
    return [one for one in found if one is not None]


def by_time(events: Iterable[UserEvent]) -> list[UserEvent]:
    """Sort events by time. Events with equal times keep their order; events without a time come last."""
    return sorted(events, key=lambda event: inf if event.time_ms is None else event.time_ms)


def encode_events(events: Sequence[UserEvent], catalogue: Catalogue) -> EncodedHistory:
    """Encode the events of one user, oldest first, as arrays. Events that the model cannot read are left out."""
    ids = [item_id(event.item_id, catalogue) for event in events]
    item_T = np.zeros(len(events), dtype=np.int64)
    (convertible,) = np.nonzero([one is not None for one in ids])
    if len(convertible):
        item_T[convertible] = catalogue.indices([one for one in ids if one is not None])
    kind_T = np.array([kind_code(event.kind, catalogue) for event in events], dtype=np.int64)
    (position_T,) = np.nonzero((item_T != PAD) & (kind_T >= 0))
    kept = [events[position] for position in position_T.tolist()]
    arrays = EventArrays(
        item=item_T[position_T],
        time_s=np.array(
            [nan if event.time_ms is None else event.time_ms / 1000 for event in kept], dtype=np.float64
        ),
        kind=kind_T[position_T],
        value=np.array([nan if event.value is None else event.value for event in kept], dtype=np.float32),
    )
    return EncodedHistory(arrays, position_T, len(events) - len(kept))


def kind_code(name: str | None, catalogue: Catalogue) -> int:
    """Return the code of an event kind, or -1 if the model does not know it."""
    try:
        return catalogue.kind(name)
    except DataError:
        return -1
