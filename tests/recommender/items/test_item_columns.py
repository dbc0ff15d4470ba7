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
from reprise.recommender.items.filter_conditions import passing
from reprise.recommender.items.item_columns import TextColumn

PLAIN = {
    "item_id": "a", "title": "Tea", "category": "hot", "price": 1.5, "cost": 1.5, "stock": 0, "gift": True,
    "added": "2024-03-01T10:00:00+00:00", "until": "2024-04-01", "tags": ["x"], "blank": None,
}  # fmt: skip


def with_available(values: Any) -> Catalogue:
    return Catalogue(pa.table({"item_id": ["a", "b", "c"], "count": [1, 1, 1], "available": values}), warm=3)


def passed(catalogue: Catalogue, conditions: dict[str, Any]) -> list[int]:
    mask_I = passing(catalogue, conditions)
    assert mask_I is not None
    return np.flatnonzero(mask_I).tolist()


def test_an_item_tells_what_is_known_of_it_as_json_has_it() -> None:
    assert goods().item("a") == PLAIN
    assert json.loads(json.dumps(goods().item("a"))) == PLAIN
    assert goods().item("d")["price"] is None
    assert goods().item("cold")["title"] == "New"


def test_an_item_reads_the_same_from_the_table_and_from_coded_columns() -> None:
    asked = goods()
    for name in ("category", "price", "cost", "stock", "gift", "added", "until"):
        asked.column(name)
    assert [asked.item(one) for one in "abcde"] == [goods().item(one) for one in "abcde"]


CHANGED = {
    "title": "Green tea", "category": "leaf", "price": 2, "stock": 9, "gift": False, "available": False,
    "added": "2025-01-02T03:04:05+00:00", "until": "2025-02-03", "blank": "filled", "colour": "green", "weight": 0.25,
    "fresh": True, "boxes": 3,
}  # fmt: skip


def test_a_change_is_seen_by_the_new_catalogue_and_by_no_other() -> None:
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


def test_many_changes_at_once_are_those_one_by_one() -> None:
    changes: dict[Any, Any] = {"a": {"price": 7, "size": "big"}, "cold": {"price": 8}, "e": {"size": "small"}}
    at_once, one_by_one = goods().with_items(changes), goods()
    for item, values in changes.items():
        one_by_one = one_by_one.with_item(item, values)
    assert [at_once.item(one) for one in "abcde"] == [one_by_one.item(one) for one in "abcde"]
    assert goods().with_items({}).item("a") == PLAIN


def test_what_does_not_change_is_shared() -> None:
    before = goods()
    before.column("category")
    after = before.with_item("a", {"price": 2})
    assert after.items is before.items and after.ids is before.ids and after.table is before.table
    assert after.popularity_I is before.popularity_I
    assert after.column("category") is before.column("category")
    # a column that is coded later is coded once for both
    assert after.column("stock") is before.column("stock")
    assert after.column("price") is not before.column("price")


def test_whole_prices_may_become_broken_ones() -> None:
    after = goods().with_item("a", {"stock": 2.5})
    assert after.item("a")["stock"] == 2.5
    assert passed(after, {"stock": {"max": 2.5}}) == [0]
    assert goods().with_item("a", {"stock": 2.0}).item("a")["stock"] == 2


def test_words_that_nobody_has_any_more_are_forgotten() -> None:
    catalogue = goods()
    for number in range(100):
        catalogue = catalogue.with_item("b", {"category": f"word {number}"})
    column = catalogue.column("category")
    assert isinstance(column, TextColumn) and len(column.dictionary.words) <= 2 * 6 + 1
    assert [column.value(row) for row in range(6)] == ["hot", "word 99", "cold", None, "dry", "hot"]
    assert passed(catalogue, {"category": ["word 99", "dry"]}) == [1, 4]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"price": "cheap"}, r"^column 'price' holds numbers, got 'cheap'; pass one of that type$"),
        ({"price": True}, r"^column 'price' holds numbers, got True"),
        ({"price": float("nan")}, r"^column 'price' was given nan, which is no number that can be compared$"),
        ({"category": 7}, r"^column 'category' holds text, got 7; pass '7'$"),
        ({"gift": "yes"}, r"^column 'gift' holds truths \(true or false\), got 'yes'"),
        ({"added": "yesterday"}, r"^column 'added' holds times, and 'yesterday' is not ISO 8601"),
        ({"until": "2024-03-01T10:00:00Z"}, r"^column 'until' holds dates, got a time of a day; pass the date alone$"),
        ({"tags": ["x"]}, r"^column 'tags' of the item table holds lists or structures, which cannot be compared or chan"),
        ({"other": ["x"]}, r"^column 'other' was given \['x'\]; a value is text, a number, true, false, a time, or None"),
        ({"available": "no"}, r"^column 'available' holds truths \(true or false\), got 'no'"),
        ({"title": 7}, r"^column 'title' holds text, got 7; pass '7'$"),
        ({"count": 7}, r"^'count' belongs to the model and cannot be changed; export a model to change it$"),
        ({"item_id": "z"}, r"^'item_id' belongs to the model and cannot be changed"),
        ({"": 1}, r"^the name of a column is text, got ''$"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_column_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        goods().with_item("a", values)


def test_changes_of_an_unknown_item() -> None:
    with pytest.raises(DataError, match=r"^unknown item 'colt'; did you mean 'cold'\?$"):
        goods().with_item("colt", {"price": 3})
    with pytest.raises(DataError, match=r"^item id 7 is of type int"):
        goods().item(7)


def test_what_cannot_be_had_is_not_answered_unless_the_filter_speaks_of_it() -> None:
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
def test_truths_may_be_written_as_numbers_or_text(values: Any) -> None:
    catalogue = with_available(values)
    assert catalogue.available_I is not None and catalogue.available_I.tolist() == [True, False, True]
    assert [catalogue.item(one)["available"] for one in "abc"] == [True, False, None]
    assert catalogue.with_item("a", {"available": False}).available_I.tolist() == [False, False, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "values", [[3, 0, 1], ["from May", "false", None], [datetime(2024, 1, 1, tzinfo=UTC)] * 3]
)
def test_a_column_of_that_name_that_holds_no_truths_forbids_nothing(values: Any) -> None:
    assert with_available(values).available_I is None


def test_titles_are_text_whatever_the_table_has() -> None:
    catalogue = Catalogue(pa.table({"item_id": ["a", "b"], "count": [1, 1], "title": [17, None]}), warm=2)
    assert (catalogue.title(1), catalogue.title(2)) == ("17", None)
    assert catalogue.with_item("b", {"title": "new"}).item("b")["title"] == "new"


def test_integers_that_no_float_tells_apart_are_not_compared() -> None:
    catalogue = Catalogue(pa.table({"item_id": ["a"], "count": [1], "seller": [2**60 + 1]}), warm=1)
    with pytest.raises(
        DataError, match=r"^filter: column 'seller' of the item table holds integers beyond 2\^53"
    ):
        passing(catalogue, {"seller": 2**60})
    assert catalogue.item("a")["seller"] == 2**60 + 1


def test_a_short_float_is_what_a_person_wrote() -> None:
    table = pa.table({"item_id": ["a"], "count": [1], "price": pa.array([19.99], pa.float32())})
    catalogue = Catalogue(table, warm=1)
    assert catalogue.item("a")["price"] == 19.99
    assert passed(catalogue, {"price": 19.99}) == passed(catalogue, {"price": {"min": 19.99}}) == [0]
