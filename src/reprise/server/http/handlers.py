"""What each operation does, between the bodies of the schema and the service. Each handler is called as its operation is."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.recommendations import Recommendation
from reprise.server.engine.event_encoding import item_id
from reprise.server.engine.requests import (
    RankedItem,
    RankingRules,
    RecommendQuery,
    RecommendResult,
    UserContext,
)
from reprise.server.http.auth import Key
from reprise.server.http.filter_schema import plain_filter
from reprise.server.http.routes import ItemsQuery, UserQuery, UsersQuery
from reprise.server.http.schema import (
    EventBody,
    EventsBody,
    GenerateBody,
    ItemBody,
    ModelBody,
    RecommendBody,
    SimilarBody,
    UserContextBody,
)
from reprise.server.queueing.async_service import AsyncService
from reprise.server.store.records import Status, User, UserEvent

Json = dict[str, Any]


@dataclass(frozen=True)
class ApiCall:
    """A request that was let in and read."""

    key: Key
    body: Any
    query: Any
    id: str
    """What stands in the path."""

    @property
    def tenant(self) -> str:
        """The key decides it."""
        return self.key.tenant


class Handlers:
    """One method for each operation: from a call to what is answered."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service

    async def events(self, call: ApiCall) -> Json:
        """Each event that can be kept is; each one hears what became of it."""
        body: EventsBody = call.body
        if not body.consent:
            return {"results": [_rejected("no consent, so it was not stored")] * len(body.events)}
        now_ms = time.time_ns() // 1_000_000
        new = [_new_event(call.tenant, event, now_ms) for event in body.events]
        catalogue = self._service.live.served.items.ranker(call.tenant).catalogue
        faults = [self._fault(event, now_ms, catalogue) for _, event in new]
        kept = [event for event, fault in zip(new, faults, strict=True) if fault is None]
        statuses = iter(await self._service.ingest(kept, body.ack == "durable") if kept else ())
        return {
            "results": [
                {"status": next(statuses).value, "error": None} if fault is None else _rejected(fault)
                for fault in faults
            ]
        }

    async def recommend(self, call: ApiCall) -> Json:
        """What may come next."""
        body: RecommendBody = call.body
        asker = self._asker(call)
        rules = RankingRules(
            body.k, body.deny, body.allow, plain_filter(body.filter), body.exclude_seen, body.diversity
        )
        answer = await self._service.recommend(RecommendQuery(asker, rules, body.now, body.explain))
        return _answered(answer)

    async def similar(self, call: ApiCall) -> Json:
        """Items that are alike."""
        body: SimilarBody = call.body
        live = self._service.live
        served, found = await self._service.slowly(lambda: live.similar(call.tenant, body.item_id, body.k))
        return {"items": [_item(one) for one in found], **_signed(served)}

    async def generate(self, call: ApiCall) -> Json:
        """How it might go on."""
        body: GenerateBody = call.body
        asker = self._asker(call)
        choice = body.model_dump(include={"temperature", "top_k", "top_p", "no_repeat", "seed", "beams"})
        live = self._service.live
        version, path = await self._service.slowly(lambda: live.generate(asker, body.length, choice))
        return {"items": [step._asdict() for step in path], **_signed(version)}

    async def items(self, call: ApiCall) -> Json:
        """Items whose title or id has some text in it."""
        query: ItemsQuery = call.query
        live = self._service.live
        version, found = await self._service.slowly(
            lambda: live.find_items(call.tenant, query.search, query.limit)
        )
        return {"items": [one._asdict() for one in found], "model_version": version}

    async def put_item(self, call: ApiCall) -> Json:
        """Say what an item is now."""
        body: ItemBody = call.body
        values: Json = body.model_dump(include={"title", "price", "available"}, exclude_unset=True)
        twice = sorted(values.keys() & body.columns)
        if twice:
            raise DataError(f"column {twice[0]!r} is told twice; leave it out of `columns`")
        known = await self._service.put_item(call.tenant, call.id, values | body.columns)
        return {"item_id": call.id, "recommendable": known}

    async def users(self, call: ApiCall) -> Json:
        """The newest users."""
        query: UsersQuery = call.query
        store = self._service.live.store
        return {"users": await self._service.slowly(lambda: store.recent_users(call.tenant, query.limit))}

    async def user(self, call: ApiCall) -> Json:
        """Everything that is stored of a user."""
        query: UserQuery = call.query
        user = User(call.tenant, call.id)
        return await self._service.slowly(lambda: self._told_of(user, query))

    async def forget(self, call: ApiCall) -> Json:
        """Remove everything of a user."""
        forgotten = await self._service.forget(User(call.tenant, call.id))
        return {"user_id": call.id, "events_deleted": forgotten.events, "proof": forgotten.proof}

    async def model(self, call: ApiCall) -> Json:
        """Serve another model."""
        body: ModelBody = call.body
        return {"model_version": await self._service.swap(None if body.path is None else Path(body.path))}

    async def about(self, call: ApiCall) -> Json:
        """What is served."""
        served = self._service.live.served
        catalogue = served.items.ranker(call.tenant).catalogue
        kinds = sorted(catalogue.kinds, key=lambda kind: catalogue.kind(kind) != catalogue.kind())
        return {
            "model_version": served.version, "items": catalogue.warm, "kinds": kinds, "columns": [*catalogue.columns],
        }  # fmt: skip

    async def healthz(self, call: ApiCall) -> Json:
        """The server lives, since it answers."""
        return {"status": "ok", "model_version": self._service.live.served.version}

    async def readyz(self, call: ApiCall) -> Json:
        """It can answer and write."""
        await self._service.check()
        return {"status": "ok", "model_version": self._service.live.served.version}

    def _asker(self, call: ApiCall) -> UserContext:
        body: UserContextBody = call.body
        catalogue = self._service.live.served.items.ranker(call.tenant).catalogue
        events = [UserEvent(event.item_id, event.timestamp, event.kind, event.value) for event in body.events]
        for event in events:
            catalogue.kind(event.kind)  # raises DataError for an unknown kind
        return UserContext(call.tenant, body.user_id if body.consent else None, events)

    def _fault(self, event: UserEvent, now_ms: int, catalogue: Catalogue) -> str | None:
        """Return why an event is rejected; None if it is valid."""
        assert event.time_ms is not None, "an event without a timestamp has the time of its arrival"
        ahead_s = (event.time_ms - now_ms) / 1000
        if ahead_s > self._service.settings.future_s:
            return (
                f"timestamp is {ahead_s:.0f} s in the future; the server's clock says {now_ms} ms since 1970"
            )
        try:
            catalogue.kind(event.kind)
        except DataError as error:
            return str(error)
        return None

    def _told_of(self, user: User, query: UserQuery) -> Json:
        served = self._service.live.served
        catalogue = served.items.ranker(user.tenant).catalogue
        known = served.states.current(user)
        after = query.after if query.last is None else max(query.after, known.seq - query.last)
        log = served.states.store.since(user, known.generation, after, limit=query.limit + 1)
        # somebody who was forgotten in between has no events
        later = log.events if log.generation == known.generation else []
        shown = later[: query.limit]
        titles = _titles([event.item_id for event in shown], catalogue)
        return {
            "user_id": user.user_id,
            "events": [
                {
                    "seq": event.seq, "item_id": event.item_id, "title": title, "timestamp": event.time_ms,
                    "kind": event.kind, "value": event.value, "event_id": event.event_id,
                }
                for event, title in zip(shown, titles, strict=True)
            ],
            "next_after": shown[-1].seq if len(later) > len(shown) else None,
            "state": {
                "model_version": served.version, "bytes": served.states.folder.state_bytes, "events": known.events,
                "skipped": known.skipped, "last_seq": known.seq,
            },
        }  # fmt: skip


