"""A small catalogue with a column of each type, and with missing values."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa

from reprise.recommender.items.catalogue import Catalogue


def goods() -> Catalogue:
    """Return five items that can be recommended, a to e, and one without a vector."""
    table = pa.table(
        {
            "item_id": ["a", "b", "c", "d", "e", "cold"],
            "count": [5, 4, 3, 2, 1, 0],
            "title": ["Tea", None, "Pot", "Cup", "Jar", "New"],
            "category": pa.array(["hot", "hot", "cold", None, "dry", "hot"]).dictionary_encode(),
            "price": [1.5, 20.0, None, float("nan"), 5.0, 7.0],
            "cost": [Decimal("1.50"), Decimal("2.25"), None, None, None, None],
            "stock": [0, 3, 3, None, 7, 1],
            "gift": [True, False, None, True, False, True],
            "added": pa.array(
                [datetime(2024, 3, day, 10, tzinfo=UTC) if day else None for day in (1, 2, 3, 0, 5, 6)],
                pa.timestamp("ms", "Europe/Berlin"),
            ),
            "until": [date(2024, 4, 1), date(2024, 5, 1), None, None, date(2024, 6, 1), None],
            "tags": [["x"], ["y"], None, None, None, None],
            "blank": pa.nulls(6),
        }
    )
    return Catalogue(table, warm=5)
