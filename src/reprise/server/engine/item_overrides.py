"""What callers say of items while a model is served: titles, prices, availability, any column. Each tenant its own.

A change replaces the one before it; columns it does not name are again as the model has them.
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
    """The recommender of each tenant. Safe to use from several threads."""

    def __init__(self, base: Recommender) -> None:
        self._base = base
        self._catalogue = base.ranker.catalogue
        self._recommenders: dict[str, Recommender] = {}
        self._changed: dict[tuple[str, str], set[str]] = {}
        self._lock = threading.Lock()

    def recommender(self, tenant: str) -> Recommender:
        """What answers a tenant now."""
        return self._recommenders.get(tenant, self._base)

    def ranker(self, tenant: str) -> Ranker:
        """Its search, for states."""
        return self.recommender(tenant).ranker

    def known(self, item: str) -> bool:
        """Whether an item has a vector, so that it can be recommended."""
        found = item_id(item, self._catalogue)
        return found is not None and bool(self._catalogue.indices([found])[0])

    def check(self, tenant: str, item: str, values: Mapping[str, object]) -> None:
        """Raise `DataError` where these values cannot be had, also of an item that only a later model may know."""
        found = self._index_of(item)
        self.ranker(tenant).catalogue.with_item(self._catalogue.ids[0] if found is None else found, values)

    def apply(self, changes: Sequence[ItemChange]) -> None:
        """Have these changes from now on. Items that the model does not know are left alone.

        So is a value that does not fit its column: it was said while another model was served, or while another process
        was told something else.
        """
        with self._lock:
            for tenant in {change.tenant for change in changes}:
                told = [change for change in changes if change.tenant == tenant]
                self._apply(tenant, told)

    def _apply(self, tenant: str, changes: Sequence[ItemChange]) -> None:
        values: dict[ItemId, dict[str, object]] = {}
        for change in changes:
            found = self._index_of(change.item_id)
            if found is None:
                continue
            before = self._changed.get((tenant, change.item_id), set())
            base = self._catalogue.item(found)
            values[found] = {name: base.get(name) for name in before} | change.values
            self._changed[tenant, change.item_id] = set(change.values)
        recommender = self.recommender(tenant)
        try:
            self._recommenders[tenant] = recommender.with_items(values)
        except DataError:
            self._recommenders[tenant] = _as_far_as_they_fit(recommender, values)

    def _index_of(self, item: str) -> ItemId | None:
        """The id of an item that the model knows."""
        found = item_id(item, self._catalogue)
        return found if found is not None and found in self._catalogue.items else None


def _as_far_as_they_fit(
    recommender: Recommender, changes: Mapping[ItemId, Mapping[str, object]]
) -> Recommender:
    for item, values in changes.items():
        for name, value in values.items():
            try:
                recommender = recommender.with_items({item: {name: value}})
            except DataError as error:
                log_event("item value left out", logging.WARNING, item=item, error=str(error))
    return recommender
