import pyarrow as pa
import pytest

from reprise.data.io.arrow_columns import column_values, read_table, write_table
from reprise.errors import DataError


def test_a_table_comes_back_with_all_its_columns() -> None:
    table = pa.table({"item_id": [3, 1], "title": ["a", None], "tags": [["x"], []]})
    assert read_table(write_table(table)).equals(table)


def test_a_column_that_is_not_there_is_all_none() -> None:
    assert column_values(pa.table({"item_id": [3, 1]}), "title") == [None, None]


def test_other_bytes_are_no_table() -> None:
    with pytest.raises(DataError, match=r"^this is no Parquet file"):
        read_table(b"PAR1 or not")
