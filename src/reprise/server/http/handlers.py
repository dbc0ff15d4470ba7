"""The handlers of the HTTP operations. `Handlers` has one method for each row of the table of operations."""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from reprise.errors import DataError
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.recommendations import Recommendation
from reprise.server.engine.event_encoding import is_known, item_id
from reprise.server.engine.requests import (
    RankedItem,
    RankingRules,
    RecommendQuery,
    RecommendResult,
    UserContext,
)
from reprise.server.http.api_errors import ApiError
from reprise.server.http.auth import Key
from reprise.server.http.event_checks import NO_CONSENT, EventChecks, Rejection
from reprise.server.http.event_schema import RecordEventsBody
from reprise.server.http.filter_schema import plain_filter
from reprise.server.http.forecast_schema import ForecastBody, forecast_parts
from reprise.server.http.routes import GetUserQuery, ListUsersQuery, SearchItemsQuery
from reprise.server.http.schema import (
    MAX_K,
    GenerateBody,
    PutItemBody,
    RecommendBody,
    SimilarItemsBody,
    SwapModelBody,
    UserContextBody,
)
from reprise.server.queueing.async_service import AsyncService
from reprise.server.queueing.fair_order import Client
from reprise.server.queueing.work_queue import QueueFullError
from reprise.server.store.answer_log import Answer, ShownItem
from reprise.server.store.records import Status, User, UserEvent

Json = dict[str, Any]
UNKNOWN_ITEM = (
    "the model does not know the item, so the event has no effect until the item is added (PUT /v1/items) or the model is "
    "trained again"
)


@dataclass(frozen=True)
class ApiCall:
    """An authenticated and validated request."""

    key: Key
    """The API key of the request."""
    body: Any
    """The body, as the class in the table of operations; None if the operation has no body."""
    query: Any
    """The query parameters, as the class in the table of operations."""
    path_id: str
    """The id in the path; empty if there is none."""
    operation: str = ""
    """Name of the operation."""

    @property
    def tenant(self) -> str:
        """The tenant of the API key."""
        return self.key.tenant

    @property
    def length(self) -> int:
        """The number of items of a continuation or a path.

        Raises:
            ApiError: The request asks for more items than the API key allows.
        """
        is_default = "length" not in self.body.model_fields_set
        return self.key.limits.item_count(self.body.length, "length", is_default=is_default)

    def client(self, user_id: str | None = None) -> Client:
        """Return the API key and the user of the request. Slow requests of different clients take turns."""
        return Client((self.key.tenant, self.key.name), user_id or "")


