import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from goods import goods

from reprise.errors import DataError
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.items.catalogue import Catalogue
from reprise.recommender.items.filter_conditions import matching_items
from reprise.recommender.items.item_columns import TextColumn

PLAIN = {
    "item_id": "a", "title": "Tea", "category": "hot", "price": 1.5, "cost": 1.5, "stock": 0, "gift": True,
    "added": "2024-03-01T10:00:00+00:00", "until": "2024-04-01", "tags": ["x"], "blank": None,
}  # fmt: skip


def with_available(values: Any) -> Catalogue:
    return Catalogue(pa.table({"item_id": ["a", "b", "c"], "count": [1, 1, 1], "available": values}), warm=3)


def passed(catalogue: Catalogue, conditions: dict[str, Any]) -> list[int]:
    mask_I = matching_items(catalogue, conditions)
    assert mask_I is not None
    return np.flatnonzero(mask_I).tolist()


def test_an_item_has_its_columns_as_json_values() -> None:
    assert goods().item("a") == PLAIN
    assert json.loads(json.dumps(goods().item("a"))) == PLAIN
    assert goods().item("d")["price"] is None
    assert goods().item("cold")["title"] == "New"


def test_values_are_the_same_from_the_table_and_from_loaded_columns() -> None:
    loaded = goods()
    for name in ("category", "price", "cost", "stock", "gift", "added", "until"):
        loaded.column(name)
    assert [loaded.item(one) for one in "abcde"] == [goods().item(one) for one in "abcde"]


CHANGED = {
    "title": "Green tea", "category": "leaf", "price": 2, "stock": 9, "gift": False, "available": False,
    "added": "2025-01-02T03:04:05+00:00", "until": "2025-02-03", "blank": "filled", "colour": "green", "weight": 0.25,
    "fresh": True, "boxes": 3,
}  # fmt: skip


def test_a_change_affects_only_the_new_catalogue() -> None:
    before = goods()
    after = before.with_item("a", CHANGED)
    assert after.item("a") == {**PLAIN, **CHANGED, "price": 2.0}
    assert before.item("a") == PLAIN
    assert after.item("b") == {
        **before.item("b"), **dict.fromkeys(("available", "colour", "weight", "fresh", "boxes"))
    }  # fmt: skip
    assert (after.title(1), before.title(1)) == ("Green tea", "Tea")
    assert passed(after, {"category": "leaf"}) == passed(after, {"colour": "green"}) == [0]
    assert passed(after, {"category": "hot"}) == [1]
    assert passed(before, {"category": "hot"}) == [0, 1]
    assert passed(after, {"weight": {"max": 1}, "boxes": 3, "fresh": True, "blank": "filled"}) == [0]


def test_none_removes_a_value() -> None:
    after = goods().with_item("a", dict.fromkeys(("title", "price", "gift", "added", "never")))
    assert after.item("a") == {**PLAIN, **dict.fromkeys(("title", "price", "gift", "added"))}
    assert passed(after, {"price": {"min": 0}}) == [1, 4]


def test_changing_many_items_equals_changing_each_item() -> None:
    changes: dict[Any, Any] = {"a": {"price": 7, "size": "big"}, "cold": {"price": 8}, "e": {"size": "small"}}
    at_once, one_by_one = goods().with_items(changes), goods()
    for item, values in changes.items():
        one_by_one = one_by_one.with_item(item, values)
    assert [at_once.item(one) for one in "abcde"] == [one_by_one.item(one) for one in "abcde"]
    assert goods().with_items({}).item("a") == PLAIN


def test_unchanged_columns_are_shared() -> None:
    before = goods()
    before.column("category")
    after = before.with_item("a", {"price": 2})
    assert after.items is before.items and after.ids is before.ids and after.table is before.table
    assert after.column("category") is before.column("category")
    # a column that is loaded later is loaded once for both
    assert after.column("stock") is before.column("stock")
    assert after.column("price") is not before.column("price")


def test_integers_become_numbers_when_a_fraction_is_set() -> None:
    after = goods().with_item("a", {"stock": 2.5})
    assert after.item("a")["stock"] == 2.5
    assert passed(after, {"stock": {"max": 2.5}}) == [0]
    assert goods().with_item("a", {"stock": 2.0}).item("a")["stock"] == 2


