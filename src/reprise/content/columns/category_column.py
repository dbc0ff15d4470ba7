"""Categories: one value, a list, or text with a separator, as indicators of the values.

Shape letters: M rows, N words of all rows, V values, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast, get_args

import numpy as np
from pydantic import Field

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import Trust
from reprise.config import spec
from reprise.content.column_spec import FitContext, Tensors, check_known, check_tensor
from reprise.content.columns.linear_compression import fit_svd
from reprise.content.item_rows import ItemRows, WordForm, WordLists
from reprise.errors import DataError


@spec
class Category:
    """A column of categories, encoded as one indicator per value, weighted by inverse document frequency.

    Rare values share one indicator, "other". A value that was not seen in training counts as "other", too; if there are no
    rare values, nothing is known about it, and it counts as missing.
    """

    column: str
    """Name of the column: text, numbers or booleans, or lists of them."""
    separator: str = ""
    """Character between the values in a text, such as the bar in `Action|Comedy`. Empty: a text is one value."""
    min_items: Annotated[int, Field(ge=1)] = 2
    """Number of warm items with a value from which it has its own indicator."""
    max_values: Annotated[int, Field(ge=1)] = 1000
    """Largest number of values with an indicator, most frequent first."""
    size: Annotated[int, Field(ge=1)] = 128
    """Largest number of features. More values are compressed by a truncated SVD if items have several; otherwise the
    most frequent values are kept."""

    def other_columns(self) -> tuple[str, ...]:
        """Return nothing: categories depend on their own column only."""
        return ()

    def fit(self, context: FitContext) -> "FittedCategory":
        """Fit the values, their weights and the compression."""
        form = context.rows.word_form(self.column, self.separator)
        lists = context.rows.words(self.column, form, self.separator)
        check_known(self.column, len(lists.words))
        several = len(lists.row_N) > 1.05 * len(np.unique(lists.row_N))
        count_V = np.bincount(lists.code_N, minlength=len(lists.words))
        frequent = [code for code in np.argsort(-count_V, kind="stable") if count_V[code] >= self.min_items]
        limit = self.max_values if several else min(self.max_values, max(1, self.size - 1))
        kept = frequent[:limit] or [int(count_V.argmax())]
        values = {lists.words[code]: position for position, code in enumerate(kept)}
        # the last indicator is that of all other values
        with_other = len(kept) < len(lists.words)
        indicators = len(values) + with_other
        unweighted = FittedCategory(self, form, values, np.ones(indicators, np.float32), None)
        matrix_MV = unweighted.indicators(lists, len(context.rows))
        items_V = np.asarray((matrix_MV > 0).sum(axis=0)).ravel()
        weight_V = (np.log((1 + len(context.rows)) / (1 + items_V)) + 1).astype(np.float32)
        weighted = FittedCategory(self, form, values, weight_V, None)
        component_VF, explained = fit_svd(weighted.indicators(lists, len(context.rows)), self.size)
        return FittedCategory(self, form, values, weight_V, component_VF, explained)

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> "FittedCategory":
        """Create the fitted column from its parameters."""
        values = {str(name): position for position, name in enumerate(state["values"])}
        if state["form"] not in get_args(WordForm):
            raise DataError(f"unknown form of categories {state['form']!r}")
        weight_V = check_tensor("weights", tensors["weights"], (None,))
        if len(weight_V) - len(values) not in (0, 1):
            raise DataError(f"array 'weights' has {len(weight_V)} numbers for {len(values)} values")
        component_VF = None
        if "components" in tensors:
            component_VF = check_tensor("components", tensors["components"], (len(weight_V), None))
        form = cast(WordForm, state["form"])
        return FittedCategory(self, form, values, weight_V, component_VF, float(state["explained"]))


@dataclass(frozen=True, eq=False)
class FittedCategory:
    """A fitted column of categories. Meets `FittedColumn`."""

    spec: Category
    """The spec."""
    form: WordForm
    """How the column holds categories."""
    values: dict[str, int]
    """Position of each value among the indicators."""
    weight_V: Float32Array
    """Weight of each indicator; one more than there are values if the last one is "other"."""
    component_VF: Float32Array | None
    """Components of the truncated SVD; None if there are few values."""
    explained: float = 1.0
    """Share of the variance that is left after compression."""

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.weight_V) if self.component_VF is None else self.component_VF.shape[1]

    def indicators(self, lists: WordLists, rows: int) -> Any:
        """Return the weighted indicators of the categories of each row as a sparse matrix, [M, V], in rows of length 1."""
        from scipy.sparse import csr_matrix
        from sklearn.preprocessing import normalize

        other = len(self.values) if len(self.weight_V) > len(self.values) else -1
        position_of = np.array([self.values.get(word, other) for word in lists.words], np.int64)
        position_N = position_of[lists.code_N] if len(lists.words) else lists.code_N
        known_N = position_N >= 0
        pair_N = np.unique(lists.row_N[known_N] * len(self.weight_V) + position_N[known_N])
        row_N, position_N = np.divmod(pair_N, len(self.weight_V))
        shape = (rows, len(self.weight_V))
        return normalize(csr_matrix((self.weight_V[position_N], (row_N, position_N)), shape))

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the features of the categories, [M, F]."""
        lists = rows.words(self.spec.column, self.form, self.spec.separator)
        matrix_MV = self.indicators(lists, len(rows))
        dense = matrix_MV.toarray() if self.component_VF is None else matrix_MV @ self.component_VF
        return np.asarray(dense, np.float32)

    def state(self) -> dict[str, Any]:
        """Return the values, the form of the column and the explained variance."""
        return {"form": self.form, "values": list(self.values), "explained": self.explained}

    def tensors(self) -> dict[str, AnyArray]:
        """Return the weights and the components."""
        components = {} if self.component_VF is None else {"components": self.component_VF}
        return {"weights": self.weight_V, **components}

    def describe(self) -> str:
        """Return the number of values."""
        form = {
            "one": "category",
            "list": "list of categories",
            "split": f"categories split at {self.spec.separator!r}",
        }
        other = " and other" if len(self.weight_V) > len(self.values) else ""
        return f"{form[self.form]}, {len(self.values):,} values{other}"