class Handlers:
    """One method for each operation: it takes a call and returns the body of the response."""

    def __init__(self, service: AsyncService) -> None:
        self._service = service
        self._checks = EventChecks(service.settings)

    async def record_events(self, call: ApiCall) -> Json:
        """Store the valid events and return a result for each event."""
        body: RecordEventsBody = call.body
        now_ms = time.time_ns() // 1_000_000
        catalogue = self._service.engine.model.items.ranker(call.tenant).catalogue
        entries = [
            self._checks.check(call.tenant, entry, now_ms, catalogue) if body.consent else NO_CONSENT
            for entry in body.entries
        ]
        valid = [entry for entry in entries if not isinstance(entry, Rejection)]
        statuses = iter(await self._service.ingest(valid, body.ack == "durable") if valid else ())
        results = [
            _rejected(entry) if isinstance(entry, Rejection) else _stored(next(statuses), entry[1], catalogue)
            for entry in entries
        ]
        self._count(results)
        waits_s = [entry.wait_s for entry in entries if isinstance(entry, Rejection) and entry.wait_s]
        if waits_s and len(waits_s) == len(entries):
            raise ApiError(
                "too_many_events",
                str(results[0]["error"]),
                "send fewer events of one user",
                retry_s=ceil(min(waits_s)),
            )
        return {"results": results}

    async def recommend(self, call: ApiCall) -> Json:
        """Return recommended items."""
        body: RecommendBody = call.body
        user = self._user_context(call)
        k = self._item_count(call, body)
        rules = RankingRules(
            k, body.deny, body.allow, plain_filter(body.filter), body.exclude_seen, body.diversity,
            body.explore, body.explore_seed,
        )  # fmt: skip
        result = await self._service.recommend(
            RecommendQuery(user, rules, body.now, body.explain), call.client(body.user_id)
        )
        response = _recommend_response(result)
        if body.consent:
            self._log_answer(call, user.user, response, result.items)
        return response

    async def similar_items(self, call: ApiCall) -> Json:
        """Return the items most similar to an item."""
        body: SimilarItemsBody = call.body
        engine = self._service.engine
        k = self._item_count(call, body)
        model_version, similar = await self._service.run_slow(
            lambda: engine.similar_items(call.tenant, body.item_id, k, call.key.limits.min_users),
            call.client(),
        )
        response = {"items": [_item(one) for one in similar], **_identification(model_version)}
        self._log_answer(call, None, response, similar)
        return response

    async def generate(self, call: ApiCall) -> Json:
        """Return a continuation of a history."""
        body: GenerateBody = call.body
        user = self._user_context(call)
        options = body.model_dump(include={"temperature", "top_k", "top_p", "no_repeat", "seed", "beams"})
        engine, length = self._service.engine, call.length
        model_version, items = await self._service.run_with_state(
            lambda limit: engine.generate(user, length, options, limit),
            user.user,
            call.client(body.user_id),
        )
        return {"items": [item._asdict() for item in items], **_identification(model_version)}

    async def forecast(self, call: ApiCall) -> Json:
        """Return the kind and the time of the next event, and a likely path."""
        body: ForecastBody = call.body
        user, engine, length = self._user_context(call), self._service.engine, call.length
        result = await self._service.run_with_state(
            lambda limit: engine.forecast(user, length, body.now, limit),
            user.user,
            call.client(body.user_id),
        )
        return {**forecast_parts(result), **_identification(result.model_version)}

    async def search_items(self, call: ApiCall) -> Json:
        """Return the items whose title or id contains a text."""
        query: SearchItemsQuery = call.query
        engine = self._service.engine
        model_version, items = await self._service.run_slow(
            lambda: engine.search_items(call.tenant, query.search, query.limit, call.key.limits.min_users),
            call.client(),
        )
        return {"items": [item._asdict() for item in items], "model_version": model_version}

    async def put_item(self, call: ApiCall) -> Json:
        """Set the attributes of an item, or add an item."""
        body: PutItemBody = call.body
        values: Json = body.model_dump(include={"title", "price", "available"}, exclude_unset=True)
        duplicates = sorted(values.keys() & body.columns)
        if duplicates:
            raise DataError(f"column {duplicates[0]!r} is given twice; remove it from `columns`")
        engine, changed = self._service.engine, values | body.columns
        recommendable = await self._service.run_write(
            lambda: engine.put_item(call.tenant, call.path_id, changed)
        )
        return {"item_id": call.path_id, "recommendable": recommendable}

    async def delete_item(self, call: ApiCall) -> Json:
        """Delete the changes of an item, or an added item."""
        engine = self._service.engine
        deleted = await self._service.run_write(lambda: engine.delete_item(call.tenant, call.path_id))
        return {"item_id": call.path_id, "deleted": deleted}

    async def list_users(self, call: ApiCall) -> Json:
        """Return the ids of the newest users."""
        query: ListUsersQuery = call.query
        store = self._service.engine.store
        users = await self._service.run_slow(
            lambda: store.recent_users(call.tenant, query.limit), call.client()
        )
        return {"users": users}

    async def get_user(self, call: ApiCall) -> Json:
        """Return all stored data of a user."""
        query: GetUserQuery = call.query
        user = User(call.tenant, call.path_id)
        return await self._service.run_with_state(
            lambda limit: self._user_response(user, query, limit), user, call.client(user.user_id)
        )

    async def delete_user(self, call: ApiCall) -> Json:
        """Delete all data of a user."""
        erasure = await self._service.erase_user(User(call.tenant, call.path_id))
        return {"user_id": call.path_id, "events_deleted": erasure.events, "proof": erasure.proof}

    async def swap_model(self, call: ApiCall) -> Json:
        """Replace the served model."""
        body: SwapModelBody = call.body
        return {
            "model_version": await self._service.swap_model(None if body.path is None else Path(body.path))
        }

    async def get_model(self, call: ApiCall) -> Json:
        """Describe the served model."""
        served = self._service.engine.model
        catalogue = served.items.ranker(call.tenant).catalogue
        default = catalogue.kind()
        return {
            "model_version": served.version,
            "items": catalogue.recommendable,
            "kinds": sorted(catalogue.kinds, key=lambda kind: catalogue.kind(kind) != default),
            "columns": [*catalogue.columns],
        }

    async def healthz(self, call: ApiCall) -> Json:
        """Report that the process is running."""
        return {"status": "ok", "model_version": self._service.engine.model.version}

    async def readyz(self, call: ApiCall) -> Json:
        """Check that the server can answer and write events."""
        try:
            await self._service.check_writable()
        except QueueFullError:
            # 429 would ask the load balancer to slow down, but it asks whether to send requests here
            raise ApiError("not_ready", "too many events wait to be written", "retry later") from None
        return {"status": "ok", "model_version": self._service.engine.model.version}

    def _log_answer(
        self, call: ApiCall, user: User | None, response: Json, items: Sequence[RankedItem | Recommendation]
    ) -> None:
        """Add an answer to the answer log."""
        if self._service.answers.enabled:
            shown = tuple(ShownItem(str(one.item_id), one.score, one.propensity) for one in items)
            self._service.answers.add(
                Answer(
                    response["recommendation_id"], time.time_ns() // 1_000_000, call.tenant, user,
                    response["model_version"], response.get("variant"), call.operation, shown,
                )
            )  # fmt: skip

    def _item_count(self, call: ApiCall, body: RecommendBody | SimilarItemsBody) -> int:
        """Return the number of items to answer with: `k`, or the number of items of the model if it is smaller.

        Raises:
            ApiError: Both are larger than `MAX_K`, or `k` is larger than the API key allows.
        """
        k = call.key.limits.item_count(body.k, "k", is_default="k" not in body.model_fields_set)
        items = self._service.engine.model.items.ranker(call.tenant).catalogue.recommendable
        if min(k, items) > MAX_K:
            raise ApiError(
                "conflict", f"k is {k}, and a response has at most {MAX_K} items", "ask for fewer items"
            )
        return min(k, items)

    def _user_context(self, call: ApiCall) -> UserContext:
        """Return the user and the history of a request; raise `DataError` if an event has an unknown kind."""
        body: UserContextBody = call.body
        catalogue = self._service.engine.model.items.ranker(call.tenant).catalogue
        events = [UserEvent(event.item_id, event.timestamp, event.kind, event.value) for event in body.events]
        for event in events:
            catalogue.kind(event.kind)  # raises DataError for an unknown kind
        user_id = body.user_id if body.consent else None
        return UserContext(call.tenant, user_id, events, body.user_attributes, call.key.limits.min_users)

    def _count(self, results: Sequence[Json]) -> None:
        """Count rejected events by reason, and stored events of unknown items."""
        metrics = self._service.metrics
        for reason, count in Counter(result["reason"] for result in results).items():
            if reason is not None and reason != "conflict":  # conflicts are counted with the stored events
                metrics.count_rejected(reason, count)
        unknown = sum(
            result["status"] == Status.ACCEPTED.value and not result["known_item"] for result in results
        )
        metrics.events_unknown_item.inc(unknown)

    def _user_response(self, user: User, query: GetUserQuery, max_new_events: int | None) -> Json:
        served = self._service.engine.model
        catalogue = served.items.ranker(user.tenant).catalogue
        state = served.states.current(user, max_new_events=max_new_events)
        after = query.after if query.last is None else max(query.after, state.seq - query.last)
        log = served.states.store.events_since(user, state.generation, after, limit=query.limit + 1)
        # a different generation means that the user was deleted between the two reads
        events = log.events if log.generation == state.generation else []
        page = events[: query.limit]
        titles = _titles([event.item_id for event in page], catalogue)
        return {
            "user_id": user.user_id,
            "events": [
                {
                    "seq": event.seq, "item_id": event.item_id, "title": title, "timestamp": event.time_ms,
                    "kind": event.kind, "value": event.value, "event_id": event.event_id,
                }
                for event, title in zip(page, titles, strict=True)
            ],
            "next_after": page[-1].seq if len(events) > len(page) else None,
            "state": {
                "model_version": served.version, "bytes": served.states.builder.state_bytes, "events": state.event_count,
                "skipped": state.skipped_count, "last_seq": state.seq,
            },
        }  # fmt: skip


