"""Off-policy estimate for a candidate model: would users respond more often to the explored items that it prefers?

Shape letters: N explored impressions.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from reprise.argument_checks import whole
from reprise.arrays import BoolArray
from reprise.errors import DataError
from reprise.feedback.drift_sources import ALL_USERS, user_events
from reprise.feedback.feedback_analysis import CandidateEstimate, FeedbackOptions, answer_log
from reprise.feedback.off_policy import OffPolicyEstimate, off_policy
from reprise.feedback.outcomes import Outcomes, per_user
from reprise.feedback.user_ratios import ratio_difference
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.recommender import Recommender
from reprise.server.engine.event_encoding import by_time, item_id, kind_code
from reprise.server.store.event_store import EventStore
from reprise.server.store.records import UserEvent


def estimate_candidate(
    outcomes: Outcomes, store: EventStore, candidate: Recommender, options: FeedbackOptions, *, top: int = 100
) -> CandidateEstimate:
    """Estimate from explored impressions how often users respond to items that a candidate model prefers.

    For each explored impression the candidate ranks all items after the events that the user had before the answer. The
    target policy draws each item among its best `top` equally. Impressions that a model ranked do not count: nothing is
    known about the items that it did not show.

    Raises:
        DataError: no impression was explored, or none of a user with events in the store.
        ConfigError: the store has no answer log, or `top` is not above 0.
        StoreError: the store does not respond.
    """
    top = whole("top", top)
    explored_N = ~np.isnan(outcomes.propensity_N)
    if not explored_N.any():
        raise DataError(
            "no impression of the period was explored; serve with `explore` above 0 in requests, such as 0.1, and wait"
        )
    known_N, chosen_N = _choices(outcomes, explored_N, store, candidate, options, top)
    if not known_N.any():
        raise DataError(
            "no explored impression has a user with events in the store; send `user_id` with requests for recommendations"
        )
    reward_N = outcomes.responded(options.kind)[known_N]
    draw_N, user_N = outcomes.propensity_N[known_N], outcomes.user_N[known_N]
    target_N = chosen_N[known_N].astype(np.float64)

    def estimate(wanted_N: Any) -> OffPolicyEstimate:
        return off_policy(reward_N, draw_N, wanted_N, user_N, level=options.level, clip=None)

    chosen, every = estimate(target_N), estimate(np.ones(len(target_N)))
    difference = None
    if chosen.snips is not None:
        weights = (target_N / draw_N, 1 / draw_N)
        (first, second) = ((per_user(user_N, w_N * reward_N), per_user(user_N, w_N)) for w_N in weights)
        difference = ratio_difference(first, second, options.level)
    return CandidateEstimate(top, chosen, every, difference, int(explored_N.sum() - known_N.sum()))


def _choices(
    outcomes: Outcomes, explored_N: BoolArray, store: EventStore, candidate: Recommender, options: FeedbackOptions,
    top: int,
) -> tuple[BoolArray, BoolArray]:  # fmt: skip
    """Return which explored impressions have a known history, and which of their items are among the candidate's best."""
    log, items = answer_log(store), outcomes.items()
    rows: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row in np.nonzero(explored_N)[0].tolist():
        place = int(outcomes.answer_N[row])
        rows[outcomes.answers[place].user_hash][place].append(row)
    known_N, chosen_N = np.zeros_like(explored_N), np.zeros_like(explored_N)
    catalogue = candidate.ranker.catalogue
    for user, events in user_events(store, options.tenant, ALL_USERS):
        for place, own in rows.get(log.user_hash(user), {}).items():
            time_ms = outcomes.answers[place].time_ms
            earlier = [one for one in by_time(events) if one.time_ms is not None and one.time_ms < time_ms]
            if not earlier:
                continue
            best = candidate.recommend(_history(earlier, catalogue), top, now=time_ms / 1000)
            names = {str(one.item_id) for one in best}
            for row in own:
                known_N[row], chosen_N[row] = True, items[row] in names
    return known_N, chosen_N


def _history(events: list[UserEvent], catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return the events that a model can read, in the form that `Recommender.recommend` takes."""
    read = []
    for event in events:
        found = item_id(event.item_id, catalogue)
        if found is None or kind_code(event.kind, catalogue) < 0:
            continue
        optional = {"kind": event.kind, "value": event.value}
        read.append(
            {"item_id": found, "timestamp": (event.time_ms or 0) / 1000}
            | {name: value for name, value in optional.items() if value is not None}
        )
    return read
