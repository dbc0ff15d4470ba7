"""Forecasts of the next event from the state of a user: its kind, the time until it, and a likely path of events.

Shape letters: T events of one history, I items, K kinds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reprise.argument_checks import whole
from reprise.arrays import AnyArray
from reprise.data.popular_items import Moment
from reprise.data.vocabulary import ItemId
from reprise.errors import ConfigError
from reprise.recommender.generate import log_probabilities
from reprise.recommender.history import History
from reprise.recommender.ranker import Ranker
from reprise.recommender.runtime.event_arrays import EventArrays
from reprise.recommender.runtime.onnx_session import State

if TYPE_CHECKING:
    from reprise.forecast.forecast_heads import ForecastHeads
    from reprise.forecast.gap_distribution import GapDistribution

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the probability whose times are returned."""
TAIL_EVENTS = 64
"""Number of last events of a history that are passed to the heads, which read half as many."""
NO_HEADS = (
    "the model has no forecast heads; add them to its run with `reprise fit-forecast RUN` and export it again, "
    "or train with training.forecast=true"
)
"""Message for a model without heads."""


class NextTime(NamedTuple):
    """The time to the next event, in seconds from now, or from the last event if the time of the request is not known."""

    same_time: float
    """Probability that the next event has the time of the last one; 0 if time has passed since."""
    expected_s: float
    """Expected seconds. A few very long waits may make it much longer than the median."""
    median_s: float
    """Seconds within which the next event comes with a probability of one half."""
    quantiles_s: dict[float, float]
    """Seconds by share of the probability."""


class PathStep(NamedTuple):
    """One event of a likely path."""

    item_id: ItemId
    title: str | None
    log_probability: float
    """Natural logarithm of the item's probability after the events before it."""
    kind: str | None
    """Most probable kind; None if the model does not forecast kinds."""
    after_s: float | None
    """Sum of the median waits up to the event, in seconds from now; None if the model does not forecast times."""


class Forecast(NamedTuple):
    """What comes next, given that something comes."""

    kinds: dict[str, float] | None
    """Probability of each kind of the next event, most probable first; None: the model does not forecast kinds."""
    time: NextTime | None
    """Time until the next event; None: the model does not forecast times."""
    path: list[PathStep]
    """A likely path of the next events, each the most probable after the one before it."""
    skipped: int = 0
    """Number of events of items that the model has no vector for. Their kinds and times are read."""


