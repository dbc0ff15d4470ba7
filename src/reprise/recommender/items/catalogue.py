"""The caller's side of a model: ids, how common each item is, what is known of it, and the kinds of event.

Shape letters: I warm items, those a network has a vector for. Index p + 1 is row p of the item table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array
from reprise.data.dataset import EVENT, id_array
from reprise.data.io.arrow_columns import Table, column_values
from reprise.data.vocabulary import PAD, ItemId, Vocabulary
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.item_columns import (
    AVAILABLE,
    OWN,
    TITLE,
    Coded,
    NumericColumn,
    new_column,
    read_column,
    stored_value,
)

NEAR = 10_000
"""How many of the commonest ids are compared with an unknown one for a hint: an error must stay quick."""


@dataclass(frozen=True)
class Catalogue:
    """The items a recommender speaks of. It never changes: a change of an item makes a new one, which shares the rest."""

    table: Table
    """`item_id`, `count` and whatever else the caller's item table has, a row per item in index order."""
    warm: int
    """How many of them can be recommended: those with a vector."""
    kinds: tuple[str, ...] = ()
    """The kinds of event in the order of their codes, commonest first; none where the network does not read them."""
    changed: Mapping[str, Coded] = field(default_factory=dict, repr=False)
    """Columns that are not, or no longer, those of the table."""

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
    def popularity_I(self) -> Float32Array:
        """Each warm item's share of the training events."""
        count_I = np.array(column_values(self.table, "count")[: self.warm], dtype=np.float64)
        share_I: Float32Array = (count_I / max(1.0, count_I.sum())).astype(np.float32)
        return share_I

    @cached_property
    def commonest_I(self) -> AnyArray:
        """The places of warm items by popularity, the commonest first; equal ones in the order of their indices."""
        return np.argsort(-self.popularity_I, kind="stable")

    @cached_property
    def available_I(self) -> BoolArray | None:
        """Which warm items can be had: all whose `available` is not false; None: all of them."""
        column = self.column(AVAILABLE)
        if not isinstance(column, NumericColumn) or column.kind != "boolean":
            return None
        available_I: BoolArray = column.value_I[: self.warm] != 0
        return None if available_I.all() else available_I

    @cached_property
    def _coded(self) -> dict[str, Coded]:
        """The columns of the table that somebody asked for; shared by all catalogues that come from this one."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns: those of the table, and those that changes brought."""
        return tuple(dict.fromkeys([*self.table.column_names, *self.changed]))

    def column(self, name: str) -> Coded | None:
        """A column as arrays, coded when it is first asked for; None where the items have no such column.

        Raises:
            DataError: it holds what cannot be compared, as lists.
        """
        if name in self.changed:
            return self.changed[name]
        if name not in self.table.column_names:
            return None
        if name not in self._coded:
            self._coded[name] = read_column(self.table, name)
        return self._coded[name]

    def title(self, index: int) -> str | None:
        """The title of an item index, None where it has none."""
        title: str | None = None if self._titles is None else self._titles.value(index - 1)
        return title

    @cached_property
    def _titles(self) -> Coded | None:
        return self.column(TITLE)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """What is known of an item: its id and the caller's columns, in the forms of JSON, None where there is no value.

        Raises:
            DataError: the id is unknown.
        """
        row = self._row(item_id)
        values = {name: self._value(name, row) for name in self.columns if name not in OWN}
        return {"item_id": item_id, **values}

    def with_item(self, item_id: ItemId, values: Mapping[str, Any]) -> "Catalogue":
        """`with_items` for one item."""
        return self.with_items({item_id: values})

    def with_items(self, changes: Mapping[ItemId, Mapping[str, Any]]) -> "Catalogue":
        """A catalogue in which these items have these values; all that does not change is shared with this one.

        Args:
            changes: For each item the columns that change; None removes a value. A column that the items do not have is
                made, and holds from then on what its first value is.

        Raises:
            DataError: an id is unknown, a column is the model's own, or a value is of another type than its column.
        """
        by_column: dict[str, dict[int, Any]] = {}
        for item_id, values in changes.items():
            row = self._row(item_id)
            for name, value in values.items():
                by_column.setdefault(name, {})[row] = value
        changed = {name: self._changed(name, values) for name, values in by_column.items()}
        after = replace(
            self, changed={**self.changed, **{name: column for name, column in changed.items() if column}}
        )
        shared = {
            name: getattr(self, name) for name in ("items", "ids", "popularity_I", "commonest_I", "_coded")
        }
        if AVAILABLE not in changed:
            shared["available_I"] = self.available_I
        vars(after).update(shared)
        return after

    def _changed(self, name: str, values: Mapping[int, Any]) -> Coded | None:
        if name in OWN:
            raise DataError(
                f"{name!r} belongs to the model and cannot be changed; export a model to change it"
            )
        if not isinstance(name, str) or not name:
            raise DataError(f"the name of a column is text, got {name!r}")
        column = self.column(name)
        if column is None or column.kind == "nothing":
            first = next((value for value in values.values() if value is not None), None)
            if first is None:
                return column  # there is nothing to remove
            column = new_column(name, len(self.table), first)
        return column.changed(values)

    def _value(self, name: str, row: int) -> Any:
        column = self.changed.get(name) or self._coded.get(name)
        if column is None and name in (AVAILABLE, TITLE):
            column = self.column(name)
        return stored_value(self.table, name, row) if column is None else column.value(row)

    def _row(self, item_id: ItemId) -> int:
        """The row of an item, whether it has a vector or not."""
        if not self._plausible(item_id):
            raise DataError(self._wrong_type(item_id))
        index = self.items.index(item_id)
        if index == PAD:
            raise DataError(f"unknown item {item_id!r}{self._hint(item_id)}")
        return index - 1

    def indices(self, item_ids: Iterable[ItemId]) -> AnyArray:
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
