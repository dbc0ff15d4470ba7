"""The live recommender: questions and events in, answers and statuses out, over one log and one model at a time.

Everything here is synchronous and safe to call from several threads; waiting, refusing and HTTP are others' work.
"""

import threading
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from reprise.data.vocabulary import ItemId
from reprise.errors import ArtefactError, DataError
from reprise.recommender.generate import DecodingOptions, continue_state
from reprise.recommender.recommendations import Recommendation
from reprise.server.engine.batch_inference import answer_all, known_of
from reprise.server.engine.event_encoding import item_id
from reprise.server.engine.requests import RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.store.event_store import EventStore, StoreError
from reprise.server.store.records import ErasureResult, User

NEVER = 2**63 - 1
"""No version comes after it: what is asked for is the newest one alone."""


class UnknownItemError(DataError):
    """The model has no vector for an item."""

    def __init__(self, item: str) -> None:
        super().__init__(f"the model does not know item {item!r}; look for one with GET /v1/items")


class UnverifiedErasureError(StoreError):
    """A user was removed, but not shown to be."""


class CatalogueItem(NamedTuple):
    """An item of the catalogue."""

    item_id: ItemId
    title: str | None


class ContinuationItem(NamedTuple):
    """One item of a continuation."""

    item_id: ItemId
    title: str | None
    log_probability: float


class ServingEngine:
    """One log, the model that is served now, and what it remembers of users."""

    def __init__(self, served: ServedModel, store: EventStore) -> None:
        self._served = served
        self.store = store
        self._changing = threading.Lock()
        self._items_version = 0
        self._forgotten_version, _ = store.forgotten_since(NEVER)
        self._follow_items()

    @property
    def served(self) -> ServedModel:
        """The model, with its states. Take it once for a question: it may be another the next time."""
        return self._served

    def recommend(self, question: RecommendQuery) -> RecommendResult:
        """What may come next."""
        (answer,) = self.recommend_all([question])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def recommend_all(
        self, questions: Sequence[RecommendQuery], long: int | None = None
    ) -> list[RecommendResult | Exception]:
        """The answers to several questions, or why one has none; like questions are searched for together.

        Where more than `long` events would have to be folded first, the answer is a `LongPastError`.
        """
        return answer_all(self._served, questions, long)

    def similar(self, tenant: str, item: str, k: int) -> tuple[str, list[Recommendation]]:
        """The version of the model, and the items that are most like this one.

        Raises:
            UnknownItemError: the model has no vector for it.
        """
        served = self._served
        recommender = served.items.recommender(tenant)
        found = item_id(item, recommender.ranker.catalogue)
        if found is None or not served.items.known(item):
            raise UnknownItemError(item)
        return served.version, recommender.similar_items(found, min(k, recommender.items.warm - 1))

    def generate(
        self, asker: UserContext, length: int, choice: Mapping[str, Any]
    ) -> tuple[str, list[ContinuationItem]]:
        """The version of the model, and items that could follow.

        Raises:
            ConfigError: the choice cannot be, or the length is above the items that can be chosen.
        """
        served = self._served
        known = known_of(served, asker)
        ranker = served.items.ranker(asker.tenant)
        catalogue = ranker.catalogue
        path = continue_state(
            ranker.network, known.state, known.events > 0, length, DecodingOptions(**choice), catalogue.popularity_I,
            catalogue.available_I,
        )  # fmt: skip
        steps = zip(path.index_L, path.log_probability_L, strict=True)
        return served.version, [
            ContinuationItem(catalogue.ids[index - 1], catalogue.title(index), log) for index, log in steps
        ]

    def find_items(self, tenant: str, text: str, limit: int) -> tuple[str, list[CatalogueItem]]:
        """The version of the model, and items whose title or id has this text in it, the commonest first."""
        served = self._served
        catalogue = served.items.ranker(tenant).catalogue
        wanted = text.casefold()
        found = (
            CatalogueItem(one, title)
            for index, one in enumerate(catalogue.ids[: catalogue.warm], 1)
            for title in [catalogue.title(index)]
            if wanted in f"{title or ''}\n{one}".casefold()
        )
        return served.version, list(islice(found, limit))

    def forget(self, user: User) -> ErasureResult:
        """Remove everything of a user, here and in the log, and prove it."""
        return ErasureResult(self.remove(user), self.prove_forgotten(user))

    def remove(self, user: User) -> int:
        """Remove everything of a user, here and in the log; how many events there were. Quick, whatever the log has."""
        events = self.store.forget(user)
        self._served.states.drop(user)
        return events

    def prove_forgotten(self, user: User) -> str:
        """How it is known that nothing is left of a user; it may take long.

        Raises:
            UnprovedError: it could not be looked at, or something is left; what could be removed was removed.
        """
        try:
            return self.store.prove_forgotten(user)
        except StoreError as error:
            raise UnverifiedErasureError(str(error)) from error

    def put_item(self, tenant: str, item: str, values: Mapping[str, object]) -> bool:
        """Keep what a caller says of an item; whether the model can recommend it.

        Raises:
            DataError: a value does not fit its column; nothing was kept.
        """
        self._follow_items()
        self._served.items.check(tenant, item, values)
        self.store.put_item(tenant, item, values)
        self._follow_items()
        return self._served.items.known(item)

    def follow(self) -> None:
        """Learn what this or another process was told of items, and whom it forgot."""
        self._follow_items()
        version, generations = self.store.forgotten_since(self._forgotten_version)
        if generations:
            self._served.states.drop_forgotten(generations)
        self._forgotten_version = version

    def _follow_items(self) -> None:
        with self._changing:
            changes = self.store.items_since(self._items_version)
            self._served.items.apply(changes)
            self._items_version = max((change.version for change in changes), default=self._items_version)

    def swap(self, path: Path) -> str:
        """Serve another model: it is opened, checked and warmed beside the old one, which goes on answering.

        Raises:
            ArtefactError: it is no sound model; the old one stays.
        """
        old, path = self._served, path.absolute()
        version = self._forgotten_version
        try:
            new = ServedModel.open(path, self.store, old.states.most_bytes)
        except (ArtefactError, StoreError):
            raise
        except Exception as error:  # a directory that was made by hand can break what nothing else breaks
            raise ArtefactError(
                f"{path} is no model that can be served ({type(error).__name__}: {error})"
            ) from error
        new.warm(old.states.recent())
        with self._changing:
            new.items.apply(self.store.items_since(0))
            self._served = new
        # whom the old one heard of while the new one learned about them
        new.states.drop_forgotten(self.store.forgotten_since(version)[1])
        return new.version
