"""Rules that turn the events of a user into a sequence: those of `prepare`, for the histories of requests.

`prepare` drops duplicates and divides users into sessions. A network has learned from the result, so a history has to be
cleaned in the same way before the network reads it. Shape letters: E events of one history, in the order of time.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from typing import Any

import numpy as np

from reprise.argument_checks import shown
from reprise.arrays import AnyArray, Float64Array, Int64Array
from reprise.data.dataset import EVENT
from reprise.data.timestamps import parse_duration
from reprise.errors import DataError


@dataclass(frozen=True)
class HistoryRules:
    """How the log of a dataset was cleaned, as far as it applies to a single history. The defaults change nothing."""

    drop_duplicates: bool = False
    """Whether to remove repeated events: those with the item, time and kind of an earlier event. An event without a time is
    never removed."""
    session_gap_ms: int | None = None
    """Longest pause within a session, in milliseconds. After a longer one, only the events since then are the history.
    None: the whole history is one sequence."""
    has_kinds: bool = True
    """Whether the log had a column of kinds. Without one, events of different kinds are duplicates too."""
    sequence_by: str | None = None
    """Column that defined the sequences of the log: `user` or `session`. None: not recorded."""

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "HistoryRules":
        """Return the rules of a dataset from its `facts`; without a record of `prepare`, the rules change nothing."""
        options = facts.get("options")
        if not isinstance(options, Mapping):
            return cls()
        gap = options.get("session_gap")
        sequences = {"user": "user", "session": "session", "session_gap": "user"}
        return cls(
            drop_duplicates=options.get("duplicates") == "drop",
            session_gap_ms=None if gap is None else parse_duration(gap),
            has_kinds="kind" in facts.get("columns", ["kind"]),
            sequence_by=sequences.get(facts.get("sequence_by", "")),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "HistoryRules":
        """Return rules from the values of `to_dict`; None, as in a model that has no record of them, changes nothing.

        Raises:
            DataError: The values are not those of `to_dict`.
        """
        if values is None:
            return cls()
        known = isinstance(values, Mapping) and values.keys() <= VALUES_OF_RULES.keys()
        if not known or not all(VALUES_OF_RULES[name](value) for name, value in values.items()):
            raise DataError(f"{shown(values)} are not rules of histories; export the model again")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)

    def select(
        self,
        time_ms_E: Float64Array,
        items: Sequence[Hashable] | AnyArray,
        kinds: Sequence[object] | AnyArray | None = None,
    ) -> Int64Array:
        """Return the positions of the events to read, ascending.

        Of repeated events the first one is kept. A pause of exactly `session_gap_ms` does not start a new session. An
        event without a time is not a duplicate and does not start a session; a later session leaves it out.

        Args:
            time_ms_E: Time of each event in milliseconds since 1970, not descending; NaN if it is not known.
            items: Item of each event: ids or indices. Unknown items take part, because the log has them too.
            kinds: Kind of each event; None for an event without a kind. Without this argument no event has one.
        """
        kept_E = np.ones(len(time_ms_E), dtype=np.bool_)
        timed = np.flatnonzero(~np.isnan(time_ms_E))
        if self.session_gap_ms is not None:
            begins = timed[1:][np.diff(time_ms_E[timed]) > self.session_gap_ms]
            kept_E[: begins[-1] if len(begins) else 0] = False
        if self.drop_duplicates:
            kept_E[self._repeated(time_ms_E, timed, items, kinds)] = False
        return np.flatnonzero(kept_E)

    def _repeated(
        self,
        time_ms_E: Float64Array,
        timed: Int64Array,
        items: Sequence[Hashable] | AnyArray,
        kinds: Sequence[object] | AnyArray | None,
    ) -> list[int]:
        """Return the positions, among the events with a time, of those that repeat an earlier one."""
        # most events have a time of their own and need no comparison
        same = np.diff(time_ms_E[timed], prepend=nan, append=nan) == 0
        tied = timed[same[:-1] | same[1:]]
        seen: set[tuple[float, tuple[Hashable, str]]] = set()
        repeated = []
        for position in tied.tolist():
            kind = None if kinds is None else kinds[position]
            key = float(time_ms_E[position]), self.key(items[position], kind)
            if key in seen:
                repeated.append(position)
            seen.add(key)
        return repeated

    def key(self, item: Hashable, kind: object) -> tuple[Hashable, str]:
        """Return a key that is equal for events of equal times if they are duplicates under these rules."""
        return event_key(item, kind if self.has_kinds else None)

    def starts_session(self, last_ms: float, time_ms: float) -> bool:
        """Return whether an event starts a new session, given the time of the last event before it that has one.

        The answer is False if one of the times is not known: NaN or infinite.
        """
        if self.session_gap_ms is None or not (isfinite(last_ms) and isfinite(time_ms)):
            return False
        return time_ms - last_ms > self.session_gap_ms


VALUES_OF_RULES: Mapping[str, Callable[[Any], bool]] = {
    "drop_duplicates": lambda value: isinstance(value, bool),
    "session_gap_ms": lambda value: value is None or (type(value) is int and value > 0),
    "has_kinds": lambda value: isinstance(value, bool),
    "sequence_by": lambda value: value in (None, "user", "session"),
}
"""Tests of the values of the rules in a saved model."""
NO_RULES = HistoryRules()
"""Rules that change no history."""


def event_key(item: Hashable, kind: object) -> tuple[Hashable, str]:
    """Return the item and the name of the kind of an event; no kind means the kind `EVENT`."""
    return item, EVENT if kind is None else str(kind)


def round_to_ms(time_s: Any) -> Any:
    """Return seconds as whole milliseconds, rounded as `prepare` rounds them; NaN stays NaN."""
    return np.floor(np.multiply(time_s, 1000.0) + 0.5)
