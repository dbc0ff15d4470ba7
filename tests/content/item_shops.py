"""Datasets whose items are described by a given table."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.content.column_spec import FitContext, FittedColumn
from reprise.content.table_rows import TableRows
from reprise.data import SequenceDataset
from reprise.testing.worlds import DAY_MS, world


def shop(cold: int = 0, **columns: Any) -> SequenceDataset:
    """Return a dataset whose item table has these columns; the last `cold` items do not occur in training."""
    rows = len(next(iter(columns.values())))
    ids = [f"i{row:03}" for row in range(rows)]
    # every warm item once in training, then one event for validation and one for test
    dataset = world([[*ids[: rows - cold], ids[0], *(ids[-cold:] if cold else ids[:1])]], test=max(1, cold))
    assert dataset.items.ids.tolist() == ids and dataset.items.warm == rows - cold
    table = pa.table({"item_id": dataset.table["item_id"], "count": dataset.table["count"], **columns})
    return replace(dataset, table=table)


def fitted(spec: Any, values: Any, train_end_ms: int = 100 * DAY_MS, **others: Any) -> FittedColumn:
    """Return the spec, fitted on a table with these values in its column."""
    rows = TableRows(pa.table({spec.column: values, **others}))
    column: FittedColumn = spec.fit(FitContext(rows, train_end_ms))
    return column


def features(column: FittedColumn, values: Any, **others: Any) -> np.ndarray:
    """Return the features of a table with these values in the column, [M, F]."""
    return column.encode(TableRows(pa.table({column.spec.column: values, **others})))
