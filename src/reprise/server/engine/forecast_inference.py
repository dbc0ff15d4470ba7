"""Forecasts of the next event of a user, from the user's state and the kinds and times of the latest events."""

from typing import NamedTuple

import numpy as np

from reprise.recommender.forecaster import EventTail, Forecast, Forecaster
from reprise.recommender.items.catalogue import Catalogue
from reprise.server.engine.batch_inference import query_time_s, state_of
from reprise.server.engine.event_encoding import by_time, kind_code
from reprise.server.engine.requests import UserContext
from reprise.server.engine.served_model import ServedModel
from reprise.server.engine.user_state import UserState
from reprise.server.store.records import UserEvent

TAIL_EVENTS = 64
"""Number of latest stored events of a user that are read for a forecast. The heads read half as many events. The others make
up for duplicates, which are left out, and for events that were stored late."""


class ForecastResult(NamedTuple):
    """A forecast, with the version of the model and the size of the history."""

    forecast: Forecast
    model_version: str
    event_count: int
    """Number of events in the user's state."""
    skipped_count: int
    """Number of events whose items have no vector in the model. The forecast uses only their kinds and times."""


def forecast_next(
    model: ServedModel,
    context: UserContext,
    length: int,
    now_ms: int | None,
    max_new_events: int | None = None,
) -> ForecastResult:
    """Return a forecast of the next events of a user.

    Args:
        model: The model to answer with.
        context: The user and the events sent with the request.
        length: Number of events of the path.
        now_ms: Time to forecast for, in milliseconds since 1970. None: the current time.
        max_new_events: Maximum number of events to replay. None: no limit.

    Raises:
        ConfigError: the model has no forecast heads.
        DataError: the time is before the user's last event.
        StoreError: the log cannot be read.
        LongHistoryError: more than `max_new_events` events would have to be replayed.
    """
    recommender = model.items.listing(context.tenant, context.min_users)
    forecaster = Forecaster.of(recommender.ranker, recommender.heads)
    state = state_of(model, context, max_new_events=max_new_events)
    [found] = forecaster.forecast(
        state.network_state,
        np.array([state.event_count > 0]),
        [_tail(model, context, state, recommender.ranker.catalogue)],
        length,
        query_time_s(context, now_ms, state),
    )
    return ForecastResult(found, model.version, state.event_count, state.skipped_count)


def _tail(model: ServedModel, context: UserContext, state: UserState, catalogue: Catalogue) -> EventTail:
    """Return the latest events of a user's session, including those of unknown items, without those of unknown kinds."""
    logged: list[UserEvent] = []
    if context.user is not None:
        log = model.states.store.events_since(
            context.user, state.generation, max(0, state.seq - TAIL_EVENTS), limit=TAIL_EVENTS
        )
        # another generation means that the user was deleted between the two reads
        logged = log.events if log.generation == state.generation else []
    builder = model.states.builder
    events = builder.select(builder.initial, by_time([*logged, *context.events]))
    coded = [(event, kind_code(event.kind, catalogue)) for event in events]
    known = [(event, code) for event, code in coded if code >= 0]
    times = [np.nan if event.time_ms is None else event.time_ms / 1000 for event, _ in known]
    return EventTail(
        [event.item_id for event, _ in known],
        np.array([code for _, code in known], dtype=np.int64),
        np.array(times, dtype=np.float64),
        state.event_count + state.skipped_count,
    )