def _new_event(tenant: str, event: EventBody, now_ms: int) -> tuple[User, UserEvent]:
    time_ms = now_ms if event.timestamp is None else event.timestamp
    new = UserEvent(event.item_id, time_ms, event.kind, event.value, event.event_id)
    return User(tenant, event.user_id), new


def _rejected(why: str) -> Json:
    return {"status": Status.REJECTED.value, "error": why}


def _signed(model_version: str) -> Json:
    return {"model_version": model_version, "recommendation_id": uuid.uuid4().hex}


def _answered(answer: RecommendResult) -> Json:
    return {
        "items": [_answered_item(one) for one in answer.items],
        **_signed(answer.model_version),
        "events": answer.events,
        "skipped": answer.skipped,
    }


def _answered_item(one: RankedItem) -> Json:
    causes = None if one.causes is None else [cause._asdict() for cause in one.causes]
    return {**_item(one), "causes": causes}


def _item(one: RankedItem | Recommendation) -> Json:
    return {
        "item_id": one.item_id,
        "score": one.score,
        "rank": one.rank,
        "title": one.title,
        "reason": one.reason,
    }


def _titles(ids: Sequence[str], catalogue: Catalogue) -> list[str | None]:
    found = [item_id(text, catalogue) for text in ids]
    index = [0 if one is None else catalogue.items.index(one) for one in found]
    return [catalogue.title(place) if place else None for place in index]
