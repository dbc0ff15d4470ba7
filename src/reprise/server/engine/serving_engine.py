"""The serving engine: recommendations from one event log and one model, which can be replaced while it serves.

All methods are synchronous and thread-safe. Queues, deadlines and HTTP are the work of `reprise.server.queueing` and
`reprise.server.http`.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reprise.data.popular_items import Moment
from reprise.data.vocabulary import ItemId
from reprise.errors import DataError
from reprise.recommender.generate import DecodingOptions, continue_state
from reprise.recommender.items.item_columns import TITLE
from reprise.recommender.recommendations import Recommendation
from reprise.server.engine.batch_inference import recommend_batch, state_of
from reprise.server.engine.event_encoding import item_id
from reprise.server.engine.forecast_inference import ForecastResult, forecast_next
from reprise.server.engine.requests import RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.store.event_store import ITEM_CHANGES_KEPT, EventStore, KeepsStates, StoreError
from reprise.server.store.records import ErasureResult, User

LATEST_VERSION = 2**63 - 1
"""A version after every other one: `deletions_since` then returns the current version and no deletions."""
DROPPED_STATES = 100
"""Maximum number of states of other models that one transaction deletes. Writers wait for it."""


class UnknownItemError(DataError):
    """The model has no vector for an item."""

    def __init__(self, item: str) -> None:
        super().__init__(f"the model does not know item {item!r}; look for one with GET /v1/items")


class UnverifiedErasureError(StoreError):
    """A user was deleted, but the check for remaining data failed."""


class CatalogueItem(NamedTuple):
    """An item of the catalogue."""

    item_id: ItemId
    title: str | None


class ContinuationItem(NamedTuple):
    """One item of a generated continuation."""

    item_id: ItemId
    title: str | None
    log_probability: float
    """Log-probability of the item, given the history and the items before it."""


class ServingEngine:
    """One event log and the model that answers from it."""

    def __init__(self, model: ServedModel, store: EventStore) -> None:
        self._model = model
        self.store = store
        self._model_lock = threading.Lock()
        self._cleaned_model: ServedModel | None = None
        """The model that was served when the store had no states of other models left."""
        self._items_version = 0
        self._deletions_version, _ = store.deletions_since(LATEST_VERSION)
        self._refresh_items()

    @property
    def model(self) -> ServedModel:
        """The current model. Read this property once per request: another thread may replace the model at any time."""
        return self._model

    @property
    def models(self) -> list[ServedModel]:
        """All models that answer; several in an A/B test. The first one answers requests without a user."""
        return [self._model]

    def recommend(self, query: RecommendQuery, max_new_events: int | None = None) -> RecommendResult:
        """Return the items that a user is likely to choose next, best first.

        Args:
            query: The history, and what to recommend for it.
            max_new_events: Maximum number of events to replay. None: no limit.

        Raises:
            DataError: the query does not fit the model, or its time is before the user's last event.
            StoreError: the log cannot be read.
            LongHistoryError: more than `max_new_events` events would have to be replayed.
            ReplayStoppedError: `stop_replays` was called.
        """
        (result,) = recommend_batch(self._model, [query], max_new_events)
        if isinstance(result, Exception):
            raise result
        return result

    def recommend_batch(
        self, queries: Sequence[RecommendQuery], max_new_events: int | None = None
    ) -> list[RecommendResult | Exception]:
        """Answer several queries, each with a result or an exception; see `recommend`."""
        return recommend_batch(self._model, queries, max_new_events)

    def replay(self, user: User, with_seen: bool = False) -> None:
        """Compute and cache the state of a user, however many events have to be replayed.

        Args:
            user: The user whose events to read.
            with_seen: Also compute the seen items.

        Raises:
            StoreError: the log cannot be read.
            ReplayStoppedError: `stop_replays` was called.
        """
        self._model.states.current(user, with_seen=with_seen)

    def stop_replays(self) -> None:
        """Stop all replays that are running, and refuse new ones: the server is shutting down."""
        self._model.states.builder.stop()

    def save_states(self) -> None:
        """Store the states that have read many new events, and delete up to `DROPPED_STATES` states of other models.

        A store without the methods of `KeepsStates` is left unchanged.

        Raises:
            StoreError: the states are stored or not. A state that is not stored is computed again when it is needed.
        """
        self.save_unsaved_states()
        states = self._model.states
        if not isinstance(self.store, KeepsStates):
            return
        if self._cleaned_model is not self._model and states.drop_stored(DROPPED_STATES) < DROPPED_STATES:
            self._cleaned_model = self._model

    def save_unsaved_states(self) -> None:
        """Store the states that have read many new events.

        Raises:
            StoreError: see `save_states`.
        """
        if isinstance(self.store, KeepsStates) and (unsaved := self._model.states.take_unsaved()):
            self.store.save_states(unsaved)

    def similar_items(
        self, tenant: str, item: str, k: int, min_users: int = 0
    ) -> tuple[str, list[Recommendation]]:
        """Return the model version and the `k` items most similar to an item, among those with at least `min_users` users.

        Raises:
            UnknownItemError: the model has no vector for the item, or the item has too few users.
        """
        model = self._model
        recommender = model.items.listing(tenant, min_users)
        catalogue = recommender.ranker.catalogue
        found = item_id(item, catalogue)
        if found is None or not model.items.is_recommendable(tenant, item):
            raise UnknownItemError(item)
        if catalogue.listed_I is not None and not catalogue.listed_I[catalogue.index(found) - 1]:
            raise UnknownItemError(item)
        return model.version, recommender.similar_items(found, k)

    def generate(
        self,
        context: UserContext,
        length: int,
        options: Mapping[str, Any],
        max_new_events: int | None = None,
    ) -> tuple[str, list[ContinuationItem]]:
        """Return the model version and a sequence of items that may follow a history.

        Args:
            context: The history to continue.
            length: Number of items to generate.
            options: Values of `DecodingOptions` by name.
            max_new_events: Maximum number of events to replay. None: no limit.

        Raises:
            ConfigError: an option is invalid, or there are fewer than `length` items to choose from.
            StoreError: the log cannot be read.
            LongHistoryError: more than `max_new_events` events would have to be replayed.
        """
        model = self._model
        state = state_of(model, context, max_new_events=max_new_events)
        ranker = model.items.listing(context.tenant, context.min_users).ranker
        catalogue = ranker.catalogue
        network_state = ranker.network.with_attributes(state.network_state, [context.attributes])
        path = continue_state(
            ranker.network, network_state, state.event_count > 0, length, DecodingOptions(**options),
            ranker.popular_at(Moment(time.time(), context.attributes)).share_I, catalogue.available_I,
        )  # fmt: skip
        items = zip(path.index_L, path.log_probability_L, strict=True)
        return model.version, [
            ContinuationItem(catalogue.item_id(index), catalogue.title(index), log_probability)
            for index, log_probability in items
        ]

    def forecast(
        self, context: UserContext, length: int, now_ms: int | None, max_new_events: int | None = None
    ) -> ForecastResult:
        """Return the kind and the time of a user's next event, and a likely path; see `forecast_next`."""
        return forecast_next(self._model, context, length, now_ms, max_new_events)

    def search_items(
        self, tenant: str, text: str, limit: int, min_users: int = 0
    ) -> tuple[str, list[CatalogueItem]]:
        """Return the model version and the items whose title or id contains a text, the most popular first.

        Only items with at least `min_users` users are returned.
        """
        model = self._model
        catalogue = model.items.listing(tenant, min_users).ranker.catalogue
        listed_I = catalogue.listed_I
        wanted = text.casefold()
        found = (
            CatalogueItem(one, title)
            for one, title in chain(
                (
                    (catalogue.ids[row], catalogue.title(row + 1))
                    for row in (
                        range(catalogue.scored) if listed_I is None else np.flatnonzero(listed_I).tolist()
                    )
                ),
                ((item, values.get(TITLE)) for item, values in catalogue.added.values.items())
                if listed_I is None
                else (),
            )
            if wanted in f"{title or ''}\n{one}".casefold()
        )
        return model.version, list(islice(found, limit))

    def erase_user(self, user: User) -> ErasureResult:
        """Delete all data of a user and verify that none remains.

        Raises:
            UnverifiedErasureError: the data was deleted, but the check failed.
            StoreError: the data was not deleted.
        """
        return ErasureResult(self.delete_user(user), self.verify_erasure(user))

    def delete_user(self, user: User) -> int:
        """Delete the events and the cached state of a user; return the number of events. Fast for logs of any size.

        Raises:
            StoreError: the data was not deleted.
        """
        count = self.store.delete_user(user)
        self._model.states.drop(user)
        return count

    def verify_erasure(self, user: User) -> str:
        """Check that no data of a deleted user remains in the log; return a description of the check. May be slow.

        Raises:
            UnverifiedErasureError: the check failed, or found data that could not be deleted.
        """
        try:
            return self.store.verify_erasure(user)
        except StoreError as error:
            raise UnverifiedErasureError(str(error)) from error

    def put_item(self, tenant: str, item: str, values: Mapping[str, object]) -> bool:
        """Change columns of an item, or add it; return whether the item can be recommended.

        Raises:
            DataError: a value does not fit its column, or a limit is exceeded; nothing was stored.
            StoreError: the values are stored or not; the call can be repeated.
        """
        self._refresh_items()
        self._model.items.validate(tenant, item, values)
        self.store.put_item(tenant, item, values)
        self._refresh_items()
        return self._model.items.is_recommendable(tenant, item)

    def delete_item(self, tenant: str, item: str) -> bool:
        """Delete the changes of an item, or an added item; return whether there was something to delete.

        Raises:
            StoreError: the changes are deleted or not; the call can be repeated.
        """
        deleted = self.store.delete_item(tenant, item) is not None
        self._refresh_items()
        return deleted

    def refresh(self) -> None:
        """Apply item changes and deletions that other processes wrote to the log.

        Raises:
            StoreError: the log cannot be read.
        """
        self._refresh_items()
        version, generations = self.store.deletions_since(self._deletions_version)
        if generations:
            self._model.states.drop_deleted(generations)
        self._deletions_version = version

    def _refresh_items(self) -> None:
        with self._model_lock:
            changes = self.store.items_since(self._items_version)
            version = max((change.version for change in changes), default=self._items_version)
            if version - self._items_version > ITEM_CHANGES_KEPT and self._items_version:
                # a compaction may have removed the records of deletions that this process has not applied yet
                changes = self.store.items_since(0)
                changes += self._model.items.missing_from(changes)
            self._model.items.apply(changes)
            self._items_version = version

    def swap_model(self, path: Path) -> str:
        """Load, check and warm up another model, then serve it; return its version. The old model serves meanwhile.

        Raises:
            ArtefactError: the model is damaged or invalid; the old one stays.
        """
        return self.replace_model(self.load_model(path))

    def load_model(self, path: Path) -> ServedModel:
        """Load and check another model without serving it. May take long, or hang with the disk that holds the model.

        Raises:
            ArtefactError: the model is damaged or invalid.
        """
        old, states = self._model, self._model.states
        return ServedModel.open(
            path.absolute(), self.store, states.max_bytes, states.builder.max_events, old.verify
        )

    def replace_model(self, new: ServedModel) -> str:
        """Warm up a loaded model, then serve it; return its version. The old model serves meanwhile.

        Raises:
            StoreError: the log cannot be read; the old model stays.
        """
        version = self._deletions_version
        changes = self.store.items_since(0)
        # before the warm-up, so that the states read the added items
        new.items.apply(changes)
        new.warm_up(self._model.states.recent_users())
        with self._model_lock:
            new.items.apply(self.store.items_since(max((change.version for change in changes), default=0)))
            self._model = new
        # `refresh` dropped users deleted during the warm-up from the old model's states only
        new.states.drop_deleted(self.store.deletions_since(version)[1])
        return new.version
