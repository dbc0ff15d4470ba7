"""Item columns that callers change while a model is served: titles, prices, availability or any other column.

Each tenant has its own overrides. A new change of an item replaces the earlier one; columns that the new change does not
name get the model's values again. The memory is bounded: each column that the model does not have costs some bytes for each
item of the catalogue, so there may be only a few of them, and they disappear with their last value.
"""

import json
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reprise.data.vocabulary import ItemId
from reprise.errors import DataError
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommender import Recommender
from reprise.server.engine.event_encoding import is_known, item_id
from reprise.server.json_logging import log_event
from reprise.server.store.records import ItemChange

MAX_ADDED_COLUMNS = 100
"""Maximum number of columns of a tenant that the model does not have."""
MAX_ITEM_BYTES = 16 * 2**10
"""Maximum size of the changed values of one item, in bytes of JSON."""
MAX_TENANT_BYTES = 64 * 2**20
"""Maximum size of the changed values of all items of a tenant, in bytes of JSON."""


class _Change(NamedTuple):
    """What is known of the last change of an item."""

    columns: frozenset[str]
    """Names of the changed columns."""
    added: frozenset[str]
    """Those of them that the model does not have, and that got a value."""
    size: int
    """Size of the values, in bytes of JSON."""


NO_CHANGE = _Change(frozenset(), frozenset(), 0)


class _TenantChanges:
    """The changes of one tenant: their sizes and their columns, without the values."""

    def __init__(self) -> None:
        self.items: dict[str, _Change] = {}
        self.added: Counter[str] = Counter()
        """Number of items with a value, for each column that the model does not have."""
        self.size = 0

    def put(self, item: str, change: _Change) -> set[str]:
        """Replace the change of an item; return the columns that no item has any more."""
        before = self.items.get(item, NO_CHANGE)
        self.items[item] = change
        self.size += change.size - before.size
        self.added.update(change.added)
        self.added.subtract(before.added)
        gone = {name for name in before.added if not self.added[name]}
        for name in gone:
            del self.added[name]
        return gone

    def check(self, item: str, change: _Change) -> None:
        """Raise `DataError` if a change would exceed a limit."""
        before = self.items.get(item, NO_CHANGE)
        if change.size > MAX_ITEM_BYTES:
            raise DataError(
                f"the values of item {item!r} have {change.size:,} bytes; send at most {MAX_ITEM_BYTES:,} for one item"
            )
        size = self.size + change.size - before.size
        if size > MAX_TENANT_BYTES and change.size > before.size:
            raise DataError(
                f"the changed values of all items have {size:,} bytes, and {MAX_TENANT_BYTES:,} are possible; remove values "
                "of other items, or export a model with these columns"
            )
        new = change.added - self.added.keys()
        freed = {name for name in before.added - change.added if self.added[name] == 1}
        if new and len(self.added) + len(new) - len(freed) > MAX_ADDED_COLUMNS:
            raise DataError(
                f"column {min(new)!r} would be one more than the {MAX_ADDED_COLUMNS} columns that can be added to those of the "
                "model; set another column to null in all its items, or export a model with these columns"
            )


class ItemOverrides:
    """One recommender for each tenant, with that tenant's item columns. Thread-safe."""

    def __init__(self, base: Recommender) -> None:
        self._base = base
        self._catalogue = base.ranker.catalogue
        self._own_columns = frozenset(self._catalogue.columns)
        self._recommenders: dict[str, Recommender] = {}
        self._changes: defaultdict[str, _TenantChanges] = defaultdict(_TenantChanges)
        self._lock = threading.Lock()

    def recommender(self, tenant: str) -> Recommender:
        """Return the recommender of a tenant with its current overrides."""
        return self._recommenders.get(tenant, self._base)

    def ranker(self, tenant: str) -> Ranker:
        """Return the ranker of a tenant with its current overrides."""
        return self.recommender(tenant).ranker

    def is_recommendable(self, item: str) -> bool:
        """Return whether the model has a vector for an item."""
        return is_known(item, self._catalogue)

    def validate(self, tenant: str, item: str, values: Mapping[str, object]) -> None:
        """Raise `DataError` if a value does not fit its column, or a limit is exceeded. The model need not know the item."""
        with self._lock:
            self._changes[tenant].check(item, self._change(values))
        found = self._find(item)
        # an unknown item has no row to check against: any row will do, because a column has one type for all items
        self.ranker(tenant).catalogue.with_item(self._catalogue.ids[0] if found is None else found, values)

    def apply(self, changes: Sequence[ItemChange]) -> None:
        """Apply changes of items, oldest first.

        Changes of items that the model does not know are ignored. A value that does not fit its column is ignored and
        logged: it may date from a model with another column type, or from a process that had not yet read a new column.
        """
        with self._lock:
            for tenant in {change.tenant for change in changes}:
                self._apply(tenant, [change for change in changes if change.tenant == tenant])

    def _apply(self, tenant: str, changes: Sequence[ItemChange]) -> None:
        values: dict[ItemId, dict[str, object]] = {}
        gone: set[str] = set()
        known = self._changes[tenant]
        for change in changes:
            previous = known.items.get(change.item_id, NO_CHANGE).columns
            gone |= known.put(change.item_id, self._change(change.values))
            found = self._find(change.item_id)
            if found is not None:
                base = self._catalogue.item(found)
                reset = {name: base.get(name) for name in previous}
                values[found] = {**values.get(found, {}), **reset, **change.values}
        recommender = self.recommender(tenant)
        try:
            recommender = recommender.with_items(values)
        except DataError:
            recommender = _with_valid_values(recommender, values)
        self._recommenders[tenant] = recommender.without_columns(gone - known.added.keys())

    def _change(self, values: Mapping[str, object]) -> _Change:
        added = frozenset(
            name for name, value in values.items() if value is not None and name not in self._own_columns
        )
        size = len(json.dumps(values, ensure_ascii=False, default=str).encode())
        return _Change(frozenset(values), added, size)

    def _find(self, item: str) -> ItemId | None:
        """Return the id of an item as the catalogue stores it; None if the catalogue does not contain the item."""
        found = item_id(item, self._catalogue)
        return found if found is not None and found in self._catalogue.items else None


def _with_valid_values(
    recommender: Recommender, changes: Mapping[ItemId, Mapping[str, object]]
) -> Recommender:
    """Apply changes value by value, and log those that do not fit their column."""
    for item, values in changes.items():
        for name, value in values.items():
            try:
                recommender = recommender.with_items({item: {name: value}})
            except DataError as error:
                log_event("item value ignored", logging.WARNING, item=item, error=str(error))
    return recommender