def test_unused_texts_are_removed_from_the_dictionary() -> None:
    catalogue = goods()
    for number in range(100):
        catalogue = catalogue.with_item("b", {"category": f"text {number}"})
    column = catalogue.column("category")
    assert isinstance(column, TextColumn) and len(column.dictionary.texts) <= 2 * 6 + 1
    assert [column.value(row) for row in range(6)] == ["hot", "text 99", "cold", None, "dry", "hot"]
    assert passed(catalogue, {"category": ["text 99", "dry"]}) == [1, 4]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"price": "cheap"}, r"^column 'price' holds numbers, got 'cheap'; pass a value of that type$"),
        ({"price": True}, r"^column 'price' holds numbers, got True"),
        ({"price": float("nan")}, r"^column 'price' cannot be compared with nan; pass a finite number, integers up to 2\^53$"),
        ({"category": 7}, r"^column 'category' holds text, got 7; pass '7'$"),
        ({"gift": "yes"}, r"^column 'gift' holds booleans \(true or false\), got 'yes'"),
        ({"added": "yesterday"}, r"^column 'added' holds times, and 'yesterday' is not ISO 8601"),
        ({"until": "2024-03-01T10:00:00Z"}, r"^column 'until' holds dates, got a date with a time; pass the date alone$"),
        ({"tags": "x"}, r"^column 'tags' of the item table holds lists or structures, which cannot be compared or changed"),
        ({"tags": ["x"]}, r"^column 'tags' takes no lists, got \['x'\]; pass a single value, or train a model that reads"),
        ({"other": ["x"]}, r"^column 'other' takes no lists, got \['x'\]; pass a single value"),
        ({"other": {"x": 1}}, r"^column 'other' cannot hold {'x': 1}; pass text, a number, true, false, a time, or None"),
        ({"available": "no"}, r"^column 'available' holds booleans \(true or false\), got 'no'"),
        ({"title": 7}, r"^column 'title' holds text, got 7; pass '7'$"),
        ({"count": 7}, r"^'count' belongs to the model and cannot be changed; export a model to change it$"),
        ({"item_id": "z"}, r"^'item_id' belongs to the model and cannot be changed"),
        ({"": 1}, r"^the name of a column is text that is not empty, got ''; pass a name$"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_column_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        goods().with_item("a", values)


def test_changing_an_unknown_item_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^unknown item 'colt'; did you mean 'cold'\?$"):
        goods().with_item("colt", {"price": 3})
    with pytest.raises(DataError, match=r"^item id 7 is of type int"):
        goods().item(7)


def test_unavailable_items_are_excluded_unless_the_filter_names_available() -> None:
    catalogue = with_available([True, False, None])
    assert catalogue.available_I is not None and catalogue.available_I.tolist() == [True, False, True]
    assert read_filters(catalogue, (), None, False).listed_I.tolist() == [True, False, True]
    assert read_filters(catalogue, (), ["a", "b"], False).listed_I.tolist() == [True, False, False]
    assert read_filters(catalogue, (), None, False, {"available": False}).listed_I.tolist() == [
        False,
        True,
        False,
    ]
    assert read_filters(catalogue, (), None, False, {"available": [True, False]}).listed_I.sum() == 2
    again = catalogue.with_item("b", {"available": True})
    assert again.available_I is None
    assert again.with_item("a", {"available": False}).available_I.tolist() == [False, True, True]  # type: ignore[union-attr]
    assert again.with_item("b", {"title": "B"}).available_I is None


@pytest.mark.parametrize("values", [[1, 0, None], ["true", "False", None], [1.0, 0.0, None]])
def test_available_may_be_numbers_or_text(values: Any) -> None:
    catalogue = with_available(values)
    assert catalogue.available_I is not None and catalogue.available_I.tolist() == [True, False, True]
    assert [catalogue.item(one)["available"] for one in "abc"] == [True, False, None]
    assert catalogue.with_item("a", {"available": False}).available_I.tolist() == [False, False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "values", [[3, 0, 1], ["from May", "false", None], [datetime(2024, 1, 1, tzinfo=UTC)] * 3]
)
def test_a_column_available_that_is_not_boolean_excludes_nothing(values: Any) -> None:
    assert with_available(values).available_I is None


def test_titles_are_converted_to_text() -> None:
    catalogue = Catalogue(pa.table({"item_id": ["a", "b"], "count": [1, 1], "title": [17, None]}), warm=2)
    assert (catalogue.title(1), catalogue.title(2)) == ("17", None)
    assert catalogue.with_item("b", {"title": "new"}).item("b")["title"] == "new"


def test_integers_beyond_the_precision_of_floats_are_not_compared() -> None:
    catalogue = Catalogue(pa.table({"item_id": ["a"], "count": [1], "seller": [2**60 + 1]}), warm=1)
    with pytest.raises(
        DataError, match=r"^filter: column 'seller' of the item table holds integers beyond 2\^53"
    ):
        matching_items(catalogue, {"seller": 2**60})
    assert catalogue.item("a")["seller"] == 2**60 + 1


def test_a_float32_is_compared_as_its_shortest_decimal() -> None:
    table = pa.table({"item_id": ["a"], "count": [1], "price": pa.array([19.99], pa.float32())})
    catalogue = Catalogue(table, warm=1)
    assert catalogue.item("a")["price"] == 19.99
    assert passed(catalogue, {"price": 19.99}) == passed(catalogue, {"price": {"min": 19.99}}) == [0]
