"""Forecasts of the next event from the states of users: its kind, the time until it, and a likely path of events.

Shape letters: B users, T events of one history, E events of all histories, I items, K kinds, Q quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reprise.argument_checks import whole
from reprise.arrays import AnyArray, BoolArray, Float64Array
from reprise.data.popular_items import Moment
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.recommender.generate import log_probabilities
from reprise.recommender.history import History
from reprise.recommender.rank_histories import folded_batches
from reprise.recommender.ranker import Ranker
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import State
from reprise.recommender.search.exact_index import MAX_SCORES

if TYPE_CHECKING:
    from reprise.forecast.forecast_heads import ForecastHeads, HeadForecasts
    from reprise.forecast.gap_distribution import GapDistribution

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Probabilities for which the quantile of the time to the next event is returned."""
TAIL_EVENTS = 64
"""Number of last events of a history that are kept for the heads, which read the last 32 and the gap before them."""
NO_HEADS = (
    "the model has no forecast heads; add them to its run with `reprise fit-forecast RUN` and export it again, "
    "or train with training.forecast=true"
)
"""Error message for a model without heads."""


class NextTime(NamedTuple):
    """The time to the next event, in seconds from the time of the request, or from the last event if that time is not known."""

    same_time: float
    """Probability that the next event has the same time as the last one; 0 if the request is later than the last event."""
    expected_s: float
    """Mean of the distribution, in seconds. Rare long waits can make it much larger than the median."""
    median_s: float
    """Median of the distribution, in seconds."""
    quantiles_s: dict[float, float]
    """Quantiles of the distribution in seconds, by their probability."""


class PathStep(NamedTuple):
    """One event of a likely path."""

    item_id: ItemId
    """Id of the item."""
    title: str | None
    """Title of the item; None if it has none."""
    log_probability: float
    """Natural logarithm of the probability of the item, given the history and the earlier events of the path."""
    kind: str | None
    """Most probable kind of the event; None if the model does not forecast kinds."""
    after_s: float | None
    """Forecast time of the event: the sum of the median gaps up to it, in seconds from the same time as in `NextTime`. None if
    the model does not forecast times."""


class Forecast(NamedTuple):
    """The forecast for one user, under the condition that a next event comes."""

    kinds: dict[str, float] | None
    """Probability of each kind of the next event, most probable first; None: the model does not forecast kinds."""
    time: NextTime | None
    """Time to the next event; None: the model does not forecast times."""
    path: list[PathStep]
    """A likely path of the next events, by greedy decoding (see `Forecaster.forecast`)."""
    skipped: int = 0
    """Number of events whose items the network cannot read, because it has no vector for them. The heads read the kinds and
    times of these events too."""


@dataclass(frozen=True)
class EventTail:
    """The last events of a user, whose kinds, times and repeated items the heads read."""

    ids: Sequence[Any]
    """Ids of the items, known to the model or not, [T]."""
    kind_T: AnyArray
    """Codes of the kinds, int64."""
    time_s_T: AnyArray
    """Times in seconds since 1970, float64; NaN: unknown."""
    events: int
    """Number of all events of the user, also of those before the tail."""

    @classmethod
    def of_history(cls, history: History) -> "EventTail":
        """Return the last `TAIL_EVENTS` events of a history."""
        events = history.all_events
        first = max(0, len(events) - TAIL_EVENTS)
        return cls(list(history.all_ids[first:]), events.kind[first:], events.time_s[first:], len(events))

    @property
    def last_s(self) -> float:
        """Time of the last event; NaN if it is unknown, or if there is no event."""
        return float(self.time_s_T[-1]) if len(self.time_s_T) else nan

    def then(self, item_id: ItemId, kind: int, time_s: float) -> "EventTail":
        """Return the tail after one more event."""
        return EventTail(
            [*self.ids, item_id],
            np.append(self.kind_T, kind),
            np.append(self.time_s_T, time_s),
            self.events + 1,
        )


