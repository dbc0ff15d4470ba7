"""Several models that share the users of one event log, for an A/B test."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reprise.argument_checks import number
from reprise.errors import ConfigError
from reprise.keyed_hash import keyed_hash
from reprise.server.engine.forecast_inference import ForecastResult
from reprise.server.engine.requests import RecommendQuery, RecommendResult, UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.serving_engine import ContinuationItem, ServingEngine
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import User

HASH_RANGE = 2**64
"""Number of values of the part of the hash that chooses a variant."""


@dataclass(frozen=True)
class UserSplit:
    """Shares of the users that each variant gets. A user gets the same variant in each process and after each restart."""

    shares: tuple[float, ...]
    """Share of the users of each variant; they are scaled to a sum of 1."""
    key: str = "1"
    """Name of the test. With another key the assignment is independent of the first one."""

    def __post_init__(self) -> None:
        for share in self.shares:
            if number("a share of the split", share) <= 0:
                raise ConfigError(f"a share of the split must be above 0, got {share:g}")
        if not 2 <= len(self.shares) <= 26:
            raise ConfigError(f"a split needs 2 to 26 shares, got {len(self.shares)}")
        if len(self.key.encode()) > 64:
            raise ConfigError(f"the key of a split must have at most 64 bytes, got {len(self.key.encode())}")

    @property
    def names(self) -> list[str]:
        """Names of the variants: a, b, c and so on."""
        return [chr(ord("a") + place) for place in range(len(self.shares))]

    def variant(self, user: User) -> int:
        """Return the place of the variant of a user, by a keyed hash of the tenant and the user."""
        drawn = int.from_bytes(keyed_hash(self.key.encode(), "split", *user)[:8]) / HASH_RANGE
        total, reached = sum(self.shares), 0.0
        for place, share in enumerate(self.shares):
            reached += share / total
            if drawn < reached:
                return place
        return len(self.shares) - 1


class SplitEngine(ServingEngine):
    """One event log and several models. Each user gets the answers of one of them.

    Requests without a user, and everything that is not about a user, use the first model. The variant is not named in their
    answers, so that they do not count in the test.

    Args:
        models: The models. All must know the same kinds of events.
        store: The event log.
        split: Shares of the users, one for each model.

    Raises:
        ConfigError: the numbers of models and shares differ, or the models know different kinds of events.
    """

    def __init__(self, models: Sequence[ServedModel], store: EventStore, split: UserSplit) -> None:
        if len(models) != len(split.shares):
            raise ConfigError(
                f"got {len(models)} models and {len(split.shares)} shares; give one share for each model"
            )
        kinds = [sorted(model.items.ranker("").catalogue.kinds) for model in models]
        for place, found in enumerate(kinds):
            if found != kinds[0]:
                raise ConfigError(
                    f"{models[place].path} knows the kinds of events {found}, and {models[0].path} {kinds[0]}; "
                    "compare models that were trained on the same kinds"
                )
        super().__init__(models[0], store)
        self.split = split
        self._others = [ServingEngine(model, store) for model in models[1:]]

    @property
    def models(self) -> list[ServedModel]:
        return [self._model, *(other.model for other in self._others)]

    def _engine(self, user: User | None) -> ServingEngine | None:
        """Return the engine of a user; None: this one."""
        place = 0 if user is None else self.split.variant(user)
        return self._others[place - 1] if place else None

    def recommend(self, query: RecommendQuery, max_new_events: int | None = None) -> RecommendResult:
        engine = self._engine(query.context.user)
        if engine is None:
            return self._named(query, super().recommend(query, max_new_events))
        return self._named(query, engine.recommend(query, max_new_events))

    def recommend_batch(
        self, queries: Sequence[RecommendQuery], max_new_events: int | None = None
    ) -> list[RecommendResult | Exception]:
        groups: dict[int, list[int]] = defaultdict(list)
        for position, query in enumerate(queries):
            user = query.context.user
            groups[0 if user is None else self.split.variant(user)].append(position)
        results: dict[int, RecommendResult | Exception] = {}
        for place, positions in groups.items():
            batch = [queries[position] for position in positions]
            if place:
                answered = self._others[place - 1].recommend_batch(batch, max_new_events)
            else:
                answered = super().recommend_batch(batch, max_new_events)
            results |= dict(zip(positions, answered, strict=True))
        return [
            found if isinstance(found := results[position], Exception) else self._named(query, found)
            for position, query in enumerate(queries)
        ]

    def _named(self, query: RecommendQuery, result: RecommendResult) -> RecommendResult:
        user = query.context.user
        return result if user is None else result._replace(variant=self.split.names[self.split.variant(user)])

    def replay(self, user: User, with_seen: bool = False) -> None:
        engine = self._engine(user)
        if engine is None:
            return super().replay(user, with_seen)
        return engine.replay(user, with_seen)

    def generate(
        self, context: UserContext, length: int, options: Mapping[str, Any], max_new_events: int | None = None
    ) -> tuple[str, list[ContinuationItem]]:
        engine = self._engine(context.user)
        if engine is None:
            return super().generate(context, length, options, max_new_events)
        return engine.generate(context, length, options, max_new_events)

    def forecast(
        self, context: UserContext, length: int, now_ms: int | None, max_new_events: int | None = None
    ) -> ForecastResult:
        engine = self._engine(context.user)
        if engine is None:
            return super().forecast(context, length, now_ms, max_new_events)
        return engine.forecast(context, length, now_ms, max_new_events)

    def stop_replays(self) -> None:
        for model in self.models:
            model.states.builder.stop()

    def save_states(self) -> None:
        # the states of all variants stay: each user has the state of one of them
        self.save_unsaved_states()
        for other in self._others:
            other.save_unsaved_states()

    def delete_user(self, user: User) -> int:
        count = super().delete_user(user)
        for other in self._others:
            other.model.states.drop(user)
        return count

    def put_item(self, tenant: str, item: str, values: Mapping[str, object]) -> bool:
        recommendable = super().put_item(tenant, item, values)
        self._refresh_others()
        return recommendable

    def delete_item(self, tenant: str, item: str) -> bool:
        deleted = super().delete_item(tenant, item)
        self._refresh_others()
        return deleted

    def refresh(self) -> None:
        super().refresh()
        self._refresh_others()

    def _refresh_others(self) -> None:
        for other in self._others:
            other.refresh()

    def replace_model(self, new: ServedModel) -> str:
        """Replace the model that was loaded from the same directory; the first one if there is none."""
        for other in self._others:
            if other.model.path == new.path:
                return other.replace_model(new)
        return super().replace_model(new)
