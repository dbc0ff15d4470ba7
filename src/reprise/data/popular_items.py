"""The answer for a user without known events: the items that are popular at the time of the request and among such users.

The recommender gives this answer, and evaluation ranks the targets of such users by the same numbers.
Shape letters: I scored items, N most frequent items, V values of a context.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import floor, inf, isfinite, isinf, isnan, nan
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float32Array, Float64Array
from reprise.data.io.arrow_columns import Table, column_values

SMOOTHING = 100.0
"""Weight of the shares in the whole log against the recent events, as a number of events."""
CACHED_PLACES = 1 << 23
"""Maximum total length of the cached lists, in items: 64 MiB."""
HOUR_S, DAY_S = 3600.0, 86400.0
HOUR, WEEKDAY = "time.hour", "time.weekday"
THURSDAY = 3
"""Day of the week of the first day of 1970, with Monday as 0."""
PLACES = {"country", "region", "city", "market", "state", "place", "location"}
"""Columns of the user table whose values are places; a description says "in FR" for them, not "for country FR"."""
PERIODS = ((1.5, "today"), (10.0, "this week"), (45.0, "this month"), (400.0, "this year"))
"""Descriptions of the period that a list covers, each with the longest period in days for which it is used."""


class _OfTime(NamedTuple):
    """A context that is computed from the time of the request."""

    rows: int
    """Number of its values."""
    description: str
    """Words for it in the description of a list."""


OF_TIME = {HOUR: _OfTime(24, "at this hour"), WEEKDAY: _OfTime(7, "on this day of the week")}
"""Contexts that are computed from the time of the request in UTC. All other contexts are columns of the user table."""


class Moment(NamedTuple):
    """The circumstances of a request."""

    time_s: float = nan
    """Time of the request in seconds since 1970; NaN: not known."""
    attributes: Mapping[str, Any] = MappingProxyType({})
    """Attributes of the user by column."""


class ContextTable(NamedTuple):
    """The factor by which the share of each item changes with the value of a context, such as the country of the user."""

    name: str
    """Column of the user table, or `time.hour` or `time.weekday`."""
    values: tuple[Any, ...]
    """Values of the context that have a row, [V]."""
    log_ratio_VN: Float32Array
    """Logarithm of the factor for each value of the context and each of the N most frequent items, [V, N]."""

    def row(self, moment: Moment) -> int | None:
        """Return the row for the value of the context in a request; None if the value is unknown or has no row."""
        if self.name in OF_TIME:
            return None if isnan(moment.time_s) else int(time_codes(self.name, np.array([moment.time_s]))[0])
        value = moment.attributes.get(self.name)
        return self.values.index(value) if value in self.values else None


class PopularList(NamedTuple):
    """The scored items in order of popularity for one request."""

    row_I: AnyArray
    """Rows of the item table, [I], most popular first; items of equal popularity in index order."""
    share_I: Float32Array
    """Estimated probability that each item is the next one, [I], in index order."""


@dataclass(frozen=True, eq=False)
class PopularItems:
    """Popularity of the scored items for users without events, by the time and the attributes of the request.

    The share of item i at a time t after the end of the log is an estimate with additive smoothing towards a prior
    (MacKay and Peto, "A hierarchical Dirichlet language model", 1995):

        share_i = (d r_i + m p_i) / (d r + m)

    - p_i, the prior: share of the events of the whole log, `overall_I`.
    - r_i: time-decayed number of events at the end of the log, `recent_I`. The weight of an event is halved with every
      half-life of its age. r is the sum of r_i over all items.
    - d = 2^(-t / half-life): decay from the end of the log to the request.
    - m: weight of the prior as a number of events, `SMOOTHING`.

    The same formula is then applied once more to the first events of sequences only: the shares are the prior, `entry_I`
    replaces r_i, and `entry_smoothing` is m. Finally the shares are multiplied by the factors of each known context, and
    divided by their sum.
    """

    overall_I: Float32Array
    """Share of each item among all counted events, p_i, [I]."""
    recent_I: Float32Array
    """Time-decayed number of events of each item at the end of the log, r_i, [I]."""
    entry_I: Float32Array
    """The same as `recent_I`, for the first events of sequences only, [I]."""
    half_life_s: float = inf
    """Time in which the weight of an event is halved, in seconds; infinity: the shares do not depend on the time."""
    entry_smoothing: float = inf
    """Weight of the shares in all events against the first events, as a number of events; infinity: first events are
    not used."""
    end_s: float = nan
    """Time of the last event that was counted, in seconds since 1970."""
    contexts: tuple[ContextTable, ...] = ()
    """Contexts that the shares depend on."""
    _lists: dict[tuple[Any, ...], PopularList] = field(default_factory=dict, repr=False)

    @classmethod
    def static(cls, share_I: Float32Array) -> "PopularItems":
        """Return popularity that does not depend on the request.

        Args:
            share_I: Share of each item, [I].
        """
        zero_I = np.zeros_like(share_I)
        return cls(share_I, zero_I, zero_I)

    def key(self, moment: Moment) -> tuple[Any, ...]:
        """Return the key of the list for a request: the hour, None if nothing decays, and the row of each context."""
        rows = tuple(context.row(moment) for context in self.contexts)
        timed = not (isnan(moment.time_s) or isinf(self.half_life_s) or moment.time_s <= self.end_s)
        return floor(moment.time_s / HOUR_S) if timed else None, *rows

    def at(self, moment: Moment) -> PopularList:
        """Return the list for a request. Requests with the same `key` share a list, which is cached."""
        key = self.key(moment)
        found = self._lists.get(key)
        if found is None:
            share_I = self._shares(key)
            found = PopularList(np.argsort(-share_I, kind="stable").astype(np.int32), share_I)
            if len(self._lists) >= max(1, CACHED_PLACES // max(1, len(share_I))):
                with suppress(
                    StopIteration, RuntimeError, KeyError
                ):  # another thread may change the lists too
                    del self._lists[next(iter(self._lists))]  # the oldest one
            self._lists[key] = found
        return found

    def _shares(self, key: tuple[Any, ...]) -> Float32Array:
        hour, *rows = key
        share_I = self.shares_after(0.0 if hour is None else max(0.0, hour * HOUR_S - self.end_s))
        for context, row in zip(self.contexts, rows, strict=True):
            if row is not None:
                log_ratio_N = context.log_ratio_VN[row].astype(np.float64)
                share_I[: len(log_ratio_N)] *= np.exp(log_ratio_N)
        if any(row is not None for row in rows):
            share_I /= share_I.sum()
        return share_I.astype(np.float32)

    def shares_after(self, late_s: float) -> Float64Array:
        """Return the share of each item `late_s` seconds after the end of the log, without contexts, [I]."""
        decay = 2.0 ** (-late_s / self.half_life_s)
        recent_I, entry_I = (
            decay * weight_I.astype(np.float64) for weight_I in (self.recent_I, self.entry_I)
        )
        share_I = smoothed(self.overall_I.astype(np.float64), recent_I, recent_I.sum(), SMOOTHING)
        return smoothed(share_I, entry_I, entry_I.sum(), self.entry_smoothing)

    def description(self, moment: Moment) -> str:
        """Return a description of the list for a request, such as `popular this week in FR`."""
        known = [(context, row) for context in self.contexts if (row := context.row(moment)) is not None]
        attributes = [
            f"in {context.values[row]}"
            if context.name in PLACES
            else f"for {context.name} {context.values[row]}"
            for context, row in known
            if context.name not in OF_TIME
        ]
        times = [OF_TIME[context.name].description for context, _ in known if context.name in OF_TIME]
        words = [*self._period(moment), *attributes, *times]
        return " ".join(["popular", *(words or ["items"])])

    def _period(self, moment: Moment) -> list[str]:
        """Return the words for the period that a list covers, such as ["this week"]; [] if it is the whole log."""
        if isinf(self.half_life_s) or isnan(moment.time_s):
            return []
        days = (self.half_life_s + max(0.0, moment.time_s - self.end_s)) / DAY_S
        return next(([name] for longest, name in PERIODS if days <= longest), [])

    def to_tensors(self) -> dict[str, AnyArray]:
        """Return the arrays by name."""
        arrays: dict[str, AnyArray] = {"overall": self.overall_I}
        if not isinf(self.half_life_s):
            arrays |= {"recent": self.recent_I, "entry": self.entry_I}
        return arrays | {f"context.{one.name}": one.log_ratio_VN for one in self.contexts}

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and the values of the contexts; None for numbers that are not finite."""
        numbers = {name: getattr(self, name) for name in ("half_life_s", "entry_smoothing", "end_s")}
        finite = {name: number if isfinite(number) else None for name, number in numbers.items()}
        return finite | {
            "contexts": [{"name": one.name, "values": list(one.values)} for one in self.contexts]
        }

    @classmethod
    def restore(cls, data: Mapping[str, Any], tensors: Mapping[str, AnyArray]) -> "PopularItems":
        """Return the popularity that was saved with `to_json` and `to_tensors`."""
        zero_I = np.zeros_like(tensors["overall"])
        return cls(
            tensors["overall"],
            tensors.get("recent", zero_I),
            tensors.get("entry", zero_I),
            half_life_s=inf if data["half_life_s"] is None else data["half_life_s"],
            entry_smoothing=inf if data["entry_smoothing"] is None else data["entry_smoothing"],
            end_s=nan if data["end_s"] is None else data["end_s"],
            contexts=tuple(
                ContextTable(one["name"], tuple(one["values"]), tensors[f"context.{one['name']}"])
                for one in data["contexts"]
            ),
        )


