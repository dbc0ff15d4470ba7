"""Events as columns of numbers: the events of one user in order, or one event of each of several users.

Shape letters: E events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray


@dataclass(frozen=True)
class EventArrays:
    """Everything that a network may read of E events."""

    item: AnyArray
    """Item indices, int64."""
    time_s: AnyArray
    """Seconds since 1970, float64; NaN if the time is not known."""
    kind: AnyArray
    """Codes of the kinds of event, int64: positions in the model's list of kinds."""
    value: AnyArray
    """Numeric values of the events, float32; NaN for an event without a value."""

    @classmethod
    def of_items(cls, item: AnyArray, kind: int = 0) -> "EventArrays":
        """Return events with these items, without times and values."""
        count = len(item)
        return cls(
            item=np.asarray(item, dtype=np.int64),
            time_s=np.full(count, np.nan),
            kind=np.full(count, kind, dtype=np.int64),
            value=np.full(count, np.nan, dtype=np.float32),
        )

    @classmethod
    def concatenate(cls, parts: Sequence["EventArrays"]) -> "EventArrays":
        """Return the events of all parts, one part after another."""
        # an empty part first, so that no parts at all give empty columns of the right types
        columns = zip(*(part.columns for part in [cls.of_items(np.empty(0)), *parts]), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @property
    def columns(self) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
        """The columns `item`, `time_s`, `kind` and `value`."""
        return self.item, self.time_s, self.kind, self.value

    def __len__(self) -> int:
        return len(self.item)

    def take(self, positions: AnyArray) -> "EventArrays":
        """Return the events at these positions."""
        return EventArrays(*(column[positions] for column in self.columns))
