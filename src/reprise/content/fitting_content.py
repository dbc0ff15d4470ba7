"""Fitting of the features of items on the rows of the warm items."""

from collections.abc import Sequence
from typing import Any

from reprise.argument_checks import listed, shown
from reprise.config import is_spec
from reprise.content.column_detection import find_columns
from reprise.content.column_spec import ColumnSpec, FitContext
from reprise.content.fitted_content import FittedContent
from reprise.content.table_rows import TableRows
from reprise.data.dataset import SequenceDataset, check_dataset
from reprise.data.feature_dates import training_end_ms
from reprise.data.io.arrow_columns import Table
from reprise.errors import ConfigError, DataError, did_you_mean


def fit_content(columns: Sequence[Any], dataset: SequenceDataset) -> FittedContent:
    """Fit the features of items on the rows of the items of the training part.

    The rows of cold items are not read, so nothing of the later parts enters the features.

    Args:
        columns: Specs such as `Text("title")`, or names of columns, whose specs are then detected. Empty: all columns
            that `detect_columns` finds.
        dataset: A dataset with an item table.

    Raises:
        ConfigError: A column is unknown, or is not of a kind that can be detected.
        DataError: A column has no value for any warm item, or values of another type, or no column was detected.
    """
    warm = check_dataset(dataset).table.slice(0, dataset.items.warm)
    if not warm.num_rows:
        raise DataError("the training part has no items, so features cannot be fitted; check the split")
    specs = choose_columns(listed("columns", columns, "column specs or names"), warm)
    context = FitContext(TableRows(warm), training_end_ms(dataset))
    return FittedContent(tuple(one.fit(context) for one in specs))


def choose_columns(columns: Sequence[Any], table: Table) -> list[ColumnSpec]:
    """Return the spec of each column, detected if only its name is given; all detected ones if none is given.

    Raises:
        ConfigError: A column is unknown, or is not of a kind that can be detected.
        DataError: No column was detected.
    """
    names = table.column_names
    if not columns:
        specs = [one.spec for one in find_columns(table) if one.spec is not None]
        if not specs:
            raise DataError(
                f"no column of the item table describes an item ({', '.join(names)}); prepare the dataset with an item "
                "table that has titles, categories, numbers, dates or vectors (--items FILE)"
            )
        return specs
    found = (
        {one.column: one for one in find_columns(table)}
        if any(isinstance(one, str) for one in columns)
        else {}
    )
    chosen: list[ColumnSpec] = []
    for column in columns:
        if not isinstance(column, str) and not (is_spec(column) and isinstance(column, ColumnSpec)):
            raise ConfigError(
                f"columns must be names or column specs such as Text('title'), got {shown(column)}"
            )
        needed = [column] if isinstance(column, str) else [column.column, *column.other_columns()]
        for name in needed:
            if name not in names:
                raise ConfigError(f"the item table has no column {name!r}{did_you_mean(name, names)}")
        if not isinstance(column, str):
            chosen.append(column)
        elif (detected := found[column].spec) is not None:
            chosen.append(detected)
        else:
            raise ConfigError(
                f"column {column!r} of the item table is left out: {found[column].reason}; "
                f"correct the column, or declare how to read it, for example Category({column!r})"
            )
    return chosen
