"""Fitting of the features of users on the rows of the sequences with training events."""

import numpy as np

from reprise.content.column_spec import FitContext
from reprise.content.fitted_content import FittedContent
from reprise.content.fitting_content import choose_columns
from reprise.content.table_rows import TableRows
from reprise.data.dataset import SequenceDataset
from reprise.data.feature_dates import training_end_ms
from reprise.errors import ConfigError, DataError, did_you_mean


def fit_users(columns: tuple[str, ...], dataset: SequenceDataset) -> FittedContent:
    """Fit the features of users: how each column of the user table is read is detected, as for columns of items.

    Args:
        columns: Names of columns of the user table.
        dataset: A dataset with a user table.

    Raises:
        ConfigError: A column is unknown, or is not of a kind that can be detected.
        DataError: The dataset has no user table, or a column has no value in the training part.
    """
    if dataset.user_table is None:
        raise DataError(
            f"the network reads {', '.join(columns)} of users, but the dataset has no user table; prepare it with "
            "users=TABLE (--users FILE), or leave out `users`"
        )
    for name in columns:
        if name not in dataset.user_table.column_names:
            raise ConfigError(
                f"the user table has no column {name!r}{did_you_mean(name, dataset.user_table.column_names)}"
            )
    (trained,) = np.nonzero(np.asarray(dataset.train_end) > np.asarray(dataset.offset[:-1]))
    rows = dataset.user_table.select(list(dict.fromkeys(columns))).take(trained)
    context = FitContext(TableRows(rows), training_end_ms(dataset))
    return FittedContent(tuple(spec.fit(context) for spec in choose_columns(rows.column_names, rows)))
