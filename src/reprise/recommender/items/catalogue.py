"""The item catalogue: ids, columns of the item table, and the kinds of event.

Shape letters: I items: those of the table that the network has vectors for, then the slots of added items. Item index p + 1 is
row p of the item table; the indices of added items follow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray, BoolArray
from reprise.data.dataset import EVENT, id_array
from reprise.data.io.arrow_columns import Table, column_kind
from reprise.data.vocabulary import PAD, ItemId, Vocabulary
from reprise.errors import DataError, did_you_mean
from reprise.recommender.items.added_items import AddedItems, empty_column
from reprise.recommender.items.id_messages import unknown_id, wrong_id_type
from reprise.recommender.items.item_columns import (
    AVAILABLE,
    MODEL_COLUMNS,
    TITLE,
    NumericColumn,
    TypedColumn,
    UnexpectedListError,
    checked_list,
    new_column,
    read_column,
    stored_value,
)


@dataclass(frozen=True)
class Catalogue:
    """The items of a model. Immutable: `with_items` returns a new catalogue, which shares unchanged data with the old one."""

    table: Table
    """Item table with `item_id`, `count` and the caller's columns, one row per item in index order."""
    warm: int
    """Number of items that occur in the training part: the first rows of the table."""
    kinds: tuple[str, ...] = ()
    """Kinds of event in the order of their codes, most frequent first; empty if the network does not read kinds."""
    changed: Mapping[str, TypedColumn] = field(default_factory=dict, repr=False)
    """Columns that replace columns of the table or are added to them, by name."""
    scored: int = -1
    """Number of items of the table that have a vector: its first rows. -1: as many as `warm`."""
    content: tuple[str, ...] = ()
    """Names of the columns that the network reads; empty if it reads ids only. Items can be added only if it reads columns."""
    lists: Mapping[int, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Changed values of columns that hold lists: for each changed row of the table, the new lists by column."""
    added: AddedItems = field(default_factory=AddedItems, repr=False)
    """Items that are not in the table."""
    listed: BoolArray | None = field(default=None, repr=False)
    """Mask of the items of the table that lists may have, [scored]; added items then may not be in lists. None: all may."""

    def __post_init__(self) -> None:
        if self.scored < 0:
            object.__setattr__(self, "scored", self.warm)
        assert not self.content or self.scored == len(self.table), (
            "content gives each item of the table a vector"
        )

    @property
    def size(self) -> int:
        """Largest item index, free slots included: the number of columns of masks and scores."""
        return self.scored + len(self.added.ids)

    @property
    def recommendable(self) -> int:
        """Number of items that have a vector."""
        return self.scored + len(self.added)

    @cached_property
    def items(self) -> Vocabulary:
        """Vocabulary of the ids in the table and their indices."""
        return Vocabulary(id_array(self.table.column("item_id")), warm=self.warm, scored=self.scored)

    @cached_property
    def ids(self) -> list[ItemId]:
        """Ids in the table as a list, which is faster than an array for lookups of single ids."""
        ids: list[ItemId] = self.items.ids.tolist()
        return ids

    @cached_property
    def listed_I(self) -> BoolArray | None:
        """Mask of the items that lists may have whatever their `available` is, [I]; None if all may."""
        if self.listed is None:
            return None
        return np.append(self.listed, np.zeros(len(self.added.ids), dtype=np.bool_))

    @cached_property
    def available_I(self) -> BoolArray | None:
        """Mask of the items that lists may have by default, [I]: their `available` is not false. None if all may."""
        available_I = np.append(np.ones(self.scored, dtype=np.bool_), self.added.used_A)
        available_I &= True if self.listed_I is None else self.listed_I
        parts = self.column_parts(AVAILABLE)
        if parts is not None and parts[0].kind == "boolean":
            values = [part.value_I for part in parts if isinstance(part, NumericColumn)]
            available_I &= np.append(values[0][: self.scored], values[1]) != 0
        return None if available_I.all() else available_I

    @cached_property
    def _loaded(self) -> dict[str, TypedColumn]:
        """Columns of the table that were loaded so far; shared by all catalogues that `with_items` made from this one."""
        return {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns: those of the table and those that `with_items` added."""
        return tuple(dict.fromkeys([*self.table.column_names, *self.changed]))

    def column(self, name: str) -> TypedColumn | None:
        """Return a column of the table as arrays, loaded at the first call; None if there is no such column.

        Raises:
            DataError: the column holds values that cannot be compared, such as lists.
        """
        if name in self.changed:
            return self.changed[name]
        if name not in self.table.column_names:
            return None
        if name not in self._loaded:
            self._loaded[name] = read_column(self.table, name)
        return self._loaded[name]

    def column_parts(self, name: str) -> tuple[TypedColumn, TypedColumn] | None:
        """Return a column of the table and the same column of the added items; None if there is no such column.

        Raises:
            DataError: the column holds values that cannot be compared, such as lists.
        """
        column = self.column(name)
        if column is None:
            return None
        if name not in self._added_columns:
            self._added_columns[name] = self.added.column(column)
        return column, self._added_columns[name]

    @cached_property
    def _added_columns(self) -> dict[str, TypedColumn]:
        """Columns of the added items that `column_parts` has made, by name."""
        return {}

    def item_id(self, index: int) -> ItemId:
        """Return the id of an item index."""
        if index <= len(self.ids):
            return self.ids[index - 1]
        found = self.added.ids[index - len(self.ids) - 1]
        assert found is not None, f"no item has the index {index}"
        return found

    def item_ids(self, indices: Iterable[int]) -> list[ItemId]:
        """Return the ids of item indices."""
        return [self.item_id(index) for index in indices]

    def title(self, index: int) -> str | None:
        """Return the title of an item index, or None if it has no title."""
        if index > len(self.table):
            added: str | None = self.added.values[self.item_id(index)].get(TITLE)
            return added
        title: str | None = None if self._titles is None else self._titles.value(index - 1)
        return title

    @cached_property
    def _titles(self) -> TypedColumn | None:
        return self.column(TITLE)

    def item(self, item_id: ItemId) -> dict[str, Any]:
        """Return the id and the caller's columns of an item, as JSON values; None for a column without a value.

        Raises:
            DataError: the id is unknown.
        """
        names = [name for name in self.columns if name not in MODEL_COLUMNS]
        if item_id in self.added.slots:
            values = {name: self.added.values[item_id].get(name) for name in names}
        else:
            row = self._row(item_id)
            values = {name: self._value(name, row) for name in names}
        return {"item_id": item_id, **values}

    def with_item(self, item_id: ItemId, values: Mapping[str, Any]) -> "Catalogue":
        """Return the result of `with_items` for one item."""
        return self.with_items({item_id: values})

    def with_items(self, changes: Mapping[ItemId, Mapping[str, Any]]) -> "Catalogue":
        """Return a catalogue with changed values, which shares everything unchanged with this one.

        Args:
            changes: For each item the columns to change, with their new values; None removes a value. An unknown column is
                added, with the type of its first value. Unknown items are added if the network reads content.

        Raises:
            DataError: an id is unknown, a column belongs to the model, or a value is of another type than its column.
            UnexpectedListError: a list is given for a column that takes no lists.
        """
        by_column: dict[str, dict[int, Any]] = {}
        added: dict[ItemId, Mapping[str, Any]] = {}
        for item_id, values in _checked_mapping("the changes map item ids to columns", changes).items():
            _checked_mapping(f"the changes of item {item_id!r} map columns to values", values)
            addable = self.is_addable(item_id)
            row = PAD if addable else self._row(item_id)
            for name, value in values.items():
                self._check_name(name)
                self._check_list(name, value)
            if addable:
                added[item_id] = values
                continue
            for name, value in values.items():
                by_column.setdefault(name, {})[row] = value
        lists = {name: by_column.pop(name) for name in [*by_column] if self._holds_lists(name)}
        changed = {name: self._changed(name, values) for name, values in by_column.items()}
        kept = {**self.changed, **{name: column for name, column in changed.items() if column}}
        kept |= self._columns_of_added(added, kept)
        return self._replaced(
            AVAILABLE in changed,
            changed=kept,
            lists=self._changed_lists(lists),
            added=self.added.with_values(added) if added else self.added,
        )

    def without_items(self, item_ids: Iterable[ItemId]) -> "Catalogue":
        """Return a catalogue without these added items. Items that are added later get the free indices."""
        return self._replaced(True, added=self.added.without(item_ids))

    def is_addable(self, item_id: ItemId) -> bool:
        """Return whether an id is not in the table, and the model can add an item with this id or already did."""
        return bool(self.content) and self._is_id_type(type(item_id)) and item_id not in self.items

    def without_columns(self, names: Iterable[str]) -> "Catalogue":
        """Return a catalogue without the changes of these columns; those that are not in the table disappear."""
        removed = set(names)
        kept = {name: column for name, column in self.changed.items() if name not in removed}
        return self._replaced(AVAILABLE in removed, changed=kept)

    def listing(self, listed: BoolArray) -> "Catalogue":
        """Return a catalogue in which only these items of the table may be in lists, a mask [scored]."""
        return self._replaced(True, listed=listed)

    def without_changes(self) -> "Catalogue":
        """Return a catalogue in which the items of the table have its values again. Added items stay."""
        return self._replaced(True, changed={}, lists={})

    def _replaced(self, other_availability: bool, **fields: Any) -> "Catalogue":
        """Return a catalogue with replaced fields, which shares its cached data with this one.

        Args:
            other_availability: Whether the mask of available items changes.
            fields: Fields to replace.
        """
        after = replace(self, **fields)
        shared = {name: getattr(self, name) for name in ("items", "ids", "_loaded")}
        if after.added is self.added and not other_availability:
            shared["available_I"] = self.available_I
        vars(after).update(shared)
        return after

    def _holds_lists(self, name: str) -> bool:
        """Return whether the network reads a column whose values are lists. A filter cannot use such a column."""
        return (
            name in self.content
            and name in self.table.column_names
            and column_kind(self.table, name) == "other"
        )

    def _changed_lists(self, by_column: Mapping[str, Mapping[int, Any]]) -> Mapping[int, Mapping[str, Any]]:
        if not by_column:
            return self.lists
        changed = {row: dict(values) for row, values in self.lists.items()}
        for name, values in by_column.items():
            for row, value in values.items():
                changed.setdefault(row, {})[name] = checked_list(name, value)
        return changed

    def _columns_of_added(
        self, items: Mapping[ItemId, Mapping[str, Any]], changed: Mapping[str, TypedColumn]
    ) -> dict[str, TypedColumn]:
        """Check the values of added items; return the columns that the table lacks, filled with missing values."""
        new: dict[str, TypedColumn] = {}
        for values in items.values():
            for name, value in values.items():
                if value is not None and not self._holds_lists(name):
                    column = new.get(name) or changed.get(name) or self.column(name)
                    if column is None or column.kind == "nothing":
                        new[name] = column = new_column(name, len(self.table), value)
                    empty_column(column, 1).with_values({0: value})
        return new

    def _changed(self, name: str, values: Mapping[int, Any]) -> TypedColumn | None:
        column = self.column(name)
        if column is None or column.kind == "nothing":
            first = next((value for value in values.values() if value is not None), None)
            if first is None:
                return column  # every value is None, and the column has no value to remove
            column = new_column(name, len(self.table), first)
        return column.with_values(values)

    @staticmethod
    def _check_name(name: str) -> None:
        if name in MODEL_COLUMNS:
            raise DataError(
                f"{name!r} belongs to the model and cannot be changed; export a model to change it"
            )
        if not isinstance(name, str) or not name:
            raise DataError(f"the name of a column is text that is not empty, got {name!r}; pass a name")

    def _check_list(self, name: str, value: Any) -> None:
        """Raise `DataError` if a column of lists gets another value, or another column gets a list."""
        if self._holds_lists(name):
            checked_list(name, value)
        elif isinstance(value, list | tuple | np.ndarray):
            raise UnexpectedListError(
                f"column {name!r} takes no lists, got {shown(value)}; pass a single value, or train a model that reads "
                "this column as lists"
            )

    def _value(self, name: str, row: int) -> Any:
        if name in self.lists.get(row, ()):
            return self.lists[row][name]
        column = self.changed.get(name) or self._loaded.get(name)
        if column is None and name in (AVAILABLE, TITLE):
            column = self.column(name)
        return stored_value(self.table, name, row) if column is None else column.value(row)

    def _row(self, item_id: ItemId) -> int:
        """Return the row of an item, with or without a vector."""
        if not self._is_id_type(type(item_id)):
            raise DataError(wrong_id_type(item_id, self.items))
        index = self.items.index(item_id)
        if index == PAD:
            raise DataError(unknown_id(item_id, self.items))
        return index - 1

    def indices(self, item_ids: Iterable[ItemId]) -> AnyArray:
        """Return the indices of ids, those of added items too; `PAD` for ids without a vector.

        Raises:
            DataError: an id is of another type than the ids of this catalogue, so no catalogue of this model can contain it.
        """
        ids = list(item_ids)
        # the types are compared, because in Python 1, 1.0 and True are equal keys
        if not all(self._is_id_type(kind) for kind in set(map(type, ids))):
            wrong = next(item for item in ids if not self._is_id_type(type(item)))
            raise DataError(wrong_id_type(wrong, self.items))
        index = self.items.indices(ids)
        index[index > self.scored] = PAD
        if self.added.slots:
            for place in np.flatnonzero(index == PAD).tolist():
                slot = self.added.slots.get(ids[place])
                index[place] = PAD if slot is None else len(self.table) + slot + 1
        return index

    def index(self, item_id: ItemId) -> int:
        """Return the index of an item that has a vector.

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
        raise DataError(unknown_id(item_id, self.items))

    def kind(self, name: object = None) -> int:
        """Return the code of a kind of event.

        For None it is the code of the log's name for events without a kind, or else of its most frequent kind.

        Raises:
            DataError: the log that the model was trained on has no such kind.
        """
        if not self.kinds:
            return 0
        if name is None:
            return self.kinds.index(EVENT) if EVENT in self.kinds else 0
        if str(name) not in self.kinds:
            raise DataError(f"unknown kind of event {name!r}{did_you_mean(str(name), self.kinds)}")
        return self.kinds.index(str(name))

    def _is_id_type(self, kind: type) -> bool:
        if self.items.integer_ids:
            return issubclass(kind, Integral) and not issubclass(kind, bool)
        return issubclass(kind, str)


def _checked_mapping(rule: str, value: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f'{rule}, got {shown(value)}; pass {{"p17": {{"price": 12.5}}}}')
    return value