def smoothed(prior: Float64Array, weight: Float64Array, total: Any, smoothing: float) -> Float64Array:
    """Return shares by additive smoothing: (weight + smoothing prior) / (total + smoothing).

    Args:
        prior: Prior share of each item.
        weight: Number or decayed number of events of each item.
        total: Sum of the weights of all items.
        smoothing: Weight of the prior as a number of events; the result is the prior if it is infinite.
    """
    if isinf(smoothing):
        return prior
    share: Float64Array = (weight + smoothing * prior) / (total + smoothing)
    return share


def time_codes(name: str, time_s_N: AnyArray) -> AnyArray:
    """Return the hour of the day, or the day of the week from Monday as 0, of times in seconds since 1970, in UTC."""
    if name == HOUR:
        code_N: AnyArray = np.floor(time_s_N / HOUR_S).astype(np.int64) % 24
    else:
        code_N = (np.floor(time_s_N / DAY_S).astype(np.int64) + THURSDAY) % 7
    return code_N


def popular_shares(items: Table, warm: int) -> Float32Array:
    """Return the share of the training events of each warm item, [I]; items with equal shares tie.

    Args:
        items: Item table in index order, with the number of training events in its column `count`.
        warm: Number of warm items, I; they are the first rows.
    """
    count_I = np.array(column_values(items, "count")[:warm], dtype=np.float64)
    share_I: Float32Array = (count_I / max(1.0, count_I.sum())).astype(np.float32)
    return share_I
