"""Items that were added to a catalogue after the export of its model.

Shape letters: A slots of added items. The item in slot s has the index `rows + s + 1`, with the rows of the item table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from reprise.arrays import BoolArray
from reprise.data.vocabulary import ItemId
from reprise.recommender.items.item_columns import NumericColumn, TextColumn, TypedColumn


@dataclass(frozen=True)
class AddedItems:
    """Added items with their values, by slot. Immutable.

    An item keeps its slot while it exists. The slot of a removed item is free, and a later item takes it.
    """

    ids: Sequence[ItemId | None] = ()
    """Id of the item in each slot; None: the slot is free."""
    slots: Mapping[ItemId, int] = field(default_factory=dict)
    """Slot of each item."""
    values: Mapping[ItemId, Mapping[str, Any]] = field(default_factory=dict)
    """Values of each item by column; a column without a value is not in the mapping."""

    def __len__(self) -> int:
        return len(self.slots)

    def with_values(self, changes: Mapping[ItemId, Mapping[str, Any]]) -> "AddedItems":
        """Return the items with changed values; unknown items are added. None removes a value."""
        ids, slots, values = list(self.ids), dict(self.slots), dict(self.values)
        free = [slot for slot, item_id in enumerate(ids) if item_id is None][::-1]
        for item_id, changed in changes.items():
            merged = {**values.get(item_id, {}), **changed}
            values[item_id] = {name: value for name, value in merged.items() if value is not None}
            if item_id in slots:
                continue
            if not free:
                free.append(len(ids))
                ids.append(None)
            slots[item_id] = free.pop()
            ids[slots[item_id]] = item_id
        return AddedItems(ids, slots, values)

    def without(self, item_ids: Iterable[ItemId]) -> "AddedItems":
        """Return the items without some of them, whose slots become free."""
        ids, slots, values = list(self.ids), dict(self.slots), dict(self.values)
        for item_id in item_ids:
            ids[slots.pop(item_id)] = None
            del values[item_id]
        return AddedItems(ids, slots, values)

    @cached_property
    def used_A(self) -> BoolArray:
        """Mask of the slots that have an item."""
        return np.array([item_id is not None for item_id in self.ids], dtype=np.bool_)

    def column(self, column: TypedColumn) -> TypedColumn:
        """Return the values of the items in a column, as arrays of A rows with the type of `column`.

        Raises:
            DataError: a value is of another type than the column.
        """
        given = {
            self.slots[item_id]: values[column.name]
            for item_id, values in self.values.items()
            if column.name in values
        }
        return empty_column(column, len(self.ids)).with_values(given)


def empty_column(column: TypedColumn, rows: int) -> NumericColumn | TextColumn:
    """Return a column without values that has the type of another one."""
    if isinstance(column, NumericColumn):
        return replace(column, value_I=np.full(rows, np.nan))
    return replace(column, code_I=np.full(rows, -1, dtype=np.int32))
