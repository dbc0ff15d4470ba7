"""Item columns that callers change while a model is served: titles, prices, availability or any other column.

Each tenant has its own overrides. A new change of an item replaces the earlier one; columns that the new change does not
name get the model's values again.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

from reprise.data.vocabulary import ItemId
from reprise.errors import DataError
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommender import Recommender
from reprise.server.engine.event_encoding import item_id
from reprise.server.json_logging import log_event
from reprise.server.store.records import ItemChange


class ItemOverrides:
    """One recommender for each tenant, with that tenant's item columns. Thread-safe."""

    def __init__(self, base: Recommender) -> None:
        self._base = base
        self._catalogue = base.ranker.catalogue
        self._recommenders: dict[str, Recommender] = {}
        self._changed_columns: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()

    def recommender(self, tenant: str) -> Recommender:
        """Return the recommender of a tenant with its current overrides."""
        return self._recommenders.get(tenant, self._base)

    def ranker(self, tenant: str) -> Ranker:
        """Return the ranker of a tenant with its current overrides."""
        return self.recommender(tenant).ranker

    def is_recommendable(self, item: str) -> bool:
        """Return whether the model has a vector for an item."""
        found = item_id(item, self._catalogue)
        return found is not None and bool(self._catalogue.indices([found])[0])

    def validate(self, tenant: str, item: str, values: Mapping[str, object]) -> None:
        """Raise `DataError` if a value does not fit its column. The model need not know the item."""
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
        for change in changes:
            found = self._find(change.item_id)
            if found is None:
                continue
            previous = self._changed_columns.get((tenant, change.item_id), set())
            base = self._catalogue.item(found)
            values[found] = {name: base.get(name) for name in previous} | change.values
            self._changed_columns[tenant, change.item_id] = set(change.values)
        recommender = self.recommender(tenant)
        try:
            self._recommenders[tenant] = recommender.with_items(values)
        except DataError:
            self._recommenders[tenant] = _with_valid_values(recommender, values)

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
