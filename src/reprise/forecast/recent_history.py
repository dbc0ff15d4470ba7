"""The end of a history as a forecast reads it: kinds, gaps between events and repeated items of the last events.

All events count, also those of items that the network has no vector for: their kind and time are known.

Shape letters: N histories, W last events (newest last), T events of one history, E events of a log, K kinds, F features,
J knots.
"""

from typing import NamedTuple

import numpy as np

from reprise.arrays import AnyArray, BoolArray, Float32Array, Float64Array

WINDOW = 32
"""W: number of last events that are read."""
GAPS = 8
"""Number of newest gaps that are features of their own."""
KINDS_IN_ORDER = 2
"""Number of newest events whose kind is a feature of its own; of the others the share of each kind is read."""
RUNS = 4
"""Number of shortest lengths of a run that have a feature of their own."""
NO_KIND = -1
"""Kind of a place without an event."""
KNOTS = 26
"""J: number of knots of the newest gap, one for each doubling of 1 + seconds, up to a year."""


class RecentHistory(NamedTuple):
    """The last W events of each of N histories, newest last."""

    kind_NW: AnyArray
    """Kinds of the events, int64; `NO_KIND` if a history has fewer than W events."""
    gap_s_NW: Float64Array
    """Seconds from the event before to each event; NaN if there is none, or if a time is unknown."""
    same_item_NW: BoolArray
    """Whether each event has the item of the event before."""
    events_N: AnyArray
    """Number of events of each history, int64."""

    @classmethod
    def of_events(cls, item_T: AnyArray, kind_T: AnyArray, time_s_T: AnyArray) -> "RecentHistory":
        """Return the end of one history.

        Args:
            item_T: A number for each different item of the events, oldest first; the items need not be known.
            kind_T: Kinds of the events.
            time_s_T: Times in seconds since 1970; NaN: unknown.
        """
        return cls.before(np.array([len(item_T)]), np.zeros(1, dtype=np.int64), item_T, kind_T, time_s_T)

    @classmethod
    def before(
        cls, position_N: AnyArray, first_N: AnyArray, item_E: AnyArray, kind_E: AnyArray, time_s_E: AnyArray
    ) -> "RecentHistory":
        """Return the events before some positions of a log.

        Args:
            position_N: Positions in the log.
            first_N: Position of the first event of the history that each position belongs to.
            item_E: Items of the events of the log.
            kind_E: Their kinds.
            time_s_E: Their times in seconds since 1970; NaN: unknown.
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

    def take(self, row_M: AnyArray) -> "RecentHistory":
        """Return some of the histories."""
        return RecentHistory(
            self.kind_NW[row_M], self.gap_s_NW[row_M], self.same_item_NW[row_M], self.events_N[row_M]
        )

    def features(self, kinds: int) -> Float32Array:
        """Return the features of each history, [N, F] with F = `feature_count(kinds)`.

        They are the kinds of the newest events (one-hot), the share of each kind in the window, the newest gap as weights of
        two neighbouring knots, of each of the newest gaps whether it is known, whether it is 0 and log(1 + gap), the lengths
        of the runs at the end of the history of gaps of 0, of one kind and of one item, and the number of events.
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
    """Return F, the number of features of a history in a log with this many kinds."""
    return (KINDS_IN_ORDER + 1) * kinds + KNOTS + 3 * GAPS + 3 * (RUNS + 1) + 1


def _run_features(true_NW: BoolArray) -> Float64Array:
    """Return the number of newest places that are all true, as its logarithm and as one-hot for 0 to 3, [N, RUNS + 1]."""
    length_N = np.cumprod(true_NW[:, ::-1], axis=1).sum(axis=1)
    found: Float64Array = np.column_stack(
        [np.log1p(length_N) / 3, *(length_N == short for short in range(RUNS))]
    )
    return found


def _at_knots(log_gap_N: Float64Array, known_N: AnyArray) -> Float64Array:
    """Return the weights of the knots 0, 1, 3, 7, ... seconds for gaps, [N, J]; all are 0 if a gap is unknown."""
    place_N = np.minimum(log_gap_N / np.log(2), KNOTS - 1.001)
    weight_NJ = np.maximum(1 - np.abs(place_N[:, None] - np.arange(KNOTS)), 0.0)
    result: Float64Array = weight_NJ * known_N[:, None]
    return result
