"""Item columns that callers change while a model is served: their limits, and how they shrink."""

from itertools import count
from pathlib import Path

import pytest

from reprise.errors import DataError
from reprise.recommender import Recommender
from reprise.server.engine import item_overrides
from reprise.server.engine.item_overrides import ItemOverrides
from reprise.server.store.records import ItemChange

VERSIONS = count(1)


@pytest.fixture
def overrides(first_model: Path) -> ItemOverrides:
    return ItemOverrides(Recommender.load(first_model))


def put(overrides: ItemOverrides, item: str, tenant: str = "shop", **values: object) -> None:
    """Change an item as the serving engine does."""
    overrides.validate(tenant, item, values)
    overrides.apply([ItemChange(next(VERSIONS), tenant, item, values)])


def columns(overrides: ItemOverrides, tenant: str = "shop") -> set[str]:
    added = set(overrides.ranker(tenant).catalogue.columns)
    return added - set(overrides.ranker("another tenant").catalogue.columns)


def test_a_column_disappears_with_its_last_value(overrides: ItemOverrides) -> None:
    put(overrides, "p1", colour="red", size=3)
    put(overrides, "p2", colour="blue")
    put(overrides, "no such item", season="summer")
    assert columns(overrides) == {"colour", "size"}
    put(overrides, "p1", colour=None)  # the size is not named any more
    assert columns(overrides) == {"colour"}
    assert overrides.ranker("shop").catalogue.item("p2")["colour"] == "blue"
    put(overrides, "p2")
    assert columns(overrides) == set()
    put(overrides, "p3", colour=5)  # a column of the same name may have another type now
    assert overrides.ranker("shop").catalogue.item("p3")["colour"] == 5


def test_columns_of_the_model_get_its_values_again(overrides: ItemOverrides) -> None:
    before = overrides.ranker("shop").catalogue.item("p3")
    put(overrides, "p3", shelf=None, price=99, available=False)
    assert overrides.ranker("shop").catalogue.item("p3") == {
        **before,
        "shelf": None,
        "price": 99,
        "available": False,
    }
    put(overrides, "p3")
    assert overrides.ranker("shop").catalogue.item("p3") == before
    assert overrides.ranker("shop").catalogue.available_I is None


def test_memory_does_not_grow_with_ever_new_column_names(
    overrides: ItemOverrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_overrides, "MAX_ADDED_COLUMNS", 5)
    for number in range(50):
        put(overrides, "p1", **{f"c{number}": number})
    assert columns(overrides) == {"c49"}
    for number in range(4):
        put(overrides, f"p{number + 2}", **{f"d{number}": 1})
    with pytest.raises(
        DataError, match=r"column 'e' would be one more than the 5 columns .* set another column to null"
    ):
        put(overrides, "p9", e=1)
    with pytest.raises(DataError, match="would be one more"):
        put(overrides, "no such item", e=1)
    assert len(columns(overrides)) == 5
    put(overrides, "p9", e=None, d0=2, shelf="left")
    put(overrides, "p1", e=1)  # takes the place of c49, whose last value it removes
    put(overrides, "p1", tenant="rival", f=1)
    assert columns(overrides) == {"d0", "d1", "d2", "d3", "e"} and columns(overrides, "rival") == {"f"}


def test_the_size_of_values_is_bounded(overrides: ItemOverrides, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="the values of item 'p1' have 70,012 bytes; send at most 65,536"):
        put(overrides, "p1", text="x" * 70_000)
    monkeypatch.setattr(item_overrides, "MAX_TENANT_BYTES", 1000)
    for item in ("p1", "p2", "no such item"):
        put(overrides, item, text="x" * 300)
    with pytest.raises(
        DataError, match=r"values of all items have 1,2.. bytes, and 1,000 are possible; remove values"
    ):
        put(overrides, "p4", text="x" * 300)
    put(overrides, "p1", text="x" * 200)
    put(overrides, "no such item")
    put(overrides, "p4", text="x" * 300)


def test_changes_read_together_have_the_effect_of_changes_read_one_by_one(first_model: Path) -> None:
    together, apart = (ItemOverrides(Recommender.load(first_model)) for _ in range(2))
    given: list[dict[str, object]] = [
        {"colour": "red"},
        {"size": 3},
        {},
        {"colour": "red"},
        {"colour": None},
        {"size": 4},
    ]
    changes = [
        ItemChange(next(VERSIONS), "shop", f"p{place % 2}", values) for place, values in enumerate(given)
    ]
    together.apply(changes)
    for change in changes:
        apart.apply([change])
    assert columns(together) == columns(apart) == {"size"}
    for item in ("p0", "p1"):
        found = [one.ranker("shop").catalogue.item(item) for one in (together, apart)]
        assert found[0] == found[1]
