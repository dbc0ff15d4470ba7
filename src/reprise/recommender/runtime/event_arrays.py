"""Events as columns of numbers: those of one user in order, or one of each of several users.

Shape letters: E events.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.arrays import AnyArray


@dataclass(frozen=True)
class EventArrays:
    """What a network may read of E events."""

    item: AnyArray
    """Item indices, int64."""
    time_s: AnyArray
    """Seconds since 1970, float64; NaN where the time is not known."""
    kind: AnyArray
    """Positions among the kinds of the log, int64."""
    value: AnyArray
    """float32; NaN where there is none."""

    @classmethod
    def of_items(cls, item: AnyArray, kind: int = 0) -> "EventArrays":
        """Events of which only the items are known."""
        count = len(item)
        return cls(
            item=np.asarray(item, dtype=np.int64),
            time_s=np.full(count, np.nan),
            kind=np.full(count, kind, dtype=np.int64),
            value=np.full(count, np.nan, dtype=np.float32),
        )

    @classmethod
    def joined(cls, several: Sequence["EventArrays"]) -> "EventArrays":
        """The events of all of them, one after another."""
        parts = [cls.of_items(np.empty(0)), *several]
        return cls(
            *(np.concatenate(columns) for columns in zip(*(part.columns for part in parts), strict=True))
        )

    @property
    def columns(self) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray]:
        """Item, time, kind and value."""
        return self.item, self.time_s, self.kind, self.value

    def __len__(self) -> int:
        return len(self.item)

    def take(self, which: AnyArray) -> "EventArrays":
        """Some of the events, by position."""
        return EventArrays(*(column[which] for column in self.columns))
