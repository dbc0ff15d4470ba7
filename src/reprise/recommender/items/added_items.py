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
    """Added items and their values. Immutable.

    An item keeps its slot until it is removed. A later item takes the free slot.
    """

    ids: Sequence[ItemId | None] = ()
    """Id of the item in each slot, [A]; None for a free slot."""
    values: Mapping[ItemId, Mapping[str, Any]] = field(default_factory=dict)
    """Values of each item by column, without the columns in which the item has no value."""

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def slots(self) -> Mapping[ItemId, int]:
        """Slot of each item."""
        return {item_id: slot for slot, item_id in enumerate(self.ids) if item_id is not None}

    def with_values(self, changes: Mapping[ItemId, Mapping[str, Any]]) -> "AddedItems":
        """Return the items after changes of their values; None removes a value. Unknown items are added."""
        ids, values = list(self.ids), dict(self.values)
        new = [item_id for item_id in changes if item_id not in values]
        free = [slot for slot, item_id in enumerate(ids) if item_id is None]
        for slot, item_id in zip(free, new, strict=False):
            ids[slot] = item_id
        ids += new[len(free) :]
        for item_id, changed in changes.items():
            merged = {**values.get(item_id, {}), **changed}
            values[item_id] = {name: value for name, value in merged.items() if value is not None}
        return AddedItems(ids, values)

    def without(self, item_ids: Iterable[ItemId]) -> "AddedItems":
        """Return the items without these ones. Their slots become free."""
        ids, values = list(self.ids), dict(self.values)
        for item_id in item_ids:
            ids[self.slots[item_id]] = None
            del values[item_id]
        return AddedItems(ids, values)

    @cached_property
    def used_A(self) -> BoolArray:
        """Mask of the slots that hold an item, [A]."""
        return np.array([item_id is not None for item_id in self.ids], dtype=np.bool_)

    def column(self, column: TypedColumn) -> TypedColumn:
        """Return the values of the added items in a column: A rows, of the type of `column`; free slots have no value.

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
    """Return a column of the same name and type with missing values only."""
    if isinstance(column, NumericColumn):
        return replace(column, value_I=np.full(rows, np.nan))
    return replace(column, code_I=np.full(rows, -1, dtype=np.int32))
