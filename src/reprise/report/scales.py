"""Where a value stands on an axis, and which values are written there."""

import math
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
TIMES = {
    0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1.0: "1 s", 10.0: "10 s", 60.0: "1 min", 600.0: "10 min",
    3600.0: "1 h", 36_000.0: "10 h", 86_400.0: "1 day", 864_000.0: "10 days",
}  # fmt: skip
"""Moments of a logarithmic axis of seconds, as people call them."""


@dataclass(frozen=True)
class Scale:
    """From the values `low`..`high` to the pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        assert self.low < self.high and (not self.log or self.low > 0)

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """(value, how it is written) of round values inside."""
        step = nice_step(self.high - self.low, about)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        if not math.isclose(step, round(step, digits)):
            digits += 1
        return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]

    def times(self) -> list[tuple[float, str]]:
        """As `ticks`, of a logarithmic axis of seconds."""
        return [(value, word) for value, word in TIMES.items() if self.low <= value <= self.high]


def nice_step(span: float, about: int) -> float:
    """A round number of which about so many make a span."""
    rough = span / about
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(step * unit for step in STEPS if step * unit >= rough * (1 - 1e-9))


def around(values: list[float], *, zero: bool = False) -> tuple[float, float]:
    """(low, high) with a little room around some values; `zero`: from zero on."""
    low, high = (0.0 if zero else min(values)), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero else low - room), high + room


def around_times(seconds: list[float]) -> tuple[float, float]:
    """(low, high) of a logarithmic axis with two words of `TIMES` on it at least."""
    low, high = min(seconds) / 2, max(seconds) * 2
    while sum(low <= value <= high for value in TIMES) < 2 and (low > min(TIMES) or high < max(TIMES)):
        low, high = low / 2, high * 2
    return low, high
