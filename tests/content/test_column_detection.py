"""Detection: how each kind of column is read, and which columns are left out for which reason."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from item_shops import shop

from reprise.content import (
    Category,
    Date,
    Number,
    Text,
    Vector,
    describe_columns,
    detect_columns,
    find_columns,
)

ROWS = 60
GENERATOR = np.random.default_rng(0)
GENRES = ["Action", "Comedy", "Film-Noir", "Drama"]
WORDS = ["red", "blue", "lamp", "chair", "vase", "wooden", "small", "large"]


def titles(generator: np.random.Generator) -> list[str]:
    return [f"{' '.join(generator.choice(WORDS, 3))} no. {row}" for row in range(ROWS)]


def found(name: str, values: Any) -> tuple[Any, str]:
    (column,) = find_columns(pa.table({name: values}))
    return column.spec, column.reason


@pytest.mark.parametrize(
    ("name", "values", "spec"),
    [
        ("label", titles(GENERATOR), Text("label")),
        ("title", ["A1", "B2"] * 30, Text("title")),
        ("productName", ["A1", "B2"] * 30, Text("productName")),
        ("标题", [f"红色的{WORDS[row % 8]}灯{row}号" for row in range(ROWS)], Text("标题")),
        ("colour", ["red", "blue", "light green"] * 20, Category("colour")),
        ("genres", ["|".join(GENERATOR.choice(GENRES, 2)) for _ in range(ROWS)], Category("genres", separator="|")),
        ("styles", [", ".join(GENERATOR.choice(GENRES, 2)) for _ in range(ROWS)], Category("styles", separator=",")),
        ("tags", [list(GENERATOR.choice(WORDS, row % 4)) for row in range(ROWS)], Category("tags")),
        ("attributes", pa.array([[row % 7, 8] for row in range(ROWS)], pa.list_(pa.int32())), Category("attributes")),
        ("group_id", [f"G{row % 5}" for row in range(ROWS)], Category("group_id")),
        ("brand_id", [row % 5 for row in range(ROWS)], Category("brand_id")),
        ("new", [True, False] * 30, Category("new")),
        ("price", GENERATOR.random(ROWS), Number("price")),
        ("year", [1990 + row % 30 for row in range(ROWS)], Number("year")),
        ("price", [1000 * row for row in range(ROWS)], Number("price")),
        ("added", [date(2020, 1, 1) + timedelta(row) for row in range(ROWS)], Date("added")),
        ("added", [f"2020-01-{1 + row % 28:02}" for row in range(ROWS)], Date("added")),
        ("first_seen", [1_600_000_000 + row for row in range(ROWS)], Date("first_seen")),
        ("image", list(GENERATOR.random((ROWS, 4))), Vector("image")),
        ("image", pa.array([[1, 2, row] for row in range(ROWS)], pa.list_(pa.int8(), 3)), Vector("image")),
        ("colour", pa.array(["red", "blue"] * 30).dictionary_encode(), Category("colour")),
    ],
)  # fmt: skip
def test_a_column_is_read_by_its_values(name: str, values: Any, spec: Any) -> None:
    assert found(name, values)[0] == spec


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("item_id", list(range(ROWS)), "the ids of the items"),
        ("count", list(range(ROWS)), "the number of training events"),
        ("available", [True, False] * 30, "whether an item may be recommended"),
        ("note", pa.nulls(ROWS), "no value"),
        ("note", [" "] * 30 + [""] * 30, "all texts are blank"),
        ("shop", ["London"] * ROWS, "all values are equal"),
        ("tags", [["a"]] * ROWS, "all values are equal"),
        ("tags", [[]] * ROWS, "all lists are empty"),
        ("sku", [f"AB-{row:05}" for row in range(ROWS)], "codes, few of which occur twice"),
        ("reference", [f"AB-{row:05}" for row in range(ROWS)], "codes, few of which occur twice"),
        ("ean", [4_000_000_000_000 + 17 * row for row in range(ROWS)], "codes, by the name of the column"),
        ("row", list(range(100, 100 + ROWS)), "nearly every item has its own integer"),
        ("related", [[row, row + 1000] for row in range(ROWS)], "nearly every list has values of its own"),
        (
            "photo",
            [f"images/{row}.jpg" for row in range(ROWS)],
            r"names of files; declare Image('photo', root=...)",
        ),
        ("price", [f"{row}.50" for row in range(59)] + ["call us"], "except for texts such as 'call us'"),
        ("price", [f"{row},50" for row in range(ROWS)], "numbers written as text"),
        ("image", [f"[0.{row}, 1.0]" for row in range(ROWS)], "lists or objects written as text"),
        ("tags", [f'["tag{row}"]' for row in range(ROWS)], "lists or objects written as text"),
        ("link", [f"https://shop.example/{row}" for row in range(ROWS)], "addresses"),
        ("size", [{"w": 1, "h": row} for row in range(ROWS)], "values of type struct"),
        ("bytes", [b"a", b"b"] * 30, "values of type binary"),
        (
            "path",
            [[1.0] * (1 + row % 3) for row in range(ROWS)],
            "vectors of different widths, 1 to 3 numbers",
        ),
    ],
)
def test_a_column_is_left_out_for_a_reason(name: str, values: Any, reason: str) -> None:
    spec, given = found(name, values)
    assert spec is None and reason in given


def test_titles_with_commas_are_text() -> None:
    values = [f"trousers, {WORDS[row % 8]}, model A{row}" for row in range(ROWS)]
    assert found("label", values)[0] == Text("label")


def test_specs_of_a_table_are_those_of_its_columns() -> None:
    table = pa.table(
        {
            "item_id": range(4),
            "title": ["a b", "c d", "e f", "g h"],
            "note": [None] * 4,
            "price": [1.5, 2, 3, 9],
        }
    )
    assert detect_columns(table) == (Text("title"), Number("price"))


def test_the_listing_reads_warm_items_and_skips_columns_of_every_table() -> None:
    dataset = shop(2, colour=["red"] * 10 + ["blue", "green"], price=[float(row) for row in range(12)])
    assert describe_columns(dataset) == {
        "colour": "left out: all values are equal",
        "price": "Number: numbers from 0 to 9",
    }
