"""The contracts of a column: a spec, and the fitted column that turns values into features.

Shape letters: M rows, F features of the column.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from reprise.arrays import AnyArray, Float32Array
from reprise.class_names import Trust
from reprise.content.item_rows import ItemRows
from reprise.content.table_rows import TableRows
from reprise.errors import DataError

Tensors = Mapping[str, AnyArray]
"""Arrays of a fitted column by name."""


class FitContext(NamedTuple):
    """What a spec may read when it is fitted."""

    rows: TableRows
    """The rows of the warm items. Cold items are not part of it."""
    train_end_ms: int
    """End of training in milliseconds since 1970."""


class FittedColumn(Protocol):
    """A column whose parameters were fitted on the warm items. Stored as JSON and arrays."""

    @property
    def spec(self) -> Any:
        """The spec that was fitted."""

    @property
    def width(self) -> int:
        """Number of features, F."""

    @property
    def explained(self) -> float:
        """Share of the variance that is left after compression; 1 without compression."""

    def encode(self, rows: ItemRows) -> Float32Array:
        """Return the features of some items, [M, F]; all 0 for an item without a value. Rows may have any length."""

    def state(self) -> dict[str, Any]:
        """Return the fitted parameters that are not arrays, as JSON values."""

    def tensors(self) -> dict[str, AnyArray]:
        """Return the fitted parameters that are arrays."""

    def describe(self) -> str:
        """Return how the column is read, for one line of a listing."""


@runtime_checkable
class ColumnSpec(Protocol):
    """A spec of a column of the item table."""

    @property
    def column(self) -> str:
        """Name of the column."""

    def other_columns(self) -> tuple[str, ...]:
        """Return the names of further columns that the features depend on."""

    def fit(self, context: FitContext) -> FittedColumn:
        """Fit the features on the rows of the warm items.

        Raises:
            DataError: The column holds values of another type, or no warm item has a value.
        """

    def restore(self, state: Mapping[str, Any], tensors: Tensors, trusted: Trust) -> FittedColumn:
        """Create the fitted column that `FittedColumn.state` and `FittedColumn.tensors` describe.

        Raises:
            DataError: The parameters do not fit together.
        """


def check_known(column: str, known: int) -> None:
    """Check that warm items have values.

    Raises:
        DataError: None of them has.
    """
    if not known:
        raise DataError(
            f"column {column!r} of the item table has no value for any item of the training part; fill it, or leave it out"
        )


def check_tensor(name: str, array: AnyArray, shape: tuple[int | None, ...]) -> AnyArray:
    """Return an array of a saved model after a check of its shape and its numbers.

    Raises:
        DataError: The shape differs (None accepts any length), or a number is not finite.
    """
    import numpy as np

    array = np.asarray(array)
    fits = array.ndim == len(shape) and all(
        expected is None or length == expected for length, expected in zip(array.shape, shape, strict=True)
    )
    if not fits:
        raise DataError(f"array {name!r} has the shape {array.shape}, expected {shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"array {name!r} has numbers that are not finite")
    return array
