"""Dates: the age at the end of training on a log scale, and the place in the year and in the week.

Shape letters: M rows, K knots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from reprise.arrays import AnyArray, Float32Array, Float64Array
from reprise.class_names import Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, Tensors, check_known, check_tensor
from reprise.content.columns.hat_functions import even_knots, hat_features
from reprise.content.item_rows import ItemRows

DAY_MS = 86_400_000
CYCLES = {"month": 365.2425, "weekday": 7.0}
"""Length of each cycle in days."""


@spec
class Date:
    """A column of dates or times: timestamps, ISO 8601 text, or numbers since 1970.

    The age counts from the end of training. A date after it, as of a new item, counts as age 0.
    """

    column: str
    """Name of the column."""
    knots: Annotated[int, Field(ge=2, le=256)] = 8
    """Largest number of knots of the age, at equal steps of log(1 + days)."""
    cycles: tuple[Literal["month", "weekday"], ...] = ("month", "weekday")
    """Cycles whose phase is a feature: the time of the year, and the day of the week."""

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: dates depend on their own column only."""
        return ()

    def fit(self, context: FitContext) -> "FittedDate":
        """Fit the knots of the age."""
        per_second = context.rows.time_unit(self.column)
        unplaced = FittedDate(self, np.zeros(1), context.train_end_ms, per_second)
        age_M = unplaced.log_age(unplaced.times_ms(context.rows))
        known_N = age_M[~np.isnan(age_M)]
        check_known(self.column, len(known_N))
        return FittedDate(self, even_knots(known_N, (0, 1), self.knots), context.train_end_ms, per_second)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedDate":
        """Create the fitted column from its parameters."""
        knot_K = check_tensor("knots", tensors["knots"], (None,))
        return FittedDate(self, knot_K, int(state["train_end_ms"]), int(state["per_second"]))


@dataclass(frozen=True, eq=False)
class FittedDate:
    """A fitted column of dates. Meets `FittedColumn`."""

    spec: Date
    """The spec."""
    knot_K: Float64Array
    """Ascending knots of log(1 + days)."""
    train_end_ms: int
    """End of training in milliseconds since 1970."""
    per_second: int
    """Unit of times that are numbers; 0 if times are dates or text."""

    explained: float = 1.0
    """Nothing is compressed."""

    @property
    def width(self) -> int:
        """Number of features: those of the age, and two for each cycle."""
        return len(self.knot_K) + 2 * len(self.spec.cycles)

    def times_ms(self, rows: ItemRows) -> Float64Array:
        """Return the times in milliseconds since 1970, [M]; NaN for a missing or infinite one."""
        time_ms_M = rows.times_ms(self.spec.column, self.per_second)
        return np.where(np.isfinite(time_ms_M), time_ms_M, np.nan)

    def log_age(self, time_ms_M: Float64Array) -> Float64Array:
        """Return log(1 + days before the end of training), [M]."""
        logged: Float64Array = np.log1p(np.maximum(self.train_end_ms - time_ms_M, 0) / DAY_MS)
        return logged

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the hat functions of the age, and the sine and cosine of each phase, [M, F]."""
        time_ms_M = self.times_ms(rows)
        parts = [hat_features(self.log_age(time_ms_M), self.knot_K)]
        for cycle in self.spec.cycles:
            angle_M = 2 * np.pi * ((time_ms_M / DAY_MS) % CYCLES[cycle]) / CYCLES[cycle]
            parts.append(
                np.nan_to_num(np.stack([np.sin(angle_M), np.cos(angle_M)], axis=1)).astype(np.float32)
            )
        return np.concatenate(parts, axis=1)

    def state(self) -> dict[str, Any]:
        """Return the end of training and the unit of times."""
        return {"train_end_ms": self.train_end_ms, "per_second": self.per_second}

    def tensors(self) -> dict[str, AnyArray]:
        """Return the knots."""
        return {"knots": self.knot_K}

    def describe(self) -> str:
        """Return the parts of the encoding."""
        cycles = "".join(f", {cycle}" for cycle in self.spec.cycles)
        return f"date, age in days by log{cycles}"