@dataclass(frozen=True)
class EventTail:
    """The last events of a user, which the heads read besides the state."""

    ids: Sequence[Any]
    """Ids of the items, known or not."""
    kind_T: AnyArray
    """Codes of the kinds."""
    time_s_T: AnyArray
    """Times in seconds since 1970; NaN: unknown."""
    events: int
    """Number of all events of the user."""

    @property
    def item_T(self) -> AnyArray:
        """A number for each different item."""
        code: dict[str, int] = {}
        return np.array([code.setdefault(str(one), len(code)) for one in self.ids], dtype=np.int64)

    @property
    def last_s(self) -> float:
        """Time of the last event; NaN if it is unknown, or if there is none."""
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
    """Heads of the network."""

    @classmethod
    def of(cls, ranker: Ranker, heads: "ForecastHeads | None") -> "Forecaster":
        """Return a forecaster.

        Raises:
            ConfigError: the model has no heads.
        """
        if heads is None:
            raise ConfigError(NO_HEADS)
        return cls(ranker, heads)

    def of_history(self, history: History, length: int, now_s: float) -> Forecast:
        """Return the forecast after a history; see `forecast`."""
        events = history.all_events
        first = max(0, len(events) - TAIL_EVENTS)
        tail = EventTail(
            list(history.all_ids[first:]), events.kind[first:], events.time_s[first:], len(events)
        )
        state = self.ranker.network.fold([history.events])
        found = self.forecast(state, len(history) > 0, tail, length, now_s)
        return found._replace(skipped=history.skipped)

    def forecast(
        self, state: State, known: bool, tail: EventTail, length: int, now_s: float = nan
    ) -> Forecast:
        """Return the kind and the time of the next event, and a likely path.

        The path takes the most probable kind, the median time, and then the most probable item at that time, reads them as an
        event, and continues from there. No item comes twice, and items whose `available` is false do not come.

        Args:
            state: State of the user, each array [1, ...].
            known: Whether the state has read an event.
            tail: The last events, those of unknown items too.
            length: Number of events of the path.
            now_s: Time of the request in seconds since 1970; NaN: not known. If the last event has a time, the forecast is
                that of the wait given that no event has come until now.

        Raises:
            ConfigError: `length` is not a whole number of at least 0.
        """
        length = min(whole("length", length, low=0, high=inf), int(self._allowed().sum()))
        if not np.isfinite(self.ranker.network.query(state)).all():
            # an infinite state says nothing, like that of a user without events
            state, known = self.ranker.network.runtime.initial_state(1), False
        elapsed_s = max(now_s - tail.last_s, 0.0) if now_s > tail.last_s else 0.0
        kind_K, gap = self._heads(state, tail)
        after = None if gap is None else gap.after(np.array([elapsed_s]))
        return Forecast(
            None if kind_K is None else self._kinds(kind_K),
            None if after is None else _next_time(after, elapsed_s),
            self._path(state, known, tail, length, elapsed_s),
        )

    def _heads(self, state: State, tail: EventTail) -> "tuple[AnyArray | None, GapDistribution | None]":
        """Return the probabilities of the kinds, [K], and the distribution of the gap after the last event."""
        from reprise.forecast.recent_history import RecentHistory

        recent = RecentHistory.of_events(tail.item_T, tail.kind_T, tail.time_s_T)
        recent = recent._replace(events_N=np.array([tail.events]))
        query_1D = self.ranker.network.query(state)
        kind_1K = self.heads.kind_probabilities(query_1D, recent)
        return None if kind_1K is None else kind_1K[0], self.heads.gap_distribution(query_1D, recent)

    def _kinds(self, kind_K: AnyArray) -> dict[str, float]:
        order = np.argsort(-kind_K, kind="stable").tolist()
        return {self.ranker.catalogue.kinds[code]: float(kind_K[code]) for code in order}

    def _path(
        self, state: State, known: bool, tail: EventTail, length: int, elapsed_s: float
    ) -> list[PathStep]:
        network, catalogue = self.ranker.network, self.ranker.catalogue
        steps: list[PathStep] = []
        waited_s, allowed_I = 0.0, self._allowed()
        for _ in range(length):
            kind_K, gap = self._heads(state, tail)
            kind = catalogue.kind() if kind_K is None else int(kind_K.argmax())
            gap_s = nan
            if gap is not None:
                gap_s = float(gap.after(np.array([elapsed_s])).quantile(0.5)[0])
                waited_s += gap_s - elapsed_s
            time_s = tail.last_s + gap_s
            shares_I = None if known else self.ranker.popular_at(Moment()).share_I
            log_I = log_probabilities(network, state, shares_I, time_s)[0]
            column = int(np.where(allowed_I, log_I, -np.inf).argmax())
            allowed_I[column] = False
            state = network.advance(
                state,
                EventArrays(
                    np.array([column + 1]), np.array([time_s]), np.array([kind]), np.full(1, nan, np.float32)
                ),
            )
            [item_id] = catalogue.item_ids([column + 1])
            tail, known, elapsed_s = tail.then(item_id, kind, time_s), True, 0.0
            steps.append(
                PathStep(
                    item_id,
                    catalogue.title(column + 1),
                    float(log_I[column]),
                    None if kind_K is None else catalogue.kinds[kind],
                    None if gap is None else waited_s,
                )
            )
        return steps

    def _allowed(self) -> AnyArray:
        """Return a mask of the items that may come, [I]."""
        available_I = self.ranker.catalogue.available_I
        if available_I is None:
            return np.ones(self.ranker.network.size, dtype=np.bool_)
        return available_I.copy()


def _next_time(gap: "GapDistribution", elapsed_s: float) -> NextTime:
    quantiles = {share: max(float(gap.quantile(share)[0]) - elapsed_s, 0.0) for share in QUANTILES}
    expected_s = max(float(gap.mean()[0]) - elapsed_s, 0.0)
    assert not isnan(expected_s)
    return NextTime(float(gap.zero_N[0]), expected_s, quantiles[0.5], quantiles)
