"""The last events of a history, as the forecast heads read them: their kinds, the gaps between them, and repeated items.

They include events of items that the network has no vector for, because the kind and the time of these events are known.

Shape letters: N histories, W last events (newest last), T events of one history, E events of a log, K kinds, F features,
J knots.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array

WINDOW = 32
"""W: number of last events of a history from which features are computed."""
GAPS = 8
"""Number of newest gaps that have features of their own."""
KINDS_IN_ORDER = 2
"""Number of newest events whose kind is a one-hot feature. Of all W events, the share of each kind is a feature too."""
RUNS = 4
"""Number of run lengths, from 0, that have a one-hot feature."""
NO_KIND = -1
"""Code of the kind at a position before the first event of a history."""
KNOTS = 26
"""J: number of knots of the piecewise linear basis for the newest gap, one for each doubling of 1 + seconds, up to a year."""


class RecentHistory(NamedTuple):
    """The last W events of each of N histories, newest last."""

    kind_NW: AnyArray
    """Kinds of the events, int64; `NO_KIND` if a history has fewer than W events."""
    gap_s_NW: Float64Array
    """Gap before each event, in seconds; NaN for the first event of a history, or if a time is unknown."""
    same_item_NW: BoolArray
    """Whether each event has the same item as the event before it."""
    events_N: AnyArray
    """Number of all events of each history, also of those before the last W, int64."""

    @classmethod
    def of_events(cls, item_T: AnyArray, kind_T: AnyArray, time_s_T: AnyArray) -> "RecentHistory":
        """Return the last events of one history, N = 1.

        Args:
            item_T: Items of the events, oldest first, as integers that are equal for equal items.
            kind_T: Codes of the kinds of the events.
            time_s_T: Times in seconds since 1970; NaN: unknown.
        """
        return cls.before(np.array([len(item_T)]), np.zeros(1, dtype=np.int64), item_T, kind_T, time_s_T)

    @classmethod
    def before(
        cls, position_N: AnyArray, first_N: AnyArray, item_E: AnyArray, kind_E: AnyArray, time_s_E: AnyArray
    ) -> "RecentHistory":
        """Return the last events before each of N positions of a log.

        Args:
            position_N: Positions in the log.
            first_N: Position of the first event of the history that each position belongs to.
            item_E: Items of the events of the log, as integers that are equal for equal items.
            kind_E: Codes of the kinds of the events.
            time_s_E: Times of the events in seconds since 1970; NaN: unknown.
        """
        event_NW = position_N[:, None] + np.arange(-WINDOW, 0)
        exists_NW, follows_NW = event_NW >= first_N[:, None], event_NW > first_N[:, None]
        kind_NW = np.full(event_NW.shape, NO_KIND, dtype=np.int64)
        kind_NW[exists_NW] = kind_E[event_NW[exists_NW]]
        gap_s_NW = np.full(event_NW.shape, np.nan)
        later_M = event_NW[follows_NW]
        gap_s_NW[follows_NW] = np.maximum(time_s_E[later_M] - time_s_E[later_M - 1], 0.0)
        same_item_NW = np.zeros(event_NW.shape, dtype=np.bool_)
        same_item_NW[follows_NW] = item_E[later_M] == item_E[later_M - 1]
        return cls(kind_NW, gap_s_NW, same_item_NW, np.asarray(position_N - first_N, dtype=np.int64))

    def features(self, kinds: int) -> Float32Array:
        """Return the features of each history, [N, F] with F = `feature_count(kinds)`.

        In this order: the kinds of the `KINDS_IN_ORDER` newest events (one-hot); the share of each kind in the last W events;
        the newest gap in a piecewise linear basis with J knots; for each of the `GAPS` newest gaps whether it is known,
        whether it is 0, and log(1 + gap); the lengths of the current runs of gaps of 0, of equal kinds and of equal items;
        and the logarithm of the number of events. Logarithms are divided by constants.
        """
        code_K = np.arange(kinds)
        newest = [self.kind_NW[:, -place, None] == code_K for place in range(1, KINDS_IN_ORDER + 1)]
        filled_N = np.minimum(np.maximum(self.events_N, 1), WINDOW)
        count_NK = np.stack([(self.kind_NW == code).sum(axis=1) for code in range(kinds)], axis=1)
        gap_s_NG = self.gap_s_NW[:, -GAPS:]
        known_NG = ~np.isnan(gap_s_NG)
        log_gap_NG = np.log1p(np.where(known_NG, gap_s_NG, 0.0))
        same_kind_NW = self.kind_NW[:, 1:] == self.kind_NW[:, :-1]
        columns = [
            *newest,
            count_NK / filled_N[:, None],
            _at_knots(log_gap_NG[:, -1], known_NG[:, -1]),
            known_NG,
            gap_s_NG == 0,
            log_gap_NG / 10,
            *(_run_features(true_NW) for true_NW in (self.gap_s_NW == 0, same_kind_NW, self.same_item_NW)),
            np.log1p(self.events_N)[:, None] / 5,
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)


def feature_count(kinds: int) -> int:
    """Return F, the number of features of a history, for a log with `kinds` kinds of event."""
    return (KINDS_IN_ORDER + 1) * kinds + KNOTS + 3 * GAPS + 3 * (RUNS + 1) + 1


def _run_features(true_NW: BoolArray) -> Float64Array:
    """Return features of the length of the run of true values at the end of each row, [N, RUNS + 1].

    They are the scaled logarithm of 1 + length, and a one-hot code of the lengths below `RUNS`.
    """
    length_N = np.cumprod(true_NW[:, ::-1], axis=1).sum(axis=1)
    found: Float64Array = np.column_stack(
        [np.log1p(length_N) / 3, *(length_N == short for short in range(RUNS))]
    )
    return found


def _at_knots(log_gap_N: Float64Array, known_N: AnyArray) -> Float64Array:
    """Return each gap in the piecewise linear basis with knots at 0, 1, 3, 7, ... seconds, [N, J]; 0 for an unknown gap."""
    place_N = np.minimum(log_gap_N / np.log(2), KNOTS - 1.001)
    weight_NJ = np.maximum(1 - np.abs(place_N[:, None] - np.arange(KNOTS)), 0.0)
    result: Float64Array = weight_NJ * known_N[:, None]
    return result
