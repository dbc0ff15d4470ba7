"""The caller's side of a model: ids, titles, how common each item is, and the kinds of event.

Shape letters: I warm items, those a network has a vector for. Index p + 1 is row p of the item table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np

from reprise.data.dataset import EVENT, id_array
from reprise.data.tables import Table, column
from reprise.data.vocabulary import PAD, ItemId, Vocabulary
from reprise.errors import DataError, did_you_mean
from reprise.recommender.index import Floats

Indices = np.ndarray[Any, np.dtype[Any]]
NEAR = 10_000
"""How many of the commonest ids are compared with an unknown one for a hint: an error must stay quick."""


@dataclass(frozen=True)
class Catalogue:
    """The items a recommender speaks of."""

    table: Table
    """`item_id`, `count` and whatever else the caller's item table has, a row per item in index order."""
    warm: int
    """How many of them can be recommended: those with a vector."""
    kinds: tuple[str, ...] = ()
    """The kinds of event in the order of their codes, commonest first; none where the network does not read them."""

    @cached_property
    def items(self) -> Vocabulary:
        """Ids and indices."""
        return Vocabulary(id_array(self.table.column("item_id")), warm=self.warm)

    @cached_property
    def ids(self) -> list[ItemId]:
        """The caller's ids as a list: where many are looked up one by one, an array is slow."""
        ids: list[ItemId] = self.items.ids.tolist()
        return ids

    @cached_property
    def titles(self) -> list[str | None]:
        """The title of each item, None where it has none."""
        return [None if title is None else str(title) for title in column(self.table, "title")]

    @cached_property
    def popularity_I(self) -> Floats:
        """Each warm item's share of the training events."""
        count_I = np.array(column(self.table, "count")[: self.warm], dtype=np.float64)
        share_I: Floats = (count_I / max(1.0, count_I.sum())).astype(np.float32)
        return share_I

    def indices(self, item_ids: Iterable[ItemId]) -> Indices:
        """The indices of ids, `PAD` for those without a vector.

        Raises:
            DataError: an id is of another type than the ids of this catalogue, so it could never be known.
        """
        ids = list(item_ids)
        try:
            index = self.items.indices(ids)
        except TypeError:
            raise DataError(self._wrong_type(next(i for i in ids if not self._plausible(i)))) from None
        for position in np.flatnonzero(index == PAD).tolist():
            if not self._plausible(ids[position]):
                raise DataError(self._wrong_type(ids[position]))
        index[index > self.warm] = PAD
        return index

    def index(self, item_id: ItemId) -> int:
        """The index of an item that has a vector.

        Raises:
            DataError: the id is unknown, or known but without a vector.
        """
        index = int(self.indices([item_id])[0])
        if index != PAD:
            return index
        if item_id in self.items:
            raise DataError(
                f"item {item_id!r} has no vector: it does not occur in the training part of the log; "
                "train again on a log that has it"
            )
        raise DataError(f"unknown item {item_id!r}{self._hint(item_id)}")

    def kind(self, name: object = None) -> int:
        """The code of a kind of event. None is what the log calls events without a kind, or else its commonest kind.

        Raises:
            DataError: the log of the model has no such kind.
        """
        if not self.kinds:
            return 0
        if name is None:
            return self.kinds.index(EVENT) if EVENT in self.kinds else 0
        if str(name) not in self.kinds:
            raise DataError(f"unknown kind of event {name!r}{did_you_mean(str(name), self.kinds)}")
        return self.kinds.index(str(name))

    def _hint(self, item_id: ItemId) -> str:
        known = [str(other) for other in islice(self.items.ids, NEAR)]
        hint = did_you_mean(str(item_id), known)
        # the other form of the tail lists every known name, and a catalogue is too long for that
        return hint if hint.startswith("; did you mean") else f"; the catalogue has {len(self.items)} items"

    def _plausible(self, item_id: object) -> bool:
        return isinstance(item_id, Integral if self.items.integer_ids else str)

    def _wrong_type(self, item_id: object) -> str:
        wanted = "integers" if self.items.integer_ids else "strings"
        return f"item id {item_id!r} is of type {type(item_id).__name__}, the ids of this model are {wanted}; pass them as such"
