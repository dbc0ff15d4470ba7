"""Tables survive Parquet bytes, and columns are read as lists."""

import pyarrow as pa
import pytest

from reprise.data.io.arrow_columns import column_values, read_table, write_table
from reprise.errors import DataError


def test_a_table_is_equal_after_writing_and_reading() -> None:
    table = pa.table({"item_id": [3, 1], "title": ["a", None], "tags": [["x"], []]})
    assert read_table(write_table(table)).equals(table)


def test_a_missing_column_is_a_list_of_none() -> None:
    assert column_values(pa.table({"item_id": [3, 1]}), "title") == [None, None]


def test_other_bytes_are_refused() -> None:
    with pytest.raises(DataError, match=r"^this is not a Parquet file"):
        read_table(b"PAR1 or not")
