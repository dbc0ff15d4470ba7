"""Items that callers change or add while a model is served: titles, prices, availability or any other column.

Each tenant has its own overrides. A new change of an item replaces the earlier one; columns that the new change does not
name get the model's values again. If the model reads the content of items, an unknown item is added. The memory is bounded:
each column that the model does not have costs some bytes for each item of the catalogue, so there may be only a few of them,
and they disappear with their last value; the added items are limited in number and size.
"""

import json
import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray
from reprise.data.vocabulary import PAD, ItemId
from reprise.errors import DataError
from reprise.recommender.items.item_columns import UnexpectedListError
from reprise.recommender.ranker import Ranker
from reprise.recommender.recommender import Recommender
from reprise.server.engine.changed_vectors import ChangedVectors
from reprise.server.engine.event_encoding import item_id
from reprise.server.json_logging import log_event
from reprise.server.store.records import ItemChange

MAX_ADDED_COLUMNS = 100
"""Maximum number of columns of a tenant that the model does not have."""
MAX_ITEM_BYTES = 64 * 2**10
"""Maximum size of the changed values of one item, in bytes of JSON."""
MAX_TENANT_BYTES = 64 * 2**20
"""Maximum size of the changed values of all items of a tenant, in bytes of JSON."""
MAX_ADDED_ITEMS = 10_000
"""Maximum number of items that a tenant can add to those of the model."""
MAX_VECTOR_BYTES = 64 * 2**20
"""Maximum size of the vectors of a tenant's added items, in bytes."""


class ItemValueError(DataError):
    """A value of an item is of another type than its column."""


class _Change(NamedTuple):
    """Facts about the last change of an item, for the limits and for undoing it."""

    columns: frozenset[str]
    """Names of the changed columns."""
    added: frozenset[str]
    """Names of the changed columns that the model does not have and that got a value."""
    size: int
    """Size of the changed values, in bytes of JSON."""
    new: bool
    """Whether the change adds the item: the item table of the model lacks it, and the model reads content."""


NO_CHANGE = _Change(frozenset(), frozenset(), 0, False)


