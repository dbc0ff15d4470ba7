from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from goods import goods

from reprise.errors import DataError
from reprise.recommender.items.candidate_mask import read_filters
from reprise.recommender.items.filter_conditions import matching_items

GOODS = goods()


def passed(conditions: dict[str, Any]) -> str:
    mask_I = matching_items(GOODS, conditions)
    assert mask_I is not None and len(mask_I) == GOODS.warm
    return "".join(np.array(list("abcde"))[mask_I])


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"category": "hot"}, "ab"),
        ({"category": ["cold", "dry", "wet"]}, "ce"),
        ({"category": "wet"}, ""),
        ({"category": []}, ""),
        ({"category": {"not": "hot"}}, "ce"),
        ({"category": {"not": ["hot", "dry"]}}, "c"),
        ({"category": {"not": []}}, "abce"),
        ({"price": 5}, "e"),
        ({"price": {"min": 1.5, "max": 5}}, "ae"),
        ({"price": {"min": 5}}, "be"),
        ({"price": {"max": 4.99}}, "a"),
        ({"price": {"min": 20, "max": 20}}, "b"),
        ({"price": {"min": 1, "not": [5.0]}}, "ab"),
        ({"price": {"not": 5}}, "ab"),
        ({"cost": {"min": 2}}, "b"),
        ({"stock": (3, 7)}, "bce"),
        ({"stock": list(range(1, 40))}, "bce"),
        ({"stock": {"not": 3}}, "ae"),
        ({"gift": True}, "ad"),
        ({"gift": [True, False]}, "abde"),
        ({"gift": {"not": True}}, "be"),
        ({"added": {"min": "2024-03-02T10:00:00Z"}}, "bce"),
        ({"added": {"min": "2024-03-02T12:00:00+02:00", "max": "2024-03-03"}}, "b"),
        ({"added": datetime(2024, 3, 5, 10, tzinfo=UTC)}, "e"),
        ({"until": {"min": "2024-05-01"}}, "be"),
        ({"until": date(2024, 4, 1)}, "a"),
        ({"item_id": ["a", "e", "cold"]}, "ae"),
        ({"count": {"min": 3}}, "abc"),
        ({"blank": "x"}, ""),
        ({"blank": {"not": 3}}, ""),
        ({"blank": {"min": 3}}, ""),
        ({"category": "hot", "price": {"max": 5}, "gift": True}, "a"),
    ],
)
def test_all_conditions_must_hold_and_missing_values_meet_none(
    conditions: dict[str, Any], expected: str
) -> None:
    assert passed(conditions) == expected


def test_many_values_are_tested_like_few() -> None:
    assert passed({"category": ["hot", *(f"w{word}" for word in range(100))]}) == "ab"
    many = GOODS.with_items({"a": {"category": "w0"}, "c": {"category": None}})
    for number in range(1, 40):
        many = many.with_item("d", {"category": f"w{number}"})
    mask_I = matching_items(many, {"category": ["hot", *(f"w{word}" for word in range(100))]})
    assert mask_I is not None and mask_I.tolist() == [True, True, False, True, False]


def test_without_conditions_there_is_no_mask() -> None:
    assert matching_items(GOODS, {}) is None
    assert read_filters(GOODS, (), None, False, {}).mask([]) is None


def test_conditions_and_lists_are_combined() -> None:
    filters = read_filters(GOODS, ["a"], ["a", "b", "c", "gone"], False, {"category": "hot"})
    assert filters.listed_I.tolist() == [False, True, False, False, False]
    assert filters.unknown_allowed == 1


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"prise": 5}, r"^filter: the items have no column 'prise'; did you mean 'price'\? \(known: item_id, count, "),
        ({"zzzz": 5}, r"^filter: the items have no column 'zzzz'; known: item_id, count, title, category"),
        ({"category": 42}, r"^filter: column 'category' holds text, got 42; pass '42'$"),
        ({"category": {"min": "a"}}, r"^filter: 'category' holds text, for which min and max are not defined; pass a value"),
        ({"gift": {"min": 0}}, r"^filter: 'gift' holds booleans \(true or false\), for which min and max are not defined"),
        ({"gift": 1}, r"^filter: column 'gift' holds booleans \(true or false\), got 1; pass a value of that type$"),
        ({"price": "5"}, r"^filter: column 'price' holds numbers, got '5'; pass a value of that type$"),
        ({"price": True}, r"^filter: column 'price' holds numbers, got True"),
        ({"price": float("nan")}, r"^filter: column 'price' cannot be compared with nan; pass a finite number, integers up to"),
        ({"price": {"min": float("inf")}}, r"cannot be compared with inf; pass a finite number"),
        ({"stock": 2**60 + 1}, r"cannot be compared with 1152921504606846977; pass a finite number, integers up to 2\^53$"),
        ({"price": {"min": 9, "max": 5}}, r"^filter: the range of 'price' is empty: min 9 is above max 5; swap them$"),
        ({"price": {"mim": 9}}, r"^filter: unknown operator 'mim' on 'price'; did you mean 'min'\?$"),
        ({"price": {}}, r"^filter: the condition on 'price' is empty; set min, max, not, or leave out the condition$"),
        ({"price": None}, r"^filter: 'price' cannot be compared with None; pass a value or a list of values"),
        ({"price": {"min": None}}, r"^filter: column 'price' holds numbers, got None"),
        ({"price": {"not": {"min": 5}}}, r"^filter: 'price' cannot be compared with \{'min': 5\}"),
        ({"added": "soon"}, r"^filter: column 'added' holds times, and 'soon' is not ISO 8601; write 2024-03-01 or "),
        ({"added": "2024-03-01T10:00:00"}, r"^filter: column 'added' holds times, and 2024-03-01 10:00:00 has no time zone"),
        ({"added": 1.7e9}, r"^filter: column 'added' holds times, got 1700000000.0; pass an ISO 8601 string"),
        ({"tags": "x"}, r"^filter: column 'tags' of the item table holds lists or structures, which cannot be compared"),
        (["price"], r"^a filter maps columns of the item table to conditions, got \['price'\]; pass \{\"category\": "),
        ({7: "x"}, r"^filter: the items have no column 7; known: "),
    ],
)  # fmt: skip
def test_invalid_conditions_are_errors(conditions: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_filters(GOODS, (), None, False, conditions)