def _rejected(rejection: Rejection) -> Json:
    return {
        "status": Status.REJECTED.value, "error": rejection.error, "reason": rejection.reason, "known_item": None,
    }  # fmt: skip


def _stored(status: Status, event: UserEvent, catalogue: Catalogue) -> Json:
    """Return the result for an event that was offered to the log."""
    if status is Status.CONFLICT:
        error = f"another event with the event_id {event.event_id!r} is already stored; send a new event with a new event_id"
        return {"status": status.value, "error": error, "reason": "conflict", "known_item": None}
    known = is_known(event.item_id, catalogue)
    hint = {} if known else {"hint": UNKNOWN_ITEM}
    return {"status": status.value, "error": None, "reason": None, "known_item": known, **hint}


def _identification(model_version: str) -> Json:
    """Return the version of the model and a new id of the response."""
    return {"model_version": model_version, "recommendation_id": uuid.uuid4().hex}


def _recommend_response(result: RecommendResult) -> Json:
    return {
        "items": [_ranked_item(one) for one in result.items],
        **_identification(result.model_version),
        **({} if result.variant is None else {"variant": result.variant}),
        "events": result.event_count,
        "skipped": result.skipped_count,
    }


def _ranked_item(item: RankedItem) -> Json:
    causes = None if item.attributions is None else [cause._asdict() for cause in item.attributions]
    columns = {} if item.columns is None else {"columns": [column._asdict() for column in item.columns]}
    explored = {} if item.propensity is None else {"propensity": item.propensity}
    return {**_item(item), "causes": causes, **columns, **explored}


def _item(item: RankedItem | Recommendation) -> Json:
    return {
        "item_id": item.item_id,
        "score": item.score,
        "rank": item.rank,
        "title": item.title,
        "reason": item.reason,
    }


def _titles(ids: Sequence[str], catalogue: Catalogue) -> list[str | None]:
    """Return the titles of items; None for an item that is unknown or has no title."""
    found = [item_id(text, catalogue) for text in ids]
    # index 0 is padding, so it can represent an unknown item
    indices = [
        0 if one is None else catalogue.items.index(one) or int(catalogue.indices([one])[0]) for one in found
    ]
    return [catalogue.title(index) if index else None for index in indices]
