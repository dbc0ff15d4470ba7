"""Fitted content: the features of items from their columns, for the items of a dataset and for new ones at run time.

Shape letters: M items, F features of all columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from reprise.argument_checks import listed
from reprise.arrays import AnyArray, BoolArray, Float32Array
from reprise.class_names import Trust
from reprise.config import from_dict, to_dict
from reprise.content.column_spec import FittedColumn
from reprise.content.columns.hat_functions import scale_rows
from reprise.content.item_rows import ItemRows
from reprise.content.mapping_rows import MappingRows
from reprise.content.table_rows import TableRows
from reprise.data.io.arrow_columns import Table
from reprise.errors import ArtefactError, ConfigError

FORMAT = 1
"""Version of the stored form."""
BLOCK_ROWS = 16_384
"""Number of rows that are encoded together, so that memory does not grow with the intermediate results."""


class ContentBlock(NamedTuple):
    """The features of one column."""

    column: str
    """Name of the column."""
    first: int
    """Position of its first feature."""
    last: int
    """Position after its last feature."""
    explained: float
    """Share of the variance that is left after compression; 1 without compression."""


@dataclass(frozen=True, eq=False)
class FittedContent:
    """The features of items: one block for each column, each of length 1, or 0 if the item has no value there."""

    NO_CONTENT: ClassVar[float] = -1.0
    """Bias of an item with neither content nor a learned vector, in cosines: the least possible cosine."""

    columns: tuple[FittedColumn, ...]
    """The fitted columns."""

    @cached_property
    def blocks(self) -> tuple[ContentBlock, ...]:
        """The features of each column."""
        ends = np.cumsum([column.width for column in self.columns]).tolist()
        return tuple(
            ContentBlock(column.spec.column, end - column.width, end, column.explained)
            for column, end in zip(self.columns, ends, strict=True)
        )

    @property
    def width(self) -> int:
        """Number of features, F."""
        return self.blocks[-1].last

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """Name of the column of each feature, [F]."""
        return tuple(block.column for block in self.blocks for _ in range(block.first, block.last))

    def encode(self, table: Table) -> Float32Array:
        """Return the features of the rows of a table, [M, F]. A missing column or value has features 0.

        Raises:
            DataError: A column holds values of another type than in training.
        """
        feature_MF = np.empty((table.num_rows, self.width), np.float32)
        for rows in TableRows(table).blocks(BLOCK_ROWS):
            feature_MF[rows.first : rows.first + len(rows)] = self._encode(rows)
        return feature_MF

    def encode_values(self, rows: Sequence[Mapping[str, Any]]) -> Float32Array:
        """Return the features of items given as mappings from column to value, [M, F].

        A column that is missing, None or NaN has features 0. Keys that no column reads are ignored.

        Raises:
            DataError: A value has a wrong type; the message names the item, the column and the value.
        """
        return self._encode(MappingRows(listed("rows", rows, "mappings from column to value")))

    def _encode(self, rows: ItemRows) -> Float32Array:
        if not len(rows):
            return np.zeros((0, self.width), np.float32)
        return np.concatenate([scale_rows(column.encode(rows)) for column in self.columns], axis=1)

    def is_described(self, feature_MF: Float32Array) -> BoolArray:
        """Return whether some column of each item has a value that says something, [M]."""
        described_M: BoolArray = np.any(feature_MF != 0, axis=1)
        return described_M

    def describe(self) -> list[str]:
        """Return one line for each column: how it is read, its number of features and the explained variance."""
        return [
            f"{block.column}: {column.describe()}, {column.width} feature{'s' * (column.width != 1)}"
            + (f", {block.explained:.0%} of the variance" if block.explained < 1 else "")
            for column, block in zip(self.columns, self.blocks, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything except the arrays, as JSON values."""
        columns = [{"spec": to_dict(column.spec), "state": column.state()} for column in self.columns]
        return {"format": FORMAT, "columns": columns}

    def to_tensors(self) -> dict[str, AnyArray]:
        """Return the arrays by name, such as `0.components` for the first column."""
        return {
            f"{position}.{name}": array
            for position, column in enumerate(self.columns)
            for name, array in column.tensors().items()
        }

    @classmethod
    def restore(
        cls, data: Mapping[str, Any], tensors: Mapping[str, AnyArray], *, trusted: Trust = False
    ) -> "FittedContent":
        """Return the fitted content that `to_json` and `to_tensors` describe.

        Args:
            data: Result of `to_json`.
            tensors: Result of `to_tensors`.
            trusted: Whether encoders outside this package may be imported, which runs their code.

        Raises:
            ArtefactError: The format is unknown, or the values do not fit together.
            ConfigError: An encoder is not trusted, or cannot be found.
        """
        if data.get("format") != FORMAT:
            raise ArtefactError(
                f"the content has format {data.get('format')!r}, this version reads {FORMAT}; train the model again"
            )
        try:
            columns = [
                from_dict(entry["spec"], trusted=trusted).restore(
                    entry["state"], _tensors_of(position, tensors), trusted
                )
                for position, entry in enumerate(data["columns"])
            ]
        except ConfigError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ArtefactError(
                f"the content of the model is damaged ({type(error).__name__}: {error}); export it again"
            ) from None
        if not columns:
            raise ArtefactError("the content of the model has no columns; export it again")
        return cls(tuple(columns))


def _tensors_of(position: int, tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    start = f"{position}."
    return {name.removeprefix(start): array for name, array in tensors.items() if name.startswith(start)}
