"""From questions to answers, with one model: pasts brought up to date, filters read, like questions searched for together."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from math import isnan
from typing import NamedTuple

import numpy as np

from reprise.errors import DataError
from reprise.recommender.explain import influences
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.ranker import HistorySummary, Ranker
from reprise.recommender.recommendations import Recommendation
from reprise.recommender.runtime.onnx_session import State
from reprise.server.engine.event_encoding import by_time, encode_events, item_ids
from reprise.server.engine.requests import (
    Attribution,
    RankedItem,
    RecommendQuery,
    RecommendResult,
    UserContext,
)
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.state_cache import NOTHING_SEEN, LongHistoryError, UserState
from reprise.server.store.records import UserEvent

EXPLAINED = 20
"""How many of the last events an explanation leaves out in turn: its cost grows with their square, and no further."""
CAUSES = 3
"""How many of them are told for each item."""


class _Ready(NamedTuple):
    """A question whose asker's past is folded."""

    place: int
    question: RecommendQuery
    known: UserState
    now_s: float


def answer_all(
    served: ServedModel, questions: Sequence[RecommendQuery], long: int | None = None
) -> list[RecommendResult | Exception]:
    """The answers to several questions, or why one has none. Plain questions for as many items are one search."""
    answers: list[RecommendResult | Exception] = [DataError("not asked")] * len(questions)
    ready = []
    for place, question in enumerate(questions):
        try:
            known = known_of(served, question.asker, seen=question.rules.exclude_seen, long=long)
            ready.append(_Ready(place, question, known, _moment_s(question, known)))
        except Exception as error:  # one question's fault is not the others'
            answers[place] = error
    ready.sort(key=_alike)
    for (plain, *_), group in groupby(ready, key=_alike):
        for several in [list(group)] if plain else [[one] for one in group]:
            try:
                found: Iterable[RecommendResult | Exception] = _answer(served, several)
            except Exception as error:
                found = [error] * len(several)
            for one, answer in zip(several, found, strict=True):
                answers[one.place] = answer
    return answers


def known_of(
    served: ServedModel, asker: UserContext, *, seen: bool = False, long: int | None = None
) -> UserState:
    """What is known of an asker: what the log has, and what they tell. What they tell is not remembered.

    Raises:
        StoreError: the log does not answer.
        LongPastError: more than `long` events would have to be folded.
    """
    states = served.states
    user = asker.user
    known = states.folder.nothing if user is None else states.current(user, seen=seen, long=long)
    news = by_time(asker.events)
    if states.folder.fits(known, news):
        return states.folder.advance(known, news)
    # what is told has its place among what the log has
    if long is not None and known.events + known.skipped + len(news) > long:
        raise LongHistoryError
    past = [*_past(served, asker, known), *news]
    return replace(states.folder.fold(past), generation=known.generation, seq=known.seq)


def _past(served: ServedModel, asker: UserContext, known: UserState, after: int = 0) -> list[UserEvent]:
    """The events of the log behind what is known, after some place; none where the user was forgotten meanwhile."""
    user = asker.user
    if user is None or not known.seq:
        return []
    log = served.states.store.since(user, known.generation, after)
    events = log.events if log.generation == known.generation else []
    return [event for event in events if event.seq <= known.seq]


def _moment_s(question: RecommendQuery, known: UserState) -> float:
    """The moment for which the answer is. Clocks differ a little, so an event may be later than ours."""
    if question.now_ms is None:
        now_s = time.time()
        return now_s if isnan(known.last_s) else max(now_s, known.last_s)
    if question.now_ms < known.last_ms:
        raise DataError(
            f"now ({question.now_ms}) is before the last event ({known.last_ms:.0f}); "
            "pass the moment for which the answer is, or leave it out"
        )
    return question.now_ms / 1000


def _alike(ready: _Ready) -> tuple[bool, str, int, float]:
    question = ready.question
    plain = question.rules.plain and not question.explain
    return plain, question.asker.tenant, question.rules.k, question.rules.diversity


def _answer(served: ServedModel, several: Sequence[_Ready]) -> list[RecommendResult]:
    """Answers to questions with the same rules."""
    ranker = served.items.ranker(several[0].question.asker.tenant)
    rules = several[0].question.rules
    filters = read_filters(
        ranker.catalogue,
        item_ids(rules.deny, ranker.catalogue),
        None if rules.allow is None else item_ids(rules.allow, ranker.catalogue),
        rules.exclude_seen,
        rules.filter,
    )
    state = _joined([one.known.state for one in several])
    past_B = [
        HistorySummary(
            one.known.events, one.known.skipped, NOTHING_SEEN if one.known.seen is None else one.known.seen
        )
        for one in several
    ]
    now_s_B = np.array([one.now_s for one in several])
    k = min(rules.k, ranker.catalogue.warm)
    ranked = ranker.rank(state, past_B, k, filters, now_s_B, rules.diversity)
    return [
        RecommendResult(
            _items(served, ranker, one, answer), served.version, one.known.events, one.known.skipped
        )
        for one, answer in zip(several, ranked, strict=True)
    ]


def _joined(states: Sequence[State]) -> State:
    if len(states) == 1:
        return states[0]
    return {name: np.concatenate([state[name] for state in states]) for name in states[0]}


def _items(
    served: ServedModel, ranker: Ranker, ready: _Ready, answer: Sequence[Recommendation]
) -> list[RankedItem]:
    if not (ready.question.explain and answer and ready.known.events):
        return [RankedItem(one.item_id, one.score, one.rank, one.title, one.reason) for one in answer]
    causes = _causes(served, ranker, ready, answer)
    return [
        RankedItem(one.item_id, one.score, one.rank, one.title, _reason(one, because), because)
        for one, because in zip(answer, causes, strict=True)
    ]


def _reason(one: Recommendation, causes: Sequence[Attribution]) -> str:
    if not causes or causes[0].influence <= 0:
        return one.reason
    best = causes[0]
    return f"because of {best.title or best.item_id} ({best.influence:+.2f})"


def _causes(
    served: ServedModel, ranker: Ranker, ready: _Ready, answer: Sequence[Recommendation]
) -> list[list[Attribution]]:
    """For each answer the events of the past that moved it most; none where the user was forgotten meanwhile."""
    asker, known = ready.question.asker, ready.known
    mark = known.before_last(EXPLAINED) or served.states.folder.nothing
    past = by_time([*_past(served, asker, known, mark.seq), *asker.events])
    found = encode_events(past, ranker.catalogue)
    if not len(found.events):
        return [[] for _ in answer]
    indices = ranker.catalogue.indices(one.item_id for one in answer)
    influence_TM = influences(
        ranker.network, found.events, indices, ready.now_s, last=EXPLAINED, state=mark.state
    )
    last = [past[position] for position in found.position_T[-len(influence_TM) :].tolist()]
    titles = [ranker.catalogue.title(index) for index in found.events.item[-len(influence_TM) :].tolist()]
    return [
        [
            Attribution(
                last[row].item_id, titles[row], last[row].time_ms, last[row].kind, float(influence_T[row])
            )
            for row in np.argsort(-np.abs(influence_T), kind="stable")[:CAUSES].tolist()
        ]
        for influence_T in influence_TM.T
    ]
