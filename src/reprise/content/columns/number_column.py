"""Numbers: a robust scale by ranks or logarithms, relative to a category if wanted.

Shape letters: M rows, K knots, G groups.
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
from reprise.content.columns.hat_functions import (
    MAX_NUMBER,
    even_knots,
    hat_features,
    quantile_knots,
    signed_log,
)
from reprise.content.item_rows import ItemRows
from reprise.errors import ConfigError

MIN_GROUP = 5
"""Smallest number of items of a category whose own median counts; others have the median of all items."""


@spec
class Number:
    """A column of numbers, encoded by hat functions at knots, so that a linear map of the features can bend at each knot.

    A missing value has no features, so it is different from every number. Outliers are clipped at stated quantiles.
    """

    column: str
    """Name of the column."""
    scaling: Literal["quantile", "log"] = "quantile"
    """Position of the knots: at equal steps of rank, or of sign(x) log(1 + |x|)."""
    clip: tuple[float, float] = (0.01, 0.99)
    """Quantiles of the warm items at which values are clipped."""
    knots: Annotated[int, Field(ge=2, le=256)] = 8
    """Largest number of knots, which is the number of features."""
    per: str = ""
    """Column of categories: the number counts relative to the median of its category, on the scale of logarithms.
    For example the price of a lamp relative to other lamps. Empty: as it is."""

    def __post_init__(self) -> None:
        if not 0 <= self.clip[0] < self.clip[1] <= 1:
            raise ConfigError(f"clip must be two ascending quantiles between 0 and 1, got {self.clip}")

    def other_columns(self) -> tuple[str, ...]:
        """Return the column of categories."""
        return (self.per,) if self.per else ()

    def fit(self, context: FitContext) -> "FittedNumber":
        """Fit the knots, and the medians of the categories."""
        number_M = context.rows.numbers(self.column)
        check_known(self.column, int(np.count_nonzero(~np.isnan(number_M))))
        groups, median_G = _medians(self, context.rows, number_M)
        unplaced = FittedNumber(self, np.zeros(1), groups, median_G)
        scaled_M = unplaced.scaled(context.rows)
        known_N = scaled_M[~np.isnan(scaled_M)]
        place = even_knots if self.scaling == "log" else quantile_knots
        return FittedNumber(self, place(known_N, self.clip, self.knots), groups, median_G)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedNumber":
        """Create the fitted column from its parameters."""
        groups = {str(name): position for position, name in enumerate(state["groups"])}
        knot_K = check_tensor("knots", tensors["knots"], (None,))
        median_G = check_tensor("medians", tensors["medians"], (len(groups) + 1,))
        return FittedNumber(self, knot_K, groups, median_G)


def _medians(number: Number, rows: ItemRows, number_M: Float64Array) -> tuple[dict[str, int], Float64Array]:
    """Return the position of each category and the median of each on the log scale; last the median of all items."""
    logged_M = signed_log(number_M.clip(-MAX_NUMBER, MAX_NUMBER))
    median_of = {"": float(np.nanmedian(logged_M))}
    if number.per:
        row_N, code_N, words = rows.words(number.per, "one", "")
        for code, word in enumerate(words):
            member_N = logged_M[row_N[code_N == code]]
            member_N = member_N[~np.isnan(member_N)]
            if len(member_N) >= MIN_GROUP:
                median_of[word] = float(np.median(member_N))
    overall = median_of.pop("")
    return {word: position for position, word in enumerate(median_of)}, np.array(
        [*median_of.values(), overall]
    )


@dataclass(frozen=True, eq=False)
class FittedNumber:
    """A fitted column of numbers. Meets `FittedColumn`."""

    spec: Number
    """The spec."""
    knot_K: Float64Array
    """Ascending knots."""
    groups: dict[str, int]
    """Position of each category in `median_G`."""
    median_G: Float64Array
    """Median of each category on the log scale; the last one is that of all items."""

    explained: float = 1.0
    """Nothing is compressed."""

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.knot_K)

    def scaled(self, rows: ItemRows) -> Float64Array:
        """Return the numbers on the scale of the knots, [M]."""
        number_M = rows.numbers(self.spec.column).clip(-MAX_NUMBER, MAX_NUMBER)
        if not self.spec.per and self.spec.scaling == "quantile":
            return number_M
        logged_M = signed_log(number_M)
        if not self.spec.per:
            return logged_M
        group_M = np.full(len(rows), len(self.groups))
        row_N, code_N, words = rows.words(self.spec.per, "one", "")
        group_of = np.array([self.groups.get(word, len(self.groups)) for word in words], np.int64)
        if len(words):
            group_M[row_N] = group_of[code_N]
        relative_M: Float64Array = logged_M - self.median_G[group_M]
        return relative_M

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the hat functions of the numbers, [M, K]."""
        return hat_features(self.scaled(rows), self.knot_K)

    def state(self) -> dict[str, Any]:
        """Return the categories."""
        return {"groups": list(self.groups)}

    def tensors(self) -> dict[str, AnyArray]:
        """Return the knots and the medians."""
        return {"knots": self.knot_K, "medians": self.median_G}

    def describe(self) -> str:
        """Return the scale and the knots."""
        relative = f", relative to the median of its {self.spec.per!r}" if self.spec.per else ""
        ends = (
            ""
            if self.spec.per or self.spec.scaling == "log"
            else f" from {self.knot_K[0]:.6g} to {self.knot_K[-1]:.6g}"
        )
        return f"number, {self.width} knots by {self.spec.scaling}{ends}{relative}"
