"""Answer batches of queries with one model: update user states, parse filters, and search for similar queries together.

Shape letters: B queries of one batch, T events of one history, M recommended items.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from math import inf, isnan
from typing import NamedTuple

import numpy as np

from reprise.errors import DataError
from reprise.recommender.explain import column_contributions, influences
from reprise.recommender.exploration import Exploration, share_of_slots
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.ranker import NOT_FINITE, HistorySummary, Ranker
from reprise.recommender.recommendations import ColumnContribution, Recommendation
from reprise.recommender.runtime.onnx_session import State
from reprise.server.engine.event_encoding import by_time, encode_events, item_ids
from reprise.server.engine.requests import (
    MAX_EVENT_AHEAD_S,
    Attribution,
    RankedItem,
    RecommendQuery,
    RecommendResult,
    UserContext,
)
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.state_cache import LongHistoryError
from reprise.server.engine.user_state import NO_ITEMS, UserState
from reprise.server.json_logging import log_event

EXPLAINED_EVENTS = 20
"""Number of latest events that an explanation leaves out one by one. Its cost grows with the square of this number."""
ATTRIBUTIONS_PER_ITEM = 3
"""Maximum number of events that explain one recommended item."""


class _PreparedQuery(NamedTuple):
    """A query with the up-to-date state of its user."""

    place: int
    """Position of the query in the batch."""
    query: RecommendQuery
    state: UserState
    now_s: float
    """Time to recommend for, in seconds since 1970."""


def recommend_batch(
    model: ServedModel, queries: Sequence[RecommendQuery], max_new_events: int | None = None
) -> list[RecommendResult | Exception]:
    """Answer queries, each with a result or an exception. Unrestricted queries with equal `k` share one search.

    Args:
        model: The model to answer with.
        queries: The queries, in any order.
        max_new_events: Maximum number of events to replay for one query and for its explanation; a query that needs more
            gets a `LongHistoryError`. None: no limit.
    """
    results: list[RecommendResult | Exception] = [DataError("no result")] * len(queries)
    prepared = []
    for place, query in enumerate(queries):
        try:
            state = state_of(
                model, query.context, with_seen=query.rules.exclude_seen, max_new_events=max_new_events
            )
            prepared.append(
                _PreparedQuery(place, query, state, query_time_s(query.context, query.now_ms, state))
            )
        except Exception as error:  # an invalid query must not fail the others
            results[place] = error
    prepared.sort(key=_group_key)
    for (unrestricted, *_), group in groupby(prepared, key=_group_key):
        for batch in [list(group)] if unrestricted else [[one] for one in group]:
            try:
                found: Iterable[RecommendResult | Exception] = _rank(model, batch, max_new_events)
            except Exception as error:
                found = [error] * len(batch)
            for one, result in zip(batch, found, strict=True):
                results[one.place] = result
    return results


def state_of(
    model: ServedModel,
    context: UserContext,
    *,
    with_seen: bool = False,
    max_new_events: int | None = None,
) -> UserState:
    """Return the state after the events of the log and those sent with the request. The latter are not cached.

    Args:
        model: The model that the state is for.
        context: The user and the events sent with the request.
        with_seen: Also compute the seen items.
        max_new_events: Maximum number of events to replay. None: no limit.

    Raises:
        StoreError: the log cannot be read.
        LongHistoryError: more than `max_new_events` events would have to be replayed.
    """
    states = model.states
    builder = states.builder_of(context.tenant)
    user = context.user
    state = (
        builder.initial
        if user is None
        else states.current(user, with_seen=with_seen, max_new_events=max_new_events)
    )
    events = by_time(context.events)
    if builder.can_append(state, events):
        return builder.advance(state, events)
    # An event of the request is older than the last one of the log: merge both by time, from a snapshot before it.
    first_ms = events[0].time_ms
    assert first_ms is not None, "events without a time come last"
    start = state.rewind(first_ms, state.seen is not None) or builder.initial
    count = state.log_count - max(start.log_count, state.window_start) + len(events)
    if max_new_events is not None and count > max_new_events:
        raise LongHistoryError(cacheable=False)
    logged = [] if user is None else states.events_of(user, state, start)
    return replace(
        builder.advance(start, by_time([*logged, *events])),
        generation=state.generation, seq=state.seq, log_count=state.log_count, window_start=state.window_start,
    )  # fmt: skip


def query_time_s(context: UserContext, now_ms: int | None, state: UserState) -> float:
    """Return the time to recommend for, in seconds since 1970.

    Without an explicit time it is the current one, but not before the last event: clocks of servers differ a little. For the
    same reason an explicit time may be before the last event of the log, by as much as events may be ahead of the clock.
    """
    if now_ms is None:
        now_s = time.time()
        return now_s if isnan(state.last_s) else max(now_s, state.last_s)
    last_sent_ms = max((event.time_ms for event in context.events if event.time_ms is not None), default=-inf)
    if last_sent_ms <= now_ms < state.last_ms <= now_ms + MAX_EVENT_AHEAD_S * 1000:
        return state.last_s
    if now_ms < state.last_ms:
        raise DataError(
            f"now ({now_ms}) is before the last event ({state.last_ms:.0f}); "
            "pass the time to recommend for, or leave it out"
        )
    return now_ms / 1000


def _group_key(prepared: _PreparedQuery) -> tuple[bool, str, int, int, float]:
    """Return what queries must have in common to share one search."""
    query = prepared.query
    unrestricted = query.rules.unrestricted and not query.explain
    context, rules = query.context, query.rules
    return unrestricted, context.tenant, context.min_users, rules.k, rules.diversity


def _rank(
    model: ServedModel, batch: Sequence[_PreparedQuery], max_new_events: int | None
) -> list[RecommendResult]:
    """Return the results of queries with equal rules."""
    context = batch[0].query.context
    ranker = model.items.listing(context.tenant, context.min_users).ranker
    rules = batch[0].query.rules
    if rules.explore:
        impressions = model.impressions[context.tenant]
        exploration = Exploration(share_of_slots(rules.explore), impressions).seeded(rules.explore_seed)
        ranker = replace(ranker, exploration=exploration)
    filters = read_filters(
        ranker.catalogue,
        item_ids(rules.deny, ranker.catalogue),
        None if rules.allow is None else item_ids(rules.allow, ranker.catalogue),
        rules.exclude_seen,
        rules.filter,
    )
    network_state = _concatenate([one.state.network_state for one in batch])
    history_B = [
        HistorySummary(
            one.state.event_count,
            one.state.skipped_count,
            NO_ITEMS if one.state.seen is None else one.state.seen,
            one.query.context.attributes,
        )
        for one in batch
    ]
    now_s_B = np.array([one.now_s for one in batch])
    k = min(rules.k, ranker.catalogue.recommendable)
    ranked = ranker.rank(network_state, history_B, k, filters, now_s_B, rules.diversity)
    return [
        RecommendResult(
            _ranked_items(model, ranker, one, recommendations, max_new_events),
            model.version,
            one.state.event_count,
            one.state.skipped_count,
        )
        for one, recommendations in zip(batch, ranked, strict=True)
    ]


def _concatenate(states: Sequence[State]) -> State:
    if len(states) == 1:
        return states[0]
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}


def _ranked_items(
    model: ServedModel,
    ranker: Ranker,
    prepared: _PreparedQuery,
    recommendations: Sequence[Recommendation],
    max_new_events: int | None,
) -> list[RankedItem]:
    explained = prepared.query.explain and prepared.state.event_count and recommendations
    if not explained or any(one.reason.endswith(NOT_FINITE) for one in recommendations):
        return [
            RankedItem(one.item_id, one.score, one.rank, one.title, one.reason, one.propensity)
            for one in recommendations
        ]
    attributions = _attributions(model, ranker, prepared, recommendations, max_new_events)
    columns = _columns(ranker, prepared, recommendations)
    return [
        RankedItem(
            one.item_id, one.score, one.rank, one.title, _reason(one, found), one.propensity, found, contributions
        )
        for one, found, contributions in zip(recommendations, attributions, columns, strict=True)
    ]  # fmt: skip


def _columns(
    ranker: Ranker, prepared: _PreparedQuery, recommendations: Sequence[Recommendation]
) -> list[list[ColumnContribution]]:
    """Return the contributions of the columns of each recommended item; none if a file of an item cannot be read."""
    attributes = prepared.query.context.attributes
    state = ranker.network.with_attributes(prepared.state.network_state, [attributes])
    indices = ranker.catalogue.indices(one.item_id for one in recommendations)
    try:
        return column_contributions(ranker, state, indices, prepared.now_s)
    except DataError as error:  # the recommendations do not need the files of images and sounds
        log_event("columns not explained", logging.WARNING, error=str(error))
        return [[] for _ in recommendations]


def _reason(recommendation: Recommendation, attributions: Sequence[Attribution]) -> str:
    if not attributions or attributions[0].influence <= 0 or recommendation.propensity is not None:
        return recommendation.reason
    best = attributions[0]
    return f"because of {best.title or best.item_id}"


def _attributions(
    model: ServedModel,
    ranker: Ranker,
    prepared: _PreparedQuery,
    recommendations: Sequence[Recommendation],
    max_new_events: int | None,
) -> list[list[Attribution]]:
    """Return the most influential events for each recommended item; none if the user has since been deleted.

    Raises:
        LongHistoryError: more than `max_new_events` events would have to be replayed.
    """
    context, state = prepared.query.context, prepared.state
    builder = model.states.builder_of(context.tenant)
    # start from a snapshot: only the last events are left out in turn, so earlier ones need not be replayed
    start = state.snapshot_before_last(EXPLAINED_EVENTS) or builder.initial
    known = start.event_count if start.session_start == state.session_start else 0
    if max_new_events is not None and state.event_count - known - len(context.events) > max_new_events:
        # after a late event all snapshots may be far from the end; a replay from there changes no cached state
        raise LongHistoryError(cacheable=False)
    logged = [] if context.user is None else model.states.events_of(context.user, state, start)
    given = by_time([*logged, *context.events])
    events = builder.select(start, given)
    if builder.session_begin(start, given) is not None:
        start = builder.initial  # the session begins after the snapshot
    position_T = encode_events(events, ranker.catalogue).position_T
    if not len(position_T):
        return [[] for _ in recommendations]
    begin = int(position_T[-EXPLAINED_EVENTS:][0])
    start, events = builder.advance(start, events[:begin]), events[begin:]
    encoded = encode_events(events, ranker.catalogue)
    indices = ranker.catalogue.indices(one.item_id for one in recommendations)
    network_state = ranker.network.with_attributes(start.network_state, [context.attributes])
    influence_TM = influences(
        ranker.network, ranker.index, encoded.events, indices, prepared.now_s, state=network_state
    )
    last = [events[position] for position in encoded.position_T[-len(influence_TM) :].tolist()]
    titles = [ranker.catalogue.title(index) for index in encoded.events.item[-len(influence_TM) :].tolist()]
    return [
        [
            Attribution(
                last[row].item_id, titles[row], last[row].time_ms, last[row].kind, float(influence_T[row])
            )
            for row in np.argsort(-np.abs(influence_T), kind="stable")[:ATTRIBUTIONS_PER_ITEM].tolist()
        ]
        for influence_T in influence_TM.T
    ]
