"""The answer for a user without known events: the items with the most training events.

The recommender gives this answer, and evaluation ranks the targets of such users by the same numbers.
"""

import numpy as np

from reprise.arrays import Float32Array
from reprise.data.io.arrow_columns import Table, column_values


def popular_shares(items: Table, warm: int) -> Float32Array:
    """Return the share of the training events of each warm item, [I]; items with equal shares tie.

    Args:
        items: Item table in index order, with the number of training events in its column `count`.
        warm: Number of warm items, I; they are the first rows.
    """
    count_I = np.array(column_values(items, "count")[:warm], dtype=np.float64)
    share_I: Float32Array = (count_I / max(1.0, count_I.sum())).astype(np.float32)
    return share_I