@dataclass(frozen=True)
class Forecaster:
    """Forecasts with the heads of a model. Safe to call from several threads."""

    ranker: Ranker
    """Network and catalogue."""
    heads: "ForecastHeads"
    """Forecast heads of the network."""

    @classmethod
    def of(cls, ranker: Ranker, heads: "ForecastHeads | None") -> "Forecaster":
        """Return a forecaster.

        Raises:
            ConfigError: the model has no heads.
        """
        if heads is None:
            raise ConfigError(NO_HEADS)
        return cls(ranker, heads)

    def after_histories(self, read_B: Sequence[History], length: int, now_s: float) -> list[Forecast]:
        """Return the forecast after each history; histories of similar length are folded together. See `forecast`."""
        found = [Forecast(None, None, [])] * len(read_B)
        limit = MAX_SCORES // self.ranker.network.size
        for rows, histories, state in folded_batches(self.ranker.network, read_B, limit):
            known_B = np.array([len(history) > 0 for history in histories])
            tails = [EventTail.of_history(history) for history in histories]
            forecasts = self.forecast(state, known_B, tails, length, now_s)
            for row, history, forecast in zip(rows, histories, forecasts, strict=True):
                found[row] = forecast._replace(skipped=history.skipped)
        return found

    def forecast(
        self, state: State, known_B: BoolArray, tails: Sequence[EventTail], length: int, now_s: float = nan
    ) -> list[Forecast]:
        """Return the kind of the next event, the time to it, and a likely path, for each of B users.

        The path is decoded greedily: each event has the most probable kind, the median gap, and the most probable item at
        that time, and is read as an event before the next one is chosen. It contains no item twice, and no item whose
        `available` is false. A user without known events gets the most popular item first.

        Args:
            state: States of the users, each array [B, ...].
            known_B: Whether each state has read an event.
            tails: Last events of each user, with those of unknown items.
            length: Number of events of a path. It is shorter if there are fewer available items.
            now_s: Time of the request in seconds since 1970; NaN: not known. If the last event of a user is before it, the
                forecast is conditional on no event in between.

        Raises:
            ConfigError: `length` is not a whole number of at least 0.
        """
        length = min(whole("length", length, low=0, high=inf), int(self._allowed().sum()))
        lost_B: BoolArray = np.logical_not(np.isfinite(self.ranker.network.query(state)).all(axis=1))
        if lost_B.any():
            # a state that is not finite says nothing, like that of a user without events
            state, known_B = self._with_initial(state, lost_B), known_B & ~lost_B
        last_s_B = np.array([tail.last_s for tail in tails])
        elapsed_s_B = np.where(now_s > last_s_B, now_s - last_s_B, 0.0)
        first = self._predict(state, tails, elapsed_s_B)
        kinds_B = [None] * len(tails) if first.kind_NK is None else list(map(self._kinds, first.kind_NK))
        times_B = [None] * len(tails) if first.gap is None else _next_times(first.gap, elapsed_s_B)
        paths_B = self._paths(state, known_B, tails, length, first, elapsed_s_B)
        return [Forecast(*parts) for parts in zip(kinds_B, times_B, paths_B, strict=True)]

    def _with_initial(self, state: State, lost_B: BoolArray) -> State:
        """Return the states with those of some users replaced by the state without events."""
        initial = self.ranker.network.runtime.initial_state(len(lost_B))
        changed = {name: array.copy() for name, array in state.items()}
        for name, array in changed.items():
            array[lost_B] = initial[name][lost_B]
        return changed

    def _predict(
        self, state: State, tails: Sequence[EventTail], elapsed_s_B: Float64Array
    ) -> "HeadForecasts":
        """Return the outputs of the heads; the gaps are those after `elapsed_s_B` seconds without an event."""
        from reprise.forecast.recent_history import RecentHistory

        end_B = np.cumsum([len(tail.ids) for tail in tails])
        first_B = np.append(0, end_B[:-1])
        code: dict[str, int] = {}
        item_E = [code.setdefault(str(one), len(code)) for tail in tails for one in tail.ids]
        recent = RecentHistory.before(
            end_B,
            first_B,
            np.array(item_E, dtype=np.int64),
            np.concatenate([tail.kind_T for tail in tails]),
            np.concatenate([tail.time_s_T for tail in tails]),
        )
        recent = recent._replace(events_N=np.array([tail.events for tail in tails]))
        found = self.heads.predict(self.ranker.network.query(state), recent)
        return found if found.gap is None else found._replace(gap=found.gap.after(elapsed_s_B))

    def _kinds(self, kind_K: AnyArray) -> dict[str, float]:
        """Return the probabilities of the kinds by name, largest first."""
        order = np.argsort(-kind_K, kind="stable").tolist()
        return {self.ranker.catalogue.kinds[code]: float(kind_K[code]) for code in order}

    def _paths(
        self,
        state: State,
        known_B: BoolArray,
        tails: Sequence[EventTail],
        length: int,
        first: "HeadForecasts",
        elapsed_s_B: Float64Array,
    ) -> list[list[PathStep]]:
        """Return the path of each user; `first` holds the outputs of the heads for its first event."""
        catalogue, users = self.ranker.catalogue, len(tails)
        paths: list[list[PathStep]] = [[] for _ in tails]
        allowed_BI = np.tile(self._allowed(), (users, 1))
        heads, waited_s_B = first, np.zeros(users)
        for step in range(length):
            if step:
                known_B, elapsed_s_B = np.ones(users, dtype=np.bool_), np.zeros(users)
                heads = self._predict(state, tails, elapsed_s_B)
            kind_B = (
                np.full(users, catalogue.kind()) if heads.kind_NK is None else heads.kind_NK.argmax(axis=1)
            )
            gap_s_B = np.full(users, nan) if heads.gap is None else heads.gap.quantile(0.5)
            waited_s_B = waited_s_B + gap_s_B - elapsed_s_B
            time_s_B = np.array([tail.last_s for tail in tails]) + gap_s_B
            log_BI = self._log_probabilities(state, known_B, time_s_B)
            column_B = np.where(allowed_BI, log_BI, -inf).argmax(axis=1)
            allowed_BI[np.arange(users), column_B] = False
            value_B = np.full(users, nan, dtype=np.float32)
            state = self.ranker.network.advance(state, EventArrays(column_B + 1, time_s_B, kind_B, value_B))
            ids = catalogue.item_ids((column_B + 1).tolist())
            tails = [
                tail.then(item_id, kind, time_s)
                for tail, item_id, kind, time_s in zip(
                    tails, ids, kind_B.tolist(), time_s_B.tolist(), strict=True
                )
            ]
            for row, path in enumerate(paths):
                path.append(
                    PathStep(
                        ids[row],
                        catalogue.title(int(column_B[row]) + 1),
                        float(log_BI[row, column_B[row]]),
                        None if heads.kind_NK is None else catalogue.kinds[int(kind_B[row])],
                        None if heads.gap is None else float(waited_s_B[row]),
                    )
                )
        return paths

    def _log_probabilities(self, state: State, known_B: BoolArray, time_s_B: Float64Array) -> Float64Array:
        """Return the log-probabilities of all items for each user at one time, [B, I].

        A user without a known event gets those of the popular items.
        """
        log_BI = log_probabilities(self.ranker.network, state, None, time_s_B)
        if not known_B.all():
            shares_I = self.ranker.popular_at(Moment()).share_I
            log_BI[~known_B] = log_probabilities(self.ranker.network, state, shares_I)
        return log_BI

    def _allowed(self) -> BoolArray:
        """Return the mask of the items that a path may contain, [I]."""
        available_I = self.ranker.catalogue.available_I
        return np.ones(self.ranker.network.size, dtype=np.bool_) if available_I is None else available_I


def _next_times(gap: "GapDistribution", elapsed_s_B: Float64Array) -> list[NextTime | None]:
    """Return the times to the next event, counted from `elapsed_s_B` seconds after the last one."""
    mean_s_B = np.maximum(gap.mean() - elapsed_s_B, 0.0).tolist()
    quantile_s_QB = [np.maximum(gap.quantile(share) - elapsed_s_B, 0.0) for share in QUANTILES]
    quantile_s_BQ = np.stack(quantile_s_QB, axis=1).tolist()
    return [
        NextTime(
            zero, mean_s, quantile_s_Q[QUANTILES.index(0.5)], dict(zip(QUANTILES, quantile_s_Q, strict=True))
        )
        for zero, mean_s, quantile_s_Q in zip(gap.zero_N.tolist(), mean_s_B, quantile_s_BQ, strict=True)
    ]