class _TenantChanges:
    """The changes of one tenant: their sizes and their columns, without the values."""

    def __init__(self) -> None:
        self.items: dict[str, _Change] = {}
        self.added: Counter[str] = Counter()
        """Number of items with a value, for each column that the model does not have."""
        self.size = 0
        self.new = 0
        """Number of items that the changes add to those of the model."""

    def put(self, item: str, change: _Change) -> set[str]:
        """Replace the change of an item; `NO_CHANGE` removes it.

        Return the names of the added columns in which no item has a value any more.
        """
        before = self.items.pop(item, NO_CHANGE)
        if change is not NO_CHANGE:
            self.items[item] = change
        self.size += change.size - before.size
        self.new += change.new - before.new
        self.added.update(change.added)
        self.added.subtract(before.added)
        gone = {name for name in before.added if not self.added[name]}
        for name in gone:
            del self.added[name]
        return gone

    def check(self, item: str, change: _Change, max_new: int) -> None:
        """Raise `DataError` if a change would exceed a limit; `max_new` is the maximum number of added items."""
        before = self.items.get(item, NO_CHANGE)
        if change.new and not before.new and self.new >= max_new:
            raise DataError(
                f"{self.new:,} items were added to those of the model, and {max_new:,} are possible; delete added items, "
                "or train a model with these items"
            )
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
        self._listing: dict[tuple[str, int], tuple[Recommender, Recommender]] = {}
        self._changes: defaultdict[str, _TenantChanges] = defaultdict(_TenantChanges)
        self._vectors: dict[str, ChangedVectors] = {}
        network = base.ranker.network
        vector_bytes = network.input_ID.itemsize * (network.input_ID.shape[1] + network.output_ID.shape[1])
        self._max_added = min(MAX_ADDED_ITEMS, MAX_VECTOR_BYTES // vector_bytes)
        self._lock = threading.Lock()

    def recommender(self, tenant: str) -> Recommender:
        """Return the recommender of a tenant with its current overrides."""
        return self._recommenders.get(tenant, self._base)

    def ranker(self, tenant: str) -> Ranker:
        """Return the ranker of a tenant with its current overrides."""
        return self.recommender(tenant).ranker

    def listing(self, tenant: str, min_users: int) -> Recommender:
        """Return the recommender of a tenant whose lists have only items with at least `min_users` users.

        Raises:
            DataError: items need users, and the model does not have their numbers.
        """
        recommender = self.recommender(tenant)
        if not min_users:
            return recommender
        made_from, found = self._listing.get((tenant, min_users), (None, None))
        if found is None or made_from is not recommender:
            ranker = recommender.ranker
            listed_I = self.users_of_items() >= min_users
            found = recommender.with_ranker(replace(ranker, catalogue=ranker.catalogue.listing(listed_I)))
            self._listing[tenant, min_users] = recommender, found
        return found

    def users_of_items(self) -> AnyArray:
        """Return the number of users of each item of the model, [I].

        Raises:
            DataError: the model does not have these numbers.
        """
        users_I = self._base.artefact.item_users
        if users_I is None:
            raise DataError(
                "the model does not have the numbers of users of its items, which an API key with min_users needs; export it "
                "again"
            )
        return users_I

    def changed_vectors(self, tenant: str) -> ChangedVectors:
        """Return the record of the changed item vectors of a tenant.

        Read its `number` before you read the ranker of the tenant. A change between the two reads then makes states outdated,
        and is not missed.
        """
        # without the lock, which is held while many items are encoded
        return self._vectors.setdefault(tenant, ChangedVectors())

    def is_recommendable(self, tenant: str, item: str) -> bool:
        """Return whether an item can be recommended to the users of a tenant.

        It can if it occurs in the training part, or if it has content and the model recommends items by their content.
        """
        ranker = self.ranker(tenant)
        index = self._index(ranker, item)
        if index == PAD or index <= ranker.catalogue.warm:
            return index != PAD
        # the model may read new items without recommending them; their vectors are then 0 up to the bias
        return bool(ranker.network.output_of(np.array([index]))[0, :-1].any())

    def validate(self, tenant: str, item: str, values: Mapping[str, object]) -> None:
        """Check new values of an item. The model need not know the item.

        Raises:
            ItemValueError: a value is of another type than its column.
            UnexpectedListError: a list is given for a column that takes no lists.
            DataError: a limit is exceeded.
        """
        found = self._find(item)
        with self._lock:
            self._changes[tenant].check(item, self._change(item, values), self._max_added)
        recommender = self.recommender(tenant)
        try:
            if found is not None:
                recommender.with_items({found: values}, skip_undescribed=True)
            else:
                # there is no row to check against: any row will do, because a column has one type for all items
                recommender.ranker.catalogue.with_item(self._catalogue.ids[0], values)
        except UnexpectedListError:
            raise  # the API allows lists in every column, so the request conflicts with this model but is valid
        except DataError as error:
            raise ItemValueError(str(error)) from None

    def apply(self, changes: Sequence[ItemChange]) -> None:
        """Apply the last change of each of some items to the recommenders of their tenants.

        A change of an item that the model neither knows nor can add is ignored. A value that does not fit its column is
        ignored and logged: it may date from a model with another column type, or from a process that had not yet read a new
        column.

        Args:
            changes: Changes from the log, oldest first, with at most one change of each item of a tenant.
        """
        with self._lock:
            for tenant in {change.tenant for change in changes}:
                self._apply(tenant, [change for change in changes if change.tenant == tenant])

    def missing_from(self, changes: Sequence[ItemChange]) -> list[ItemChange]:
        """Return a deletion for each item whose change was applied before and is not among `changes`.

        Args:
            changes: The complete item changes of the log.
        """
        named = {(change.tenant, change.item_id) for change in changes}
        with self._lock:
            return [
                ItemChange(0, tenant, item, None)
                for tenant, known in self._changes.items()
                for item in known.items
                if (tenant, item) not in named
            ]

    def _apply(self, tenant: str, changes: Sequence[ItemChange]) -> None:
        values: dict[ItemId, dict[str, object]] = {}
        gone: set[str] = set()
        known = self._changes[tenant]
        before = self.recommender(tenant)
        added = before.ranker.catalogue.added.slots
        removed = []
        for change in changes:
            previous = known.items.get(change.item_id, NO_CHANGE).columns
            gone |= known.put(change.item_id, self._change(change.item_id, change.values))
            found = self._find(change.item_id)
            if found is None:
                continue
            if found in self._catalogue.items:
                base = self._catalogue.item(found)
                values[found] = {**{name: base.get(name) for name in previous}, **(change.values or {})}
            elif change.values is not None:
                values[found] = {**dict.fromkeys(previous), **change.values}
            elif found in added:
                removed.append(found)
        recommender = _with_valid_values(before.without_items(removed), values)
        recommender = recommender.without_columns(gone - known.added.keys())
        self._recommenders[tenant] = recommender
        if self._catalogue.content:
            self._note_vectors(
                tenant, before.ranker, recommender.ranker, [change.item_id for change in changes]
            )

    def _note_vectors(self, tenant: str, before: Ranker, after: Ranker, items: Sequence[str]) -> None:
        """Record the items whose vector differs between two rankers of a tenant.

        Args:
            tenant: The tenant.
            before: Ranker before the changes.
            after: Ranker after the changes.
            items: Ids of the items of the changes.
        """
        changed = [
            item
            for item in items
            if (found := self._find(item)) is not None and _vector(before, found) != _vector(after, found)
        ]
        replaced = (
            set() if after.network.input_changes is None else set(after.network.input_changes.item_M.tolist())
        )
        present = [item for item in changed if self._index(after, item) in replaced]
        self.changed_vectors(tenant).add(changed, present)

    def _index(self, ranker: Ranker, item: str) -> int:
        found = self._find(item)
        return PAD if found is None else int(ranker.catalogue.indices([found])[0])

    def _change(self, item: str, values: Mapping[str, object] | None) -> _Change:
        if values is None:
            return NO_CHANGE
        columns = frozenset(
            name for name, value in values.items() if value is not None and name not in self._own_columns
        )
        found = self._find(item)
        new = found is not None and found not in self._catalogue.items
        return _Change(frozenset(values), columns, _json_bytes(values), new)

    def _find(self, item: str) -> ItemId | None:
        """Return the id of an item in the type of the catalogue; None if the item is unknown and cannot be added."""
        found = item_id(item, self._catalogue)
        known = found is not None and (found in self._catalogue.items or self._catalogue.is_addable(found))
        return found if known else None


def _json_bytes(values: Mapping[str, object]) -> int:
    return len(json.dumps(values, ensure_ascii=False, default=str).encode())


def _vector(ranker: Ranker, item: ItemId) -> tuple[int, bytes] | None:
    """Return the index and the bytes of the input vector of an item; None if the item has no vector."""
    index = int(ranker.catalogue.indices([item])[0])
    return None if index == PAD else (index, ranker.network.input_of(np.array([index])).tobytes())


def _with_valid_values(
    recommender: Recommender, changes: Mapping[ItemId, Mapping[str, object]]
) -> Recommender:
    """Return a recommender with the valid values of changes; log the values that do not fit their column.

    If the changes cannot be applied together, each half of them is tried. A few invalid values then cost a few calls, not
    one call for each item.
    """
    try:
        return recommender.with_items(changes, skip_undescribed=True)
    except DataError:
        items = list(changes)
    if len(items) > 1:
        for half in (items[: len(items) // 2], items[len(items) // 2 :]):
            recommender = _with_valid_values(recommender, {item: changes[item] for item in half})
        return recommender
    valid: dict[str, object] = {}
    for name, value in changes[items[0]].items():
        try:
            recommender.with_items({items[0]: {**valid, name: value}}, skip_undescribed=True)
            valid[name] = value
        except DataError as error:
            log_event("item value ignored", logging.WARNING, item=items[0], error=str(error))
    return recommender.with_items({items[0]: valid}, skip_undescribed=True)
