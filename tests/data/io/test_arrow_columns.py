"""Tables survive Parquet bytes, and columns are read as lists."""

import pyarrow as pa
import pytest

from reprise.data.io.arrow_columns import column_values, read_table, write_table
from reprise.errors import DataError


def test_a_table_is_equal_after_writing_and_reading() -> None:
    table = pa.table({"item_id": [3, 1], "title": ["a", None], "tags": [["x"], []]})
    assert read_table(write_table(table), rows=2).equals(table)


def test_a_missing_column_is_a_list_of_none() -> None:
    assert column_values(pa.table({"item_id": [3, 1]}), "title") == [None, None]


def test_other_bytes_are_refused() -> None:
    with pytest.raises(DataError, match=r"^this is not a Parquet file"):
        read_table(b"PAR1 or not", rows=1)


def test_a_name_that_is_not_utf8_is_refused() -> None:
    data = write_table(pa.table({"item_id": [3, 1], "colour": ["red", "blue"]}))
    with pytest.raises(DataError, match=r"^this is not a Parquet file"):
        read_table(data.replace(b"colour", b"c\xbe\x80our"), rows=2)


def test_a_table_with_another_number_of_rows_is_refused_before_it_is_decoded() -> None:
    data = write_table(pa.table({"item_id": pa.repeat(7, 10_000_000)}))
    assert len(data) < 100_000
    with pytest.raises(DataError, match=r"^the table has 10000000 rows instead of 3; write it again$"):
        read_table(data, rows=3)


@pytest.mark.parametrize(
    "values",
    [
        pa.repeat("x" * 20_000, 10_000),
        pa.repeat("x" * 20_000, 10_000).dictionary_encode(),
        pa.array([["x" * 20_000]] * 10_000),
        pa.repeat(7, 20_000_000),
    ],
    ids=["long texts", "categories", "long texts in lists", "many rows"],
)
def test_a_small_file_that_decodes_to_gigabytes_is_refused(values: pa.Array) -> None:
    data = write_table(pa.table({"title": values}))
    assert len(data) < 100_000
    with pytest.raises(
        DataError, match=rf"^the table has {len(data)} bytes and would take more than \d+ in memory"
    ):
        read_table(data, rows=len(values))


def test_repeated_values_of_a_real_table_are_read() -> None:
    table = pa.table({"item_id": range(300_000), "category": ["a category with a long name"] * 300_000})
    assert read_table(write_table(table), rows=300_000).num_rows == 300_000
