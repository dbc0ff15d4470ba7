"""Detection of column specs from an item table: which columns describe an item, and how each is read."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.argument_checks import shown
from reprise.content.column_spec import ColumnSpec
from reprise.content.columns.category_column import Category
from reprise.content.columns.date_column import Date
from reprise.content.columns.number_column import Number
from reprise.content.columns.text_column import Text
from reprise.content.columns.vector_column import Vector
from reprise.content.table_rows import ID
from reprise.data.dataset import SequenceDataset
from reprise.data.feature_dates import find_dates, name_words
from reprise.data.io.arrow_columns import Table, is_list, is_number, is_text

COUNT = "count"
"""Column of the numbers of training events."""
RESERVED = {
    ID: "the ids of the items",
    COUNT: "the number of training events, not a property of the item",
    "available": "whether an item may be recommended, not a property of the item",
}
"""Columns with another meaning, and the reason to leave them out."""
TEXT_NAMES = {"title", "name", "description", "text", "summary", "abstract", "caption"}
"""Words in the name of a text column whose values are text, whatever they look like."""
CODE_WORDS = {
    "id",
    "ids",
    "code",
    "sku",
    "ean",
    "asin",
    "isbn",
    "upc",
    "gtin",
    "barcode",
    "uuid",
    "key",
    "index",
    "hash",
}
"""Words in the name of a column of codes."""
SEPARATORS = ("|", ";", ",", "/")
"""Characters that may separate the categories in a text."""
SAMPLE_ROWS = 20_000
"""Number of rows whose texts are examined."""
MIN_USES = 3.0
"""Mean number of items with a value from which a text column is a category."""
NEAR_UNIQUE = 0.9
"""Share of distinct values among all values from which a column may identify items."""
MANY = 20
"""Number of values below which nothing is concluded from values that differ."""
FILE_NAME = re.compile(r"\.(jpe?g|png|gif|webp|bmp|tiff?|wav|flac|ogg|mp3|aiff?)$", re.IGNORECASE)
ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
NUMBER = re.compile(r"^[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?$")
FRACTION = re.compile(r"^[+-]?\d+(\.\d+|,\d\d)$")
JSON_VALUE = re.compile(r"^(\[.*\]|\{.*\})$", re.DOTALL)
CODE = re.compile(r"^(?=.*\d)[A-Za-z0-9_.:#-]+$")


@dataclass(frozen=True)
class DetectedColumn:
    """A column of the item table: its spec, or the reason to leave it out."""

    column: str
    """Name of the column."""
    spec: ColumnSpec | None
    """Detected spec; None if the column is left out."""
    reason: str
    """How the column is read, or why it is left out."""

    @property
    def reading(self) -> str:
        """The kind of the spec and how it was found, or "left out" and the reason."""
        kind = "left out" if self.spec is None else type(self.spec).__name__
        return f"{kind}: {self.reason}"


def detect_columns(table: Table) -> tuple[ColumnSpec, ...]:
    """Return the detected specs of the columns that describe an item.

    Ids, codes, constant columns, counts and the availability are left out; `find_columns` gives the reasons.
    """
    return tuple(found.spec for found in find_columns(table) if found.spec is not None)


def find_columns(table: Table) -> tuple[DetectedColumn, ...]:
    """Return for each column of an item table how it is read, or why it is left out."""
    return tuple(DetectedColumn(name, *_detect(name, table.column(name))) for name in table.column_names)


def _detect(name: str, column: pa.ChunkedArray) -> tuple[ColumnSpec | None, str]:
    if name in RESERVED:
        return None, RESERVED[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.drop_null()
    if not len(column):
        return None, "no value"
    if is_list(column.type):
        return _detect_list(name, column)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        return None, f"values of type {column.type}"
    distinct = pc.count_distinct(column).as_py()
    if distinct == 1:
        return None, "all values are equal"
    if find_dates(name, column) is not None:
        return Date(name), "dates"
    if pa.types.is_boolean(column.type):
        return Category(name), "true or false"
    if is_number(column.type):
        return _detect_number(name, column, distinct)
    if is_text(column.type):
        return _detect_text(name, column, distinct)
    return None, f"values of type {column.type}"


def _detect_list(name: str, column: pa.ChunkedArray) -> tuple[ColumnSpec | None, str]:
    inner = column.type.value_type
    lengths = pc.unique(pc.list_value_length(column)).to_pylist()
    values = pc.list_flatten(column)
    if not len(values.drop_null()):
        return None, "all lists are empty"
    fixed = len(lengths) == 1 and lengths[0] > 1
    if (
        is_number(inner)
        and fixed
        and (not pa.types.is_integer(inner) or pa.types.is_fixed_size_list(column.type))
    ):
        return Vector(name), f"vectors of {lengths[0]} numbers"
    if pa.types.is_nested(inner) or pa.types.is_floating(inner) or pa.types.is_binary(inner):
        if is_number(inner) and len(lengths) > 1:
            return None, f"vectors of different widths, {min(lengths)} to {max(lengths)} numbers"
        return None, f"lists of type {inner}"
    distinct = pc.count_distinct(values).as_py()
    if distinct == 1:
        return None, "all values are equal"
    if distinct > NEAR_UNIQUE * len(values) and len(values) > MANY:
        return None, "nearly every list has values of its own"
    return Category(name), f"lists of {distinct:,} values"


def _detect_number(name: str, column: pa.ChunkedArray, distinct: int) -> tuple[ColumnSpec | None, str]:
    uses = len(column) / distinct
    if name_words(name) & CODE_WORDS:
        if uses >= MIN_USES:
            return Category(name), f"codes, {distinct:,} values"
        return None, "codes, by the name of the column"
    ends = pc.min_max(column).as_py()
    is_counter = pa.types.is_integer(column.type) and ends["max"] - ends["min"] < 1.5 * distinct
    if is_counter and distinct > NEAR_UNIQUE * len(column) and distinct > MANY:
        return None, "nearly every item has its own integer, as in a list of ids"
    return Number(name), f"numbers from {ends['min']:.6g} to {ends['max']:.6g}"


def _detect_text(name: str, column: pa.ChunkedArray, distinct: int) -> tuple[ColumnSpec | None, str]:
    step = -(-len(column) // SAMPLE_ROWS)
    texts = [text.strip() for text in column.take(pa.array(np.arange(0, len(column), step))).to_pylist()]
    texts = [text for text in texts if text]
    if not texts:
        return None, "all texts are blank"
    if _share(texts, FILE_NAME) > 0.5:
        return None, f"names of files; declare Image({name!r}, root=...) or Audio({name!r}, root=...)"
    if _share(texts, ADDRESS) > 0.5:
        return None, "addresses"
    if name_words(name) & TEXT_NAMES:
        return Text(name), "text, by the name of the column"
    if _share(texts, JSON_VALUE) > 0.5:
        return None, "lists or objects written as text; give the table as Parquet to read them"
    if _share(texts, NUMBER) > 0.5 and _share(texts, FRACTION) > 0.25:
        return None, _describe_number_texts(texts)
    separator = _find_separator(texts)
    if separator:
        return Category(name, separator=separator), f"several categories, separated by {separator!r}"
    if len(column) / distinct >= MIN_USES:
        return Category(name), f"{distinct:,} values"
    if len(texts) > MANY and (name_words(name) & CODE_WORDS or _share(texts, CODE) > 0.5):
        return None, "codes, few of which occur twice"
    return Text(name), f"text, {distinct:,} different"


def _describe_number_texts(texts: list[str]) -> str:
    """Return why a text column of numbers is not read as numbers."""
    other = next((text for text in texts if not NUMBER.search(text)), None)
    if other is None:
        return "numbers written as text; convert them to numbers"
    return f"numbers, except for texts such as {shown(other)}; write numbers, or leave the value empty"


def _share(texts: list[str], pattern: re.Pattern[str]) -> float:
    return sum(bool(pattern.search(text)) for text in texts) / len(texts)


def _find_separator(texts: list[str]) -> str:
    """Return the character that separates categories in texts; "" if the texts are not lists of categories.

    The parts of such texts are short and occur again in other texts, more often than whole texts do.
    """
    for separator in SEPARATORS:
        parts = [part.strip() for text in texts for part in text.split(separator)]
        several = sum(separator in text for text in texts)
        distinct = set(parts)
        if (
            several >= 0.1 * len(texts)
            and len(distinct) < len(set(texts))
            and len(parts) >= 2 * MIN_USES * len(distinct)
            and np.mean([part.count(" ") for part in parts]) < 3
        ):
            return separator
    return ""


def describe_columns(dataset: SequenceDataset) -> dict[str, str]:
    """Return for each column of the item table how it is read, or why it is left out, from the rows of the warm items.

    The two columns that every item table has, `item_id` and `count`, are not listed.
    """
    found = find_columns(dataset.table.slice(0, dataset.items.warm))
    return {one.column: one.reading for one in found if one.column not in (ID, COUNT)}
